"""The site's relational store: its schema, its migrations and the statements that run on it."""
