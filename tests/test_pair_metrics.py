"""A metric of pairs is one file: found by its name, derived from stored similarities, resampled and counted in a run's key."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hengyu.base.errors import Degenerate
from hengyu.numerics.resampling import Resamples
from hengyu.tasks.pairs import metric as metric_module
from hengyu.tasks.pairs import metrics as package
from hengyu.tasks.pairs.metric import Decision, find_metric, metric_modules, pair_metrics
from hengyu.tasks.pairs.truth import PairLabels, PairScores
from hengyu.tasks.sts import Sts

ONE_FILE = '''"""Kendall's tau-a."""

import numpy as np

from hengyu.tasks.pairs.metric import PairMetric


class Kendall(PairMetric):
    name = "kendall"
    title = "Kendall"
    place = 70

    def value(self, similarity, labels):
        i, j = np.triu_indices(len(labels), 1)
        return float(np.mean(np.sign((similarity[i] - similarity[j]) * (labels[i] - labels[j]))))


METRIC = Kendall
'''


def forget() -> None:
    for found in (metric_module.pair_metrics, metric_module.metric_modules):
        found.cache_clear()


@pytest.fixture
def kendall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "kendall.py").write_text(ONE_FILE, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    forget()
    yield
    forget()


def scored(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = (rng.random(n) < 0.4).astype(float)
    return np.round(rng.normal(size=n) + labels, 1), labels


def test_the_metrics_are_those_of_sts_in_their_places() -> None:
    names = [m.name for m in pair_metrics()]
    assert names == ["spearman", "pearson", "auc", "ap", "f1", "accuracy"]
    assert [m.name for m in Sts.metrics] == [*names, "spearman-agreed", "ceiling-share"]
    assert [m.name for m in pair_metrics() if not m.binary] == ["spearman", "pearson"]


def test_one_file_is_a_metric(kendall: None) -> None:
    x, y = scored()
    assert [m.name for m in pair_metrics()][-1] == "kendall"
    truth = PairLabels("t", y, lambda: np.arange(len(y)), ("spearman", "kendall"))
    scores = PairScores(x)
    pairs = list(itertools.combinations(range(len(y)), 2))
    tau = sum(np.sign((x[i] - x[j]) * (y[i] - y[j])) for i, j in pairs) / len(pairs)
    assert truth.measure(scores).values["kendall"] == pytest.approx(tau, abs=1e-12)
    drawn = truth.replicates([scores, PairScores(-x)], truth.metrics, 70, 1)
    assert drawn["kendall"].shape == (2, 70) and np.isfinite(drawn["kendall"]).all()
    assert np.allclose(drawn["kendall"][0], -drawn["kendall"][1])
    contributed = truth.contributions(scores, "kendall")
    assert contributed.mean() == pytest.approx(truth.value(scores, "kendall"), abs=1e-9)
    assert "hengyu.tasks.pairs.metrics.kendall" in (*metric_modules(), *Sts.deriving_code())


@pytest.mark.parametrize("name", ["spearman", "pearson", "auc", "ap", "f1", "accuracy"])
def test_resamples_of_any_metric_are_those_of_the_compiled_ones(name: str) -> None:
    x, y = scored()
    metric, drawn = find_metric(name), Resamples(y, 70, seed=5, key="t")
    threshold = metric.best(x, y) if isinstance(metric, Decision) else None
    cuts = {} if threshold is None else {name: [threshold]}
    compiled = drawn.run([x], metrics=(name,), thresholds=cuts)[name][0]
    assert metric.replicates(x, drawn, threshold) == pytest.approx(compiled, abs=1e-9)


def test_a_resample_without_a_value_is_nan() -> None:
    drawn = Resamples([0.0, 1.0], 70, seed=1)
    found = find_metric("spearman").replicates(np.array([0.1, 0.2]), drawn)
    assert np.isnan(found).any() and np.nanmin(found) == pytest.approx(1.0)
    with pytest.raises(Degenerate):
        find_metric("ap").value(np.array([0.1, 0.1]), np.array([0.0, 1.0]))
