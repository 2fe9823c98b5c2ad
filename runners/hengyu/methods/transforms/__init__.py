"""Transforms: vectors to vectors, one file each."""
