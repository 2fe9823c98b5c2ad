"""The bootstrap against scipy on repeated data, its reproducibility, and the intervals."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.scored import LABELS, SCORES
from scipy import stats as reference
from sklearn import metrics as sk

from hengyu.base.errors import Degenerate
from hengyu.numerics import bootstrap
from hengyu.numerics import resampling as stats
from hengyu.numerics.resampling import METRICS, Resamples, delta_interval, difference, interval, mean_interval


def make(labels, scores, n, seed=0):
    rng = np.random.default_rng([seed, n])
    y = LABELS[labels](rng, n)
    y[:2] = 0.0, 1.0
    return SCORES[scores](rng, y), y


def heavy(n, seed):
    """Weights (n, 64) that fall on a few pairs only, up to 255 each."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((n, bootstrap.LANES), np.int64)
    for b in range(bootstrap.LANES):
        left = n
        for i in rng.permutation(n):
            weights[i, b] = min(left, rng.integers(0, 256))
            left -= weights[i, b]
    assert weights.max() <= 255 and (weights.sum(axis=0) == n).all()
    return weights.astype(np.uint8)


def expected(metric, x, y, threshold):
    """The metric of repeated data by scipy or scikit-learn; NaN where it has no value."""
    if metric in ("spearman", "pearson") and (np.ptp(x) == 0 or np.ptp(y) == 0):
        return math.nan
    if metric == "spearman":
        return reference.spearmanr(x, y)[0]
    if metric == "pearson":
        return reference.pearsonr(x, y)[0]
    if metric == "accuracy":
        return np.mean((x >= threshold) == (y == 1))
    if y.sum() == 0 or (metric == "auc" and y.all()):
        return math.nan
    if metric == "f1":
        return sk.f1_score(y, x >= threshold)
    return {"auc": sk.roc_auc_score, "ap": sk.average_precision_score}[metric](y, x)


def compare(x, y, weights, got, columns, thresholds):
    for metric, replicates in got.items():
        for b in columns:
            w = weights[:, b].astype(int)
            want = expected(metric, np.repeat(x, w), np.repeat(y, w), thresholds.get(metric))
            assert replicates[b] == pytest.approx(want, abs=1e-12, nan_ok=True), (metric, b)


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("labels", LABELS)
def test_replicates_equal_the_metrics_of_repeated_data(labels, scores):
    for n, step in ((2, 1), (3, 1), (5, 1), (40, 4), (1000, 16)):
        x, y = make(labels, scores, n)
        binary = set(np.unique(y)) == {0.0, 1.0}
        names = METRICS if binary else ("spearman", "pearson")
        resamples = Resamples(y, 64, seed=n)
        cuts = {"f1": 0.4, "accuracy": 0.6}
        got = resamples.run([x], names, thresholds={k: [v] for k, v in cuts.items()})
        compare(x, y, resamples.weights(0), {k: v[0] for k, v in got.items()}, range(0, 64, step), cuts)


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("labels", LABELS)
def test_heavy_weights_and_long_stretches(labels, scores, monkeypatch):
    """Weights near 255 make 32-bit stretches of 181 pairs: several of them, and tie groups longer than one."""
    x, y = make(labels, scores, 1500)
    weights = heavy(1500, 1)
    monkeypatch.setattr(Resamples, "_draw", lambda self, block: (weights, int(weights.max())))
    got = Resamples(y, 64).run([x], METRICS[:4] if labels in ("binary", "mostly 1") else METRICS[:2])
    compare(x, y, weights, {k: v[0] for k, v in got.items()}, range(0, 64, 8), {})


@pytest.mark.parametrize("coarse", [1, 8])
@pytest.mark.parametrize("labels", ["binary", "continuous"])
def test_large_samples_stay_exact(labels, coarse):
    """Beyond 32 bits: n^2, and with coarse scores the square of a single tie group."""
    x, y = make(labels, "some ties", 200_000)
    if coarse > 1:
        x = np.round(x / coarse)
    x[:50_000] = np.random.default_rng(5).normal(size=50_000)
    resamples = Resamples(y, 2)
    (got,) = resamples.run([x])["spearman"]
    weights = resamples.weights(0)
    for b in range(2):
        want = reference.spearmanr(np.repeat(x, weights[:, b]), np.repeat(y, weights[:, b]))[0]
        assert got[b] == pytest.approx(want, abs=1e-12)


