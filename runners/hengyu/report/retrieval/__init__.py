"""The leaderboard of a retrieval run: tables, text and page."""
