"""What the fine-tuned rows of a run were trained on."""

from __future__ import annotations

from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.methods.grammar import parse_entry
from hengyu.storage.records import Run
from hengyu.storage.records.sources import find_sources

__all__ = ["places_of", "trained_on"]


def trained_on(run: Run, task: str) -> tuple[str, ...]:
    """Return the splits that fine-tuned rows of a task have seen, without the task itself, of which tuners see all sentences."""
    words = {r.fit_on for r in run.records if r.task == task and _tuned(r.entry)}
    splits: dict[str, None] = {}
    for fit in run.header.get("fitted_on", ()):
        if fit.get("task") == task and fit.get("fit_on") in words:
            splits |= dict.fromkeys(s for s in map(str, fit.get("splits", ())) if s != task)
    return tuple(splits)


def _tuned(entry: str) -> bool:
    try:
        return bool(parse_entry(entry).tuners)
    except HengyuError:  # a method that is not installed here
        return False


def places_of(run: Run | None, data: Path | None, datasets: tuple[Path, ...]) -> tuple[Path | None, tuple[Path, ...]]:
    """Return where data and cards are: as given, else where they were when a run was made."""
    if run is None:
        return data, datasets
    known = find_sources(run.path)
    return data or (Path(known.data) if known.data else None), datasets or tuple(map(Path, known.datasets))
