"""Claims of speed: a ratio is stored with the run and held to its bound."""

from __future__ import annotations

from typing import Any


def hold(
    benchmark: Any, name: str, value: float, *, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Store a ratio in pytest-benchmark's record of the run, where tests/perf/compare.py reads it; then hold it to its bound."""
    assert (at_least is None) != (at_most is None)
    benchmark.extra_info.setdefault("ratios", {})[name] = {
        "value": round(value, 4),
        "at_least": at_least,
        "at_most": at_most,
    }
    assert value > 0
    assert at_least is None or value >= at_least, f"{name}: {value:.3g} is not at least {at_least}"
    assert at_most is None or value <= at_most, f"{name}: {value:.3g} is not at most {at_most}"
