"""A run in formats for other programs."""
