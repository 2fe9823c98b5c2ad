"""Ratios of speed over time: what `make perf` stored, the newest against the earlier ones of the same machine.

A ratio is of two times taken in the same run, ours and a reference's, so that a slower or busier machine does not move it
much; seconds themselves are not compared. pytest-benchmark stores the runs, one JSON file each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError, first_line

__all__ = ["Compared", "Ratio", "Timing", "compare", "load_timings"]


@dataclass(frozen=True)
class Ratio:
    """One claim of speed, as it was measured; one of the two bounds says which direction is better."""

    value: float
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True)
class Timing:
    """One stored run of tests/perf."""

    path: Path
    date: str  # ISO 8601, UTC
    commit: str  # the first 12 digits, with "-dirty" where files were changed
    machine: str  # processor and cores
    ratios: Mapping[str, Ratio]  # by what was divided by what


@dataclass(frozen=True)
class Compared:
    """A ratio of the newest run beside the earlier ones."""

    name: str
    ratio: Ratio
    earlier: tuple[float, ...]  # the oldest first

    @property
    def median(self) -> float | None:
        """The median of the earlier values, None without any."""
        return median(self.earlier) if self.earlier else None

    @property
    def worse(self) -> float | None:
        """By what share it is worse than the median of the earlier ones, negative where it is better; None without any."""
        if self.median is None:
            return None
        if self.ratio.at_least is not None:
            return self.median / self.ratio.value - 1
        return self.ratio.value / self.median - 1

    @property
    def held(self) -> bool:
        """Whether it is within its bound."""
        low, high = self.ratio.at_least, self.ratio.at_most
        return (low is None or self.ratio.value >= low) and (high is None or self.ratio.value <= high)


def load_timings(folder: Path) -> list[Timing]:
    """Read every stored run below a folder, the oldest first; raises `HengyuError` for a file that is none."""
    if not folder.is_dir():
        raise HengyuError(f"{folder}: no such folder; 'make perf' makes it, in a clone")
    found = [t for path in sorted(folder.rglob("*.json")) if (t := _load(path)).ratios]
    if not found:
        raise HengyuError(f"{folder}: holds no stored ratios; run 'make perf'")
    return sorted(found, key=lambda t: (t.date, t.path.name))


def compare(timings: Sequence[Timing]) -> list[Compared]:
    """Hold the ratios of the newest run against those of all earlier runs on the same machine."""
    newest = timings[-1]
    earlier = [t for t in timings[:-1] if t.machine == newest.machine]
    return [
        Compared(name, ratio, tuple(t.ratios[name].value for t in earlier if name in t.ratios))
        for name, ratio in sorted(newest.ratios.items())
    ]


def _load(path: Path) -> Timing:
    try:
        content = json.loads(read_bytes(path))
        commit, machine = content["commit_info"], content["machine_info"]
        dirty = "-dirty" if commit.get("dirty") else ""
        return Timing(
            path,
            str(content["datetime"]),
            f"{str(commit.get('id') or 'unknown')[:12]}{dirty}",
            _machine(machine),
            _ratios(content["benchmarks"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as e:
        reason = f"'{e.args[0]}' is missing" if isinstance(e, KeyError) else first_line(e)
        raise HengyuError(f"{path}: not a file of pytest-benchmark ({reason}); delete it") from None


def _machine(about: Mapping[str, Any]) -> str:
    cpu = about.get("cpu") or {}
    return f"{cpu.get('brand_raw') or about.get('machine') or 'unknown'}, {cpu.get('count', '?')} cores"


def _ratios(benchmarks: Iterable[Mapping[str, Any]]) -> dict[str, Ratio]:
    found: dict[str, Ratio] = {}
    for benchmark in benchmarks:
        for name, ratio in benchmark["extra_info"].get("ratios", {}).items():
            low, high = (None if ratio.get(k) is None else float(ratio[k]) for k in ("at_least", "at_most"))
            if float(ratio["value"]) <= 0 or (low is None) == (high is None):
                raise ValueError(f"ratio '{name}' must be positive and have one bound, at_least or at_most")
            if name in found:
                raise ValueError(f"two tests call a ratio '{name}'")
            found[name] = Ratio(float(ratio["value"]), low, high)
    return found
