"""Mathematics of vectors: moments, projections, similarity, and what is known or seen of a cloud of them without labels."""
