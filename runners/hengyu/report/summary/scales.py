"""Axes of pictures that the page draws by itself: places in percent of the width or height, and ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Scale", "linear", "logarithmic"]

_EDGE = 0.04  # of the range that is left free at both ends


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``; ``ticks`` are values with their labels."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value in percent, 0 at ``low``, within the axis."""
        x = math.log(value) if self.log else value
        return round(100 * min(1.0, max(0.0, (x - self.low) / (self.high - self.low))), 2)


def linear(low: float, high: float, about: int = 5) -> Scale:
    """Return an axis that holds low and high, with about so many round ticks."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edge = _EDGE * (high - low)
    low, high = low - edge, high + edge
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    values = [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return Scale(low, high, tuple((v, f"{v + 0.0:.{digits}f}") for v in values))


def logarithmic(low: float, high: float) -> Scale:
    """Return a logarithmic axis that holds low and high, both > 0, with up to six ticks."""
    a, b = math.log(low), math.log(high)
    if b - a < 1e-9:
        a, b = a - 0.5, b + 0.5
    edge = 2 * _EDGE * (b - a)
    a, b = a - edge, b + edge
    decades = range(math.floor(a / math.log(10)), math.ceil(b / math.log(10)) + 1)
    found: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [s * 10.0**k for k in decades for s in steps if a <= math.log(s * 10.0**k) <= b]
        if len(found) <= 6:
            break
    found = found[:: max(1, math.ceil(len(found) / 6))]
    return Scale(a, b, tuple((v, _short(v)) for v in found), log=True)


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