def test_weights_are_multinomial():
    resamples = Resamples([0.0, 1.0], seed=3)
    twice = np.concatenate([resamples.weights(b)[0] for b in range(100)])
    assert reference.chisquare(np.bincount(twice, minlength=3), np.array([0.25, 0.5, 0.25]) * 6400).pvalue > 1e-4
    n = 3000
    resamples = Resamples(np.arange(n), seed=4)
    weights = np.concatenate([resamples.weights(b) for b in range(8)], axis=1).astype(np.int64)
    assert (weights.sum(axis=0) == n).all()
    counts = np.bincount(weights.ravel(), minlength=8)
    mass = reference.binom.pmf(np.arange(7), n, 1 / n)
    want = np.append(mass, 1 - mass.sum()) * weights.size
    assert reference.chisquare(np.append(counts[:7], counts[7:].sum()), want).pvalue > 1e-4
    # no pair is preferred: row sums over 512 resamples are binomial(512 n, 1 / n)
    rows = weights.sum(axis=1)
    assert reference.chisquare(rows).pvalue > 1e-4
    assert abs(np.corrcoef(weights[:, 0], weights[:, 1])[0, 1]) < 5 / math.sqrt(n)


def test_same_seed_same_bytes():
    x, y = make("binary", "some ties", 700)
    first = Resamples(y, 300, seed=7, key="LCQMC:test").run([x], METRICS)
    again = Resamples(y, 300, seed=7, key="LCQMC:test").run([x], METRICS)
    for metric in METRICS:
        assert first[metric].tobytes() == again[metric].tobytes()
    for other in (Resamples(y, 300, seed=8, key="LCQMC:test"), Resamples(y, 300, seed=7, key="BQ:test")):
        assert not np.array_equal(other.run([x])["spearman"], first["spearman"])


def test_more_resamples_or_other_entries_or_threads_change_nothing():
    x, y = make("graded", "some ties", 700)
    others = np.random.default_rng(0).normal(size=(3, 700))
    want = Resamples(y, 300, threads=1).run([x])["spearman"]
    assert want.shape == (1, 300)
    got = Resamples(y, 1000, threads=5).run([*others, x])["spearman"]
    assert got[3, :300].tobytes() == want.tobytes()
    assert Resamples(y, 1).run([x])["spearman"][0, 0] == want[0, 0]


def test_difference_of_an_entry_with_itself_is_zero():
    x, y = make("binary", "untied", 300)
    got = Resamples(y, 200).run([x, x.copy(), np.exp(x)], METRICS)
    for metric in METRICS:
        assert difference(got[metric][0], got[metric][1]) == (0.0, 0.0)
    assert difference(got["spearman"][0], got["spearman"][2]) == (0.0, 0.0)


def test_paired_differences_are_narrower():
    x, y = make("binary", "untied", 2000)
    near = x + 0.05 * np.random.default_rng(1).normal(size=2000)
    first, second = Resamples(y).run([x, near])["spearman"]
    low, high = difference(first, second)
    alone = interval(first)
    assert high - low < 0.3 * (alone[1] - alone[0])


def test_degenerate_resamples_are_left_out():
    y = np.array([0.0, 0.0, 1.0])
    got = Resamples(y, 500).run([[0.1, 0.2, 0.3]], METRICS)
    missing = np.isnan(got["spearman"][0])
    assert 0.2 < missing.mean() < 0.5  # (2/3)^3 + (1/3)^3 = 1/3
    assert np.array_equal(missing, np.isnan(got["pearson"][0]))
    assert np.array_equal(missing, np.isnan(got["auc"][0]))
    assert not np.isnan(got["accuracy"]).any()
    assert all(map(math.isfinite, interval(got["spearman"][0])))


def test_resamples_without_the_only_other_score():
    n = 300_000
    x, y = np.full(n, 0.3), np.random.default_rng(0).normal(size=n)
    x[7] = 0.4
    resamples = Resamples(y, 64)
    got = resamples.run([x], ("spearman", "pearson"))
    missing = resamples.weights(0)[7] == 0
    assert 10 < missing.sum() < 40
    for metric in got:
        assert np.array_equal(np.isnan(got[metric][0]), missing)


