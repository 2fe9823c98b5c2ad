"""Which row is meant: a number of the board, or words that fit one row alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.methods.grammar import Entry, parse_entry
from hengyu.report.board.board import make_board
from hengyu.storage.records import Run
from hengyu.tasks.interface.registry import find_task

__all__ = ["Choice", "choose", "written"]

Row = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on
_SHOWN = 6


@dataclass(frozen=True)
class Choice:
    """A row of a run, the task whose sentences it is fitted on, and the seed that its random steps draw by."""

    row: Row
    task: str  # "LCQMC:test"; of a row that is fitted on nothing, or on one and the same split everywhere, the first
    entry: Entry
    seed: int | None  # None where nothing is drawn

    @property
    def seeded(self) -> Entry:
        """The entry with its seed written into it."""
        return self.entry if self.seed is None else self.entry.with_seed(self.seed)

    @property
    def fit_on(self) -> str:
        """What it is fitted on, as the board says it."""
        return self.row[3]

    def weighed(self, run: Run) -> float | None:
        """Return the main metric that the run has for the row, task and seed; None where it has none."""
        main = find_task(run.kind).main
        found = [r for r in run.records if r.row == self.row and r.task == self.task and r.metric == main]
        drawn = [r.value for r in found if r.draw and r.seed == self.seed]
        return next(iter(drawn or [r.value for r in found if not r.draw]), None)


def written(row: Row) -> str:
    """Return a row as it is typed."""
    return " | ".join(row)


def choose(run: Run, words: str, task: str = "", seed: int | None = None) -> Choice:
    """Return the row that ``words`` name; raises `HengyuError` for none, for several, and for a baseline.

    Args:
        run: the run.
        words: the row's number on the board ("3"), or parts of it between bars: "mean | whitening(dim=16)". A part is
            the whole name of an encoder, a pooling, an entry or a fit_on; parts that fit one row alone are enough.
        task: needed where the row is fitted on something else for every task, and the run has several.
        seed: one of those that the row was weighed with; by default the first.
    """
    rows = _rows(run)
    row = _by_number(run, int(words)) if words.strip().isdecimal() else _by_parts(rows, words)
    kind = next((e.get("kind") for e in run.header["encoders"] if e["encoder"] == row[0]), "")
    if kind != "model":
        what = "a baseline" if kind == "lexical" else "a number of others"
        raise HengyuError(f"row '{written(row)}': '{row[0]}' is {what}, which is no model; take a row of an encoder")
    entry = parse_entry(row[2])
    return Choice(row, _task(run, row, task), entry, _seed(run, row, entry, seed))


def _rows(run: Run) -> list[Row]:
    """Return all rows that have a number somewhere, points of sweeps among them."""
    kind = find_task(run.kind)
    if kind.index:
        return []  # what ends in an index is no model
    return list(
        dict.fromkeys(r.row for r in run.records if r.metric == kind.main and not r.draw and r.value is not None)
    )


def _by_number(run: Run, number: int) -> Row:
    board = make_board(run)
    found = [r.key for r in board.rows if r.rank == number]
    if not found:
        last = max((r.rank for r in board.rows if r.rank), default=0)
        raise HengyuError(f"row {number}: the board of {run.id} has no such row; its rows are 1 to {last}")
    return _only(found, str(number))


def _by_parts(rows: Iterable[Row], words: str) -> Row:
    found = list(rows)
    for part in filter(None, (p.strip() for p in words.split("|"))):
        name = _canonical(part)
        fitting = [row for row in found if name in row]
        if not fitting:
            known = {field for row in found for field in row}
            short = [k for k in known if k.startswith(part)][:1]
            raise HengyuError(f"row '{words}': no row has '{part}'{did_you_mean(name, short or known)}")
        found = fitting
    return _only(found, words)


def _canonical(part: str) -> str:
    """Return an entry in its canonical form, anything else as it stands."""
    try:
        return str(parse_entry(part))
    except HengyuError:
        return part


def _only(found: list[Row], words: str) -> Row:
    if len(found) == 1:
        return found[0]
    shown = "; ".join(written(row) for row in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise HengyuError(f"row '{words}' may be any of {len(found)}; name one of them: {shown}{more}")


def _task(run: Run, row: Row, wanted: str) -> str:
    tasks = [str(t["task"]) for t in run.header["tasks"]]
    if wanted:
        if wanted not in tasks:
            raise HengyuError(f"task '{wanted}': the run {run.id} has no such task{did_you_mean(wanted, tasks)}")
        return wanted
    if len(tasks) > 1 and row[3] != "none" and ":" not in row[3]:
        raise HengyuError(
            f"row '{written(row)}' is fitted on '{row[3]}', so on other sentences for every task; say which with --task: "
            + ", ".join(tasks)
        )
    return tasks[0]


def _seed(run: Run, row: Row, entry: Entry, wanted: int | None) -> int | None:
    if not entry.stochastic:
        if wanted is not None:
            raise HengyuError(f"row '{written(row)}': nothing in it is drawn; leave --seed out")
        return None
    seeds = sorted({r.seed for r in run.records if r.row == row and r.draw}) or [int(run.header["suite"]["seed"])]
    if wanted is not None and wanted not in seeds:
        raise HengyuError(
            f"row '{written(row)}' was weighed with the seeds {', '.join(map(str, seeds))}, not {wanted}; take one of them"
        )
    return seeds[0] if wanted is None else wanted
