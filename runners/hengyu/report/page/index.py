"""All runs below a reports folder as one page: what each evaluated, when, and its best row with its interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from hengyu.base.errors import HengyuError
from hengyu.report.board.board import make_board
from hengyu.report.board.cell import between
from hengyu.report.layout import by_layout
from hengyu.report.page.page import make_page
from hengyu.report.page.public import hide_paths
from hengyu.report.page.summaries import Listed, Summaries
from hengyu.report.retrieval.tables import make_tables
from hengyu.storage.records import Run, list_runs, load_run, write_bytes
from hengyu.tasks.interface.registry import find_task

__all__ = ["listed", "write_index", "write_listing"]


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
    page = make_page(
        "index.html.j2",
        [f"{name}.js" for name in ("address", "language", "sorting", "facets", "scrolling", "sheets", "start")],
        tables=True,
        runs=list(runs),
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
    value, between_, of, row, rows = by_layout(run, {"board": _best_weighed, "search": _best_found})(run)
    return Listed(
        run.id,
        str(suite.get("name") or ""),
        hide_paths(str(suite.get("title") or "")),
        tuple(str(t["task"]) for t in run.header.get("tasks", ())),
        models or tuple(str(e["encoder"]) for e in encoders),
        rows,
        kind.metric(kind.main).title,
        of,
        value,
        between_,
        row,
        verified=not run.unverified,
    )


_Best = tuple[float | None, str, str, tuple[str, str, str, str], int]
_NONE = ("", "", "", "")


def _best_weighed(run: Run) -> _Best:
    """Return the first row of the board: by the mean, or by the task where there is one."""
    board = make_board(run)
    first = board.rows[0] if board.rows else None
    if first is None or board.main is None or first.cells[board.main].value is None:
        return None, "", "", _NONE, len(board.rows)
    cell = first.cells[board.main]
    return cell.value, cell.interval, board.columns[board.main].task, first.key, len(board.rows)


def _best_found(run: Run) -> _Best:
    """Return the first row of the last table: the mean over the tasks, or the only task."""
    tables = make_tables(run)
    first = tables[-1].lines[0] if tables else None
    record = first.records.get(tables[-1].main) if first is not None else None
    if first is None or record is None or first.rank is None:
        return None, "", "", _NONE, len(tables[-1].lines) if tables else 0
    span = between(record.low, record.high)
    return record.value, span, tables[-1].task, first.key, len(tables[-1].lines)
