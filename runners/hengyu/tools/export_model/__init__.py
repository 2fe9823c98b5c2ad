"""Exporting a leaderboard row: its pipeline as a sentence-transformers folder."""
