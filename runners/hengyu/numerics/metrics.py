"""Correlation and ranking metrics of one set of scored pairs.

Every function takes ``scores`` (n,) and ``labels`` (n,), n >= 2 pairs in the same order, and returns plain floats in
[-1, 1] or [0, 1]. Binary metrics need labels 0 and 1, 1 being positive. Input without a value (constant scores, constant
labels, non-finite scores) raises `Degenerate` with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.bootstrap import cores
from hengyu.numerics.compiled import compiled

__all__ = [
    "Degenerate",
    "accuracy_at",
    "auc",
    "average_precision",
    "best_accuracy",
    "best_f1",
    "ceiling",
    "f1_at",
    "label_classes",
    "midranks",
    "pearson",
    "places",
    "spearman",
    "spearman_many",
    "tie_ends",
]

Floats = NDArray[np.float64]


def _labels(labels: ArrayLike) -> Floats:
    y = np.ascontiguousarray(labels, dtype=np.float64)
    if y.ndim != 1:
        raise ValueError(f"labels must have shape (n,), not {y.shape}")
    if y.size < 2:
        raise Degenerate(f"{y.size} pairs are too few for a metric")
    if not np.isfinite(y).all():
        raise Degenerate("some labels are not finite")
    if y.min() == y.max():
        raise Degenerate(f"all {y.size} labels are {y[0]:g}")
    return y


def _pairs(scores: ArrayLike, labels: ArrayLike, binary: bool = False) -> tuple[Floats, Floats]:
    x = np.ascontiguousarray(scores, dtype=np.float64)
    y = _labels(labels)
    if x.shape != y.shape:
        raise ValueError(f"scores have shape {x.shape} where the labels have {y.shape}")
    if not np.isfinite(x).all():
        raise Degenerate(f"{np.count_nonzero(~np.isfinite(x))} of {x.size} scores are not finite")
    if x.min() == x.max():
        raise Degenerate(f"all {x.size} scores are {x[0]:g}")
    if binary and not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("a binary metric needs labels 0 and 1")
    return x, y


def label_classes(labels: ArrayLike) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Return labels (n,), their sorted distinct values (k,), and the index of each label in these (n,); raises `Degenerate`."""
    y = _labels(labels)
    levels, classes = np.unique(y, return_inverse=True)
    return y, levels, classes.astype(np.int32)


