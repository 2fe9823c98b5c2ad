"""The metrics against scipy and scikit-learn, and what has no value."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats as reference
from sklearn import metrics as sk

from hengyu.base.errors import Degenerate
from hengyu.numerics import metrics
from hengyu.numerics.resampling import delta_interval

GRADED = {"spearman": reference.spearmanr, "pearson": reference.pearsonr}
BINARY = {
    "auc": lambda x, y: sk.roc_auc_score(y, x),
    "average_precision": lambda x, y: sk.average_precision_score(y, x),
}
ALL = [*GRADED, *BINARY, "best_f1", "best_accuracy"]


def data(seed, n=400, levels=0, decimals=1):
    """Scores with heavy ties (rounded to `decimals`), labels binary or 0..levels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, levels + 1, n).astype(float) if levels else (rng.random(n) < 0.3).astype(float)
    y[:2] = 0.0, 1.0
    return np.round(rng.normal(size=n) + y, decimals), y


@pytest.mark.parametrize("decimals", [0, 1, 12])
@pytest.mark.parametrize("levels", [1, 5, 30])
@pytest.mark.parametrize("name", GRADED)
def test_correlations_equal_scipy(name, levels, decimals):
    for seed, n in itertools.product(range(5), (3, 17, 400)):
        x, y = data(seed, n, levels, decimals)
        if x.min() < x.max():
            assert getattr(metrics, name)(x, y) == pytest.approx(GRADED[name](x, y)[0], abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 12])
@pytest.mark.parametrize("name", BINARY)
def test_ranking_metrics_equal_sklearn(name, decimals):
    for seed, n in itertools.product(range(5), (4, 17, 400)):
        x, y = data(seed, n, decimals=decimals)
        if x.min() < x.max():
            assert getattr(metrics, name)(x, y) == pytest.approx(BINARY[name](x, y), abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 12])
@pytest.mark.parametrize("name", ["f1", "accuracy"])
def test_best_thresholds(name, decimals):
    score = {"f1": sk.f1_score, "accuracy": sk.accuracy_score}[name]
    at = {"f1": metrics.f1_at, "accuracy": metrics.accuracy_at}[name]
    best = {"f1": metrics.best_f1, "accuracy": metrics.best_accuracy}[name]
    for seed in range(5):
        x, y = data(seed, 200, decimals=decimals)
        threshold, value = best(x, y)
        distinct = np.unique(x)
        middles = (distinct[1:] + distinct[:-1]) / 2
        tried = [score(y, x >= t) for t in middles]
        assert value == pytest.approx(max(tried), abs=1e-12)
        assert value == pytest.approx(at(x, y, threshold), abs=1e-12)
        assert value == pytest.approx(score(y, x >= threshold), abs=1e-12)
        assert threshold == pytest.approx(max(t for t, v in zip(middles, tried, strict=True) if v > max(tried) - 1e-12))


def test_best_threshold_between_neighbouring_floats():
    low, high = 1.0, math.nextafter(1.0, 2.0)
    assert metrics.best_accuracy([low, low, high, high], [0, 0, 1, 1]) == (high, 1.0)


@pytest.mark.parametrize("name", [*ALL, "ceiling"])
def test_order_of_pairs_changes_nothing(name):
    x, y = data(3)
    function = getattr(metrics, name)
    order = np.random.default_rng(4).permutation(len(x))
    given, shuffled = ((y,), (y[order],)) if name == "ceiling" else ((x, y), (x[order], y[order]))
    assert function(*shuffled) == pytest.approx(function(*given), abs=1e-14)


def test_rank_metrics_ignore_monotone_maps():
    x, y = data(5)
    for name in ("spearman", "auc", "average_precision"):
        assert getattr(metrics, name)(np.exp(x), y) == getattr(metrics, name)(x, y)
    assert metrics.pearson(1e-200 * x, 1e200 * y) == pytest.approx(metrics.pearson(x, y), abs=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 5, 30])
def test_ceiling_is_reached_and_never_passed(levels):
    rng = np.random.default_rng(levels)
    y = rng.integers(0, levels + 1, 60).astype(float)
    best = np.empty(60)
    best[np.argsort(y, kind="stable")] = np.arange(60)
    assert metrics.ceiling(y) == pytest.approx(reference.spearmanr(best, y)[0], abs=1e-12)
    assert all(metrics.spearman(rng.permutation(60), y) <= metrics.ceiling(y) for _ in range(200))


