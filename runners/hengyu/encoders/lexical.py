"""The baselines of every leaderboard: random vectors, character n-gram TF-IDF, mean of static character vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.base.segmenter import jieba_words
from hengyu.numerics.similarity import cosines
from hengyu.numerics.words import Segmenter
from hengyu.storage.identity import digest
from hengyu.storage.vectors import text_keys

__all__ = ["BASELINE_NOTES", "baseline_cosines", "baseline_digest"]

BASELINE_NOTES = {
    "random": "a random direction for each distinct text: the score without any knowledge",
    "tfidf": "TF-IDF over character 1-2-grams (sublinear tf), idf from the task's own sentences",
    "tfidf-jieba": "the same over the words of jieba",
    "tfidf-words": "the same over words discovered without a dictionary in the task's own sentences",
    "char-mean": "mean of the built-in encoder's static character embeddings, no context",
}

_DIM = 256
_BUILTIN = Path(__file__).parent / "builtin" / "hengyu-mini"
_READ = ("model.safetensors", "tokenizer.json")  # files of the built-in encoder


def baseline_cosines(name: str, first: Sequence[str], second: Sequence[str]) -> tuple[NDArray[np.float64], int]:
    """Return the cosine of each pair (n,) for a baseline, and the dimension of its vectors.

    A text without any feature (all zero) has cosine 0 with everything.
    """
    makers: dict[str, Callable[[Sequence[str]], NDArray[np.float32]]] = {"random": _random, "char-mean": _char_mean}
    if name not in BASELINE_NOTES:
        raise HengyuError(f"baseline '{name}' is unknown{did_you_mean(name, BASELINE_NOTES)}")
    n = len(first)
    texts = [*first, *second]
    if name.startswith("tfidf"):
        # both columns with repetitions: document frequencies count the sentences of the task
        rows = _tfidf(name, texts)
        return np.asarray(rows[:n].multiply(rows[n:]).sum(axis=1)).ravel(), int(rows.shape[1])
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    ids = np.fromiter((number[t] for t in texts), np.int64, 2 * n)
    vectors = makers[name](list(number))
    return cosines(vectors, ids[:n], ids[n:]), int(vectors.shape[1])


@cache
def baseline_digest(name: str) -> str:
    """Return the sha256 of the files that a baseline reads; "" if there are none."""
    if name != "char-mean":
        return ""
    return digest([hashlib.sha256((_BUILTIN / file).read_bytes()).hexdigest() for file in _READ])


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


def _tfidf(name: str, texts: Sequence[str]) -> Any:
    """Sparse TF-IDF rows of length 1 over character 1-2-grams, or over words; raises ValueError where jieba is missing."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if name == "tfidf":
        return TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    cut = Segmenter.of(texts) if name == "tfidf-words" else jieba_words("baseline tfidf-jieba")
    return TfidfVectorizer(analyzer=cut, sublinear_tf=True).fit_transform(texts)


def _char_mean(texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean (n, 256) of rows of the built-in encoder's embedding matrix, without special tokens."""
    from itertools import chain

    from safetensors.numpy import load_file
    from scipy.sparse import csr_matrix
    from tokenizers import Tokenizer

    weights_file, tokenizer_file = (_BUILTIN / name for name in _READ)
    table = load_file(weights_file)["embeddings.word_embeddings.weight"].astype(np.float32)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    rows = [r.ids for r in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(np.float32)
    shape = (len(rows), len(table))
    means = csr_matrix((weights, ids, np.concatenate([[0], np.cumsum(lengths)])), shape=shape)
    out: NDArray[np.float32] = means @ table
    return out
