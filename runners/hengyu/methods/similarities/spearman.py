"""spearman: the rank correlation of two vectors over their columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.numerics.pairwise import unit_rows
from hengyu.numerics.sample import Sample
from hengyu.numerics.similarity import cosines

__all__ = ["METHOD", "Spearman"]

_BLOCK = 4096  # rows that are ranked at once


@dataclass
class Spearman(Similarity):
    """Compares the order of the columns: Spearman's correlation of the numbers of x with those of y, from -1 to 1.

    Any increasing map of a vector's numbers leaves it as it is. Equal numbers have average ranks; a vector whose numbers are all
    equal has similarity 0. Zhelezniak, Savkov, Shen, Hammerla, Correlation coefficients and semantic textual similarity, NAACL
    2019, found it ahead of the cosine for word vectors with outlying columns. It is not the Spearman that rows are ranked by,
    which correlates the similarities of all pairs with their labels.
    """

    searchable = True

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return the rank correlation (n,) of rows ``first`` and ``second`` of x (m, d)."""
        ranked = [_centred_ranks(x[start : start + _BLOCK]) for start in range(0, len(x), _BLOCK)]
        return cosines(np.concatenate(ranked), first, second)

    def as_products(self, rows: Sample, queries: Sample, block: int) -> tuple[Sample, Sample]:
        """Return the ranks of both less their mean, at length 1."""
        return rows.then(_unit_ranks), queries.then(_unit_ranks)


def _centred_ranks(x: Floats) -> NDArray[np.float64]:
    """Return the average ranks of the numbers of each row (n, d), less their mean."""
    from scipy.stats import rankdata

    ranks: NDArray[np.float64] = rankdata(x, axis=1) - (x.shape[1] + 1) / 2
    return ranks


def _unit_ranks(x: Floats) -> NDArray[np.float32]:
    return unit_rows(_centred_ranks(x))


METHOD = Spearman
