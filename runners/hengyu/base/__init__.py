"""Errors, progress and files: what every other package uses."""
