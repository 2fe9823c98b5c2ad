"""The HTML pages: a run's leaderboard and the index of runs."""
