"""Measures in which dtype a step is faster: bfloat16 is, on CPUs that support it, and several times slower on others."""

from __future__ import annotations

import time
from collections.abc import Callable

from hengyu.encoders.mixed_precision import TRAINED_IN

__all__ = ["faster"]

_TIMES = 3
_WORTH = 0.95  # bfloat16 loses precision, so it must save at least a twentieth


def faster(step: Callable[[str], object]) -> tuple[str, dict[str, float]]:
    """Time a step in each dtype, after a warm-up; returns the dtype to use and the shortest time of each in seconds."""
    seconds: dict[str, float] = {}
    for dtype in TRAINED_IN:
        taken = []
        for _ in range(1 + _TIMES):
            started = time.perf_counter()
            step(dtype)
            taken.append(time.perf_counter() - started)
        seconds[dtype] = min(taken[1:])
    return ("bfloat16" if seconds["bfloat16"] < _WORTH * seconds["float32"] else "float32"), seconds
