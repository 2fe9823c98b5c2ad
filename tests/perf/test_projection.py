"""SRHT against the dense Gaussian product, 1,024 columns to 256 and 768 to 256, float32, one thread each."""

import statistics
import time
from typing import Any

import numpy as np
import pytest
from helpers.ratios import hold
from threadpoolctl import threadpool_limits

from hengyu.numerics.projections import draw


@pytest.mark.parametrize(("d", "at_least"), [(1024, 1.0), (768, 1.0)])
def test_srht_is_faster_than_the_dense_product(benchmark: Any, d: int, at_least: float) -> None:
    x = np.random.default_rng(0).normal(size=(20_000, d)).astype(np.float32)
    dense, fast = draw("gaussian", d, 256, 0), draw("srht", d, 256, 0)

    def seconds(project: Any) -> float:
        start = time.perf_counter()
        project(x)
        return time.perf_counter() - start

    with threadpool_limits(1):
        dense(x), fast(x)  # compiled
        times = benchmark.pedantic(lambda: [(seconds(dense), seconds(fast)) for _ in range(9)], rounds=1, iterations=1)
    ratio = statistics.median(a for a, _ in times) / statistics.median(b for _, b in times)
    hold(benchmark, f"dense Gaussian product / srht, d = {d}", ratio, at_least=at_least)
