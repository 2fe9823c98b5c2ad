"""Codes: vectors to compact codes, one file each."""
