"""The gate's result for a terminal, as Markdown and as JSON; see `.junit` and `.annotations` for the other formats."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hengyu.base.escapes import markdown, markdown_row, plain
from hengyu.evaluation.gate.findings import EXIT, EXIT_WORDS
from hengyu.evaluation.gate.gate import Judgement, Verdict
from hengyu.report.board.board import percent
from hengyu.report.board.cell import p_words

__all__ = ["gate_json", "gate_markdown", "print_gate", "shown", "summary", "warning"]

_PASSES = 5  # number of passing cells shown: those that fell most
_HEADS = ("verdict", "task", "encoder", "pooling", "entry", "fit_on")
_NUMBERS = ("baseline", "now", "change", "its interval", "p", "p (Holm)", "allowed", "test")
_STYLES = {"fail": "bold red", "not measured": "red", "inconclusive": "yellow", "new": "cyan", "pass": "green"}


def summary(judged: Judgement) -> str:
    """Return the gate's result as one sentence."""
    counts = ", ".join(f"{n} {word}" for word, n in judged.counts.items() if n) or "no cells"
    kind = next(word for word, code in EXIT.items() if code == judged.code)
    colour = "green" if judged.code == 0 else "red"
    words = EXIT_WORDS[kind]
    if judged.code == 0 and judged.counts["inconclusive"]:
        words = "no significant fall, but not every fall could be told from chance"
    return f"{colour}: {words} ({counts}; exit code {judged.code})"


def warning(judged: Judgement) -> str:
    """Return one sentence on inconclusive falls; "" if there are none, or if they are red anyway."""
    n = judged.counts["inconclusive"]
    if not n or judged.strict:
        return ""
    cells = "1 cell" if n == 1 else f"{n} cells"
    return (
        f"warning: {cells} fell beyond the tolerance, and the data cannot tell whether that is chance: inconclusive. "
        f"Evaluate more pairs or queries, allow more, or make it red with --strict (exit code {EXIT['inconclusive']})."
    )


def shown(judged: Judgement) -> tuple[list[Verdict], int]:
    """Return the notable verdicts, and the number of other passing cells."""
    passes = [v for v in judged.verdicts if v.verdict == "pass"]
    fallen = [v for v in passes if v.change is not None and v.change.size < 0][:_PASSES]
    return [v for v in judged.verdicts if v.verdict != "pass"] + fallen, len(passes) - len(fallen)


def tests(judged: Judgement) -> list[str]:
    """Return how the cells were compared, one sentence per test."""
    found: dict[tuple[str, float, int], int] = {}
    for v in judged.verdicts:
        if v.change is not None:
            groups = v.change.groups if v.change.test == "paired" else 0
            place = (v.change.test, groups, v.change.resamples)
            found[place] = found.get(place, 0) + 1
    words = {
        "identical": "the same number as in the baseline",
        "stored": "compared by the stored intervals, as if the two runs had other data: it detects large falls only",
        "none": "no interval to compare by",
    }
    lines = []
    for (test, groups, resamples), n in sorted(found.items()):
        how = words.get(test, f"compared on the same data, {groups:,.0f} independent groups of pairs or queries")
        lines.append(f"{n} cells: {how}" + (f", under the same {resamples} resamples" if resamples else ""))
    return lines


def _row(v: Verdict) -> tuple[str, ...]:
    names = (v.verdict, v.key.task, v.key.encoder, v.key.pooling, v.key.entry, v.key.fit_on)
    if v.key.metric != "spearman":
        names = (*names[:1], f"{v.key.task} {v.key.metric}", *names[2:])
    interval = f"[{percent(v.low, signed=True)}, {percent(v.high, signed=True)}]" if v.low is not None else ""
    test = v.change.test if v.change else ""
    moved = v.change is not None and test not in ("identical", "none")
    if not moved:
        interval = ""
    return (
        *names,
        percent(v.before.value if v.before else None),
        percent(v.now.value if v.now else None),
        percent(v.change.size, signed=True) if v.change else "",
        interval,
        *((p_words(v.raw_p), p_words(v.p)) if moved else ("", "")),
        percent(None if v.tolerance is None else -v.tolerance),
        test,
        v.reason,
    )


def _said(judged: Judgement) -> list[tuple[str, str]]:
    """Return the lines below the table, each with its kind."""
    lines = [("finding", f"{f.kind}: {f.where}: {f.words}") for f in judged.findings]
    lines += [("note", note) for note in judged.notes]
    return lines + [("test", line) for line in tests(judged)]


def _title(judged: Judgement) -> str:
    return f"{judged.current.suite}: run {judged.current.run} against {judged.baseline.source}"


