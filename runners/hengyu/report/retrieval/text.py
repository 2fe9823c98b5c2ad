"""A retrieval run on a terminal and in Markdown."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from hengyu.base.escapes import markdown, markdown_row, plain
from hengyu.report.board.board import parted, percent
from hengyu.report.board.cell import word_of
from hengyu.report.board.terminal import print_differences
from hengyu.report.retrieval.tables import Line, Table, make_tables, shown
from hengyu.storage.records import Run
from hengyu.tasks.interface.base import Metric
from hengyu.tasks.interface.registry import find_task

__all__ = ["print_retrieval", "retrieval_markdown"]

_WORDS = ("encoder", "pooling", "entry", "similarity", "fit_on")
_ROW = ("encoder", "pooling", "entry", "fit_on")
_ENDS = ("interval", "delta", "its interval")
_NARROWEST = 26  # characters that a text column is folded down to before more is left out


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
        if not console.is_terminal:
            drawn = _drawn(table, columns, _unsaid(table))
            Console(file=console.file, width=max(_width(console, drawn), 20), color_system=None).print(drawn)
        else:
            _print_fitting(console, table, columns)
        for reason in dict.fromkeys(line.reason for line in table.lines if line.reason):
            _say(console, f"no number: {reason}")
    if not tables:
        _say(console, "no records: nothing was evaluated")
        return
    level = f"{100 * tables[0].level:g} %"
    _say(
        console,
        f"Scores x 100 with {level} confidence intervals; delta: nDCG@10 against exact search (flat), paired; "
        "exact@10: neighbours of exact search in the same vectors; rates on one thread, for 100 neighbours; "
        "*: no other row has more nDCG@10 and is faster, or smaller",
        "dim",
    )
    kind = find_task(run.kind)
    print_differences(console, run, kind.metric(kind.main).title)
    if run.unverified:
        _say(console, f"not verified: {run.unverified}", "bold red")


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(plain(line), style), soft_wrap=True)


def _brief(table: Table) -> tuple[Metric, ...]:
    return tuple(c for c in table.columns if c.brief)


def _names(line: Line, left_out: frozenset[str] = frozenset()) -> list[str]:
    encoder, pooling, entry, fit_on = line.key
    entry = entry if "similarity" in left_out else parted(entry)[0]
    return [plain(word) for word in (encoder, pooling, entry, line.similarity, fit_on)]


def _unsaid(table: Table) -> frozenset[str]:
    """Return the columns that are left out where lines do not differ in them."""
    return frozenset() if table.similarities else frozenset(("similarity",))


def _number(table: Table, place: int, column: Metric) -> str:
    line = table.lines[place]
    text = shown(column, line.value(column.name))
    if not text:
        return word_of(line.status) if column.name == table.main and line.status != "ok" else "-"
    return text + ("*" if place in table.fronts.get(column.name, ()) else "")


def _ends(table: Table, line: Line) -> list[str]:
    """Return the interval of nDCG@10, the difference from flat, and its interval."""
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


def _width(console: Console, table: RichTable) -> int:
    """Return how wide a table is with nothing folded."""
    return Measurement.get(console, console.options.update(max_width=100_000), table).maximum


def _print_fitting(console: Console, table: Table, columns: tuple[Metric, ...]) -> None:
    """Print as many columns as fit the width: of those that do not, costs that rows are not marked by go first, from the right."""
    same = {name for name, value in table.constant.items() if value and name in _WORDS}
    if same:
        _say(console, "all rows: " + ", ".join(f"{n} {plain(table.constant[n])}" for n in _WORDS if n in same), "dim")
    kept = {table.main, *table.fronts}
    spare = [c.name for c in reversed(columns) if c.name not in kept]
    steps = ["interval", *(c for c in spare if _unit_of(columns, c) != "score"), "its interval", *spare]
    for count in range(len(steps) + 1):
        left_out = frozenset(steps[:count]) | same | _unsaid(table)
        drawn = _drawn(table, columns, left_out)
        if _width(console, drawn) - _foldable(table, left_out) <= console.width:
            console.print(drawn)
            if count:
                _say(
                    console, "what does not fit is on the page and in the exports, and here in a wider terminal", "dim"
                )
            return
    _stack(console, table, columns)


def _unit_of(columns: tuple[Metric, ...], name: str) -> str:
    """Return the unit of a column."""
    return next(c.unit for c in columns if c.name == name)


def _foldable(table: Table, left_out: frozenset[str]) -> int:
    """Return how many columns of the terminal folding the text columns can save."""
    names = [_names(line, left_out) for line in table.lines]
    widest = {word: max(cell_len(name[i]) for name in names) for i, word in enumerate(_WORDS)}
    return sum(max(0, width - _NARROWEST) for word, width in widest.items() if word not in left_out)


def _drawn(table: Table, columns: tuple[Metric, ...], left_out: frozenset[str] = frozenset()) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    drawn.add_column("#", justify="right", no_wrap=True)
    for word in _WORDS:
        if word not in left_out:
            drawn.add_column(word, overflow="fold")
    ends = [word for word in _ENDS if word not in left_out]
    shown = [column for column in columns if column.name not in left_out]
    for column in shown:
        drawn.add_column(column.title, justify="right", no_wrap=True)
        if column.name == table.main:
            for word in ends:
                drawn.add_column(word, justify="right", no_wrap=True)
    for place, line in enumerate(table.lines):
        last = dict(zip(_ENDS, _ends(table, line), strict=True))
        cells: list[str] = []
        for column in shown:
            cells += [_number(table, place, column), *([last[w] for w in ends] if column.name == table.main else [])]
        names = [name for word, name in zip(_WORDS, _names(line, left_out), strict=True) if word not in left_out]
        drawn.add_row(str(line.rank or "-"), *(Text(w) for w in (*names, *cells)))
    return drawn


def _stack(console: Console, table: Table, columns: tuple[Metric, ...]) -> None:
    for place, line in enumerate(table.lines):
        encoder, pooling, entry, _, fit_on = _names(line, frozenset(("similarity",)))
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
        lines.append(markdown_row(["#", *_ROW, *heads, "delta to flat"]))
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
