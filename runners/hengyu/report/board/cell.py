"""One cell of a leaderboard: a number with its annotations, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from hengyu.storage.records import Record, Standing
from hengyu.storage.records.significance import direction

__all__ = ["HEATS", "Cell", "between", "percent", "word_of"]

HEATS = 7  # shades of a column, 0 for the lowest numbers
_WORDS = {"degenerate": "degen.", "failed": "failed", "unavailable": "n/a", "incomplete": "-", "missing": "-"}


def word_of(status: str) -> str:
    """Return the short word shown for a missing number."""
    return _WORDS.get(status, status)


def percent(value: float | None, *, signed: bool = False) -> str:
    """Return a number x 100 with two decimals, never ``-0.00``; "" for None."""
    if value is None:
        return ""
    rounded = round(100 * value, 2) + 0.0
    return f"{rounded:+.2f}" if signed else f"{rounded:.2f}"


def p_words(p: float | None) -> str:
    """Return a p-value with two significant digits, very small ones as a bound; "" for none."""
    return "" if p is None else "<1e-6" if p < 1e-6 else f"{p:.2g}"


def between(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return ``[70.10, 72.30]``, or "" if an end is missing."""
    if low is None or high is None:
        return ""
    return f"[{percent(low, signed=signed)}, {percent(high, signed=signed)}]"


@dataclass(frozen=True)
class Cell:
    """One number of the leaderboard, or why it is missing."""

    record: Record | None = None  # None: this row was not evaluated on this task
    share: float | None = None  # of the ceiling
    best: bool = False  # of its column; so are all that tie
    note: int = 0  # number of the reason in the leaderboard's notes, from 1; 0 for none
    standing: Standing | None = None  # against the best row of the column; known for Spearman
    heat: int | None = None  # its shade, 0 to HEATS - 1; None if the column has fewer than two numbers

    @property
    def status(self) -> str:
        """The record's status, or "missing"."""
        return self.record.status if self.record else "missing"

    @property
    def value(self) -> float | None:
        """The number; None unless the status is ok."""
        return self.record.value if self.record and self.record.status == "ok" else None

    @property
    def text(self) -> str:
        """The number x 100, or a short word for a missing one."""
        if self.value is not None:
            return percent(self.value)
        return word_of(self.status) + (f" [{self.note}]" if self.note else "")

    @property
    def interval(self) -> str:
        """``[70.10, 72.30]``, or ""."""
        r = self.record
        return "" if self.value is None or r is None else between(r.low, r.high)

    @property
    def spread(self) -> str:
        """``± 0.30 over 3 seeds``, ``1 seed``, or "" without random steps."""
        r = self.record
        if r is None or self.value is None or r.seeds is None:
            return ""
        return "1 seed" if r.spread is None else f"± {percent(r.spread)} over {r.seeds} seeds"

    @property
    def delta(self) -> str:
        """``+1.20``, the difference from raw, or ""."""
        return percent(self.record.delta, signed=True) if self.record and self.value is not None else ""

    @property
    def delta_interval(self) -> str:
        """``[+0.90, +1.50]``, or ""."""
        r = self.record
        return between(r.delta_low, r.delta_high, signed=True) if r and self.delta else ""

    @property
    def clear(self) -> int:
        """1 or -1 if the difference is a significant gain or loss, else 0."""
        r = self.record
        return 0 if r is None else direction(r.delta_low, r.delta_high, r.n)

    @property
    def tied(self) -> bool:
        """Whether it is not significantly behind the best of its column; False for the best itself, and if unknown."""
        return self.standing is not None and self.standing.tied and not self.best

    @property
    def ranks(self) -> str:
        """``1–6``, the interval of the row's rank over the resamples, or ""."""
        s = self.standing
        if s is None or s.rank_low is None or s.rank_high is None:
            return ""
        return f"{s.rank_low}–{s.rank_high}" if s.rank_low != s.rank_high else str(s.rank_low)
