"""Training and evaluation at a site: examples in, trained weights and metrics out."""
