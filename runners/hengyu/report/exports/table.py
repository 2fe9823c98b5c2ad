"""A run in the formats that other programs read.

``csv`` and ``json`` hold every record, one a row, sweep points and single draws too. A pivot wants the card and the split apart, so
``task`` is the part before the last colon and ``split`` the part after it: ``LCQMC``/``test``; over the splits of a
card ``LCQMC``/``avg`` and ``LCQMC``/``w-avg``; over tasks ``mean`` and ``w-mean`` with an empty split. A run whose rows
differ in their similarity has a column ``similarity`` at the end, which repeats what the entry says. Task, split, the
row (encoder, pooling, entry, fit_on), metric, sweep, draw and seed name one record. ``rank`` is the row's among the Spearman
numbers of its column, equal ones sharing the better; ``rank_low`` and ``rank_high`` are the ranks it has over the resamples,
and ``tied`` says whether it is told apart from the best (see `hengyu.storage.records.Standing`). Control and format characters of a
text are shown as code points in ``csv``, like ``<U+202E>``; ``json`` escapes what it must.
Scores stay as computed (not x 100), an empty cell or null stands for "no number". Text stays as it is: a spreadsheet may
take a name that begins with = + - @ for a formula, so import names from others as text, or use `excel`.

``md`` and ``latex`` hold the board of the main metric as `hengyu.report.board.board` orders it, x 100; of a retrieval run a table
a task. ``latex`` is a paper's table (`hengyu.report.exports.paper`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.base.escapes import in_page, markdown, markdown_row
from hengyu.report.board.board import Cell, make_board, parted, percent, several_similarities
from hengyu.report.exports.grid import Grid, board_grid, table_grid
from hengyu.report.exports.paper import paper_table
from hengyu.report.layout import by_layout
from hengyu.report.page.public import public
from hengyu.report.retrieval.tables import make_tables
from hengyu.report.retrieval.text import retrieval_markdown
from hengyu.storage.records import Record, Run, Standing
from hengyu.storage.records.clouds import load_clouds
from hengyu.tasks.interface.registry import find_task

__all__ = ["ALIASES", "COLUMNS", "FORMATS", "excel", "export", "export_clouds", "export_latex", "tidied", "tidy"]

COLUMNS = (
    *("suite", "task", "split", "encoder", "pooling", "entry", "dim", "metric", "value", "low", "high", "n", "ceiling"),
    *("fit_on", "seed", "seconds", "status", "delta", "delta_low", "delta_high", "interval", "reason", "sweep"),
    *("draw", "seeds", "spread", "bytes", "rank", "tied", "rank_low", "rank_high"),
)
_FLAGS = ("sweep", "draw", "tied")
_EQUAL = 1e-9


def export(run: Run, format: str) -> str:
    """Return a run as text in one of `FORMATS`, with a final newline; raises `HengyuError` for another word."""
    format = ALIASES.get(format, format)
    if format not in FORMATS:
        raise HengyuError(f"format '{format}' is unknown{did_you_mean(format, FORMATS)}")
    return FORMATS[format](public(run))


def tidied(run: Run) -> list[dict[str, Any]]:
    """Return the records of a run as rows of `COLUMNS`, and of "similarity" where rows differ in it."""
    stands: dict[str, list[Standing]] = {}
    for s in run.standings:
        stands.setdefault(s.task, []).append(s)
    ranked = {
        (task, s.row): (s, 1 + sum(other.behind > s.behind + _EQUAL for other in column))
        for task, column in stands.items()
        for s in column
    }
    main = find_task(run.kind).main
    rows = [
        tidy(r, *ranked.get((r.task, r.row), ())) if r.metric == main and r.on_board else tidy(r) for r in run.records
    ]
    if any(r.of is not None for r in run.records):
        rows = [row | {"of": r.of} for row, r in zip(rows, run.records, strict=True)]
    if several_similarities(r.entry for r in run.records):
        rows = [row | {"similarity": parted(row["entry"])[1]} for row in rows]
    return rows


def tidy(record: Record, standing: Standing | None = None, rank: int | None = None) -> dict[str, Any]:
    """Return a record as one row of `COLUMNS`, with how its row stands in its column."""
    card, colon, split = record.task.rpartition(":")
    own = {"task": card, "split": split} if colon else {"task": record.task, "split": ""}
    stood = {name: getattr(standing, name, None) for name in ("tied", "rank_low", "rank_high")}
    found: dict[str, Any] = own | stood | {"rank": rank}
    return {name: found[name] if name in found else getattr(record, name) for name in COLUMNS}


def export_clouds(run: Run, format: str) -> str:
    """Return the clouds of a run as ``csv`` (the numbers) or ``json`` (spectrum and angles too), one a row.

    Raises `HengyuError` for another format, and for a run that kept none.
    """
    if format not in ("csv", "json"):
        raise HengyuError(f"clouds have no format '{format}'; use csv or json")
    found = [asdict(c) for c in load_clouds(run.path)]
    if not found:
        raise HengyuError(f"{run.path}: has no embedding geometry stored; run the suite again with this version")
    if format == "json":
        return _lines(found)
    names = tuple(name for name in found[0] if name not in ("angles", "angles_from", "spectrum"))
    return _table(names, found)


def _csv(run: Run) -> str:
    rows = tidied(run)
    for row in rows:
        row |= {k: "true" if row[k] else "false" for k in _FLAGS if row[k] is not None}
    return _table(tuple(rows[0]) if rows else COLUMNS, rows)


def _json(run: Run) -> str:
    return _lines(tidied(run))


def _table(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = (in_page(v) if isinstance(v, str) else v for v in (row[name] for name in names))
        writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in values])
    return out.getvalue()


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "[\n" + ",\n".join(json.dumps(r, ensure_ascii=False, allow_nan=False) for r in rows) + "\n]\n"


def _markdown(run: Run) -> str:
    return by_layout(run, {"board": _board_markdown, "search": retrieval_markdown})(run)


def _board_markdown(run: Run) -> str:
    board = make_board(run)
    suite = run.header.get("suite", {})
    heads = [f"{markdown(c.task)}<br>n {c.counted}" + _under(c.ceiling, "<br>ceiling ") for c in board.columns]
    delta = ["delta to raw"] if board.main is not None else []
    lines = [f"**{markdown(str(suite.get('title') or suite.get('name') or run.id))}**, run {markdown(run.id)}", ""]
    lines += [f"{board.title} x 100 with {100 * board.level:g} % intervals; the best of each column in bold.", ""]
    lines.append(markdown_row(["#", "encoder", "pooling", "entry", "fit_on", *heads, *delta]))
    lines.append(markdown_row(["--:", "---", "---", "---", "---", *("--:" for _ in [*heads, *delta])]))
    for row in board.rows:
        cells = [_md_cell(cell) for cell in row.cells]
        main = row.cells[board.main] if board.main is not None else None
        change = [" ".join(w for w in (main.delta, main.delta_interval) if w)] if main else []
        names = [
            markdown(row.encoder) + (f" ({row.mark})" if row.mark else ""),
            markdown(row.pooling),
            markdown(row.entry),
        ]
        lines.append(markdown_row([str(row.rank or "-"), *names, markdown(row.fit_on), *cells, *change]))
    notes = [f"[{i}] {markdown(note)}  " for i, note in enumerate(board.notes, 1)]
    if run.unverified:
        notes.append("**Not verified**: no checksums show that these numbers are as they were written.")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _under(ceiling: float | None, word: str) -> str:
    return f"{word}{percent(ceiling)}" if ceiling is not None else ""


def _md_cell(cell: Cell) -> str:
    number = f"**{cell.text}**" if cell.best else cell.text
    return f"{number} {cell.interval}".rstrip()


def export_latex(run: Run, uncertainty: str = "interval") -> str:
    """Return the tables of a run for a paper; ``uncertainty`` is "interval", "pm" or "none"."""
    run = public(run)
    reference = find_task(run.kind).reference
    suite = run.header.get("suite", {})
    title = str(suite.get("title") or suite.get("name") or run.id)
    ways: dict[str, Callable[[Run], list[Grid]]] = {
        "board": lambda run: [board_grid(make_board(run), reference)],
        "search": lambda run: [table_grid(table, reference) for table in make_tables(run)],
    }
    return "\n".join(paper_table(grid, title, run.id, uncertainty) for grid in by_layout(run, ways)(run))


def excel(csv_text: str) -> bytes:
    """Return CSV as Excel opens it: a byte order mark for Chinese, Windows line ends, and no text that it takes for a formula."""
    rows = list(csv.reader(io.StringIO(csv_text)))
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([_no_formula(cell) for cell in row] for row in rows)
    return out.getvalue().encode("utf-8-sig")


def _no_formula(cell: str) -> str:
    """Return a cell with an apostrophe before what is no number and begins like a formula."""
    if not cell or cell[0] not in "=+-@\t\r" or cell == "-":
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


FORMATS: dict[str, Callable[[Run], str]] = {"csv": _csv, "json": _json, "md": _markdown, "latex": export_latex}
ALIASES = {"markdown": "md", "tex": "latex"}
