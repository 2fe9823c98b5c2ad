"""The names of the poolings, and what others call them."""

from __future__ import annotations

__all__ = ["POOLINGS", "pooling_name"]

POOLINGS = (
    "native",
    "cls",
    "pooler",
    "mean",
    "first-last-mean",
    "embedding-last-mean",
    "last2-mean",
    "mask",
    "last",
    "weighted-mean",
    "echo",
)
"""``native`` is what the model's own sentence-transformers pipeline gives; the others are read off the hidden states."""

_ALIASES = {
    "lasttoken": "last",
    "cls-token": "cls",
    "last-token": "last",
    "weightedmean": "weighted-mean",
    "weighted": "weighted-mean",
    "avg": "mean",
    "first-last-avg": "first-last-mean",
}


def pooling_name(word: str) -> str:
    """Return the name of a pooling that sentence-transformers or a paper calls something else; any other word as it is."""
    plain = word.strip().lower().replace("_", "-").removeprefix("pooling-mode-").removesuffix("-tokens")
    return plain if plain in POOLINGS else _ALIASES.get(plain, word)
