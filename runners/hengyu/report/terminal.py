"""The leaderboard of a run on a terminal, whatever its kind."""

from __future__ import annotations

from rich.console import Console

from hengyu.report.board.terminal import print_task_board
from hengyu.report.layout import by_layout
from hengyu.report.retrieval.text import print_retrieval
from hengyu.storage.records import Run

__all__ = ["print_board"]


def print_board(run: Run, console: Console | None = None) -> None:
    """Print a run's leaderboard."""
    by_layout(run, {"board": print_task_board, "search": print_retrieval})(run, console or Console())
