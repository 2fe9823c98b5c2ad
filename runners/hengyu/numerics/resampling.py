"""Confidence intervals: the paired bootstrap over pairs, and the delta method for sweeps.

A resample draws n of n pairs with replacement, as an integer weight per pair. The weights depend only on the seed, the
key (the task) and the number of pairs: all methods on a task see the same resamples, so differences between them are
paired, and a resample does not change with the number of resamples or threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics import bootstrap
from hengyu.numerics.bootstrap import LANES, cores
from hengyu.numerics.compiled import Compiled
from hengyu.numerics.metrics import best_accuracy, best_f1, label_classes, spearman_many, tie_ends

__all__ = [
    "METRICS",
    "Delta",
    "Resamples",
    "delta_interval",
    "difference",
    "interval",
    "logit_interval",
    "mean_interval",
    "p_of_zero",
    "normal_interval",
    "spearman_many",
]

METRICS = ("spearman", "pearson", "auc", "ap", "f1", "accuracy")
BINARY = ("auc", "ap", "f1", "accuracy")

Floats = NDArray[np.float64]

_CHUNK = 4096  # pairs whose random numbers (1 MB) are made at once and stay in the L2 cache
_ROUNDING = 1e-12
_SETTLING = 15_000  # what `bootstrap.settle` takes for a block over the square root of n, in items of the other loops
_FEW = 64  # number of classes up to which `bootstrap.rank_sums` is faster


@dataclass(frozen=True)
class _Entry:
    """One method's scores, sorted once for all resamples."""

    order: NDArray[np.int32]
    ends: NDArray[np.int32]
    classes: NDArray[np.int32]  # in sorted order
    largest: int  # items in the largest tie group
    columns: Floats  # (n, m): columns whose weighted sums are needed


