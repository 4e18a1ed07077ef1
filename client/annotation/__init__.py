"""Drafts of masks, drawn by a model for a reader to correct."""