def test_ceiling_by_brute_force():
    y = [0, 1, 1, 2, 0, 1]
    highest = max(metrics.spearman(x, y) for x in itertools.permutations(range(6)))
    assert metrics.ceiling(y) == pytest.approx(highest, abs=1e-12)


def test_ceiling_of_atec():
    y = np.repeat([1.0, 0.0], [3610, 16390])
    assert metrics.ceiling(y) == pytest.approx(0.6662, abs=5e-5)
    p, n = 3610 / 20000, 20000
    assert metrics.ceiling(y) == pytest.approx(math.sqrt(3 * p * (1 - p) * n**2 / (n**2 - 1)), abs=1e-14)
    assert metrics.ceiling(np.repeat([1.0, 0.0], 5000)) == pytest.approx(0.8660, abs=5e-5)
    assert metrics.ceiling(np.arange(10.0)) == 1.0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("scores", "labels", "reason"),
    [
        ([0.5, 0.5, 0.5], [0, 1, 1], "all 3 scores are 0.5"),
        ([0.1, 0.2, 0.3], [1, 1, 1], "all 3 labels are 1"),
        ([0.1, math.nan, 0.3], [0, 1, 1], "1 of 3 scores are not finite"),
        ([0.1, math.inf, math.nan], [0, 1, 1], "2 of 3 scores are not finite"),
        ([0.1, 0.2, 0.3], [0, math.nan, 1], "some labels are not finite"),
        ([0.1], [1], "1 pairs are too few for a metric"),
    ],
)
def test_degenerate(name, scores, labels, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Degenerate, match=reason):
            getattr(metrics, name)(scores, labels)


def test_wrong_shapes_and_labels():
    with pytest.raises(ValueError, match="shape"):
        metrics.spearman([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="labels 0 and 1"):
        metrics.auc([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(Degenerate):
        metrics.ceiling([2.0, 2.0])


def test_spearman_many_equals_one_by_one():
    for levels in (1, 5, 300):
        y = data(0, 500, levels)[1]
        scores = np.array([data(k, 500, levels, decimals=k % 3)[0] for k in range(20)])
        values, errors = metrics.spearman_many(scores, y)
        assert values == pytest.approx([metrics.spearman(x, y) for x in scores], abs=1e-13)
        assert (errors > 0).all()
        again = metrics.spearman_many(list(scores.astype(np.float64)), y, threads=1)
        assert np.array_equal(again, (values, errors))


def test_spearman_many_marks_degenerate_rows():
    values, errors = metrics.spearman_many([[1, 1, 1], [1, 2, 3], [1, math.nan, 3]], [0, 1, 1])
    assert np.isnan(values).tolist() == np.isnan(errors).tolist() == [True, False, True]
    with pytest.raises(Degenerate):
        metrics.spearman_many([[1, 2, 3]], [1, 1, 1])
    with pytest.raises(Degenerate):
        delta_interval([1, 1, 1], [0, 1, 1])


def test_standard_error_is_the_sum_of_squared_derivatives():
    """The influence of each pair, against a numerical derivative of the weighted Spearman."""
    x, y = data(7, 40, 3, decimals=0)

    def rho(w):
        u = np.sign(x[:, None] - x) @ w
        v = np.sign(y[:, None] - y) @ w
        return (w * u) @ v / math.sqrt(((w * u) @ u) * ((w * v) @ v))

    step = 1e-5
    slopes = [(rho(1 + step * e) - rho(1 - step * e)) / (2 * step) for e in np.eye(40)]
    (value,), (error,) = metrics.spearman_many([x], y)
    assert value == pytest.approx(rho(np.ones(40)), abs=1e-12)
    assert error == pytest.approx(math.sqrt(np.square(slopes).sum()), rel=1e-7)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_ranks_and_places_are_scipys(decimals):
    x = np.round(np.random.default_rng(decimals).normal(size=(37, 50)), decimals)
    np.testing.assert_array_equal(metrics.places(x), reference.rankdata(-x, method="min", axis=0))
    np.testing.assert_array_equal(metrics.midranks(x[:, 0]), reference.rankdata(x[:, 0]))
    assert metrics.places(x[:1]).tolist() == [[1] * 50]
