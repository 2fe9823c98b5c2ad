"""The board on a terminal, or in a pipe, where every row is one line and nothing is cut."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hengyu.base.escapes import plain
from hengyu.report.board.board import Board, Cell, Row, audits_said, make_board, parted, percent, raters_said
from hengyu.report.board.cell import p_words
from hengyu.storage.records import Run
from hengyu.storage.records.audits import load_audits
from hengyu.tasks.interface.registry import find_task

__all__ = ["print_differences", "print_task_board"]

_NARROWEST = {"entry": 26}  # characters that a text column is folded down to before the board is stacked instead
_NARROW = 11  # the same of the others
_WORDS = ("encoder", "pooling", "entry", "similarity", "fit_on")
# what a terminal leaves out, one after the other, until the board fits
_FOLDED = ("heads", "interval", "w-mean", "its interval")


def print_task_board(run: Run, console: Console) -> None:
    """Print the main board of a run: a table where it fits the terminal or goes into a pipe, else a block a row."""
    board = make_board(run)
    suite = run.header.get("suite", {})
    _say(console, f"{suite.get('title') or suite.get('name') or 'leaderboard'}  ({run.id})", "bold")
    level, reference = f"{100 * board.level:g} %", find_task(run.kind).reference
    bound = not board.columns or any(column.ceiling is not None for column in board.columns)
    _say(
        console,
        f"{board.title} x 100 with {level} confidence intervals; delta: against {reference} of the same encoder and pooling, "
        "▲ ▼ significant; *: best of its column"
        + (f"; max, ≤: the ceiling, the highest {board.title} the labels allow" if bound else ""),
        "dim",
    )
    if not board.rows:
        _say(console, "no records: nothing was evaluated")
    elif not console.is_terminal:
        table = _table(board, _unsaid(board))
        Console(file=console.file, width=max(_width(console, table), 20), color_system=None).print(table)
    else:
        _print_fitting(console, board)
    audits = load_audits(run)
    for head in run.header.get("tasks", ()):
        if said := raters_said(head):
            _say(console, f"{head['task']}: {said}", "dim")
        for said in audits_said(audits, str(head.get("task"))):
            _say(console, f"{head['task']}: {said}", "dim")
    for number, note in enumerate(board.notes, 1):
        _say(console, f"[{number}] {note}")
    if any(cell.status in ("incomplete", "missing") for row in board.rows for cell in row.cells):
        _say(console, "-: no number; rows with a missing result get no mean and no rank")
    print_differences(console, run, board.title)
    if run.unverified:
        _say(console, f"not verified: {run.unverified}", "bold red")


def print_differences(console: Console, run: Run, title: str) -> None:
    """Print the paired differences that a run's suite asks for; ``title`` is what its main metric is called."""
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
    _say(console, f"Differences, {title} x 100, paired: the same items under the same resamples; {about}", "bold")
    if console.is_terminal:
        console.print(table)
    else:
        natural = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
        Console(file=console.file, width=max(natural, 20), color_system=None).print(table)


def _say(console: Console, line: str, style: str = "") -> None:
    # soft wrap leaves the folding to the terminal, so that a pipe gets whole lines
    console.print(Text(plain(line), style), soft_wrap=True)


def _width(console: Console, table: Table) -> int:
    """Return how wide a table is with nothing folded."""
    return Measurement.get(console, console.options.update(max_width=100_000), table).maximum


def _print_fitting(console: Console, board: Board) -> None:
    """Print the board as a table with as much as fits the width, or as a block a row where too little does."""
    same = {name for name, value in board.constant.items() if value}
    if same:
        told = ", ".join(
            f"{name} {plain(board.constant[name])}" for name in ("encoder", "pooling", "fit_on") if name in same
        )
        if told:
            _say(
                console, f"all rows: {told}" + (" (baselines apart)" if any(r.mark for r in board.rows) else ""), "dim"
            )
    for count in range(len(_FOLDED) + 1):
        left_out = frozenset(_FOLDED[:count]) | same | _unsaid(board)
        table = _table(board, left_out)
        if _width(console, table) - _foldable(board, left_out) <= console.width:
            console.print(table)
            if count > 1:
                _say(
                    console, "what does not fit is on the page and in the exports, and here in a wider terminal", "dim"
                )
            return
    _stack(console, board)


