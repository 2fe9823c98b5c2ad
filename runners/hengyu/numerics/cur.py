"""The CUR decomposition of a matrix: all of it from some of its rows and columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cur_factor"]

Floats = NDArray[np.float64]


def cur_factor(rows: Floats, columns: NDArray[np.int64], rcond: float = 1e-10) -> Floats:
    """Return X (u, n) with which a further row c of a matrix is about c[columns] X, from known rows of the matrix.

    X is the pseudo-inverse of the rows' own part in these columns, times the rows: the last two factors of S = C U R (Mahoney and
    Drineas, CUR matrix decompositions for improved data analysis, 2009; for search by Yadav et al., ANNCUR, arXiv:2210.12579).
    It is exact where the rank of the known part in the columns is that of the matrix.

    Args:
        rows: (v, n) known rows.
        columns: (u,) the columns of which a further row is known.
        rcond: singular values below this share of the largest count as 0.
    """
    return np.asarray(np.linalg.pinv(rows[:, columns], rcond=rcond) @ rows, np.float64)