def tie_ends(ordered: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the end of each run of equal values in a sorted array (n,): (groups,), the last one is n."""
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered)).astype(np.int64)


def _midranks(values: Floats) -> Floats:
    """Return twice the mid-ranks, centred: integers, so their sums are exact."""
    return 2.0 * midranks(values) - len(values) - 1.0


def midranks(values: Floats) -> Floats:
    """Return the ranks (n,) of values, the lowest 1; equal values share the mean of their ranks.

    `scipy.stats.rankdata` does the same; importing scipy.stats takes a second of CPU time.
    """
    order = np.argsort(values)
    ends = tie_ends(values[order])
    sizes = np.diff(ends, prepend=0)
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(ends - 0.5 * (sizes - 1.0), sizes)
    return ranks


def places(values: Floats) -> NDArray[np.int64]:
    """Return the place of every value in its column of (rows, m), the highest 1; equal values share the better place."""
    order = np.argsort(-values, axis=0, kind="stable")
    down = np.take_along_axis(values, order, axis=0)
    first = np.zeros(values.shape, np.int64)
    first[1:] = np.where(down[1:] != down[:-1], np.arange(1, len(values))[:, None], 0)
    found = np.empty(values.shape, np.int64)
    np.put_along_axis(found, order, np.maximum.accumulate(first, axis=0) + 1, axis=0)
    return found


def _correlation(x: Floats, y: Floats, what: str) -> float:
    scale = math.sqrt(float(x @ x)) * math.sqrt(float(y @ y))
    if scale == 0.0:
        raise Degenerate(f"the {what} vary too little for float64")
    return max(-1.0, min(1.0, float(x @ y) / scale))


def spearman(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return Spearman's rho, the Pearson correlation of the mid-ranks; raises `Degenerate`."""
    x, y = _pairs(scores, labels)
    return _correlation(_midranks(x), _midranks(y), "ranks")


def pearson(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return Pearson's r; raises `Degenerate`."""
    x, y = _pairs(scores, labels)
    # Scaled by the largest deviation first: squares of tiny or huge scores would leave float64's range.
    x, y = x - x.mean(), y - y.mean()
    return _correlation(x / np.abs(x).max(), y / np.abs(y).max(), "scores")


def ceiling(labels: ArrayLike) -> float:
    """Return the highest Spearman that scores without ties can reach against these labels; raises `Degenerate`.

    Untied ranks have the variance (n^3 - n) / 12n, ranks with ties of sizes t only (n^3 - n - sum(t^3 - t)) / 12n;
    for scores in the order of the labels the covariance is the latter, so rho is the root of their ratio. With binary
    labels, p of them 1, that is sqrt(3 p (1 - p) n^2 / (n^2 - 1)).
    """
    y = _labels(labels)
    n = len(y)
    ties = sum(t**3 - t for t in np.unique(y, return_counts=True)[1].tolist())
    return math.sqrt((n**3 - n - ties) / (n**3 - n))


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the ROC curve, ties counting half (Mann-Whitney U); raises `Degenerate`."""
    x, y = _pairs(scores, labels, binary=True)
    positives = int(y.sum())
    return 0.5 + 0.5 * float(_midranks(x) @ y) / (positives * (len(y) - positives))


def _cuts(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the distinct scores (g,), descending, with the numbers of pairs and positives at or above each."""
    order = np.argsort(-x)
    ends = tie_ends(x[order])
    return x[order][ends - 1], ends.astype(np.float64), np.cumsum(y[order])[ends - 1]


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the average precision, sum of (R_k - R_{k-1}) P_k over distinct scores (scikit-learn's definition)."""
    _, above, hits = _cuts(*_pairs(scores, labels, binary=True))
    return float(np.diff(hits, prepend=0.0) @ (hits / above)) / float(hits[-1])


def _best(distinct: Floats, values: Floats) -> tuple[float, float]:
    # The first of equal values, so the highest threshold, as in sentence-transformers' evaluator.
    k = int(np.argmax(values))
    upper, lower = float(distinct[k]), float(distinct[k + 1])
    middle = 0.5 * upper + 0.5 * lower
    return (middle if lower < middle <= upper else upper), float(values[k])


def best_f1(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Return the threshold with the highest F1, and that F1; raises `Degenerate`.

    Thresholds are the midpoints between neighbouring distinct scores; a pair is positive at or above the threshold
    (as in sentence-transformers' BinaryClassificationEvaluator, which also cuts between equal scores).
    """
    distinct, above, hits = _cuts(*_pairs(scores, labels, binary=True))
    return _best(distinct, (2.0 * hits / (above + hits[-1]))[:-1])


def best_accuracy(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Return the threshold with the highest accuracy, and that accuracy; thresholds as in `best_f1`."""
    distinct, above, hits = _cuts(*_pairs(scores, labels, binary=True))
    n = above[-1]
    return _best(distinct, ((hits + (n - above) - (hits[-1] - hits)) / n)[:-1])


def f1_at(scores: ArrayLike, labels: ArrayLike, threshold: float) -> float:
    """Return F1 with scores at or above the threshold as positive; raises `Degenerate`."""
    x, y = _pairs(scores, labels, binary=True)
    above = x >= threshold
    return 2.0 * float(y[above].sum()) / (np.count_nonzero(above) + float(y.sum()))


def accuracy_at(scores: ArrayLike, labels: ArrayLike, threshold: float) -> float:
    """Return the accuracy with scores at or above the threshold as positive; raises `Degenerate`."""
    x, y = _pairs(scores, labels, binary=True)
    return float(np.mean((x >= threshold) == (y == 1.0)))


def _influence_numpy(
    scores: Floats, order: NDArray[np.int64], classes: NDArray[np.int32], ranks: Floats, spread: Floats, out: Floats
) -> None:
    """Do what `_influence` does, on whole arrays: all sums but the last one are of whole numbers."""
    n = len(scores)
    cls, ends = classes[order], tie_ends(scores[order])
    starts = np.concatenate([[0], ends[:-1]])
    sizes = np.diff(ends, prepend=0)
    here = np.add.reduceat(ranks[cls], starts)
    u = (starts + ends - n).astype(np.float64)
    free = np.float64(n) * n - sizes.astype(np.float64) * sizes
    cross, xx, yy = float((u * here).sum()), float((free * sizes).sum()), float(spread[cls].sum())
    if xx <= 0.0 or yy <= 0.0:
        out[0] = out[1] = np.nan
        return
    every = np.repeat(u, sizes)
    side = every * ranks[cls] - np.repeat(2.0 * (np.cumsum(here) - here) + here, sizes)
    mass = np.bincount(cls, every, len(ranks))
    per_class = -2.0 * (np.cumsum(mass) - mass) - mass
    rho = 3.0 * cross / np.sqrt(xx) / np.sqrt(yy)
    scale = 3.0 / np.sqrt(xx) / np.sqrt(yy)
    d = (side + per_class[cls]) * scale - 1.5 * rho * (np.repeat(free, sizes) / xx + spread[cls] / yy)
    out[0] = min(1.0, max(-1.0, rho))
    out[1] = np.sqrt(np.add.accumulate(d * d)[-1])  # added one after the other, as the compiled loop does


@compiled("f8[::1], i8[::1], i4[::1], f8[::1], f8[::1], f8[::1]", _influence_numpy)
def _influence(
    scores: Floats, order: NDArray[np.int64], classes: NDArray[np.int32], ranks: Floats, spread: Floats, out: Floats
) -> None:
    """Fill out with Spearman's rho and its standard error (infinitesimal jackknife), NaN for constant scores.

    order (n,) sorts the scores; classes (n,) of the labels, with their centred doubled mid-ranks v and n^2 - G^2 per
    class. rho = T / sqrt(X Y), T = sum w u v, X = (N^3 - sum G^3) / 3, all of degree 3 in the weights, with
    u_j = sum_k w_k sign(x_j - x_k): dT/dw_i = u_i v_i + sum_j v_j sign(x_j - x_i) + sum_j u_j sign(y_j - y_i) and
    dX/dw_i = N^2 - G_i^2; the variance of rho is the sum of (drho/dw_i)^2.
    """
    n = scores.shape[0]
    side, mine, cls = np.empty(n), np.empty(n), np.empty(n, np.int32)
    per_class = np.zeros(ranks.shape[0])
    cross = lower = xx = yy = 0.0
    s = 0
    while s < n:
        here = 0.0
        value = scores[order[s]]
        e = s
        while e < n and scores[order[e]] == value:
            c = classes[order[e]]
            cls[e] = c
            here += ranks[c]
            e += 1
        u = np.float64(s + e - n)
        free = np.float64(n) * n - np.float64(e - s) * (e - s)
        for k in range(s, e):
            side[k] = u * ranks[cls[k]] - 2.0 * lower - here
            mine[k] = free
            per_class[cls[k]] += u
            yy += spread[cls[k]]
        cross += u * here
        xx += free * (e - s)
        lower += here
        s = e
    lower = 0.0
    for c in range(ranks.shape[0]):
        here = per_class[c]
        per_class[c] = -2.0 * lower - here
        lower += here
    if xx <= 0.0 or yy <= 0.0:
        out[0] = out[1] = np.nan
        return
    rho = 3.0 * cross / np.sqrt(xx) / np.sqrt(yy)
    scale = 3.0 / np.sqrt(xx) / np.sqrt(yy)
    total = 0.0
    for k in range(n):
        d = (side[k] + per_class[cls[k]]) * scale - 1.5 * rho * (mine[k] / xx + spread[cls[k]] / yy)
        total += d * d
    out[0] = min(1.0, max(-1.0, rho))
    out[1] = np.sqrt(total)


def spearman_many(
    scores: Sequence[ArrayLike] | Floats, labels: ArrayLike, threads: int | None = None
) -> tuple[Floats, Floats]:
    """Return Spearman (mid-ranks) and its standard error by the delta method for scores (K, n): (K,) and (K,).

    The standard error is the infinitesimal jackknife's (the root of the sum of squared influences, ties included),
    the limit of the bootstrap's. A row of constant or non-finite scores gives NaN for both; constant labels raise
    `Degenerate`. Rows are spread over ``threads``, by default one per core.
    """
    y, _, classes = label_classes(labels)
    sizes = np.bincount(classes).astype(np.float64)
    ranks = 2.0 * np.cumsum(sizes) - sizes - len(y)
    spread = float(len(y)) ** 2 - sizes**2
    out = np.full((len(scores), 2), np.nan)

    def work(k: int) -> None:
        x = np.ascontiguousarray(scores[k], dtype=np.float64)
        if x.shape != y.shape:
            raise ValueError(f"scores have shape {x.shape} where the labels have {y.shape}")
        if np.isfinite(x).all():
            _influence(x, np.argsort(x), classes, ranks, spread, out[k])

    with ThreadPoolExecutor(max(1, cores() if threads is None else threads)) as pool:
        for _ in pool.map(work, range(len(out))):
            pass
    return out[:, 0].copy(), out[:, 1].copy()
