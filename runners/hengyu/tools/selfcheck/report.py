"""The self-check of a model on a terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hengyu.base.environment import environment
from hengyu.base.escapes import plain
from hengyu.report.page.public import public_command
from hengyu.tools.selfcheck.change import Change
from hengyu.tools.selfcheck.run import Findings
from hengyu.tools.selfcheck.subject import LIMIT_DISTANCE, LIMIT_POINTS, LIMIT_UNKNOWN, Check

__all__ = ["print_findings", "to_json"]

SCHEMA = 1
_STYLES = {"holds": "green", "broken": "bold red", "not run": "dim"}
_PIPED = 200
_NARROWEST = 130  # columns: narrower terminals get one block per check


def print_findings(findings: Findings, console: Console | None = None) -> None:
    """Print what was checked, the checks as a table, and a one-line summary."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_PIPED, color_system=None)
    subject, yardstick = findings.subject, findings.subject.yardstick
    sample = subject.sample
    pairs = f"{sample.task}, {len(sample.labels)} pairs, {len(sample.texts)} texts"
    _say(console, f"{subject.encoder.id}, pooling {subject.pooling}, {subject.spec.dtype}, on {pairs}", "bold")
    score = f"no score ({yardstick.no_score})" if yardstick.spearman is None else f"{100 * yardstick.spearman:.2f}"
    _say(console, f"Spearman x 100: {score}; unrelated texts are {yardstick.spread:.2g} apart (mean cosine distance)")
    for title, checks in (
        ("what must not change the vectors", findings.invariances),
        ("what may", findings.sensitivities),
    ):
        if console.width >= _NARROWEST:
            console.print(_table(title, checks))
        else:
            _stack(console, title, checks)
    _say(console, _summary(findings), "bold red" if findings.broken else "bold green")


def to_json(findings: Findings, command: str = "") -> dict[str, Any]:
    """Return all findings; distances and scores unrounded, points are Spearman x 100."""
    subject, yardstick = findings.subject, findings.subject.yardstick
    return {
        "schema": SCHEMA,
        "encoder": subject.encoder.id,
        "revision": subject.encoder.revision,
        "identity": dict(findings.identity),
        "pooling": subject.pooling,
        "task": subject.sample.task,
        "pairs": len(subject.sample.labels),
        "texts": len(subject.sample.texts),
        "spearman": yardstick.spearman,
        "no_score": yardstick.no_score,
        "spread": yardstick.spread,
        "limits": {"distance": LIMIT_DISTANCE, "points": LIMIT_POINTS, "unknown": LIMIT_UNKNOWN},
        "broken": list(findings.broken),
        "invariances": [asdict(c) for c in findings.invariances],
        "sensitivities": [asdict(c) for c in findings.sensitivities],
        "environment": environment(public_command(command)),
    }


def _table(title: str, checks: tuple[Check, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in ("texts", "largest", "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Spearman", justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for check in checks:
        style = _STYLES.get(check.status, "")
        status = "" if check.status == "note" else check.status
        numbers = _numbers(check.change)
        table.add_row(Text(plain(check.name)), Text(status, style), *map(Text, numbers), Text(plain(check.verdict)))
    return table


def _stack(console: Console, title: str, checks: tuple[Check, ...]) -> None:
    console.print()
    _say(console, title, "italic")
    for check in checks:
        status = "" if check.status == "note" else f": {check.status}"
        _say(console, f"{check.name}{status}", _STYLES.get(check.status, "bold"))
        texts, largest, mean, points = _numbers(check.change)
        named = (("texts", texts), ("largest", largest), ("mean", mean), ("Spearman", points))
        numbers = ", ".join(f"{name} {value}" for name, value in named if value)
        for line in (check.verdict, numbers):
            if line:
                console.print(Padding(Text(plain(line)), (0, 0, 0, 2)))
    console.print()


def _numbers(change: Change | None) -> list[str]:
    if change is None:
        return ["", "", "", ""]
    far = ["" if v is None else f"{v:.1e}" if v else "0" for v in (change.largest, change.mean)]
    points = "" if change.points is None else _signed(change.points)
    if change.low is not None and change.high is not None and (change.low, change.high) != (0.0, 0.0):
        points += f" [{_signed(change.low)}, {_signed(change.high)}]"
    return [str(change.texts), *far, points]


def _signed(points: float) -> str:
    return f"{round(points, 2) + 0.0:+.2f}"  # + 0.0: no -0.00


def _summary(findings: Findings) -> str:
    ran = sum(c.status != "not run" for c in findings.invariances)
    limits = f"cosine distance {LIMIT_DISTANCE:g}, Spearman {LIMIT_POINTS:g} points"
    if findings.broken:
        return f"broken: {', '.join(findings.broken)} (limits: {limits})"
    return f"all {ran} invariances that could be checked hold (limits: {limits})"


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(plain(line), style), soft_wrap=True)
