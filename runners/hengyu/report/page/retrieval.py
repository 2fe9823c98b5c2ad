"""A retrieval run as one file that fetches nothing: tables that can be sorted, and pictures drawn beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from hengyu.report.board.board import percent
from hengyu.report.board.cell import p_words, word_of
from hengyu.report.charts.angles import angles
from hengyu.report.charts.clouds import cloud_sheet, clouds_of
from hengyu.report.charts.page_charts import started
from hengyu.report.page.glance import glance, sections
from hengyu.report.page.page import make_page
from hengyu.report.page.worst_pairs import Mistakes
from hengyu.report.retrieval.tables import Line, Table, make_tables, shown
from hengyu.report.sheet import Sheet
from hengyu.report.summary.methods import summarise
from hengyu.report.summary.pictures import Scatter, scatter
from hengyu.storage.records import Run
from hengyu.storage.records.significance import direction
from hengyu.tasks.interface.base import Metric
from hengyu.tasks.interface.registry import find_task

__all__ = ["retrieval_page"]


def retrieval_page(run: Run, wrong: Sequence[Mistakes] = (), index: str = "") -> str:
    """Return the page of a run of a retrieval suite; queries that went wrong and a link to an index where they are given."""
    summary = summarise(run)
    clouds = clouds_of(run)
    angled = next(iter(started(filter(None, [angles(clouds)]), summary)), None)
    # the mean is what rows are read by, and comes first
    tables = sorted(make_tables(run), key=lambda table: table.task != summary.column)
    scripts = ("address", "language", "sorting", "facets", "scrolling", "sheets", "searchview", "paste", "start")
    return make_page(
        "retrieval.html.j2",
        [f"{name}.js" for name in scripts],
        tables=True,
        charts=angled is not None,
        **glance(run, summary) | {"costs": ()},  # each task has its own
        index=index,
        parts=[(table, _pictures(run, table)) for table in tables],
        main=find_task(run.kind).main,
        wrong=wrong,
        differences=_differences(run),
        shown=shown,
        word_of=word_of,
        about=_about,
        clear=_clear,
        clouds=cloud_sheet(clouds, searched=True),
        angles=angled,
        sections=[
            *sections(("summary", "Summary", summary.rows), ("board-section", "Leaderboard", True)),
            *((f"task-{i}", table.task) for i, table in enumerate(tables, 1)),
            *sections(
                ("diagnostics", "Diagnostics", clouds),
                ("errors", "Errors", wrong),
                ("provenance", "Reproduce this", True),
                ("cite", "Cite this", True),
            ),
        ],
    )


def _pictures(run: Run, table: Table) -> list[Scatter]:
    """Return the pictures of a task: what is found, by its main metric and of exact search, against the costs of its kind."""
    kind = find_task(run.kind)
    brief = [m.name for m in table.columns if m.unit == "score" and m.brief and m.name != kind.main]
    qualities = [kind.main, *brief[-1:]]
    made = []
    for quality in qualities:
        lines = [line for line in table.lines if line.value(quality) is not None]
        scores = [100 * (line.value(quality) or 0.0) for line in lines]
        groups = [line.index for line in lines]
        ranks = [str(line.rank or "") for line in lines]
        for cost in kind.traded:
            about = kind.metric(cost)
            costs = [line.value(cost) for line in lines]
            names = [line.key for line in lines]
            more = about.higher_is_better
            made.append(
                scatter(kind.metric(quality).title, about.title, scores, costs, groups, names, ranks, more=more)
            )
    return [picture for picture in made if picture is not None]


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
        parts.append(f"{100 * table.level:g} % confidence interval [{percent(r.low)}, {percent(r.high)}]")
    if r.delta is not None:
        parts.append(f"difference {percent(r.delta, signed=True)}")
    if r.seeds is not None:
        spread = "" if r.spread is None else f", standard deviation {r.spread:.3g}"
        parts.append(f"{r.seeds} seed{'s' if r.seeds != 1 else ''}{spread}")
    parts.append(f"{r.n:,} queries")
    return "; ".join(parts)


def _clear(line: Line, metric: str) -> int:
    """Return 1 or -1 where the difference from flat is a significant gain or loss, else 0."""
    r = line.records.get(metric)
    return 0 if r is None else direction(r.delta_low, r.delta_high, r.n)
