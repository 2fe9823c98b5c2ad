"""The common part of lexical search: terms of texts, sparse weights, and the best products of a query with all of them.

Scores are products of sparse matrices by SciPy, which is here already. Libraries made for BM25 (bm25s, rank-bm25) compute the
same products, but bring their own tokenisation, sum in float32 and leave the order of ties open.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import DATA, read_bytes, user_path
from hengyu.base.segmenter import jieba_words
from hengyu.methods.base import Ids, Lexical
from hengyu.methods.search.fused import top
from hengyu.numerics.words import Segmenter

__all__ = ["SparseSearch", "read_words"]

_SCORES = 1 << 22  # scores that are held at a time
_DIGITS = 9  # rounding to these makes equal texts tie, whatever the order of the sums
_LONGEST = 10
_RANGE = re.compile(r"([1-9][0-9]?)(?:-([1-9][0-9]?))?\Z")


@dataclass
class SparseSearch(Lexical):
    """Search by the inner product of sparse vectors of terms; a method says how it weighs terms.

    Terms are the character n-grams of lengths ``grams`` of the text in lower case ("2", "1-2"), with every run of white space as
    one space, the words that jieba finds ("jieba"), or those of a list without a dictionary ("words"): the list in the file
    ``words``, which `hengyu words` writes, or else what is discovered in the texts that are indexed
    (`hengyu.numerics.words`). A text without a term of the query is not found.
    """

    paths = ("words",)

    grams: int | str = "1-2"
    words: str = field(default="", kw_only=True)
    _rows: Any = field(init=False, repr=False)  # (V, n), weights of the terms of the texts
    _vectorizer: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.words and self.grams != "words":
            raise ValueError(f"{type(self).__name__.lower()}(words={self.words}) needs grams=words")
        if self.grams not in ("jieba", "words"):
            self._lengths()

    def check_files(self) -> None:
        """Raise ValueError if the list of words cannot be read."""
        if self.words:
            read_words(self.words)

    @abstractmethod
    def _weigh(self, counts: Any) -> Any:
        """Return the weights (n, V) of the terms of texts, from how often each stands in them."""

    @abstractmethod
    def _ask(self, counts: Any) -> Any:
        """Return the weights (Q, V) of the terms of queries, from how often each stands in them."""

    def build(self, texts: Sequence[str]) -> Self:
        """Weigh the terms of texts (n,)."""
        from sklearn.feature_extraction.text import CountVectorizer

        if self.grams in ("jieba", "words"):
            if self.grams == "jieba":
                cut = jieba_words("grams=jieba")
            else:
                cut = Segmenter(read_words(self.words)) if self.words else Segmenter.of(texts)
            self._vectorizer = CountVectorizer(analyzer=cut, dtype=np.float64)
        else:
            self._vectorizer = CountVectorizer(analyzer="char", ngram_range=self._lengths(), dtype=np.float64)
        try:
            counts = self._vectorizer.fit_transform(texts)
        except ValueError:
            raise ValueError(f"no text has a term of grams={self.grams}") from None
        self._rows = self._weigh(counts.tocsr()).T.tocsr()
        return self

    def search(self, q: Sequence[str], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k), best first, ties by number; -1 and -inf where no more texts share a term."""
        n = self._rows.shape[1]
        ids = np.full((len(q), k), -1, np.int64)
        out = np.full((len(q), k), -np.inf, np.float32)
        step = max(1, _SCORES // max(n, 1))
        for start in range(0, len(q), step):
            asked = self._ask(self._vectorizer.transform(q[start : start + step]).tocsr())
            found = (asked @ self._rows).tocsr()
            for i, (low, high) in enumerate(pairwise(found.indptr), start):
                best, scores = top(found.indices[low:high], found.data[low:high], k, _DIGITS)
                shared = np.count_nonzero(scores > 0)
                ids[i, :shared], out[i, :shared] = best[:shared], scores[:shared]
        return ids, out

    def size(self) -> int:
        """Return the bytes of the weights, their places, and the vocabulary as UTF-8 with a number each."""
        arrays = (self._rows.data, self._rows.indices, self._rows.indptr)
        words = sum(len(term.encode("utf-8", "surrogatepass")) + 4 for term in self._vectorizer.vocabulary_)
        return sum(int(a.nbytes) for a in arrays) + words

    def vector_size(self) -> float:
        """Return the bytes of weights and places over the number of texts."""
        weights, places = self._rows.data, self._rows.indices
        return (int(weights.nbytes) + int(places.nbytes)) / int(self._rows.shape[1])

    def _lengths(self) -> tuple[int, int]:
        """Return the least and the greatest length of the n-grams."""
        found = _RANGE.match(str(self.grams))
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= low <= high <= _LONGEST:
            name = type(self).__name__.lower()
            raise ValueError(
                f'{name}(grams={self.grams}) must be lengths in 1..{_LONGEST} like 2 or "1-2", jieba or words'
            )
        return low, high


def read_words(path: str) -> dict[str, int]:
    """Return the words of a list with their counts: a line each, word and count, a tab between; raises ValueError."""
    try:
        lines = read_bytes(user_path(path), DATA).decode("utf-8").splitlines()
    except OSError as e:
        raise ValueError(
            f"{path}: cannot be read ({e.strerror or e}); write a list of words with 'hengyu words'"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not UTF-8, as a list of words is; write one with 'hengyu words'") from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        word, _, count = line.partition("\t")
        if not word or not (count.isascii() and count.isdigit() and 0 < len(count) < 16):
            raise ValueError(
                f"{path}: line {number} is not a word, a tab and a count; write the list with 'hengyu words'"
            )
        found[word] = int(count)
    if not found:
        raise ValueError(f"{path}: holds no words; discover them in a larger corpus, or with a smaller --min-count")
    return found
