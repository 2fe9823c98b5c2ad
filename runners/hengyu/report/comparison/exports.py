"""A comparison as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from hengyu.base.escapes import in_page, latex, markdown, markdown_row
from hengyu.evaluation.comparison import AXES, Comparison, Line
from hengyu.report.board.cell import between, p_words, percent
from hengyu.report.exports.paper import tabular

__all__ = ["FORMATS"]

_HEADS = ("task", *AXES, "first", "second", "difference", "low", "high", "p", "p_holm", "verdict")


def _csv(found: Comparison) -> str:
    """Return a line a row, scores not x 100."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADS)
    for line in found.lines:
        numbers = (*line.values, line.difference, line.low, line.high)
        names = (in_page(name) for name in _names(line))
        tests = ("", "") if line.test == "none" else (repr(line.p), repr(line.p_adjusted))
        writer.writerow([*names, *("" if v is None else repr(v) for v in numbers), *tests, line.verdict])
    return out.getvalue()


def _markdown(found: Comparison) -> str:
    heads = ("task", *AXES, "first", "second", "difference", "p", "p (Holm)", "verdict")
    lines = [markdown_row(map(markdown, heads)), markdown_row(["---"] * 5 + ["--:"] * 5 + ["---"])]
    for line in found.lines:
        span = between(line.low, line.high, signed=True)
        numbers = [*(percent(v) for v in line.values), f"{percent(line.difference, signed=True)} {span}".rstrip()]
        lines.append(markdown_row([*map(markdown, _names(line)), *numbers, *_tests(line), line.verdict]))
    return f"{markdown(_title(found))}: {found.metric} x 100\n\n" + "\n".join(lines) + "\n"


def _latex(found: Comparison) -> str:
    """Return a table for a paper; names that all lines share are said in its caption."""
    names = list(zip(*map(_names, found.lines), strict=True))
    kept = [i for i, column in enumerate(names) if len(set(column)) > 1] or [0]
    same = [column[0] for i, column in enumerate(names) if i not in kept and column[0] not in ("-", "none")]
    heads = ("task", *AXES)
    rows = [[*(heads[i] for i in kept), "first", "second", "difference", "p", "p (Holm)"]]
    body = [" & ".join(map(latex, rows[0])) + " \\\\", "\\midrule"]
    for line in found.lines:
        mark = {"better": "$^\\dagger$", "worse": "$^\\ddagger$"}.get(line.verdict, "")
        span = between(line.low, line.high, signed=True)
        change = percent(line.difference, signed=True) + mark + (f" {{\\scriptsize {span}}}" if span else "")
        cells = [*(latex(_names(line)[i]) for i in kept), *(percent(v) for v in line.values), change]
        body.append(" & ".join([*cells, *map(latex, _tests(line))]) + " \\\\")
    level = f"{100 * found.level:g}\\,\\%"
    caption = (
        f"{latex(_title(found))}: {latex(found.metric)} $\\times$ 100"
        + (f" ({latex(', '.join(same))})" if same else "")
        + f", with {level} confidence intervals of the difference. $^\\dagger$ significantly better, $^\\ddagger$ "
        "significantly worse, by the interval of the line alone; p (Holm) is adjusted over all lines."
    )
    label = re.sub(r"[^\w-]+", "-", "-minus-".join(found.sides))
    return tabular("l" * len(kept) + "r" * 5, body, caption, label, _title(found))


def _names(line: Line) -> tuple[str, ...]:
    return (line.first.task, *(line.shared(axis) for axis in AXES))


def _tests(line: Line) -> tuple[str, str]:
    return ("", "") if line.test == "none" else (p_words(line.p), p_words(line.p_adjusted))


def _title(found: Comparison) -> str:
    return f"{found.sides[0]} minus {found.sides[1]}"


FORMATS: dict[str, Callable[[Comparison], str]] = {"csv": _csv, "md": _markdown, "latex": _latex}
