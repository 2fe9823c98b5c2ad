"""The names of the poolings, and their names elsewhere."""

from __future__ import annotations

__all__ = ["LIBRARY_POOLINGS", "POOLINGS", "pooling_name"]

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
"""``native`` is the model's own sentence-transformers pipeline; the others are computed from the hidden states."""

LIBRARY_POOLINGS = ("mean", "cls", "last", "weighted-mean")
"""Those of them that a module of sentence-transformers computes."""

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
    """Translate a pooling's name in sentence-transformers or a paper to ours; other words are returned unchanged."""
    plain = word.strip().lower().replace("_", "-").removeprefix("pooling-mode-").removesuffix("-tokens")
    return plain if plain in POOLINGS else _ALIASES.get(plain, word)
