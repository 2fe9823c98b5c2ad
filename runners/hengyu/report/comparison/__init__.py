"""A comparison of two runs as text and as a page."""
