"""A world where the true Spearman is known: a latent similarity, labels cut from it, scores that follow it with noise.

The latent z is standard normal; a label is the number of thresholds below z; a score is r z + sqrt(1 - r^2) e. The
second version of a score has another r, and its noise shares the part c of the first one's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from hengyu.evaluation.paired import keep_blocks
from hengyu.evaluation.run_metrics import Key, MetricValue, RunMetrics
from hengyu.numerics.resampling import delta_interval
from hengyu.storage.records.observations import Observation, save_labels, save_observation

# shares of the labels, the lowest first
DESIGNS = {
    "binary balanced": (0.5, 0.5),
    "binary 18 % positive": (0.82, 0.18),
    "graded 0..5": (0.1, 0.15, 0.2, 0.25, 0.2, 0.1),
}
TASK = "made:test"
SEED = 2026


def cuts(shares: Sequence[float]) -> np.ndarray:
    """Return the thresholds (k - 1,) on z."""
    return np.array([NormalDist().inv_cdf(float(c)) for c in np.cumsum(shares)[:-1]])


def truth(r: float, shares: Sequence[float]) -> float:
    """Return the population's Spearman: the correlation of F(score) with the labels' mid-ranks.

    The mid-rank of a label is a sum of steps at the thresholds c, each of the mean of its neighbours' shares, and
    Cov(F(x), 1{z > c}) = P(x' < x, z > c) - P(z > c) / 2 for an independent copy x' of x, where u = (x - x') / sqrt 2 and
    z are normal with correlation r / sqrt 2.
    """
    p = np.array(shares)
    rho = r / np.sqrt(2.0)
    cross = 0.0
    for c, step in zip(cuts(shares), 0.5 * (p[:-1] + p[1:]), strict=True):
        both = multivariate_normal.cdf([0.0, -c], cov=[[1.0, rho], [rho, 1.0]])  # of -u < 0 and -z < -c
        cross += step * (both - 0.5 * NormalDist().cdf(-c))
    ranks = np.cumsum(p) - 0.5 * p
    return float(cross / np.sqrt(((p * ranks**2).sum() - 0.25) / 12.0))


def strength(value: float, shares: Sequence[float]) -> float:
    """Return the r whose true Spearman is the value."""
    low, high = 0.0, 0.999
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if truth(middle, shares) < value else (low, middle)
    return low


def labelled(rng: np.random.Generator, n: int, shares: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return z (n,) and labels (n,)."""
    z = rng.normal(size=n)
    return z, np.searchsorted(cuts(shares), z).astype(float)


def given_labels(rng: np.random.Generator, k: int, n: int, shares: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (n,), and k times z (k, n) such as give these labels."""
    p = np.array(shares)
    labels = rng.choice(len(p), p=p, size=n)
    return labels.astype(float), ndtri((np.cumsum(p) - p)[labels] + rng.random((k, n)) * p[labels])


def versions(
    rng: np.random.Generator, z: np.ndarray, r: tuple[float, float], c: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (n,) of a baseline and of a run, of strengths r, that share the part c of their noise."""
    e, own = rng.normal(size=(2, len(z)))
    first = r[0] * z + np.sqrt(1 - r[0] ** 2) * e
    return first, r[1] * z + np.sqrt(1 - r[1] ** 2) * (c * e + np.sqrt(1 - c * c) * own)


def scores(folder: Path, labels: np.ndarray, seen: Mapping[str, np.ndarray], resamples: int = 1000) -> RunMetrics:
    """Return the scores of a made-up run whose observations and labels are in a folder; entry -> similarity (n,)."""
    cache_key = {"task": TASK, "encoder": "maker", "pooling": "mean", "fit_on": "none", "entry": "all"}
    rows = np.stack(list(seen.values()))
    save_labels(folder, {TASK: labels})
    save_observation(folder / "observations", Observation(cache_key, tuple(seen), (1,) * len(seen), rows))
    cells = {}
    for entry, row in seen.items():
        found = delta_interval(row, labels)
        cells[Key(TASK, "maker", "mean", entry, "none")] = MetricValue(found.value, found.low, found.high)
    about = {TASK: {"task": TASK, "n": len(labels), "card_sha256": "c", "sha256": "d", "ceiling": 1.0}}
    return RunMetrics(str(folder), "made", "made-1", "0", 1, 0, resamples, 0.95, about, {}, cells, folder)


def kept(run: RunMetrics) -> RunMetrics:
    """Return what a baseline file would keep of a run."""
    blocks, about, _ = keep_blocks(run)
    return replace(run, blocks=blocks, tasks={TASK: {**run.tasks[TASK], **about[TASK]}}, folder=None)


def without_observations(run: RunMetrics) -> RunMetrics:
    """Return a run of which only values and intervals are at hand."""
    return replace(run, folder=None)
