"""How far a number may fall: tolerances and floors, from the command line or NAME.rules.toml beside NAME.json.

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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hengyu.base.errors import HengyuError, did_you_mean, gather
from hengyu.base.toml_tables import Table, read_toml, shown
from hengyu.evaluation.run_metrics import Key

__all__ = ["DEFAULT", "Rule", "Rules", "Tolerance", "find_rules", "parse_rule", "read_rules"]

_KEYS = ("tolerance", "rules")
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
    where: str = ""  # what to call it in a message

    def fits(self, key: Key) -> bool:
        """Tell whether a cell fits; the pattern ``any`` is matched against task, entry and the whole cell."""
        return all(self._fits(word, key) for word in self.patterns)

    def _fits(self, word: str, key: Key) -> bool:
        return any(fnmatchcase(name, self.patterns[word]) for name in _names(word, key))

    def unmatched(self, keys: Collection[Key]) -> str | None:
        """Return a sentence where the rule fits none of the cells, with the nearest name; None where it fits one."""
        if not self.patterns or any(self.fits(key) for key in keys):
            return None
        for word, pattern in self.patterns.items():
            if not any(self._fits(word, key) for key in keys):
                said = f"'{pattern}'" if word == "any" else f"{word} = '{pattern}'"
                whole = word == "cell" or "|" in pattern
                known = {name for key in keys for name in _names(word, key) if whole or name != str(key)}
                near = did_you_mean(pattern.replace("*", "").replace("?", ""), known)
                return f"{self.where}: {said} fits no cell of the baseline or the run{near}"
        every = ", ".join(f"{word} = '{pattern}'" for word, pattern in self.patterns.items())
        return (
            f"{self.where}: no cell of the baseline or the run fits all of {every}; make two rules of them, or mend one"
        )


def _names(word: str, key: Key) -> tuple[str, ...]:
    """Return what a pattern is matched against: one name of a cell, or for "any" its task, its entry and the whole cell."""
    own = {**key._asdict(), "cell": str(key)}
    return (own[word],) if word in own else (own["task"], own["entry"], own["cell"])


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

    def refuse_unmatched(self, keys: Collection[Key]) -> None:
        """Raise `HengyuError` with a sentence for every rule that fits none of the cells: it would do nothing."""
        gather(problem for rule in self.rules if keys and (problem := rule.unmatched(keys)) is not None)

    def __add__(self, later: Sequence[Rule]) -> Rules:
        return Rules((*self.rules, *later))


def parse_rule(text: str) -> Rule:
    """Read ``0.5``, ``2%`` or ``PATTERN=0.5`` as the command line gives it; raises `HengyuError`."""
    pattern, equals, number = text.rpartition("=")
    where = f"--tolerance '{text}'"
    found = _tolerance(number.strip(), where)
    if found is None or (equals and not pattern):
        raise HengyuError(f"{where}: must be points like 0.5, a share like 2%, or PATTERN=0.5")
    return Rule({"any": pattern.strip()} if equals else {}, found, where=where)


def find_rules(baseline: Path) -> tuple[Path | None, list[str]]:
    """Return the file of rules beside a baseline, None without one, and notes.

    It is NAME.rules.toml beside NAME.json. A NAME.toml is read where it holds rules, with a note to rename it: cards and
    suites may have that name, and are left alone.
    """
    own, other = baseline.with_suffix(".rules.toml"), baseline.with_suffix(".toml")
    if own.is_file():
        return own, []
    if not other.is_file():
        return None, []
    table = read_toml(other)
    if any(table.has(key) for key in _KEYS):
        return other, [
            f"{other}: read as rules of the gate; rename it to {own.name}, which cannot be taken for a suite"
        ]
    return None, [f"{other}: holds no rules of the gate, and is not read; rules are read from {own.name}"]


def read_rules(path: Path) -> Rules:
    """Read a file of rules; raises one `HengyuError` that holds every mistake in it."""
    table = read_toml(path)
    rules = [Rule({}, _taken(table, ""), where=table.where)]
    for number, item in enumerate(table.take("rules", list, [])):
        if not isinstance(item, dict):
            table.problem(f"rules[{number}]", f"must be a table, not {shown(item)}")
            continue
        inner = table.within(f"rules[{number}]", item)
        idle = not (inner.has("tolerance") or inner.has("floor"))
        patterns = {word: pattern for word in _WORDS if (pattern := inner.take(word, str, "")) != ""}
        tolerance = _taken(inner, f"rules[{number}].")
        floor = inner.take("floor", float, 0.0) / 100 if inner.has("floor") else None
        if floor is not None and not -1.0 <= floor <= 1.0:
            inner.problem("floor", f"must be points, -100 to 100, not {100 * floor:g}")
        if idle:
            table.problem(f"rules[{number}]", "sets neither a tolerance nor a floor; give one, or take the rule out")
        inner.finish()
        rules.append(Rule(patterns, tolerance, floor, f"{table.where}: rules[{number}]"))
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
