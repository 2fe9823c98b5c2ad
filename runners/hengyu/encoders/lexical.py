"""The baselines that stand on every board: random vectors, character n-gram TF-IDF, mean of static character vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.errors import HengyuError, did_you_mean
from hengyu.store import text_keys

__all__ = ["BASELINE_NOTES", "baseline_cosines"]

BASELINE_NOTES = {
    "random": "a random direction for each text, the same text the same: the score of knowing nothing",
    "tfidf": "TF-IDF over character 1-2-grams (sublinear tf), idf from the task's own sentences",
    "char-mean": "mean of the built-in encoder's static character embeddings, no context",
}

_DIM = 256


def baseline_cosines(name: str, first: Sequence[str], second: Sequence[str]) -> tuple[NDArray[np.float64], int]:
    """Return the cosine of each pair (n,) under a baseline, and the dimension of its vectors.

    A text without any feature (all zero) has cosine 0 with everything.
    """
    makers: dict[str, Callable[[Sequence[str]], Any]] = {"random": _random, "tfidf": _tfidf, "char-mean": _char_mean}
    if name not in makers:
        raise HengyuError(f"baseline '{name}' is unknown{did_you_mean(name, makers)}")
    # both columns with their repeats: document frequencies count sentences as they stand in the task
    vectors = makers[name]([*first, *second])
    n = len(first)
    if hasattr(vectors, "multiply"):
        dots = np.asarray(vectors[:n].multiply(vectors[n:]).sum(axis=1)).ravel()
        return dots, int(vectors.shape[1])
    from hengyu.similarity import cosines

    rows = np.arange(2 * n)
    return cosines(vectors, rows[:n], rows[n:]), int(vectors.shape[1])


def _random(texts: Sequence[str]) -> NDArray[np.float32]:
    """Gaussian vectors (n, 256) from the texts' keys by SplitMix64 (Steele et al., 2014) and Box-Muller."""
    keys = np.ascontiguousarray(text_keys(texts)).view("<u8")[:, 0]
    steps = np.arange(1, _DIM + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    out = np.empty((len(texts), _DIM), np.float32)
    for start in range(0, len(texts), 4096):
        z = keys[start : start + 4096, None] + steps
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        u = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53 + 2.0**-54
        radius, angle = np.sqrt(-2 * np.log(u[:, ::2])), 2 * np.pi * u[:, 1::2]
        out[start : start + 4096] = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return out


def _tfidf(texts: Sequence[str]) -> Any:
    """Sparse TF-IDF rows of length 1 over character 1-2-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)


def _char_mean(texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean (n, 256) of the rows of the built-in encoder's embedding matrix, special tokens left out."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = Path(__file__).parent / "builtin"
    table = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"].astype(np.float32)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    rows = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return np.stack([table[r.ids].mean(axis=0) if r.ids else np.zeros(table.shape[1], np.float32) for r in rows])
