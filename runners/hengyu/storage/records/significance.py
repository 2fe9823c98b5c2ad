"""The one rule by which a difference is called better, worse or not significant: on pages, in tables and by ``hengyu compare``.

A difference is significant if its own confidence interval excludes 0. That is a statement about this difference only; the
p-value adjusted over all differences of a table is given with it.
"""

from __future__ import annotations

__all__ = ["NOT_SIGNIFICANT", "direction", "verdict"]

NOT_SIGNIFICANT = "not significant"
_FEWEST = 6  # with fewer independent values not even a sign test gives p < 0.05
_ROUNDING = 1e-9


def direction(low: float | None, high: float | None, n: int) -> int:
    """Return 1 for a significant gain, -1 for a significant loss, else 0; n is the number of pairs or queries."""
    if low is None or high is None or n < _FEWEST:
        return 0
    return (low > _ROUNDING) - (high < -_ROUNDING)


def verdict(low: float | None, high: float | None, n: int) -> str:
    """Return ``better``, ``worse`` or ``not significant``; the arguments are those of `direction`."""
    return {1: "better", -1: "worse"}.get(direction(low, high, n), NOT_SIGNIFICANT)
