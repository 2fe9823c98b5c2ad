"""Fusions: several ranked lists to one, one file each."""
