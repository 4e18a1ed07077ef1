"""The site's door to Flower: SuperNode and executor."""
