"""Indexes: vectors to nearest neighbours, one file each."""
