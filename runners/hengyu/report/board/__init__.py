"""The leaderboard of an STS run: rows, columns and cells, and how a terminal shows them."""