def test_constant_scores_have_no_replicates():
    got = Resamples([0.0, 1.0, 1.0, 0.0], 100).run([np.full(4, 0.1), [1, 2, 3, 4]], ("spearman", "pearson", "f1"))
    for metric in got:
        assert np.isnan(got[metric][0]).all()
        assert not np.isnan(got[metric][1]).all()
    with pytest.raises(Degenerate, match="no resample"):
        interval(got["spearman"][0])


def test_bad_arguments():
    resamples = Resamples([0.0, 1.0, 2.0], 10)
    with pytest.raises(ValueError, match="labels 0 and 1"):
        resamples.run([[1.0, 2.0, 3.0]], ("auc",))
    with pytest.raises(ValueError, match="there is no metric 'kendall'"):
        resamples.run([[1.0, 2.0, 3.0]], ("kendall",))
    with pytest.raises(ValueError, match="shape"):
        resamples.run([[1.0, 2.0]])
    with pytest.raises(ValueError, match="thresholds for f1"):
        Resamples([0.0, 1.0], 10).run([[1.0, 2.0]], ("f1",), thresholds={"f1": [0.1, 0.2]})
    with pytest.raises(Degenerate, match="not finite"):
        resamples.run([[1.0, math.nan, 2.0]])
    with pytest.raises(Degenerate, match="all 3 labels are 1"):
        Resamples([1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="at least 1"):
        Resamples([0.0, 1.0], 0)


def test_progress_counts_resamples():
    seen = []
    Resamples([0.0, 1.0, 2.0], 150).run([[1.0, 2.0, 3.0]], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 150), (128, 150), (150, 150)]


def test_intervals():
    values = np.arange(1001.0)
    assert interval(values) == pytest.approx((25.0, 975.0))
    assert interval(np.append(values, math.nan), level=0.8) == pytest.approx((100.0, 900.0))
    assert difference(values, values - 3.0) == (3.0, 3.0)
    assert mean_interval([values, -values]) == (0.0, 0.0)
    assert mean_interval([values, values + 10.0]) == pytest.approx((30.0, 980.0))
    assert mean_interval([values, 0.0 * values], weights=[1.0, 3.0]) == pytest.approx((6.25, 243.75))
    assert mean_interval([[1.0, math.nan, 3.0], [1.0, 5.0, 3.0]], level=1.0) == (1.0, 3.0)


def test_mean_of_independent_tasks_is_narrower():
    drawn = []
    for k in range(4):
        x, y = make("graded", "untied", 800, seed=k)
        drawn.append(Resamples(y, 1000, key=f"task {k}").run([x])["spearman"][0])
    widths = [high - low for low, high in map(interval, drawn)]
    low, high = mean_interval(drawn)
    assert high - low == pytest.approx(np.mean(widths) / 2, rel=0.12)


@pytest.mark.parametrize("scores", ["untied", "heavy ties"])
@pytest.mark.parametrize("labels", LABELS)
def test_delta_interval_is_near_the_bootstrap_interval(labels, scores):
    x, y = make(labels, scores, 2000, seed=2)
    (replicates,) = Resamples(y, 4000).run([x])["spearman"]
    low, high = interval(replicates)
    got = delta_interval(x, y)
    assert got.value == pytest.approx(reference.spearmanr(x, y)[0], abs=1e-12)
    assert got.se == pytest.approx(replicates.std(), rel=0.06)
    width = high - low
    assert abs(got.low - low) < 0.1 * width and abs(got.high - high) < 0.1 * width


def test_coverage():
    """Of 95 % intervals from 300 samples of a known population about 95 % hold its Spearman."""
    rng = np.random.default_rng(0)
    r, n, held, near = 0.6, 150, 0, 0
    truth = 6 / math.pi * math.asin(r / 2)
    for seed in range(300):
        x, e = rng.normal(size=(2, n))
        y = r * x + math.sqrt(1 - r * r) * e
        low, high = interval(Resamples(y, 320, seed=seed, threads=1).run([x])["spearman"][0])
        held += low <= truth <= high
        got = delta_interval(x, y)
        near += got.low <= truth <= got.high
    assert 0.91 <= held / 300 <= 0.98
    assert 0.91 <= near / 300 <= 0.98


def test_import_leaves_numba_alone():
    code = "import sys, hengyu.numerics.resampling, hengyu.numerics.metrics; sys.exit('numba' in sys.modules)"
    package = str(Path(stats.__file__).parents[1])
    assert (
        subprocess.run([sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {package!r}); {code}"]).returncode
        == 0
    )
