"""How far a number may fall: tolerances and floors, from the command line or a TOML file beside the baseline.

    tolerance = 1.0                    # points (x 100); or "2%" of the baseline's value

    [[rules]]                          # later rules override earlier ones, key by key
    task = "ATEC:*"                    # patterns (* and ?); also encoder, pooling, entry, fit_on, metric, cell
    entry = "whitening*"
    tolerance = 1.5
    floor = 25.0                       # points: a value below is a regression, whatever the baseline says

They stand beside the baseline and not in the suite: a suite says what is measured, and its runs are named by that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.base.toml_tables import Table, read_toml, shown
from hengyu.evaluation.run_metrics import Key

__all__ = ["DEFAULT", "Rule", "Rules", "Tolerance", "parse_rule", "read_rules"]

_WORDS = (*Key._fields, "cell")


@dataclass(frozen=True)
class Tolerance:
    """How far a number may fall; ``size`` is a difference of scores, or a share of the baseline's value."""

    size: float
    relative: bool = False
    where: str = ""  # "" for the default, which nobody stated

    def of(self, value: float) -> float:
        """Return the fall allowed from a value."""
        return self.size * abs(value) if self.relative else self.size

    def __str__(self) -> str:
        return f"{100 * self.size:g}%" if self.relative else f"{100 * self.size:g} points"


DEFAULT = Tolerance(0.005)
"""Half a point: what nobody needs to hear of. It promises nothing; where chance moves more, a fall is inconclusive."""


@dataclass(frozen=True)
class Rule:
    """A tolerance, a floor or both, for the cells that fit every pattern."""

    patterns: Mapping[str, str]
    tolerance: Tolerance | None = None
    floor: float | None = None

    def fits(self, key: Key) -> bool:
        """Tell whether a cell fits; the pattern called ``any`` is held against task, entry and the whole cell."""
        own = {**key._asdict(), "cell": str(key)}
        return all(
            any(fnmatchcase(own[w], pattern) for w in ((word,) if word in own else ("task", "entry", "cell")))
            for word, pattern in self.patterns.items()
        )


@dataclass(frozen=True)
class Rules:
    """Rules in order; the last one that fits decides."""

    rules: tuple[Rule, ...] = ()

    def tolerance(self, key: Key) -> Tolerance:
        """Return the tolerance of a cell."""
        return next((r.tolerance for r in reversed(self.rules) if r.tolerance and r.fits(key)), DEFAULT)

    def floor(self, key: Key) -> float | None:
        """Return the floor of a cell, as a score; None without one."""
        return next((r.floor for r in reversed(self.rules) if r.floor is not None and r.fits(key)), None)

    def __add__(self, later: Sequence[Rule]) -> Rules:
        return Rules((*self.rules, *later))


def parse_rule(text: str) -> Rule:
    """Read ``0.5``, ``2%`` or ``PATTERN=0.5`` as the command line gives it; raises `HengyuError`."""
    pattern, equals, number = text.rpartition("=")
    where = f"--tolerance '{text}'"
    found = _tolerance(number.strip(), where)
    if found is None or (equals and not pattern):
        raise HengyuError(f"{where}: must be points like 0.5, a share like 2%, or PATTERN=0.5")
    return Rule({"any": pattern} if equals else {}, found)


def read_rules(path: Path) -> Rules:
    """Read a file of rules; raises one `HengyuError` that holds every mistake in it."""
    table = read_toml(path)
    rules = [Rule({}, _taken(table, ""))]
    for number, item in enumerate(table.take("rules", list, [])):
        if not isinstance(item, dict):
            table.problem(f"rules[{number}]", f"must be a table, not {shown(item)}")
            continue
        inner = Table(table.where, item, table.problems, f"rules[{number}].")
        patterns = {word: pattern for word in _WORDS if (pattern := inner.take(word, str, "")) != ""}
        tolerance = _taken(inner, f"rules[{number}].")
        floor = inner.take("floor", float, 0.0) / 100 if inner.has("floor") else None
        if floor is not None and not -1.0 <= floor <= 1.0:
            inner.problem("floor", f"must be points, -100 to 100, not {100 * floor:g}")
        inner.finish()
        rules.append(Rule(patterns, tolerance, floor))
    table.finish()
    return Rules(tuple(rules))


def _taken(table: Table, prefix: str) -> Tolerance | None:
    if not table.has("tolerance"):
        table.raw("tolerance")
        return None
    value = table.raw("tolerance")
    where = f"{table.where}: key '{prefix}tolerance'"
    found = _tolerance(value, where) if not isinstance(value, bool) else None
    if found is None:
        table.problem("tolerance", f'must be points like 0.5 or a share like "2%", 0 or above, not {shown(value)}')
    return found


def _tolerance(value: object, where: str) -> Tolerance | None:
    try:
        text = str(value)
        relative = text.endswith("%")
        size = float(text.removesuffix("%")) / 100
    except ValueError:
        return None
    return Tolerance(size, relative, where) if math.isfinite(size) and size >= 0 else None
