"""The self-check of a model: what moves its vectors and its scores, and by how much; all of it measured."""
