"""What may follow from density: a published risk model and a table of suggestions; off by default."""
