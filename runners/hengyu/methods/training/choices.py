"""What words the parameters of tuners may be, and the checks that several tuners share; without torch, for parsing entries."""

from __future__ import annotations

from collections.abc import Sequence

from hengyu.methods.training.data import TrainingData

__all__ = [
    "DIRECTIONS",
    "HARDNESS",
    "INITS",
    "MARGINS",
    "METRICS",
    "PARTITIONS",
    "positives_of",
    "refuse_other",
    "refuse_shares",
]

DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
"""Which cosines multiple negatives ranking compares; the first is always among them."""

PARTITIONS = ("joint", "per_direction")
HARDNESS = ("none", "in_batch_negatives", "hard_negatives", "all_negatives")
MARGINS = ("absolute", "relative")
INITS = ("orthogonal", "normal")
"""How the matrices of new layers may be drawn."""

METRICS = ("cosine", "mse", "l2", "none")


def refuse_other(name: str, key: str, value: str, known: Sequence[str]) -> None:
    """Raise ValueError for a word that a parameter does not know."""
    if value not in known:
        raise ValueError(f"{name}({key}={value}) must be {', '.join(known[:-1])} or {known[-1]}")


def refuse_shares(name: str, positive: float, negative: float) -> None:
    """Raise ValueError unless labels of positives and of hard negatives are shares of the scale that leave room between them."""
    if not 0 <= negative < positive <= 1:
        raise ValueError(
            f"{name}(positive={positive:g}, negative={negative:g}) must be shares of the label scale, the positive above the "
            "negative"
        )


def positives_of(training_data: TrainingData, positive: float, most: int) -> int:
    """Return how many pairs are labelled at least ``positive`` (share of the scale), ``most`` at most; 0 for no limit."""
    size = 0 if training_data.pairs is None else int((training_data.pairs.unit >= positive).sum())
    return min(size, most or size)
