"""A sweep over every dimension against a single one: fit, transform, similarity and Spearman, n = 20,000, d = 256."""

import statistics
import time
from typing import Any

import numpy as np
from helpers.ratios import hold

from hengyu.methods.grammar import parse_entry
from hengyu.numerics import metrics
from hengyu.numerics.sample import Sample
from hengyu.tasks.pairs.vectors import StsVectors


def test_a_sweep_costs_at_most_three_single_dimensions(benchmark: Any) -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(256, 256)) * np.geomspace(3, 0.1, 256)
    x = (rng.normal(size=(40_000, 256)) @ mix).astype(np.float32)
    labels = (rng.random(20_000) < 0.3).astype(float)
    first, second = np.arange(20_000), np.arange(20_000, 40_000)

    def fresh() -> StsVectors:
        return StsVectors(x, first, second, {"target": Sample.of(x)}, labels)

    def single() -> float:
        start = time.perf_counter()
        seen = fresh().observe(parse_entry("whitening(dim=128)"), (), "target")
        metrics.spearman(seen.similarity[0], labels)
        return time.perf_counter() - start

    def sweep() -> float:
        start = time.perf_counter()
        seen = fresh().observe(parse_entry("whitening"), "all", "target")
        assert len(seen.sweep["value"]) == 256
        return time.perf_counter() - start

    single(), sweep()  # compiled
    times = benchmark.pedantic(lambda: [(single(), sweep()) for _ in range(7)], rounds=1, iterations=1)
    ratio = statistics.median(s for _, s in times) / statistics.median(s for s, _ in times)
    hold(benchmark, "256 dimensions / one", ratio, at_most=3)
