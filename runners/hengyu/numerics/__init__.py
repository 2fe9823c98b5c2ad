"""Mathematics of vectors: moments, projections, similarities, metrics with intervals, and embedding geometry."""
