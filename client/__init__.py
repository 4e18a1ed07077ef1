"""The site: intake, training and egress inside one hospital."""