def _legend(judged: Judgement) -> str:
    level = f"{100 * judged.level:g} %"
    return (
        f"scores x 100; change: now minus baseline, with its {level} interval over all compared cells (Holm); "
        f"p (Holm), the p-value adjusted over them, decides: significant at {1 - judged.level:.2g} or below"
    )


def print_gate(judged: Judgement, console: Console | None = None, *, everything: bool = False) -> None:
    """Print the verdicts, the worst first, and the result as the last line."""
    console = console or Console()
    rows, more = (list(judged.verdicts), 0) if everything else shown(judged)
    _say(console, _title(judged), "bold")
    _say(console, _legend(judged), "dim")
    table = _table(rows)
    natural = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
    if rows and not console.is_terminal:
        Console(file=console.file, width=natural, color_system=None).print(table)
    elif rows and natural <= console.width:
        console.print(table)
    else:
        for v in rows:
            _stack(console, v)
    if more:
        _say(console, f"{more} more cells pass")
    for kind, line in _said(judged):
        _say(console, line if kind == "test" else f"{kind}: {line}", "yellow" if kind == "finding" else "dim")
    if line := warning(judged):
        _say(console, line, "bold yellow")
    _say(console, summary(judged), "bold green" if judged.code == 0 else "bold red")


def _table(rows: Sequence[Verdict]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    for head in _HEADS:
        table.add_column(head, no_wrap=True)
    for head in _NUMBERS:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("why", no_wrap=True)
    for v in rows:
        table.add_row(*(Text(plain(cell)) for cell in _row(v)), style=_STYLES[v.verdict])
    return table


def _stack(console: Console, v: Verdict) -> None:
    """One block per cell, for a terminal too narrow for the table."""
    verdict, *names, before, now, change, interval, p, adjusted, allowed, test, reason = _row(v)
    _say(console, f"{verdict}: {' | '.join(names)}", _STYLES[v.verdict])
    moved = f"{before or '-'} -> {now or '-'}"
    tested = f"p {p}, Holm {adjusted}" if p else ""
    parts = [moved, change, interval, tested, f"allowed {allowed}" if allowed else "", test]
    _say(console, "  " + "  ".join(part for part in parts if part) + f": {reason}")


def _say(console: Console, line: str, style: str = "") -> None:
    # with soft wrap the terminal folds lines, and a pipe gets whole ones
    console.print(Text(plain(line), style), soft_wrap=True)


def gate_markdown(judged: Judgement) -> str:
    """Return the gate's result as Markdown, for the step summary of a CI."""
    rows, more = shown(judged)
    lines = [f"### {markdown(summary(judged))}", ""]
    if line := warning(judged):
        lines += [markdown(line), ""]
    lines += [markdown(_title(judged)), "", markdown(_legend(judged)) + ".", ""]
    if rows:
        lines.append(markdown_row((*_HEADS, *_NUMBERS, "why")))
        lines.append(markdown_row([*("---" for _ in _HEADS), *("--:" for _ in _NUMBERS), "---"]))
        for v in rows:
            name, *rest = (markdown(cell) for cell in _row(v))
            lines.append(markdown_row([f"**{name}**" if v.verdict == "fail" else name, *rest]))
        lines.append("")
    items = [f"- {'' if kind == 'test' else f'**{kind}**: '}{markdown(line)}" for kind, line in _said(judged)]
    if more:
        items.insert(0, f"- {more} more cells pass")
    return "\n".join([*lines, *items]) + "\n"


def gate_json(judged: Judgement) -> str:
    """Return all findings of the gate; scores are not x 100, missing numbers are null."""
    content = {
        "schema": 1,
        "exit_code": judged.code,
        "summary": summary(judged),
        "level": judged.level,
        "strict": judged.strict,
        "baseline": {"source": judged.baseline.source, "suite": judged.baseline.suite, "run": judged.baseline.run},
        "current": {"source": judged.current.source, "suite": judged.current.suite, "run": judged.current.run},
        "counts": judged.counts,
        "findings": [{**asdict(f), "exit_code": EXIT[f.kind]} for f in judged.findings],
        "notes": list(judged.notes),
        "cells": [_cell(v) for v in judged.verdicts],
    }
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _whole(number: float) -> int | None:
    return int(number) if math.isfinite(number) else None


def _cell(v: Verdict) -> dict[str, Any]:
    return {
        **v.key._asdict(),
        "verdict": v.verdict,
        "reason": v.reason,
        "baseline": v.before.value if v.before else None,
        "now": v.now.value if v.now else None,
        "change": v.change.size if v.change else None,
        "change_low": v.low,
        "change_high": v.high,
        "p": v.p,
        "p_raw": v.raw_p,
        "groups": _whole(v.change.groups) if v.change else None,
        "groups_needed": v.needed,
        "test": v.change.test if v.change else None,
        "resamples": v.change.resamples if v.change else None,
        "tolerance": v.tolerance,
        "floor": v.floor,
    }
