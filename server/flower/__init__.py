"""The coordinator's door to Flower: SuperLink, Control API, runner and grid."""
