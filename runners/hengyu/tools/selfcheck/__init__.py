"""The self-check of a model: measures what changes its vectors and scores, and by how much."""
