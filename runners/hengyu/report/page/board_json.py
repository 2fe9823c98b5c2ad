"""The boards of all metrics as the page's script reads them: compact JSON, x 100 as shown, in the rows of the Spearman board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hengyu.report.board.board import Board
from hengyu.report.board.cell import Cell

__all__ = ["view"]

BEST, TIED = 1, 2


def view(board: Board, others: Sequence[Board], reference: str = "raw") -> dict[str, Any]:
    """Return the rows, columns and cells of a page.

    A cell with a number is ``[value, low, high, delta, delta low, delta high, shade, mark, spread]`` without what is
    missing at its end, mark 1 for the best of its column and 2 for one that is not told apart from it; a cell without
    one is the place of its word and sentence in ``reasons``. ``reference`` is the entry that others are compared with.
    """
    reasons: dict[tuple[str, str], int] = {}
    metrics = {}
    for one in (board, *others):
        found = {
            (row.key, column.task): cell
            for row in one.rows
            for column, cell in zip(one.columns, row.cells, strict=True)
        }
        metrics[one.metric] = {
            "name": one.title,
            "cells": [
                [_cell(found.get((row.key, column.task), Cell()), one, reasons) for column in board.columns]
                for row in board.rows
            ],
        }
    columns: list[dict[str, Any]] = []
    for c in board.columns:
        sampled = {} if c.of is None else {"of": c.of}
        columns.append({"task": c.task, "kind": c.kind, "n": c.n, **sampled, "ceiling": _scaled(c.ceiling)})
    return {
        "level": board.level,
        "metric": board.metric,
        "main": board.main,
        "reference": reference,
        "columns": columns,
        "rows": [{**_row(row), **({"similarity": row.similarity} if board.similarities else {})} for row in board.rows],
        "metrics": metrics,
        "reasons": list(reasons),
    }


def _row(row: Any) -> Mapping[str, Any]:
    names = ("encoder", "pooling", "entry", "fit_on", "family", "dim", "rank", "baseline")
    seldom = ("bytes", "unranked")  # left out where there is nothing to say
    return {name: getattr(row, name) for name in (*names, *(n for n in seldom if getattr(row, n)))}


def _cell(cell: Cell, board: Board, reasons: dict[tuple[str, str], int]) -> list[Any] | int:
    r = cell.record
    if cell.value is None or r is None:
        why = board.notes[cell.note - 1] if cell.note else cell.status
        return reasons.setdefault((cell.text, why), len(reasons))
    numbers = (cell.value, r.low, r.high, r.delta, r.delta_low, r.delta_high)
    mark = BEST * cell.best + TIED * cell.tied
    out: list[Any] = [*map(_scaled, numbers), cell.heat, mark or None, cell.spread or None]
    while out[-1] is None:
        out.pop()
    return out


def _scaled(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2) + 0.0
