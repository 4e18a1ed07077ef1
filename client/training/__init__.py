"""Training at a site: examples in, trained weights out."""
