"""All runs below a reports folder as one page: what each evaluated, when, and its best row with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from hengyu.base.errors import HengyuError
from hengyu.report.board.cell import between
from hengyu.report.page.page import make_page
from hengyu.report.page.public import hide_paths
from hengyu.report.page.summaries import Listed, Summaries
from hengyu.report.summary.methods import summarise
from hengyu.storage.records import Run, list_runs, load_run, write_bytes
from hengyu.tasks.interface.registry import find_task

__all__ = ["Trend", "listed", "trends", "write_index", "write_listing"]

_FEWEST, _DRAWN = 3, 20  # points of a trend


def write_index(reports: Path) -> Path:
    """Write ``site/index.html`` of a reports folder anew, with a line for every run in its records/, and return its path."""
    site = reports / "site"
    summaries = Summaries(site)
    lines = [listed(folder, site, summaries) for folder in list_runs(reports)]
    summaries.save()
    return write_listing(lines, site)


def write_listing(runs: Iterable[Listed], out: Path) -> Path:
    """Write ``out/index.html``, an index of these runs, and return its path."""
    path = out / "index.html"
    lines = list(runs)
    page = make_page(
        "index.html.j2",
        [f"{name}.js" for name in ("address", "language", "sorting", "facets", "scrolling", "sheets", "start")],
        tables=True,
        runs=lines,
        trends=trends(lines),
    )
    write_bytes(path, page.encode("utf-8", "replace"))
    return path


def listed(folder: Path, site: Path, summaries: Summaries | None = None) -> Listed:
    """Return the line of a run's folder; one that cannot be read says why. ``site`` is where pages and index lie.

    With ``summaries`` a run that has not changed since it was listed is not read again.
    """
    written = datetime.fromtimestamp((folder / "records.json").stat().st_mtime, UTC)
    date = f"{written:%Y-%m-%d %H:%M}"
    try:
        line = summaries.line(folder, _line) if summaries else _line(load_run(folder))
    except HengyuError as e:
        problem = hide_paths(str(e).replace(f"{folder.parent}/", ""), [folder.absolute()])
        return Listed(folder.name, "", "", date=date, problem=problem)
    page = site / line.id / "index.html"
    return replace(line, date=date, link=f"{quote(line.id)}/index.html" if page.is_file() else "")


def _line(run: Run) -> Listed:
    kind = find_task(run.kind)
    suite = run.header.get("suite", {})
    encoders = run.header.get("encoders", ())
    models = tuple(str(e["encoder"]) for e in encoders if not e.get("baseline"))
    summary = summarise(run)
    top = summary.top
    baseline = next((x for x in summary.rows if x.baseline and not x.unranked and x is not top), None)
    return Listed(
        run.id,
        str(suite.get("name") or ""),
        hide_paths(str(suite.get("title") or "")),
        tuple(str(t["task"]) for t in run.header.get("tasks", ())),
        models or tuple(str(e["encoder"]) for e in encoders),
        len({r.row for r in run.records if r.metric == kind.main and r.on_board}),
        kind.metric(kind.main).title,
        summary.column if top else "",
        top.value if top else None,
        between(top.main.low, top.main.high) if top else "",
        top.row if top else ("", "", "", ""),
        baseline.name if baseline else "",
        baseline.value if baseline else None,
        verified=not run.unverified,
    )


@dataclass(frozen=True)
class Trend:
    """How the best score of a run's suite went: over the runs with the same tasks, the oldest first, to this one.

    Attributes:
        change: this run's minus the one's before it.
        before: the id of the one before it.
        path: the scores as places in percent, (x, y), y from the top; () for fewer than three.
    """

    change: float
    before: str
    path: tuple[tuple[float, float], ...]


def trends(runs: Sequence[Listed]) -> dict[str, Trend]:
    """Return the trend of each run that has an earlier one of the same suite, tasks and column, by its id.

    The scores are of the best methods, baselines apart; nothing is tested, as the encoders may differ.
    """
    series: dict[tuple[object, ...], list[Listed]] = {}
    for run in sorted(runs, key=lambda r: r.date):
        if run.value is not None and not run.problem:
            series.setdefault((run.suite, run.tasks, run.of, run.metric), []).append(run)
    found = {}
    for line in series.values():
        for i, run in enumerate(line[1:], 1):
            values = [r.value for r in line[: i + 1] if r.value is not None]
            found[run.id] = Trend(values[-1] - values[-2], line[i - 1].id, _path(values[-_DRAWN:]))
    return found


def _path(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    if len(values) < _FEWEST:
        return ()
    low, high = min(values), max(values)
    room = (high - low) or 1.0
    return tuple(
        (round(4 + 92 * i / (len(values) - 1), 2), round(85 - 70 * (v - low) / room, 2)) for i, v in enumerate(values)
    )
