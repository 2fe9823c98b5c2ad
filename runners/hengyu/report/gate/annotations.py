"""The gate's result as GitHub annotations: workflow commands on stdout."""

from __future__ import annotations

from hengyu.base.escapes import workflow_message, workflow_property
from hengyu.evaluation.gate.gate import Judgement
from hengyu.report.board.board import percent
from hengyu.report.gate.text import summary

__all__ = ["gate_annotations"]

_MOST = 9  # GitHub shows ten of each kind per step; the first gives the total


def gate_annotations(judged: Judgement) -> list[str]:
    """Return workflow commands: the result and its reasons as errors, inconclusive cells as warnings."""
    errors = [(f"gate: {f.kind}", f"{f.where}: {f.words}") for f in judged.findings]
    warnings: list[tuple[str, str]] = []
    for v in judged.verdicts:
        if v.verdict in ("fail", "inconclusive"):
            before, now = (percent(n.value) if n else "-" for n in (v.before, v.now))
            line = (f"gate: {v.verdict}", f"{v.key}: {before} -> {now}, {v.reason}")
            (errors if v.verdict == "fail" or judged.strict else warnings).append(line)
    lines = [_command("error", "gate", summary(judged))] if judged.code else []
    lines += [_command("error", title, words) for title, words in errors[:_MOST]]
    return lines + [_command("warning", title, words) for title, words in warnings[:_MOST]]


def _command(kind: str, title: str, words: str) -> str:
    return f"::{kind} title={workflow_property(title)}::{workflow_message(words)}"
