"""Nothing of a run grows faster than n log n; `growth.py` measures larger sizes, and draws them."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.ratios import hold
from perf import growth

SIZES = {"pairs": (10_000, 100_000), "entries": (30, 300), "encoders": (4, 16), "tasks": (4, 16), "labels": (100, 1000)}


@pytest.mark.parametrize("axis", SIZES)
def test_seconds_grow_at_most_as_n_log_n(axis: str, benchmark: Any) -> None:
    found = benchmark.pedantic(lambda: growth.measure({axis: SIZES[axis]}, 200, say=lambda _: None), rounds=1)
    one = found["axes"][axis]
    benchmark.extra_info |= {"seconds": one["points"]}
    hold(benchmark, f"exponent of {axis}", max(one["exponent"], 0.01), at_most=growth.LIMIT)