def _unsaid(board: Board) -> frozenset[str]:
    """Return the columns that are left out where rows do not differ in them."""
    return frozenset() if board.similarities else frozenset(("similarity",))


def _heads(board: Board, *, short: bool = False) -> list[str]:
    """Return the heading of each column: its task, its number of pairs and its ceiling; ``short`` without the pairs."""
    splits = {c.task.rpartition(":")[2] for c in board.columns if c.kind == "task"}
    heads = []
    for column in board.columns:
        if short:
            name = column.task.rpartition(":")[0] if column.kind == "task" and len(splits) == 1 else column.task
            heads.append(
                plain(name or column.task) + (f"\n≤{percent(column.ceiling)}" if column.ceiling is not None else "")
            )
            continue
        ceiling = f"max {percent(column.ceiling)}" if column.ceiling is not None else ""
        heads.append(f"{plain(column.task)}\nn {column.counted}\n{ceiling}".rstrip())
    return heads


def _table(board: Board, left_out: frozenset[str] = frozenset()) -> Table:
    """Return the board as a table without the columns of these names; without "heads" their headings are short."""
    padding = (0, 0) if "heads" in left_out else (0, 1)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    for word in _WORDS:
        if word not in left_out:
            table.add_column(word, overflow="fold")
    shown = [i for i, column in enumerate(board.columns) if column.task not in left_out]
    after = [i for i in shown if board.main is not None and i > board.main]  # w-mean: the interval is not its own
    shown = shown[: len(shown) - len(after)]
    heads = _heads(board, short="heads" in left_out)
    for i in shown:
        table.add_column(Text(heads[i].replace(":", ":\n", 1)), justify="right", no_wrap=True)
    ends = [word for word in ("interval", "delta", "its interval") if board.main is not None and word not in left_out]
    for word in ends:
        table.add_column(word, justify="right", no_wrap=True)
    for i in after:
        table.add_column(Text(heads[i]), justify="right", no_wrap=True)
    for row in board.rows:
        main = row.cells[board.main] if board.main is not None else None
        last = {"interval": main.interval, "delta": _delta(main), "its interval": main.delta_interval} if main else {}
        texts = [Text(name) for word, name in zip(_WORDS, _names(row, left_out), strict=True) if word not in left_out]
        table.add_row(
            Text(str(row.rank or "-")),
            *texts,
            *(_number(row.cells[i], short="heads" in left_out) for i in shown),
            *(Text(last[word]) for word in ends),
            *(_number(row.cells[i], short="heads" in left_out) for i in after),
            style="dim" if row.baseline else None,
        )
    return table


def _delta(cell: Cell) -> str:
    """Return the difference, with a mark where it is significant."""
    return cell.delta + ({1: "▲", -1: "▼"}.get(cell.clear, " ") if cell.delta else "")


def _names(row: Row, left_out: frozenset[str] = frozenset()) -> list[str]:
    mark = f" ({row.mark})" if row.mark else ""
    entry = plain(row.entry if "similarity" in left_out else parted(row.entry)[0])
    if row.mark and "encoder" in left_out:
        entry = f"{plain(row.encoder)}{mark}" if row.baseline else f"{entry} ({plain(row.encoder)}, {row.mark})"
    return [plain(row.encoder) + mark, plain(row.pooling), entry, plain(row.similarity), plain(row.fit_on)]


def _number(cell: Cell, *, short: bool = False) -> Text:
    if cell.value is None:
        text = f"[{cell.note}]" if short and cell.note else cell.text  # the note below says the rest
        return Text(text, "red" if cell.status == "failed" else "dim")
    return Text(cell.text + ("*" if cell.best else " "), "bold" if cell.best else "")


def _foldable(board: Board, left_out: frozenset[str]) -> int:
    """Return how many columns of the terminal folding the text columns can save."""
    saved = 0
    for word, names in zip(_WORDS, zip(*(_names(row, left_out) for row in board.rows), strict=True), strict=True):
        if word not in left_out:
            saved += max(0, max(cell_len(name) for name in names) - _NARROWEST.get(word, _NARROW))
    return saved


def _stack(console: Console, board: Board) -> None:
    """One block a row, for a terminal too narrow for the table."""
    width = max(cell_len(column.task) for column in board.columns)
    for row in board.rows:
        encoder, pooling, entry, _, fit_on = _names(row, frozenset(("similarity",)))
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
