"""How fast the bootstrap is next to scipy's, and that it draws from the same distribution.

scipy.stats.bootstrap is timed with `FEW` resamples and its time scaled up: it costs the same for each.
"""

import time

import numpy as np
import pytest
from helpers.ratios import hold
from scipy import stats as reference

from hengyu.numerics.metrics import spearman_many
from hengyu.numerics.resampling import METRICS, Resamples

N, RESAMPLES, FEW, ENTRIES = 20_000, 1000, 30, 50


@pytest.fixture(scope="module")
def task():
    """50 entries of one binary task the size of ATEC; everything compiled and warm."""
    rng = np.random.default_rng(0)
    y = (rng.random(N) < 0.18).astype(float)
    scores = rng.normal(size=(ENTRIES, N)) + y
    Resamples(y, 64).run(scores[:1], METRICS)
    spearman_many(scores[:1], y)
    return scores, y


def by_scipy(x, y, count, seed=0):
    """Replicates (count,) of scipy's paired percentile bootstrap over spearmanr."""

    def rho(a, b):
        return reference.spearmanr(a, b)[0]

    return reference.bootstrap(
        (x, y), rho, paired=True, method="percentile", n_resamples=count, vectorized=False, rng=seed
    ).bootstrap_distribution


def seconds(function, rounds=3):
    """The best of a few rounds, in seconds of the processor: other work on the machine does not count."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def test_ratio_to_scipy(benchmark, task):
    scores, y = task
    one = benchmark.pedantic(lambda: seconds(lambda: Resamples(y, RESAMPLES).run(scores[:1])), rounds=1)
    single = seconds(lambda: Resamples(y, RESAMPLES, threads=1).run(scores[:1]))
    fifty = seconds(lambda: Resamples(y, RESAMPLES).run(scores)) / ENTRIES
    scipy_s = seconds(lambda: by_scipy(scores[0], y, FEW), 2) * RESAMPLES / FEW
    hold(benchmark, "scipy / ours, one entry, one thread", scipy_s / single, at_least=15)
    hold(benchmark, "scipy / ours, one entry", scipy_s / one, at_least=15)
    hold(benchmark, f"scipy / ours, each of {ENTRIES} entries", scipy_s / fifty, at_least=50)


def test_same_distribution_as_scipy():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 6, 1000).astype(float)
    x = np.round(y + 2 * rng.normal(size=1000), 1)
    theirs = by_scipy(x, y, 2000)
    (ours,) = Resamples(y, 20_000, seed=1).run([x])["spearman"]
    assert ours.std() == pytest.approx(theirs.std(), rel=4 / np.sqrt(2 * 2000))
    assert abs(ours.mean() - theirs.mean()) < 4 * ours.std() / np.sqrt(2000)
    assert reference.ks_2samp(ours, theirs).pvalue > 1e-3
    # a quantile q of 2000 draws has the standard error sqrt(q (1 - q) / 2000) / density
    for q in (0.025, 0.5, 0.975):
        density = reference.norm.pdf(reference.norm.ppf(q)) / ours.std()
        assert abs(np.quantile(ours, q) - np.quantile(theirs, q)) < 5 * np.sqrt(q * (1 - q) / 2000) / density


@pytest.mark.parametrize("entries", [1, ENTRIES])
def test_spearman(benchmark, task, entries):
    scores, y = task
    benchmark.pedantic(lambda: Resamples(y, RESAMPLES).run(scores[:entries]), rounds=3)


def test_all_metrics(benchmark, task):
    scores, y = task
    benchmark.pedantic(lambda: Resamples(y, RESAMPLES).run(scores[:10], METRICS), rounds=3)


@pytest.mark.parametrize("levels", [6, 31, 1000])
def test_graded(benchmark, task, levels):
    y = np.random.default_rng(2).integers(0, levels, N).astype(float)
    Resamples(y, 1).run(task[0][:1])
    benchmark.pedantic(lambda: Resamples(y, RESAMPLES).run(task[0][:10]), rounds=3)


def test_sweep_costs_little_more_than_sorting(benchmark, task):
    scores, y = task
    sorting = seconds(lambda: [np.argsort(x) for x in scores])
    benchmark.pedantic(lambda: spearman_many(scores, y, threads=1), rounds=5)
    ours = seconds(lambda: spearman_many(scores, y, threads=1))
    hold(benchmark, "Spearman / sorting alone", ours / sorting, at_most=3)
