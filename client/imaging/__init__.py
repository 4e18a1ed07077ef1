"""Mammograms as pixels with geometry, and what is measured on them."""
