"""The common part of search by a cross-encoder: which documents are scored, how often it was called, and the best of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.methods.base import Ids, Lexical
from hengyu.methods.search.fused import top
from hengyu.storage.identity import made_by

if TYPE_CHECKING:
    from hengyu.encoders.cross import CrossEncoder

__all__ = ["CHUNK", "ScoredSearch"]

CHUNK = 4096
"""Pairs that are tokenised at a time."""

_DIGITS = 6  # rounding to these makes texts with the same tokens tie
_NEAREST = 1e-12  # to 0 and to 1, for the log odds


@dataclass
class ScoredSearch(Lexical):
    """Search by the scores of a cross-encoder, a folder or a cached hub id that ``--cross-encoder`` takes; never downloaded.

    Attributes:
        calls: how often it was called so far for queries; what `build` needs is not counted.
        asked: how many queries were answered so far.
    """

    models = ("model",)
    costly = True

    model: str = ""
    calls: int = field(init=False, repr=False, default=0)
    asked: int = field(init=False, repr=False, default=0)
    _texts: Sequence[str] = field(init=False, repr=False, default=())
    _opened: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError(f"{self.name}(model=) is empty; give a cross-encoder's folder, or a hub id")

    @property
    def name(self) -> str:
        """Its name in an entry, from its file."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def _open(self) -> CrossEncoder:
        from hengyu.encoders import EncoderSpec
        from hengyu.encoders.cross import open_cross_encoder
        from hengyu.encoders.hub import NETWORK_OFF

        try:
            return open_cross_encoder(EncoderSpec(self.model), offline=True)
        except HengyuError as e:
            said = (
                p.replace(NETWORK_OFF, "none is downloaded for a search; download it first, or give")
                for p in e.problems
            )
            raise HengyuError(*(f"{self.name}(model={self.model}): {problem}" for problem in said)) from None

    def check_files(self) -> None:
        """Raise `HengyuError` for what is no cross-encoder."""
        self._open()

    def reads(self) -> dict[str, Any]:
        """Return what the scores depend on: the cross-encoder's weights, tokens and settings, and the code of its model."""
        encoder = self._open()
        made = made_by(type(encoder).__module__, *encoder.made_with)
        return {"cross_encoder": {**encoder.identity(), **made}}

    @property
    def calls_per_query(self) -> float:
        """How often it is called for a query, on average."""
        return self.calls / max(self.asked, 1)

    def score(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores (n,) of pairs of texts, as log odds where the model gives probabilities."""
        if self._opened is None:
            self._opened = self._open()
        found = np.empty(len(first))
        for start in range(0, len(first), CHUNK):
            some = slice(start, start + CHUNK)
            for at, scores in self._opened.stream(first[some], second[some]):
                found[start + at] = scores
        if self._opened.gives_probabilities:
            inside = np.clip(found, _NEAREST, 1 - _NEAREST)
            found = np.log(inside) - np.log1p(-inside)
        return found

    def of_query(self, query: str, rows: Ids) -> NDArray[np.float64]:
        """Return the scores (k,) of a query with documents by their numbers (k,), which are counted."""
        self.calls += len(rows)
        return self.score([query] * len(rows), [self._texts[int(i)] for i in rows])

    def build(self, texts: Sequence[str]) -> Self:
        """Keep texts (n,)."""
        self._texts = list(texts)
        return self

    @abstractmethod
    def _one(self, query: str, k: int) -> tuple[Ids, NDArray[np.float64]]:
        """Return numbers and scores of up to k documents of a query, best first."""

    def search(self, q: Sequence[str], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k), best first, ties by number; -1 and -inf where fewer are found."""
        ids = np.full((len(q), k), -1, np.int64)
        out = np.full((len(q), k), -np.inf, np.float32)
        for i, query in enumerate(q):
            found, scores = self._one(query, k)
            ids[i, : len(found)], out[i, : len(found)] = found[:k], scores[:k]
        self.asked += len(q)
        return ids, out

    def best(self, rows: Ids, scores: NDArray[np.float64], k: int) -> tuple[Ids, NDArray[np.float64]]:
        """Return the k best of scored documents, ties by number."""
        found, values = top(rows, scores, k, _DIGITS)
        return np.asarray(found, np.int64), np.asarray(values, np.float64)

    def size(self) -> int:
        """Return the bytes that are stored of all documents besides their texts."""
        return 0

    def vector_size(self) -> float:
        """Return the bytes that are stored of a document besides its text."""
        return self.size() / max(len(self._texts), 1)