class Resamples:
    """The bootstrap resamples of one task, drawn block by block.

    Args:
        labels: (n,), n >= 2; 0 and 1 for binary metrics.
        resamples: how many, at least 1.
        seed: non-negative.
        key: mixed into the seed, so that tasks are independent of each other.
        threads: at most this many blocks at once; all available cores by default.

    Raises:
        Degenerate: for constant or non-finite labels.
    """

    def __init__(
        self, labels: ArrayLike, resamples: int = 1000, seed: int = 0, key: str = "", threads: int | None = None
    ) -> None:
        if resamples < 1:
            raise ValueError(f"resamples must be at least 1, not {resamples}")
        self.labels, self.levels, self._classes = label_classes(labels)
        self.n, self.resamples = len(self.labels), resamples
        self._seed = (seed, int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
        self._pool = max(1, cores() if threads is None else threads)
        self._largest = int(np.bincount(self._classes).argmax())
        centred = self.labels - self.labels.mean()
        self._y = centred / np.abs(centred).max()

    def weights(self, block: int) -> NDArray[np.uint8]:
        """Return how often each pair is drawn in the resamples of a block: (n, 64); every column sums to n."""
        return self._draw(block)[0]

    def _draw(self, block: int) -> tuple[NDArray[np.uint8], int]:
        source = np.random.PCG64DXSM(np.random.SeedSequence([*self._seed, block]))
        weights = np.empty((self.n, LANES), np.uint8)
        total, top = np.zeros(LANES, np.int32), np.zeros(LANES, np.uint8)
        for start in range(0, self.n, _CHUNK):
            part = weights[start : start + _CHUNK]
            raw = source.random_raw(part.size // 2).view(np.uint32).reshape(part.shape)
            bootstrap.draw(raw, bootstrap.CUTS, part, total, top)
        bootstrap.settle(weights, total, top, source.random_raw(LANES))
        return weights, int(top.max())

    def run(
        self,
        scores: Sequence[ArrayLike] | Floats,
        metrics: Sequence[str] = ("spearman",),
        thresholds: Mapping[str, ArrayLike] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Floats]:
        """Return the replicates of every metric: (methods, resamples), NaN where a resample has no value.

        Args:
            scores: (n,) per method, or (methods, n).
            metrics: a subset of `METRICS`.
            thresholds: for "f1" and "accuracy", one per method; by default the best one on all pairs. It is the same
                for all resamples.
            progress: called with (resamples done, resamples).

        Raises:
            Degenerate: for non-finite scores.
        """
        if unknown := set(metrics) - set(METRICS):
            raise ValueError(f"there is no metric {sorted(unknown)[0]!r}; known: {', '.join(METRICS)}")
        if set(metrics) & set(BINARY) and not np.array_equal(self.levels, [0.0, 1.0]):
            raise ValueError("a binary metric needs labels 0 and 1")
        cuts = {name: np.asarray(values, dtype=np.float64) for name, values in (thresholds or {}).items()}
        for name, values in cuts.items():
            if values.shape != (len(scores),):
                raise ValueError(f"thresholds for {name} have shape {values.shape} for {len(scores)} methods")
        entries = [
            self._prepare(np.ascontiguousarray(x, dtype=np.float64), metrics, {k: float(v[e]) for k, v in cuts.items()})
            for e, x in enumerate(scores)
        ]
        out = {name: np.empty((len(entries), self.resamples)) for name in metrics}

        def work(block: int) -> None:
            first = block * LANES
            for name, values in self._block(block, entries, metrics).items():
                part = out[name][:, first : first + LANES]
                part[:] = values[:, : part.shape[1]]

        blocks = -(-self.resamples // LANES)
        self._expect(len(entries), metrics)
        with ThreadPoolExecutor(min(self._pool, blocks)) as pool:
            for done, _ in enumerate(pool.map(work, range(blocks)), 1):
                if progress is not None:
                    progress(min(done * LANES, self.resamples), self.resamples)
        return out

    def compile_ahead(self, methods: int, metrics: Sequence[str]) -> None:
        """Compile what `run` would, for so many methods: another thread has the time while their scores are computed."""
        for loop in self._expect(methods, metrics):
            if loop.due:
                loop.ready()

    def _expect(self, methods: int, metrics: Sequence[str]) -> list[Compiled]:
        """Return the loops that metrics run, and tell each of them how many items are to come."""
        asked = set(metrics)
        once = [bootstrap.draw, bootstrap.settle, *([bootstrap.label_sides] if asked else [])]
        many = []
        if asked & {"spearman", "auc"}:
            many.append(bootstrap.rank_sums if len(self.levels) <= _FEW else bootstrap.rank_products)
        if "ap" in asked:
            many.append(bootstrap.ap_sums)
        if asked & {"pearson", "f1", "accuracy"}:
            many.append(bootstrap.sums)
        blocks = -(-self.resamples // LANES)
        items = self.n * blocks * LANES
        bootstrap.draw.expect(items)
        bootstrap.label_sides.expect(items)
        bootstrap.settle.expect(int(blocks * _SETTLING * self.n**0.5))
        for loop in many:
            loop.expect(items * methods)
        return [*once, *many]

    def _prepare(self, x: Floats, metrics: Sequence[str], cuts: dict[str, float]) -> _Entry:
        if x.shape != self.labels.shape:
            raise ValueError(f"scores have shape {x.shape}, labels {self.labels.shape}")
        if not np.isfinite(x).all():
            raise Degenerate(f"{np.count_nonzero(~np.isfinite(x))} of {self.n} scores are not finite")
        order = np.argsort(x).astype(np.int32)
        ends = tie_ends(x[order])
        columns: list[Floats] = []
        if "pearson" in metrics:
            z = x - x.mean()
            z /= np.abs(z).max() or 1.0
            columns += [z, z * z, z * self._y]
        constant = len(ends) == 1
        for name, best in (("f1", best_f1), ("accuracy", best_accuracy)):
            if name in metrics:
                cut = cuts[name] if name in cuts else np.nan if constant else best(x, self.labels)[0]
                positive = np.where(np.isnan(cut), np.nan, (x >= cut).astype(np.float64))
                hit = positive * self.labels
                columns += [positive, hit] if name == "f1" else [1.0 - positive - self.labels + 2.0 * hit]
        return _Entry(
            order,
            ends.astype(np.int32),
            self._classes[order],
            int(np.diff(ends, prepend=0).max()),
            np.ascontiguousarray(np.array(columns, dtype=np.float64).reshape(-1, self.n).T),
        )

    def _block(self, block: int, entries: Sequence[_Entry], metrics: Sequence[str]) -> dict[str, Floats]:
        n, k = self.n, len(self.levels)
        weights, top = self._draw(block)
        counts, ranks = np.zeros((k, LANES), np.int32), np.zeros((k, LANES), np.int32)
        cubes, singles = np.zeros(LANES), np.zeros(LANES, np.int64)
        bootstrap.label_sides(weights, self._classes, counts, ranks, cubes, singles)
        spread_y = float(n) * n * n - cubes
        own = self._sums(weights, np.stack([self._y, self._y**2], axis=1)) if "pearson" in metrics else np.empty((2, 0))
        out = {name: np.empty((len(entries), LANES)) for name in metrics}
        with np.errstate(divide="ignore", invalid="ignore"):
            for e, entry in enumerate(entries):
                if "spearman" in metrics or "auc" in metrics:
                    cross, spread_x = self._ranks(entry, weights, top, counts, ranks, singles)
                    if "spearman" in metrics:
                        # 0 / 0 and not x / 0: without spread the covariance is 0 too.
                        out["spearman"][e] = np.clip(3.0 * cross / (np.sqrt(spread_x) * np.sqrt(spread_y)), -1.0, 1.0)
                    if "auc" in metrics:
                        # The two classes' ranks differ by n, so this is the sum of the positives' ranks.
                        out["auc"][e] = 0.5 + 0.5 * cross / n / (counts[0].astype(np.float64) * counts[1])
                if "ap" in metrics:
                    sums = np.zeros(LANES)
                    bootstrap.ap_sums(weights, entry.order, entry.ends, entry.classes, sums)
                    out["ap"][e] = sums / counts[1]
                got = self._sums(weights, entry.columns)
                if "pearson" in metrics:
                    out["pearson"][e] = _weighted_pearson(n, got[0], got[1], got[2], own[0], own[1])
                    got = got[3:]
                if "f1" in metrics:
                    out["f1"][e] = np.where(counts[1] > 0, 2.0 * got[1] / (got[0] + counts[1]), np.nan)
                    got = got[2:]
                if "accuracy" in metrics:
                    out["accuracy"][e] = got[0] / n
        return out

    def _sums(self, weights: NDArray[np.uint8], columns: Floats) -> Floats:
        out = np.zeros((columns.shape[1], LANES))
        if columns.size:
            bootstrap.sums(weights, columns, out)
        return out

    def _ranks(
        self,
        entry: _Entry,
        weights: NDArray[np.uint8],
        top: int,
        counts: NDArray[np.int32],
        ranks: NDArray[np.int32],
        singles: NDArray[np.int64],
    ) -> tuple[Floats, Floats]:
        """Return sum w u v and n^3 - sum G^3 of the scores' tie groups, each (LANES,)."""
        n, (order, ends, classes) = self.n, (entry.order, entry.ends, entry.classes)
        cubes, ties = np.zeros(LANES), np.zeros(LANES, np.int64)
        rows = 46340 // top
        if len(ranks) <= _FEW and entry.largest <= rows:
            part = np.zeros(ranks.shape, np.int64)
            bootstrap.rank_sums(weights, order, ends, classes, self._largest, rows, part, cubes, ties)
            part -= n * counts.astype(np.int64)
            part[self._largest] = 0
            part[self._largest] = -part.sum(axis=0)  # centred ranks sum to 0
            cross = (part * ranks.astype(np.float64)).sum(axis=0)
        else:
            cross = np.zeros(LANES)
            bootstrap.rank_products(weights, order, ends, classes, ranks, cross, cubes, ties)
        return cross, float(n) * n * n - (cubes + (singles - ties))


def _weighted_pearson(n: int, x: Floats, xx: Floats, xy: Floats, y: Floats, yy: Floats) -> Floats:
    spread_x, spread_y = xx - x * x / n, yy - y * y / n
    # For a constant resample the sums are rounding errors instead of 0: at most 1.5 n eps of them.
    noise = 2.0 * n * np.finfo(np.float64).eps
    spread_x = np.where(spread_x > noise * xx, spread_x, np.nan)
    spread_y = np.where(spread_y > noise * yy, spread_y, np.nan)
    return np.clip((xy - x * y / n) / np.sqrt(spread_x) / np.sqrt(spread_y), -1.0, 1.0)


def interval(replicates: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of replicates (resamples,) without NaN; `Degenerate` if nothing is left."""
    values = np.asarray(replicates, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        raise Degenerate("no resample has a value")
    low, high = np.quantile(values, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return float(low), float(high)


def logit_interval(value: float, replicates: ArrayLike, fewer: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a value in [0, 1], such as AUC or average precision, from its replicates (resamples,).

    The value's logit -+ t times its standard error, transformed back: percentile intervals of these metrics are too
    short if one class is small. ``fewer`` is the size of the smaller class; the bootstrap's variance is multiplied by
    fewer / (fewer - 1), and t has fewer - 1 degrees of freedom. A value of 0 or 1 has the Clopper-Pearson interval of
    ``fewer`` successes or failures; with fewer than two the interval is [0, 1]. Raises `Degenerate` without a replicate.
    """
    from scipy.special import expit, logit, stdtrit

    drawn = np.asarray(replicates, dtype=np.float64)
    drawn = drawn[~np.isnan(drawn)]
    if not drawn.size:
        raise Degenerate("no resample has a value")
    tail = 0.5 - 0.5 * level
    room = value * (1.0 - value)
    if fewer < 2 or len(drawn) < 2:
        return 0.0, 1.0
    if room < _ROUNDING:
        reach = 1.0 - tail ** (1.0 / fewer)
        return (1.0 - reach, 1.0) if value > 0.5 else (0.0, reach)
    error = float(drawn.std(ddof=1)) * np.sqrt(fewer / (fewer - 1.0)) / room
    reach = float(stdtrit(fewer - 1.0, 1.0 - tail)) * error
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))


def p_of_zero(replicates: ArrayLike, value: float) -> float:
    """Return the two-sided p-value of 0 from replicates (resamples,) of a difference, without NaN; 1 if there is none.

    It is at most 1 - level exactly if `interval` at that level excludes 0, up to its resolution of 2 / resamples. If all
    replicates are on one side, it is that of Student's t for the difference over their spread, so that it can be adjusted
    for many comparisons.
    """
    values = np.asarray(replicates, dtype=np.float64)
    values = np.sort(values[~np.isnan(values)])
    if len(values) < 2 or values[0] == values[-1]:
        return 1.0 if not len(values) or abs(value) < _ROUNDING else 0.0
    share = float(np.interp(0.0, values, np.linspace(0.0, 1.0, len(values))))
    if 0.0 < share < 1.0:
        return min(1.0, 2.0 * min(share, 1.0 - share))
    from scipy.special import stdtr

    tail = 2.0 * float(stdtr(len(values) - 1, -abs(value) / float(values.std(ddof=1))))
    return min(tail, 1.0 / len(values))


def difference(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of first - second, the replicates (resamples,) of two methods on one task."""
    return interval(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64), level)


def mean_interval(
    replicates: Sequence[ArrayLike], weights: Sequence[float] | None = None, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the mean over tasks, from each task's replicates (resamples,), equally weighted or not.

    For the mean of differences, pass each task's differences. Only resamples with a value for every task count.
    """
    return interval(np.average(np.array(replicates, dtype=np.float64), axis=0, weights=weights), level)


class Delta(NamedTuple):
    """A Spearman correlation with its standard error and normal interval."""

    value: float
    se: float
    low: float
    high: float


def normal_interval(values: ArrayLike, se: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return values -+ z se, kept within [-1, 1], in the shape of the values."""
    centre, reach = np.asarray(values, dtype=np.float64), np.asarray(se, dtype=np.float64)
    reach = NormalDist().inv_cdf(0.5 + 0.5 * level) * reach
    return np.maximum(centre - reach, -1.0), np.minimum(centre + reach, 1.0)


def delta_interval(scores: ArrayLike, labels: ArrayLike, level: float = 0.95) -> Delta:
    """Return Spearman with its delta-method interval for one method's scores (n,); raises `Degenerate`."""
    value, se = (float(v[0]) for v in spearman_many([scores], labels, threads=1))
    if np.isnan(value):
        raise Degenerate("the scores are constant or not finite")
    low, high = normal_interval(value, se, level)
    return Delta(value, se, float(low), float(high))
