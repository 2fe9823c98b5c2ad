"""The board on a terminal, or in a pipe, where every row is one line and nothing is cut."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hengyu.base.escapes import plain
from hengyu.report.board.board import Board, Cell, Row, make_board, percent, raters_said
from hengyu.report.board.cell import p_words
from hengyu.storage.records import Run
from hengyu.tasks.interface.registry import find_task

__all__ = ["print_task_board"]

_NARROWEST = 11  # a text column is folded down to this before the board is stacked instead
_WORDS = ("encoder", "pooling", "entry", "fit_on")


def print_task_board(run: Run, console: Console) -> None:
    """Print the main board of a run: a table where it fits the terminal or goes into a pipe, else a block a row."""
    board = make_board(run)
    suite = run.header.get("suite", {})
    _say(console, f"{suite.get('title') or suite.get('name') or 'leaderboard'}  ({run.id})", "bold")
    level, reference = f"{100 * board.level:g} %", find_task(run.kind).reference
    bound = not board.columns or any(column.ceiling is not None for column in board.columns)
    _say(
        console,
        f"{board.title} x 100 with {level} intervals; delta: against {reference} of the same encoder and pooling; "
        "*: best of its column" + (f"; max: the ceiling, the highest {board.title} the labels allow" if bound else ""),
        "dim",
    )
    table = _table(board)
    unbound = console.options.update(max_width=100_000)
    natural = Measurement.get(console, unbound, table).maximum
    if not board.rows:
        _say(console, "no records: nothing was evaluated")
    elif not console.is_terminal:
        Console(file=console.file, width=max(natural, 20), color_system=None).print(table)
    elif natural - _foldable(board) <= console.width:
        console.print(table)
    else:
        _stack(console, board)
    for head in run.header.get("tasks", ()):
        if said := raters_said(head):
            _say(console, f"{head['task']}: {said}", "dim")
    for number, note in enumerate(board.notes, 1):
        _say(console, f"[{number}] {note}")
    if any(cell.status in ("incomplete", "missing") for row in board.rows for cell in row.cells):
        _say(console, "-: no number; a row with a hole has no mean and no rank")
    _differences(console, run, board.title)
    if run.unverified:
        _say(console, f"not verified: {run.unverified}", "bold red")
    for warning in run.header.get("warnings", ()):
        _say(console, f"warning: {warning}", "yellow")


def _differences(console: Console, run: Run, title: str) -> None:
    """Print the paired differences that the suite asks for."""
    if not run.differences:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    for word in ("task", "encoder", "pooling", "fit_on", "entry", "minus"):
        table.add_column(word, overflow="fold")
    for word in ("difference", "interval", "p", "p (Holm)"):
        table.add_column(word, justify="right", no_wrap=True)
    table.add_column("verdict")
    for d in run.differences:
        words = (d.task, d.encoder, d.pooling, d.fit_on, d.entry, d.against)
        span = f"[{percent(d.low, signed=True)}, {percent(d.high, signed=True)}]"
        numbers = (percent(d.value, signed=True), Text(span), p_words(d.p), p_words(d.p_adjusted))
        table.add_row(*(Text(plain(w)) for w in words), *numbers, d.verdict)
    about = "significant where the interval excludes 0, by the p-value of the line alone; p (Holm) is adjusted over all lines"
    _say(console, f"Differences, {title} x 100, paired: the same pairs under the same resamples; {about}", "bold")
    if console.is_terminal:
        console.print(table)
    else:
        natural = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
        Console(file=console.file, width=max(natural, 20), color_system=None).print(table)


def _say(console: Console, line: str, style: str = "") -> None:
    # soft wrap leaves the folding to the terminal, so that a pipe gets whole lines
    console.print(Text(plain(line), style), soft_wrap=True)


def _heads(board: Board) -> list[str]:
    heads = []
    for column in board.columns:
        ceiling = f"max {percent(column.ceiling)}" if column.ceiling is not None else ""
        heads.append(f"{plain(column.task)}\nn {column.n}\n{ceiling}".rstrip())
    return heads


def _table(board: Board) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    for word in _WORDS:
        table.add_column(word, overflow="fold")
    for head in _heads(board):
        table.add_column(Text(head.replace(":", ":\n", 1)), justify="right", no_wrap=True)
    if board.main is not None:
        table.add_column("interval", no_wrap=True)
        table.add_column("delta", justify="right", no_wrap=True)
        table.add_column("its interval", no_wrap=True)
    for row in board.rows:
        main = row.cells[board.main] if board.main is not None else None
        ends = [main.interval, main.delta, main.delta_interval] if main else []
        texts = [Text(w) for w in _names(row)]
        table.add_row(
            Text(str(row.rank or "-")),
            *texts,
            *(_number(cell) for cell in row.cells),
            *(Text(e) for e in ends),
            style="dim" if row.baseline else None,
        )
    return table


def _names(row: Row) -> list[str]:
    mark = f" ({row.mark})" if row.mark else ""
    return [plain(row.encoder) + mark, plain(row.pooling), plain(row.entry), plain(row.fit_on)]


def _number(cell: Cell) -> Text:
    if cell.value is None:
        return Text(cell.text, "red" if cell.status == "failed" else "dim")
    return Text(cell.text + ("*" if cell.best else " "), "bold" if cell.best else "")


def _foldable(board: Board) -> int:
    """Return how many columns of the terminal folding the text columns can save."""
    saved = 0
    for names in zip(*(_names(row) for row in board.rows), strict=True):
        saved += max(0, max(cell_len(name) for name in names) - _NARROWEST)
    return saved


def _stack(console: Console, board: Board) -> None:
    """One block a row, for a terminal too narrow for the table."""
    width = max(cell_len(column.task) for column in board.columns)
    for row in board.rows:
        encoder, pooling, entry, fit_on = _names(row)
        console.print()
        _say(console, f"{row.rank or '-'}. {entry}", "bold")
        _say(console, f"   {encoder}, pooling {pooling}, fit_on {fit_on}", "dim")
        for column, cell in zip(board.columns, row.cells, strict=True):
            delta = f"delta {cell.delta}" if cell.delta else ""
            line = "  ".join(w for w in (f"{_number(cell).plain:>7}", cell.interval, delta) if w)
            _say(console, f"   {column.task}{' ' * (width - cell_len(column.task))}  {line}")
    console.print()
    for column, head in zip(board.columns, _heads(board), strict=True):
        _say(console, head.replace("\n", "  ") + (f": {column.about}" if column.kind == "mean" else ""))
