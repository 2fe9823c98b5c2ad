"""A retrieval run as one file that fetches nothing: tables that can be sorted, and pictures drawn beforehand."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from hengyu.base.json_files import read_seconds
from hengyu.report.board.board import percent
from hengyu.report.board.cell import p_words, word_of
from hengyu.report.charts.angles import angles
from hengyu.report.charts.clouds import cloud_sheet, clouds_of
from hengyu.report.page.page import in_chinese, make_page
from hengyu.report.page.provenance import command_of, sheets
from hengyu.report.page.reproduce import command_of_row, reproduce_sheet
from hengyu.report.page.worst_pairs import Mistakes
from hengyu.report.retrieval.pareto import pareto_svg
from hengyu.report.retrieval.tables import Line, Table, make_tables, shown
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run
from hengyu.storage.records.significance import direction
from hengyu.tasks.interface.base import Metric
from hengyu.tasks.interface.registry import find_task

__all__ = ["retrieval_page"]


def retrieval_page(run: Run, wrong: Sequence[Mistakes] = (), index: str = "") -> str:
    """Return the page of a run of a retrieval suite; queries that went wrong and a link to an index where they are given."""
    clouds = clouds_of(run)
    angled = angles(clouds)
    return make_page(
        "retrieval.html.j2",
        ["language.js", "sorting.js", "facets.js", "sheets.js", "searchview.js", "paste.js", "start.js"],
        tables=True,
        charts=angled is not None,
        run=run,
        index=index,
        suite=run.header.get("suite", {}),
        warnings=run.header.get("warnings", ()),
        parts=[(table, _pictures(table)) for table in make_tables(run)],
        main=find_task(run.kind).main,
        wrong=wrong,
        differences=_differences(run),
        shown=shown,
        word_of=word_of,
        about=_about,
        clear=_clear,
        command=command_of(run),
        command_of_row=command_of_row(run),
        sheets=(*sheets(run, read_seconds(run.path / "timings.json")), reproduce_sheet(run)),
        clouds=cloud_sheet(clouds, searched=True),
        angles=angled,
    )


def _pictures(table: Table) -> dict[str, str]:
    """Return the picture of a task in each language, as data addresses; an image runs no script of its own."""
    svgs = {"en": pareto_svg(table), "zh-Hans": pareto_svg(table, in_chinese)}
    return {
        language: f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
        for language, svg in svgs.items()
        if svg is not None
    }


def _differences(run: Run) -> Sheet:
    """Return the paired differences that the suite asks for."""
    rows = tuple(
        (
            *(d.task, d.encoder, d.pooling, d.fit_on, d.entry, d.against),
            percent(d.value, signed=True),
            f"[{percent(d.low, signed=True)}, {percent(d.high, signed=True)}]",
            *(p_words(d.p), p_words(d.p_adjusted), d.verdict),
        )
        for d in run.differences
    )
    heads = (
        "task",
        "encoder",
        "pooling",
        "fit_on",
        "entry",
        "minus",
        "difference",
        "interval",
        "p",
        "p (Holm)",
        "verdict",
    )
    about = "nDCG@10 × 100 of the first entry minus that of the second: the same queries under the same resamples. "
    about += "p (Holm) is adjusted over all lines."
    return Sheet("Differences", about, heads, rows, frozenset({6, 7, 8, 9}))


def _about(table: Table, column: Metric, line: Line) -> str:
    """Say a cell in one sentence."""
    r = line.records.get(column.name)
    if r is None or r.value is None:
        return f"{table.task}: {line.status}" + (f", {line.reason}" if line.reason else "")
    parts = [f"{table.task}: {column.title} {shown(column, r.value)}", column.about]
    if r.low is not None and r.high is not None:
        parts.append(f"{100 * table.level:g} % interval [{percent(r.low)}, {percent(r.high)}]")
    if r.delta is not None:
        parts.append(f"against flat {percent(r.delta, signed=True)}")
    if r.seeds is not None:
        spread = "" if r.spread is None else f", standard deviation {r.spread:.3g}"
        parts.append(f"{r.seeds} seed{'s' if r.seeds != 1 else ''}{spread}")
    parts.append(f"{r.n:,} queries")
    return "; ".join(parts)


def _clear(line: Line, metric: str) -> int:
    """Return 1 or -1 where the difference to flat is a significant gain or loss, else 0."""
    r = line.records.get(metric)
    return 0 if r is None else direction(r.delta_low, r.delta_high, r.n)
