"""A run of a growing sample: until the intervals are as narrow as is asked for, or the time is up."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hengyu.base.progress import Progress
from hengyu.bench.run import Outcome
from hengyu.storage.records import Run, load_run
from hengyu.tasks.interface.registry import find_task

__all__ = ["FIRST", "Limits", "Widest", "run_rounds", "widest"]

FIRST = 250
"""Pairs of each task in the first round; every round after it takes twice as many."""


@dataclass(frozen=True)
class Limits:
    """When a run of growing samples stops.

    Attributes:
        seconds: no round is begun that would end later, as far as the round before it tells; 0 for no limit.
        half_width: of the widest interval on each task, in points (scores x 100); 0 to stop for nothing else than time.
    """

    seconds: float = 0.0
    half_width: float = 0.0


class Widest(NamedTuple):
    """The widest interval on a task."""

    points: float  # half its width, in points
    row: str


def widest(run: Run) -> dict[str, Widest]:
    """Return the row with the widest interval of the main metric on every task; baselines and raters are left out."""
    main = find_task(run.kind).main
    beside = {e["encoder"] for e in run.header["encoders"] if e.get("baseline")}
    tasks = {t["task"] for t in run.header["tasks"]}
    found: dict[str, Widest] = {}
    for r in run.records:
        known = r.low is not None and r.high is not None
        if r.task not in tasks or r.metric != main or not r.on_board or r.encoder in beside or not known:
            continue
        half = 50.0 * (r.high - r.low)  # type: ignore[operator]
        if r.task not in found or half > found[r.task].points:
            found[r.task] = Widest(half, f"{r.encoder}, {r.pooling}, {r.entry}")
    return found


def run_rounds(
    sizes: Mapping[str, int],
    run_sample: Callable[[Mapping[str, int]], Outcome],
    limits: Limits,
    reports: Path,
    progress: Progress,
    *,
    started: float,
) -> Outcome:
    """Run a suite on samples of 250, 500, 1,000, ... pairs of each task, and return what the last round left.

    Each round's sample holds the one before it, so that nothing is encoded twice. The sizes at which intervals are looked at are
    fixed, and every round is a whole run of its sample: its folder holds valid numbers whatever comes after. The folder of a
    round is deleted when the next one has finished, unless it was there before.

    Args:
        sizes: task -> how many pairs it has.
        run_sample: runs a sample: task -> how many of its pairs, where that is not all.
        limits: when to stop.
        reports: the folder of the reports.
        progress: shows each round.
        started: when the run began, by ``time.monotonic``.
    """
    known = {p.name for p in records.iterdir()} if (records := reports / "records").is_dir() else set()
    sample = {task: min(FIRST, n) for task, n in sizes.items()}
    added = sum(sample.values())
    encoded = observed = kept = 0
    last: Path | None = None
    while True:
        begun = time.monotonic()
        outcome = run_sample({t: n for t, n in sample.items() if n < sizes[t]})
        encoded, observed, kept = encoded + outcome.encoded, observed + outcome.observed, kept + outcome.kept
        if last is not None and last != outcome.folder and last.name not in known:
            shutil.rmtree(last, ignore_errors=True)
        last = outcome.folder
        found = widest(load_run(outcome.folder))
        _say(found, sample, sizes, progress)
        open_ = [
            t for t, n in sample.items() if n < sizes[t] and not (t in found and found[t].points <= limits.half_width)
        ]
        reason = _reached(open_, found, limits, sizes, sample)
        grown = {t: min(2 * n, sizes[t]) if t in open_ else n for t, n in sample.items()}
        more = sum(grown.values()) - sum(sample.values())
        now = time.monotonic()
        if not reason and limits.seconds and (now - started) + (now - begun) * more / max(1, added) > limits.seconds:
            reason = f"{now - started:.0f} s of {limits.seconds:g} s are gone, and the next round would take longer than the rest"
        if reason:
            progress.say(f"stopped: {reason}")
            return replace(outcome, encoded=encoded, observed=observed, kept=kept)
        sample, added = grown, more


def _say(found: Mapping[str, Widest], sample: Mapping[str, int], sizes: Mapping[str, int], progress: Progress) -> None:
    """Say how wide the intervals are."""
    for task, n in sample.items():
        of = f"{n:,} pairs" if n == sizes[task] else f"{n:,} of {sizes[task]:,} pairs"
        one = found.get(task)
        how = f"widest interval ±{one.points:.2f} ({one.row})" if one else "no interval"
        progress.say(f"{task}: {of}, {how}")


def _reached(
    open_: list[str],
    found: Mapping[str, Widest],
    limits: Limits,
    sizes: Mapping[str, int],
    sample: Mapping[str, int],
) -> str:
    """Return why there is nothing more to do; "" where there is."""
    if not found:
        return "no row has an interval"
    if open_:
        return ""
    wide = [t for t in sample if t not in found or found[t].points > limits.half_width]
    if limits.half_width and wide:
        return (
            f"{', '.join(wide)}: all {sum(sizes[t] for t in wide):,} pairs were taken, which give no narrower intervals"
        )
    return f"no interval is wider than ±{limits.half_width:g}" if limits.half_width else "all pairs were taken"
