"""The module classes of sentence-transformers, which moved in version 6."""

try:
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Module,
        Normalize,
        Pooling,
        WeightedLayerPooling,
        WordWeights,
    )
except ImportError:
    from sentence_transformers.models import Dense, Module, Normalize, Pooling, WeightedLayerPooling, WordWeights

__all__ = ["Dense", "Module", "Normalize", "Pooling", "WeightedLayerPooling", "WordWeights"]
