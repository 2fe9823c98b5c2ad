"""The leaderboard of a run on a terminal, whatever its kind."""

from __future__ import annotations

from rich.console import Console

from hengyu.report.board.terminal import print_sts_board
from hengyu.report.retrieval.text import print_retrieval
from hengyu.storage.records import Run
from hengyu.tasks.interface.registry import find_task

__all__ = ["print_board"]


def print_board(run: Run, console: Console | None = None) -> None:
    """Print a run's leaderboard."""
    (print_retrieval if find_task(run.kind).layout == "tables" else print_sts_board)(run, console or Console())
