"""Finds a row by its number on the leaderboard, or by words that identify it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.methods.grammar import COSINE, Entry, parse_entry
from hengyu.report.board.board import make_board
from hengyu.storage.records import Run
from hengyu.tasks.interface.registry import find_task

__all__ = ["Choice", "Row", "choose", "named_row", "written"]

Row = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on
_SHOWN = 6
_SAYABLE = (COSINE, "dot", "euclidean", "manhattan")  # what sentence-transformers knows, under its names


@dataclass(frozen=True)
class Choice:
    """A row of a run, the task whose sentences it is fitted on, and the seed of its random steps."""

    row: Row
    task: str  # "LCQMC:test"; the first task if the row is fitted on nothing, or on the same split for all tasks
    entry: Entry
    seed: int | None  # None without random steps

    @property
    def seeded(self) -> Entry:
        """The entry with its seed."""
        return self.entry if self.seed is None else self.entry.with_seed(self.seed)

    @property
    def fit_on(self) -> str:
        """What it is fitted on, as on the leaderboard."""
        return self.row[3]

    @property
    def similarity(self) -> str:
        """What its vectors are compared by."""
        return self.entry.similarity.name if self.entry.similarity else COSINE

    def value_in(self, run: Run) -> float | None:
        """Return the run's value of the main metric for the row, task and seed; None if there is none."""
        main = find_task(run.kind).main
        found = [r for r in run.records if r.row == self.row and r.task == self.task and r.metric == main]
        drawn = [r.value for r in found if r.draw and r.seed == self.seed]
        return next(iter(drawn or [r.value for r in found if not r.draw]), None)


def written(row: Row) -> str:
    """Return a row as typed on the command line."""
    return " | ".join(row)


def choose(run: Run, words: str, task: str = "", seed: int | None = None) -> Choice:
    """Return the row that ``words`` identify; raises `HengyuError` for none, several, or a baseline.

    Args:
        run: the run.
        words: the row's number on the leaderboard ("3"), or parts of it separated by bars: "mean | whitening(dim=16)". A
            part is the full name of an encoder, pooling, entry or fit_on; they must identify one row.
        task: needed if the row is fitted on different data for each task, and the run has several.
        seed: one of the row's seeds; by default the first.
    """
    rows = _rows(run)
    row = _by_number(run, int(words)) if words.strip().isdecimal() else named_row(rows, words)
    kind = next((e.get("kind") for e in run.header["encoders"] if e["encoder"] == row[0]), "")
    if kind != "model":
        what = "a baseline" if kind == "lexical" else "an external result"
        raise HengyuError(f"row '{written(row)}': '{row[0]}' is {what}, not a model; choose a row of an encoder")
    entry = parse_entry(row[2])
    if entry.similarity is not None and entry.similarity.name not in _SAYABLE:
        raise HengyuError(
            f"row '{written(row)}': a folder of sentence-transformers compares vectors by {', '.join(_SAYABLE)}, and not by "
            f"{entry.similarity}; choose the row of one of these"
        )
    return Choice(row, _task(run, row, task), entry, _seed(run, row, entry, seed))


def _rows(run: Run) -> list[Row]:
    """Return all rows that have some score, including points of sweeps."""
    kind = find_task(run.kind)
    if kind.index:
        return []  # what ends in an index cannot be exported as a model
    return list(
        dict.fromkeys(r.row for r in run.records if r.metric == kind.main and not r.draw and r.value is not None)
    )


def _by_number(run: Run, number: int) -> Row:
    board = make_board(run)
    found = [r.key for r in board.rows if r.rank == number]
    if not found:
        last = max((r.rank for r in board.rows if r.rank), default=0)
        raise HengyuError(f"row {number}: the leaderboard of {run.id} has no such row, only rows 1 to {last}")
    return _only(found, str(number))


def named_row(rows: Iterable[Row], words: str) -> Row:
    """Return the one row that has all parts of ``words``, which bars separate; raises `HengyuError` for none or several."""
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
    """Return an entry in its canonical form, anything else unchanged."""
    try:
        return str(parse_entry(part))
    except HengyuError:
        return part


def _only(found: list[Row], words: str) -> Row:
    if len(found) == 1:
        return found[0]
    shown = "; ".join(written(row) for row in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise HengyuError(f"row '{words}' matches {len(found)} rows; name one of them: {shown}{more}")


def _task(run: Run, row: Row, wanted: str) -> str:
    tasks = [str(t["task"]) for t in run.header["tasks"]]
    if wanted:
        if wanted not in tasks:
            raise HengyuError(f"task '{wanted}': the run {run.id} has no such task{did_you_mean(wanted, tasks)}")
        return wanted
    if len(tasks) > 1 and row[3] != "none" and ":" not in row[3]:
        raise HengyuError(
            f"row '{written(row)}' is fitted on '{row[3]}', so separately for each task; choose one with --task: "
            + ", ".join(tasks)
        )
    return tasks[0]


def _seed(run: Run, row: Row, entry: Entry, wanted: int | None) -> int | None:
    if not entry.stochastic:
        if wanted is not None:
            raise HengyuError(f"row '{written(row)}': it has no random steps; remove --seed")
        return None
    seeds = sorted({r.seed for r in run.records if r.row == row and r.draw}) or [int(run.header["suite"]["seed"])]
    if wanted is not None and wanted not in seeds:
        raise HengyuError(
            f"row '{written(row)}' was evaluated with the seeds {', '.join(map(str, seeds))}, not {wanted}; choose one of them"
        )
    return seeds[0] if wanted is None else wanted
