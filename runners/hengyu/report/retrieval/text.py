"""A retrieval run on a terminal, in Markdown and in LaTeX."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from hengyu.base.escapes import latex, markdown, markdown_row, plain
from hengyu.report.board.board import percent
from hengyu.report.board.cell import word_of
from hengyu.report.board.terminal import print_differences
from hengyu.report.retrieval.tables import Line, Table, make_tables, shown
from hengyu.storage.records import Run
from hengyu.tasks.interface.base import Metric
from hengyu.tasks.interface.registry import find_task

__all__ = ["print_retrieval", "retrieval_latex", "retrieval_markdown"]

_WORDS = ("encoder", "pooling", "entry", "fit_on")


def print_retrieval(run: Run, console: Console | None = None) -> None:
    """Print a retrieval run: one table a task where it fits the terminal or goes into a pipe, else a block a row."""
    console = console or Console()
    suite = run.header.get("suite", {})
    _say(console, f"{suite.get('title') or suite.get('name') or 'retrieval'}  ({run.id})", "bold")
    tables = make_tables(run)
    for table in tables:
        _say(console, f"{plain(table.task)}: {table.about}", "bold")
        columns = _brief(table)
        if not table.lines:
            continue
        drawn = _drawn(table, columns)
        natural = Measurement.get(console, console.options.update(max_width=100_000), drawn).maximum
        if not console.is_terminal:
            Console(file=console.file, width=max(natural, 20), color_system=None).print(drawn)
        elif natural <= console.width:
            console.print(drawn)
        else:
            _stack(console, table, columns)
        for reason in dict.fromkeys(line.reason for line in table.lines if line.reason):
            _say(console, f"no number: {reason}")
    if not tables:
        _say(console, "no records: nothing was evaluated")
        return
    level = f"{100 * tables[0].level:g} %"
    _say(
        console,
        f"Scores x 100 with {level} intervals; delta: nDCG@10 against exact search (flat) in the vectors as they are, paired; "
        "exact@10: neighbours of exact search in the same vectors; rates on one thread, for 100 neighbours; "
        "*: no other row has more nDCG@10 and is faster, or smaller",
        "dim",
    )
    kind = find_task(run.kind)
    print_differences(console, run, kind.metric(kind.main).title)
    if run.unverified:
        _say(console, f"not verified: {run.unverified}", "bold red")
    for warning in run.header.get("warnings", ()):
        _say(console, f"warning: {warning}", "yellow")


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(plain(line), style), soft_wrap=True)


def _brief(table: Table) -> tuple[Metric, ...]:
    return tuple(c for c in table.columns if c.brief)


def _names(line: Line) -> list[str]:
    return [plain(word) for word in line.key]


def _number(table: Table, place: int, column: Metric) -> str:
    line = table.lines[place]
    text = shown(column, line.value(column.name))
    if not text:
        return word_of(line.status) if column.name == table.main and line.status != "ok" else "-"
    return text + ("*" if place in table.fronts.get(column.name, ()) else "")


def _ends(table: Table, line: Line) -> list[str]:
    """Return the interval of nDCG@10, the difference to flat, and its interval."""
    r = line.records.get(table.main)
    if r is None or r.value is None:
        return ["", "", ""]
    return [
        _span(r.low, r.high),
        percent(r.delta, signed=True),
        _span(r.delta_low, r.delta_high, signed=True),
    ]


def _span(low: float | None, high: float | None, *, signed: bool = False) -> str:
    if low is None or high is None:
        return ""
    return f"[{percent(low, signed=signed)}, {percent(high, signed=signed)}]"


def _drawn(table: Table, columns: tuple[Metric, ...]) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    drawn.add_column("#", justify="right", no_wrap=True)
    for word in _WORDS:
        drawn.add_column(word, overflow="fold")
    for column in columns:
        drawn.add_column(column.title, justify="right", no_wrap=True)
        if column.name == table.main:
            for word in ("interval", "delta", "its interval"):
                drawn.add_column(word, justify="right", no_wrap=True)
    for place, line in enumerate(table.lines):
        cells: list[str] = []
        for column in columns:
            cells += [_number(table, place, column), *(_ends(table, line) if column.name == table.main else [])]
        drawn.add_row(str(line.rank or "-"), *(Text(w) for w in (*_names(line), *cells)))
    return drawn


def _stack(console: Console, table: Table, columns: tuple[Metric, ...]) -> None:
    for place, line in enumerate(table.lines):
        encoder, pooling, entry, fit_on = _names(line)
        console.print()
        _say(console, f"{line.rank or '-'}. {entry}", "bold")
        _say(console, f"   {encoder}, pooling {pooling}, fit_on {fit_on}", "dim")
        for column in columns:
            more = " ".join(w for w in _ends(table, line) if w) if column.name == table.main else ""
            _say(console, f"   {column.title:<13}{_number(table, place, column):>10}  {more}".rstrip())
    console.print()


def retrieval_markdown(run: Run) -> str:
    """Return a retrieval run as Markdown, one table a task."""
    suite = run.header.get("suite", {})
    lines = [f"**{markdown(str(suite.get('title') or suite.get('name') or run.id))}**, run {markdown(run.id)}", ""]
    for table in make_tables(run):
        columns = _brief(table)
        heads = [c.title for c in columns]
        lines += [f"{markdown(table.task)}: {table.about}; scores x 100 with {100 * table.level:g} % intervals", ""]
        lines.append(markdown_row(["#", *_WORDS, *heads, "delta to flat"]))
        lines.append(markdown_row(["--:", "---", "---", "---", "---", *("--:" for _ in columns), "--:"]))
        for place, line in enumerate(table.lines):
            span, delta, its = _ends(table, line)
            cells = [
                f"{markdown(_number(table, place, c))} {span if c.name == table.main else ''}".rstrip() for c in columns
            ]
            names = [markdown(word) for word in line.key]
            lines.append(markdown_row([str(line.rank or "-"), *names, *cells, f"{delta} {its}".strip()]))
        lines.append("")
    return "\n".join(lines)


def retrieval_latex(run: Run) -> str:
    """Return a retrieval run as LaTeX (booktabs), one tabular a task."""
    parts = []
    for table in make_tables(run):
        columns = _brief(table)
        rows = [
            f"% {' '.join(run.id.split())}, {' '.join(table.task.split())}: scores x 100; \\usepackage{{booktabs}}",
            f"\\begin{{tabular}}{{rllll{'r' * len(columns)}}}",
            "\\toprule",
            " & ".join(["\\#", "encoder", "pooling", "entry", "fit\\_on", *(latex(c.title) for c in columns)])
            + " \\\\",
            "\\midrule",
        ]
        for place, line in enumerate(table.lines):
            cells = [latex(_number(table, place, c)) for c in columns]
            rows.append(" & ".join([str(line.rank or "--"), *(latex(w) for w in line.key), *cells]) + " \\\\")
        parts.append("\n".join([*rows, "\\bottomrule", "\\end{tabular}"]))
    return "\n\n".join(parts) + "\n"
