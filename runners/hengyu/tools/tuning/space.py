"""What a search varies: ranges and choices of a tuner's parameters, by default around the entry's own values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.methods.grammar import Entry
from hengyu.methods.step import Step, Value, print_value

__all__ = ["Choice", "Range", "Space", "default_space", "parse_search", "seed_of", "settings_of"]

_DIGITS = 3  # significant ones of a number that is tried, so that an entry can be read and repeated


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; whole ones if ``whole``, evenly spread by their logarithm if ``log``."""

    low: float
    high: float
    whole: bool = False
    log: bool = False

    def __str__(self) -> str:
        """Return it as ``--search`` takes it."""
        return f"{self.low:g}..{self.high:g}"

    def rounded(self, value: float) -> float | int:
        """Return a value with as many digits as are tried."""
        return round(value) if self.whole else float(f"{value:.{_DIGITS}g}")

    def holds(self, value: Value) -> bool:
        """Whether a value lies in it."""
        return type(value) in ((int,) if self.whole else (int, float)) and self.low <= float(value or 0) <= self.high

    @property
    def distribution(self) -> Any:
        """The distribution of optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        """Return it as ``--search`` takes it."""
        return "|".join(map(print_value, self.values))

    def rounded(self, value: Value) -> Value:
        """Return the value."""
        return value

    def holds(self, value: Value) -> bool:
        """Whether a value is one of them."""
        return any(type(value) is type(own) and value == own for own in self.values)

    @property
    def distribution(self) -> Any:
        """The distribution of optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


Space = Mapping[str, Range | Choice]


def settings_of(entry: Entry) -> dict[str, Value]:
    """Return the parameters of an entry's tuners with their values; of several that have one, the outermost counts."""
    found: dict[str, Value] = {}
    for step in entry.tuners:
        for inner in _nested(step):
            method = inner.make()
            for f in fields(method):
                if f.init and f.name != "seed":
                    found.setdefault(f.name, getattr(method, f.name))
    return found


def seed_of(entry: Entry) -> int:
    """Return the seed of an entry's first training."""
    inner = (s for step in entry.tuners for s in _nested(step))
    return next((int(s.make().seed) for s in inner if hasattr(s.method, "seed")), 0)


def _nested(step: Step) -> Iterator[Step]:
    yield step
    for steps in step.joined:
        for inner in steps:
            yield from _nested(inner)


_AROUND: dict[str, Callable[[Any], Range | Choice]] = {
    "lr": lambda own: Range(max(1e-9, own / 10), min(0.1, own * 10), log=True),
    "batch": lambda own: Choice(tuple(sorted({16, 32, 64, 128, own}))),
    "epochs": lambda own: Range(1, max(5, own), whole=True),
    "temperature": lambda own: Range(min(0.01, own), max(0.2, own), log=True),
    "scale": lambda own: Range(min(5.0, own), max(50.0, own), log=True),
    "alpha": lambda own: Range(min(0.1, own or 0.1), max(10.0, own), log=True),
}
"""What is searched by default, given a parameter's own value."""


def default_space(entry: Entry) -> dict[str, Range | Choice]:
    """Return the learning rate, batch size, epochs, and temperature, scale or alpha, around the entry's values."""
    own = settings_of(entry)
    return {key: _rounded(make(own[key])) for key, make in _AROUND.items() if key in own}


def _rounded(space: Range | Choice) -> Range | Choice:
    """Return a range whose ends have as many digits as what is tried."""
    if isinstance(space, Choice) or space.whole:
        return space
    return Range(float(f"{space.low:.{_DIGITS}g}"), float(f"{space.high:.{_DIGITS}g}"), log=space.log)


def parse_search(words: Sequence[str], entry: Entry) -> dict[str, Range | Choice]:
    """Read what ``--search`` asks for: KEY for its default range, KEY=LOW..HIGH, or KEY=A|B|C; without any, the default.

    Raises `HengyuError` for a parameter that the entry's tuners do not have, and for a malformed range.
    """
    usual = default_space(entry)
    if not words:
        return usual
    own = settings_of(entry)
    found: dict[str, Range | Choice] = {}
    for word in words:
        key, mark, text = word.partition("=")
        if key == "seed":
            raise HengyuError("--search seed: a seed is no setting; give the entry several with the key seeds")
        if key not in own:
            raise HengyuError(f"--search {word}: '{entry}' has no parameter '{key}'{did_you_mean(key, own)}")
        if key in found:
            raise HengyuError(f"--search {word}: names '{key}' twice; keep one")
        if not mark:
            if key not in usual:
                raise HengyuError(f"--search {key}: has no default range; write {key}=LOW..HIGH, or {key}=A|B")
            found[key] = usual[key]
            continue
        found[key] = _range(word, text, own[key]) if ".." in text else _choice(word, text, own[key])
        _check(word, entry, key, found[key])
    return found


def _range(word: str, text: str, own: Value) -> Range:
    try:
        low, high = map(float, text.split(".."))
    except ValueError:
        low, high = 1.0, 0.0
    whole = type(own) is int
    if not low < high or (whole and (low != int(low) or high != int(high))):
        what = "whole numbers" if whole else "numbers"
        raise HengyuError(f"--search {word}: must be two {what}, the lower one first, like lr=1e-5..1e-3")
    if type(own) not in (int, float):
        raise HengyuError(f"--search {word}: is no number; write its values, like {word.partition('=')[0]}=A|B")
    found = _rounded(Range(low, high, whole, log=low > 0 and high / low >= 10))
    assert isinstance(found, Range)
    return found


def _choice(word: str, text: str, own: Value) -> Choice:
    values: list[Value] = []
    for part in text.split("|"):
        kind = type(own)
        try:
            value: Value = {"true": True, "false": False}[part] if kind is bool else kind(part)  # type: ignore[misc]
        except (ValueError, KeyError):
            raise HengyuError(
                f"--search {word}: '{part}' is not a value of it; write some like {word.partition('=')[0]}={print_value(own)}"
            ) from None
        values.append(value)
    if len(set(values)) < 2:
        raise HengyuError(f"--search {word}: must be at least two values, parted by |")
    return Choice(tuple(dict.fromkeys(values)))


def _check(word: str, entry: Entry, key: str, space: Range | Choice) -> None:
    """Refuse a space whose ends the tuner does not take, before anything is trained."""
    ends: tuple[Value, ...] = (
        space.values if isinstance(space, Choice) else (space.rounded(space.low), space.rounded(space.high))
    )
    for value in ends:
        try:
            tried = entry.with_training({key: value})
            for step in tried.tuners:
                _ = step.key  # opens what it names, like a guide
        except HengyuError as e:
            raise HengyuError(f"--search {word}: {' '.join(e.problems)}") from None
