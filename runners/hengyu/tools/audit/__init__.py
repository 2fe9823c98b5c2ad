"""Which test sentences a collection of texts holds, and what the pairs that were seen do to scores."""
