"""An audit on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hengyu.base.escapes import plain
from hengyu.report.board.cell import between, percent
from hengyu.tools.audit.effect import Effect
from hengyu.tools.audit.overlap import SEEN, SENSES, Overlap

__all__ = ["print_effects", "print_overlaps", "to_json"]

_PIPED = 200
_WORDS = {"any": "any sentence seen", "both": "both seen", "together": "seen as a pair"}
_EXAMPLES = 3


def print_overlaps(overlaps: Sequence[Overlap], console: Console | None = None) -> None:
    """Print what collections hold of each task, with a few places and never a sentence."""
    console = _console(console)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    kinds = [kind for kind in SEEN if any(kind in o.masks for o in overlaps)]
    for head in ("task", "sentences", *SENSES, "pairs", *(_WORDS[k] for k in kinds)):
        table.add_column(head, justify="left" if head == "task" else "right")
    for o in overlaps:
        counts = [f"{o.found[s]:,}" for s in SENSES]
        pairs = [f"{int(o.masks[k].sum()):,} ({o.masks[k].mean():.1%})" if k in o.masks else "" for k in kinds]
        table.add_row(*map(Text, (plain(o.task), f"{o.sentences:,}", *counts, f"{o.n:,}", *pairs)))
    console.print(table)
    for o in overlaps:
        for pair, side, sense, name, place in o.examples[:_EXAMPLES]:
            line = f"{o.task}: sentence {side} of pair {pair + 1} is in {name}, {place} ({sense})"
            console.print(Text(plain(line)), soft_wrap=True)


def print_effects(task: str, left: int, found: Sequence[Effect], console: Console | None = None) -> None:
    """Print the scores of a run's rows with and without the pairs that were seen."""
    console = _console(console)
    title = f"{plain(task)}: Spearman x 100 on all pairs, and on the {left:,} that were not seen"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in (
        "encoder",
        "pooling",
        "entry",
        "fit_on",
        "all",
        "unseen",
        "change",
        "its interval",
        "beyond raw",
        "interval",
    ):
        table.add_column(head, justify="left" if head in ("encoder", "pooling", "entry", "fit_on") else "right")
    for e in sorted(found, key=lambda e: -e.whole):
        beyond = (
            ["", ""] if e.beyond is None else [percent(e.beyond[0], signed=True), between(*e.beyond[1:], signed=True)]
        )
        row = [e.key.encoder, e.key.pooling, e.key.entry, e.key.fit_on, percent(e.whole), percent(e.unseen)]
        row += [percent(e.change[0], signed=True), between(*e.change[1:], signed=True), *beyond]
        table.add_row(*(Text(plain(word)) for word in row))
    console.print(table)


def to_json(overlaps: Sequence[Overlap], found: Mapping[str, Sequence[Effect]]) -> dict[str, Any]:
    """Return everything as JSON; pairs are numbered from 0, and no sentence is in it."""
    return {
        "tasks": [
            {
                "task": o.task,
                "pairs": o.n,
                "sentences": o.sentences,
                "found": o.found,
                "seen": {kind: [int(i) for i in mask.nonzero()[0]] for kind, mask in o.masks.items()},
                "places": [
                    {"pair": p, "sentence": side, "sense": sense, "collection": name, "line": line}
                    for p, side, sense, name, line in o.examples
                ],
                "effects": [
                    {
                        **dict(zip(("task", "encoder", "pooling", "entry", "fit_on"), e.key[:5], strict=True)),
                        "all": e.whole,
                        "unseen": e.unseen,
                        "change": list(e.change),
                        "beyond_raw": None if e.beyond is None else list(e.beyond),
                    }
                    for e in found.get(o.task, ())
                ],
            }
            for o in overlaps
        ]
    }


def _console(console: Console | None) -> Console:
    console = console or Console()
    return console if console.is_terminal else Console(file=console.file, width=_PIPED, color_system=None)
