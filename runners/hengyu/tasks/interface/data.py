"""A task's texts, as numbers into the distinct texts of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.collection import Collection
from hengyu.cards.data import Pairs
from hengyu.numerics.metrics import ceiling

__all__ = ["Ids", "SearchData", "TaskData"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class TaskData:
    """Pairs as numbers into the plan's distinct texts."""

    pairs: Pairs
    first: Ids  # (n,)
    second: Ids  # (n,)

    @property
    def name(self) -> str:
        """The task, like ``LCQMC:test``."""
        return self.pairs.task

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.first)

    @property
    def of(self) -> int | None:
        """The number of pairs that these are a sample of; None where they are all of them."""
        return self.pairs.sample.n if self.pairs.sample else None

    @property
    def ids(self) -> Ids:
        """The texts of both columns, with their repeats (2 n,)."""
        return np.concatenate([self.first, self.second])

    @property
    def searched(self) -> Ids:
        """The texts that stand as documents, with their repeats: sentences of pairs all do."""
        return self.ids

    @property
    def asked(self) -> Ids:
        """The texts that stand as queries, with their repeats."""
        return np.zeros(0, np.int64)

    @property
    def paired(self) -> bool:
        """Whether it has labelled pairs, which can be learned from."""
        return True

    @property
    def ceiling(self) -> float | None:
        """The highest Spearman that the labels allow; None where they are no labels of pairs."""
        return ceiling(self.pairs.labels)

    @property
    def about(self) -> dict[str, Any]:
        """What the header of a run says of it, beside what it says of every task."""
        sample = self.pairs.sample
        return {"of": sample.n, "sample_seed": sample.seed} if sample else {}


@dataclass(frozen=True)
class SearchData(TaskData):
    """A retrieval card's task: the judged pairs, and the texts that are searched and that ask, as numbers."""

    collection: Collection
    corpus: Ids  # (m,)
    queries: Ids  # (Q,)

    @property
    def ids(self) -> Ids:
        """The texts of documents and queries, with their repeats (m + Q,)."""
        return np.concatenate([self.corpus, self.queries])

    @property
    def searched(self) -> Ids:
        """The documents."""
        return self.corpus

    @property
    def asked(self) -> Ids:
        """The queries."""
        return self.queries

    @property
    def paired(self) -> bool:
        """False: it has judgements."""
        return False

    @property
    def ceiling(self) -> float | None:
        """None: judgements are no labels of pairs."""
        return None

    @property
    def about(self) -> dict[str, Any]:
        """That it is searched, and how judgements are graded."""
        return {"kind": "retrieval", "scale": [0.0, float(self.pairs.labels.max())]}
