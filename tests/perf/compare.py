"""A program of `make perf`: the newest stored ratios of speed, compared with the earlier ones of the same machine.

A ratio is of two times taken in the same run, ours and a reference's, so that a slower or busier machine does not move it
much. `pytest-benchmark compare` compares the seconds themselves, and knows neither the ratios nor their bounds; they are in
the files that it stores, one JSON file for each run.

Exit code 0; 1 for a ratio beyond its bound, or beyond --tolerance where that is given; 2 for files that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError, first_line
from hengyu.base.escapes import plain

STORED = Path(__file__).resolve().parents[2] / ".benchmarks"


@dataclass(frozen=True)
class Ratio:
    """One measured claim of speed; which of the bounds it has says which direction is better."""

    value: float
    at_least: float | None
    at_most: float | None

    @property
    def bound(self) -> str:
        return f"<= {self.at_most:g}" if self.at_least is None else f">= {self.at_least:g}"

    @property
    def kept(self) -> bool:
        """Whether the value is within its bound."""
        low, high = self.at_least, self.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)


@dataclass(frozen=True)
class Timing:
    """One stored run of tests/perf."""

    path: Path
    date: str  # ISO 8601, UTC
    commit: str  # the first 12 digits, with "-dirty" where files were changed
    machine: str  # processor and cores
    ratios: Mapping[str, Ratio]


@dataclass(frozen=True)
class Compared:
    """A ratio of the newest run and its values in the earlier ones."""

    name: str
    ratio: Ratio
    earlier: tuple[float, ...]  # the oldest first

    @property
    def median(self) -> float | None:
        """The median of the earlier values, None without any."""
        return median(self.earlier) if self.earlier else None

    @property
    def worse(self) -> float | None:
        """The share by which it is worse than that median, negative where it is better, None without earlier values."""
        if self.median is None:
            return None
        if self.ratio.at_least is not None:
            return self.median / self.ratio.value - 1
        return self.ratio.value / self.median - 1


def load_timings(folder: Path) -> list[Timing]:
    """Read every stored run below a folder, the oldest first; raises `HengyuError` for a file that cannot be one."""
    if not folder.is_dir():
        raise HengyuError(f"{folder}: no such folder; 'make perf' makes it, in a clone")
    found = [t for path in sorted(folder.rglob("*.json")) if (t := _load(path)).ratios]
    if not found:
        raise HengyuError(f"{folder}: holds no stored ratios; run 'make perf'")
    return sorted(found, key=lambda t: (t.date, t.path.name))


def compare(timings: Sequence[Timing]) -> list[Compared]:
    """Compare the ratios of the newest run with those of all earlier runs on the same machine."""
    newest = timings[-1]
    earlier = [t for t in timings[:-1] if t.machine == newest.machine]
    return [
        Compared(name, ratio, tuple(t.ratios[name].value for t in earlier if name in t.ratios))
        for name, ratio in sorted(newest.ratios.items())
    ]


def _load(path: Path) -> Timing:
    try:
        content = json.loads(read_bytes(path))
        commit, cpu = content["commit_info"], content["machine_info"].get("cpu") or {}
        brand = cpu.get("brand_raw") or content["machine_info"].get("machine") or "unknown"
        return Timing(
            path,
            str(content["datetime"]),
            f"{str(commit.get('id') or 'unknown')[:12]}{'-dirty' if commit.get('dirty') else ''}",
            f"{brand}, {cpu.get('count', '?')} cores",
            _ratios(content["benchmarks"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as e:
        reason = f"'{e.args[0]}' is missing" if isinstance(e, KeyError) else first_line(e)
        raise HengyuError(f"{path}: not a file of pytest-benchmark ({reason}); delete it") from None


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


def table(rows: Sequence[Compared]) -> list[str]:
    """Return the lines of the table: a ratio's name, value and bound, and what the earlier values were."""
    cells = [("ratio", "now", "bound", "median before", "runs before", "change")]
    for row in rows:
        change = "" if row.worse is None else f"{abs(row.worse):.1%} {'worse' if row.worse > 0 else 'better'}"
        before = "" if row.median is None else f"{row.median:.3g}"
        now = f"{row.ratio.value:.3g}"
        cells.append((plain(row.name), now, row.ratio.bound, before, str(len(row.earlier)), change))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join([f"{first:{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(rest, widths[1:], strict=True))]).rstrip()
        for first, *rest in cells
    ]


def wrong(rows: Sequence[Compared], tolerance: float | None) -> list[str]:
    """Return a sentence for every ratio beyond its bound, or worse than before by more than so many percent."""
    found = []
    for row in rows:
        if not row.ratio.kept:
            found.append(f"{row.name}: {row.ratio.value:.3g} is not {row.ratio.bound}")
        elif tolerance is not None and row.worse is not None and 100 * row.worse > tolerance:
            found.append(f"{row.name}: {row.ratio.value:.3g} is worse than before")
    return found


def main(words: Sequence[str]) -> int:
    """Print the comparison, and return the exit code."""
    parser = argparse.ArgumentParser(prog="compare.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=STORED, help="of pytest-benchmark's files [.benchmarks]"
    )
    parser.add_argument(
        "--tolerance", type=float, metavar="PERCENT", help="red where a ratio got worse by more than this"
    )
    given = parser.parse_args(words)
    if given.tolerance is not None and not given.tolerance > 0:
        parser.error(f"--tolerance {given.tolerance:g}: must be larger than 0")
    try:
        timings = load_timings(given.folder)
    except HengyuError as e:
        print(*(f"error: {plain(problem)}" for problem in e.problems), sep="\n", file=sys.stderr)
        return 2
    newest, rows = timings[-1], compare(timings)
    print(plain(f"{newest.date[:19]}, commit {newest.commit}, {newest.machine}"), *table(rows), sep="\n")
    bad = wrong(rows, given.tolerance)
    for sentence in bad:
        print(plain(sentence), file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
