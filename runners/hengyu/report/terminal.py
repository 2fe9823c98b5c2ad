"""The leaderboard of a run on a terminal, whatever its kind: the board, warnings, and what the run shows."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from hengyu.base.escapes import plain
from hengyu.report.board.terminal import print_task_board
from hengyu.report.layout import by_layout
from hengyu.report.retrieval.text import print_retrieval
from hengyu.report.summary.findings import findings
from hengyu.report.summary.warnings import real_warnings
from hengyu.storage.records import Run

__all__ = ["print_board"]


def print_board(run: Run, console: Console | None = None) -> None:
    """Print a run's leaderboard, and its findings last."""
    console = console or Console()
    by_layout(run, {"board": print_task_board, "search": print_retrieval})(run, console)
    for warning in real_warnings(run):
        console.print(Text(plain(f"warning: {warning}"), "yellow"), soft_wrap=True)
    found = findings(run)
    if found:
        console.print(Text("Findings", "bold"))
    for finding in found:
        console.print(Text(plain(f"- {finding.text}")), soft_wrap=True)
