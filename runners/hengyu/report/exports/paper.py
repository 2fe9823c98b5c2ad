"""Grids as LaTeX for a paper: booktabs, groups by encoder, intervals, significance, best and second best, caption and label."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from hengyu.base.escapes import latex, plain
from hengyu.report.exports.grid import Grid, GridCell

__all__ = ["UNCERTAINTY", "paper_table", "tabular"]

UNCERTAINTY = ("interval", "pm", "none")
_PACKAGES = "\\usepackage{booktabs}, and ctex (XeLaTeX) for Chinese names"
_SAID = {
    "interval": "Small: {level} confidence intervals. ",
    "pm": "Small: half the width of the {level} confidence interval. ",
    "none": "",
}


def paper_table(grid: Grid, title: str, run: str, uncertainty: str = "interval") -> str:
    """Return a grid as a table with caption and label; ``uncertainty`` is one of `UNCERTAINTY`."""
    clear = {c.clear for line in grid.lines for c in line.cells}
    level = f"{100 * grid.level:g}\\,\\%"
    told = f"{latex(grid.metric)} $\\times$ 100. " if grid.metric else "Scores $\\times$ 100. "
    has = any(c.low for line in grid.lines for c in line.cells)
    told += _SAID[uncertainty].replace("{level}", level) if has else ""
    marks = [
        w
        for way, w in ((1, "$^\\dagger$ significantly better"), (-1, "$^\\ddagger$ significantly worse"))
        if way in clear
    ]
    if marks:
        told += f"{', '.join(marks)} than {latex(grid.reference)} of the same encoder and pooling. "
    if any(c.place for line in grid.lines for c in line.cells):
        told += "Best in bold, second best underlined."
    name = f"{title}, {grid.label}" if grid.label else title
    width = len(grid.names) + len(grid.columns)
    body = [_row([*map(latex, grid.names), *map(latex, grid.columns)]), "\\midrule"]
    several = len({line.group for line in grid.lines}) > 1
    for i, (group, lines) in enumerate(groupby(grid.lines, key=lambda line: line.group)):
        if several:
            body += [*(["\\midrule"] if i else []), f"\\multicolumn{{{width}}}{{l}}{{\\textit{{{latex(group)}}}}} \\\\"]
        body += [_row([*map(latex, line.names), *(_cell(c, uncertainty) for c in line.cells)]) for line in lines]
    if grid.feet:
        body.append("\\midrule")
        blank = [""] * (len(grid.names) - 1)
        body += [_row([word, *blank, *map(latex, cells)]) for word, cells in grid.feet]
    columns = "l" * len(grid.names) + "r" * len(grid.columns)
    label = re.sub(r"[^\w-]+", "-", f"{run}-{grid.label}" if grid.label else run)
    return tabular(columns, body, f"{latex(name)}. {told}".rstrip(), label, " ".join(run.split()))


def tabular(columns: str, body: Sequence[str], caption: str, label: str, about: str) -> str:
    """Return a table with a caption and a label around rows that are LaTeX."""
    return "\n".join(
        [
            f"% {plain(about)}: {_PACKAGES}",
            "\\begin{table}[t]",
            "\\centering",
            f"\\caption{{{caption}}}",
            f"\\label{{tab:{label}}}",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        ]
    ) + "\n"  # fmt: skip


def _row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _cell(cell: GridCell, uncertainty: str) -> str:
    if not cell.text:
        return "--"
    text = {1: f"\\textbf{{{latex(cell.text)}}}", 2: f"\\underline{{{latex(cell.text)}}}"}.get(
        cell.place, latex(cell.text)
    )
    text += {1: "$^\\dagger$", -1: "$^\\ddagger$"}.get(cell.clear, "")
    if cell.low and uncertainty == "interval":
        text += f" {{\\scriptsize [{cell.low}, {cell.high}]}}"
    if cell.half and uncertainty == "pm":
        text += f" {{\\scriptsize $\\pm${cell.half}}}"
    return text
