"""Similarities: what two vectors are compared by, one file each."""
