"""The leaderboard as one file: opens from a disk, fetches nothing, and can be read without JavaScript."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hengyu.report.board.board import Board, Cell, Column, make_board, metrics_of, percent
from hengyu.report.charts.angles import angles
from hengyu.report.charts.clouds import cloud_sheet, clouds_of
from hengyu.report.charts.page_charts import charts_of, diagnostics_of, started
from hengyu.report.layout import by_layout
from hengyu.report.page.board_json import view
from hengyu.report.page.glance import glance, sections
from hengyu.report.page.page import make_page, script_json
from hengyu.report.page.provenance import published_sheet
from hengyu.report.page.public import public
from hengyu.report.page.retrieval import retrieval_page
from hengyu.report.page.worst_pairs import Mistakes
from hengyu.report.summary.methods import summarise
from hengyu.storage.records import Run, write_bytes

__all__ = ["render", "write_report"]

_LISTED = 3000  # cells up to which the other metrics stand in the page for a reader without JavaScript, too

_READING = (
    "The large number is the score; below it is its confidence interval. Point at a cell for the whole sentence.",
    "The small number beside it is the difference from the reference of the same encoder and pooling; ▲ and ▼ mark a "
    "significant gain or loss: its own paired confidence interval excludes 0. For the mean it has a column of its own.",
    "± over seeds is the standard deviation over the seeds of a method that draws random numbers; its score and interval "
    "are means over them. 1 seed: the variance across seeds was not measured.",
    "The best of each column is underlined. ≈ marks rows that are not significantly worse: a paired test of the "
    "difference under the shared resamples, adjusted over all rows (Holm). A bar at the left marks rows whose mean is not "
    "significantly worse than the best.",
    "Below each rank: its 95% range across bootstrap resamples.",
    "Rows are ordered by the mean; rows with a missing result get no mean and no rank, and come last.",
    "fit_on: what the method was fitted on. target is the sentences of the task itself, without labels.",
    "The ceiling is the highest Spearman that a task's labels allow; no method can pass it.",
    "A baseline uses no model: it is what a method has to beat.",
    "Shading runs from the lowest tenth of a column to its highest number; it only repeats the numbers.",
)


def write_report(run: Run, out: Path, wrong: Sequence[Mistakes] = (), *, listed: bool = False) -> Path:
    """Write ``out/index.html`` and return its path; a page that is ``listed`` links to the index in the folder above."""
    path = out / "index.html"
    write_bytes(path, render(run, wrong, index="../index.html" if listed else "").encode("utf-8", "replace"))
    return path


def render(run: Run, wrong: Sequence[Mistakes] = (), *, index: str = "") -> str:
    """Return the page of a run, with the pairs that went wrong and a link to an index where they are given."""
    run = public(run)
    return by_layout(run, {"board": _board_page, "search": retrieval_page})(run, wrong, index)


def _board_page(run: Run, wrong: Sequence[Mistakes], index: str) -> str:
    board = make_board(run)
    others = [make_board(run, m) for m in metrics_of(run) if m != board.metric]
    summary = summarise(run)
    charts = started(charts_of(run), summary)
    diagnostics = started(diagnostics_of(run), summary)
    clouds = clouds_of(run)
    angled = next(iter(started(filter(None, [angles(clouds)]), summary)), None)
    published = published_sheet(run)
    scripts = ("address", "language", "sorting", "facets", "scrolling", "pinning", "leaderboard", "boardview", "paste")
    return make_page(
        "leaderboard.html.j2",
        [f"{name}.js" for name in (*scripts, "sheets", "start")],
        tables=True,
        charts=bool(charts or diagnostics or angled),
        **glance(run, summary),
        board=board,
        others=others,
        listed=sum(len(o.rows) * len(o.columns) for o in others) <= _LISTED,
        view=script_json(view(board, others, summary.reference)),
        reading=[line for line in _READING if "ceiling" not in line or any(c.ceiling for c in board.columns)],
        standings=run.standings,
        published=published,
        drawn=charts,
        diagnostics=diagnostics,
        clouds=cloud_sheet(clouds),
        angles=angled,
        wrong=wrong,
        index=index,
        about_cell=_about_cell,
        sections=sections(
            ("summary", "Summary", summary.rows),
            ("board-section", "Leaderboard", True),
            ("published", "Published figures beside ours", published.rows),
            ("charts", "Charts", charts),
            ("diagnostics", "Diagnostics", diagnostics or clouds or angled),
            ("errors", "Errors", wrong),
            ("provenance", "Reproduce this", True),
            ("cite", "Cite this", True),
        ),
    )


def _about_cell(board: Board, column: Column, cell: Cell) -> str:
    """Say a cell in one sentence."""
    r = cell.record
    if r is None:
        return f"{column.task}: not evaluated"
    if cell.value is None:
        return f"{column.task}: {r.status}" + (f", {r.reason}" if r.reason else "")
    parts = [f"{column.task}: {board.title} {cell.text}"]
    if cell.interval:
        parts.append(f"{100 * board.level:g} % confidence interval {cell.interval}")
        if r.interval != "bootstrap":
            parts[-1] += f" ({r.interval or 'unknown'})"
    if cell.delta:
        parts.append(f"difference {cell.delta} {cell.delta_interval}".rstrip())
    if cell.spread:
        parts.append(f"standard deviation {cell.spread}" if "seeds" in cell.spread else "one seed only")
    if cell.tied and cell.standing is not None:
        s = cell.standing
        parts.append(f"not significantly worse than the best {percent(s.behind, signed=True)} (p {s.p:.2g})")
    elif cell.standing is not None and not cell.best:
        parts.append(f"worse than the best {percent(cell.standing.behind, signed=True)} (p {cell.standing.p:.2g})")
    if cell.share is not None:
        parts.append(f"{100 * cell.share:.1f} % of its ceiling")
    parts.append(f"{r.n:,} pairs" + ("" if r.of is None else f" of {r.of:,}"))
    if r.bytes is not None:
        parts.append(f"{r.bytes:,} bytes a vector")
    if r.threshold is not None:
        parts.append(f"threshold {r.threshold:.4g} chosen on {r.threshold_on or 'this task'}")
    if r.seconds is not None:
        parts.append(f"{r.seconds:.3g} s")
    return "; ".join(parts)
