"""Random matrices (d, dim) for which E |x R|^2 = |x|^2: the draws behind jl and simhash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import WrongSize
from hengyu.numerics.hadamard import next_power_of_two, srht

__all__ = ["KINDS", "MOST", "PROVED", "Map", "draw", "gaussian", "orthogonal", "orthogonal_blocks"]

Floats = NDArray[np.floating[Any]]
Map = Callable[[Floats], Floats]
MOST = 65536
"""The largest number of output columns: the float64 matrix for 768 input columns then takes 400 MB."""


def _rng(seed: int) -> np.random.Generator:
    """Return a separate stream: vectors made with `default_rng(seed)` must not share their draws with the matrix."""
    return np.random.default_rng((seed, *b"projection"))


def gaussian(d: int, dim: int, seed: int) -> NDArray[np.float64]:
    """Return R (d, dim) of independent normal entries with variance 1/dim; one draw per seed for all ``dim``.

    The first k columns are those of a smaller ``dim``, up to the scale, as in scikit-learn's `GaussianRandomProjection`.
    """
    drawn: NDArray[np.float64] = _rng(seed).normal(size=(dim, d)).T
    return drawn / np.float64(dim) ** 0.5


def rademacher(d: int, dim: int, seed: int) -> NDArray[np.float64]:
    """Return R (d, dim) of entries +-1/sqrt(dim) (Achlioptas, 2003)."""
    signs = _rng(seed).choice(np.array([-1.0, 1.0]), size=(dim, d)).T
    return signs / np.float64(dim) ** 0.5


def orthogonal(d: int, dim: int, seed: int) -> NDArray[np.float64]:
    """Return the first ``dim`` columns of a uniform rotation, times sqrt(d / dim); raises `WrongSize` for dim > d."""
    if dim > d:
        raise WrongSize(
            f"dim={dim} is larger than the {d} the vectors have, and there are no more orthogonal directions; "
            "lower it, or choose another kind"
        )
    return _frame(d, dim, _rng(seed)) * np.float64(d / dim) ** 0.5


def _frame(d: int, dim: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw dim <= d orthonormal columns (d, dim): QR of a Gaussian matrix, R's diagonal made positive (Mezzadri, 2007)."""
    q, r = np.linalg.qr(rng.normal(size=(dim, d)).T)
    found: NDArray[np.float64] = q * np.sign(np.diag(r))
    return found


def _matrix(kind: Callable[[int, int, int], NDArray[np.float64]], d: int, dim: int, seed: int) -> Map:
    matrix = kind(d, dim, seed)
    narrow = matrix.astype(np.float32)

    def apply(x: Floats) -> Floats:
        return x @ (narrow if x.dtype == np.float32 else matrix)

    return apply


def _sparse(d: int, dim: int, seed: int) -> Map:
    """Scikit-learn's very sparse matrix: a share 1/sqrt(d) of the entries is non-zero (Li, Hastie and Church, 2006)."""
    from sklearn.random_projection import SparseRandomProjection

    made = SparseRandomProjection(n_components=dim, dense_output=True, random_state=seed % 2**32)
    wide = made.fit(np.zeros((1, d))).components_.T.tocsr()
    narrow = wide.astype(np.float32)

    def apply(x: Floats) -> Floats:
        found: Floats = (narrow if x.dtype == np.float32 else wide).T.dot(x.T).T
        return np.ascontiguousarray(found)

    return apply


def _srht(d: int, dim: int, seed: int) -> Map:
    p = next_power_of_two(d)
    if dim > p:
        raise WrongSize(f"dim={dim} is larger than {p}, the power of two to which {d} is padded; lower it")
    rng = _rng(seed)
    signs = rng.choice([-1.0, 1.0], size=p)
    kept = rng.permutation(p)[:dim]
    return lambda x: srht(x, signs, kept, 1 / np.sqrt(dim))


def orthogonal_blocks(d: int, dim: int, seed: int) -> NDArray[np.float64]:
    """Return ``dim`` uniform directions (d, dim) of length 1 in independent blocks of d orthogonal ones."""
    rng = _rng(seed)
    blocks = [_frame(d, min(d, dim - start), rng) for start in range(0, dim, d)]
    return np.concatenate(blocks, axis=1)


KINDS: dict[str, Callable[[int, int, int], Map]] = {
    "gaussian": lambda d, dim, seed: _matrix(gaussian, d, dim, seed),
    "orthogonal": lambda d, dim, seed: _matrix(orthogonal, d, dim, seed),
    "rademacher": lambda d, dim, seed: _matrix(rademacher, d, dim, seed),
    "sparse": _sparse,
    "srht": _srht,
}

PROVED = ("gaussian", "rademacher", "orthogonal")
"""The kinds for which the bounds of `hengyu.numerics.theory` are proved."""


def draw(kind: str, d: int, dim: int, seed: int) -> Map:
    """Draw the map (n, d) -> (n, dim) of a kind; raises `WrongSize` if a kind has no map of these sizes."""
    return KINDS[kind](d, dim, seed)
