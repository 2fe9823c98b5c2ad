"""A comparison on a terminal and as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hengyu.base.errors import HengyuError
from hengyu.base.escapes import plain
from hengyu.evaluation.comparison import AXES, Comparison, Line, compare
from hengyu.report.board.cell import between, p_words, percent
from hengyu.report.charts.forest import Span, forest, places
from hengyu.report.charts.style import Chart
from hengyu.report.page.page import make_page
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run, write_bytes

__all__ = ["print_comparison", "print_drifts", "write_comparison"]

_TESTS = {
    "stored": "by the stored intervals, as if the two sides had other pairs: a careful test that sees large differences only",
    "none": "without an interval to compare by",
}
_STYLES = {"better": "green", "worse": "red"}


def _words(line: Line) -> list[str]:
    numbers = [*(percent(v) for v in line.values), percent(line.difference, signed=True)]
    p = ["", ""] if line.test == "none" else [p_words(line.p), p_words(line.p_adjusted)]
    return [*numbers, between(line.low, line.high, signed=True), *p]


def _title(found: Comparison) -> str:
    return f"{found.sides[0]} minus {found.sides[1]}"


def _about(found: Comparison) -> str:
    return (
        f"{found.metric} x 100, first minus second, with {100 * found.level:g} % intervals; "
        f"a difference is significant where p, the p-value of its own line, is at most {1 - found.level:.2g}, as on every "
        "page; p (Holm) is adjusted over all lines, for a claim about all of them at once"
    )


def _ways(found: Comparison) -> list[str]:
    """Say how many lines were compared by what."""
    tests = dict.fromkeys(line.test for line in found.lines)
    paired = f"pair by pair, under the same {found.resamples:,} resamples"
    numbers = {t: sum(x.test == t for x in found.lines) for t in tests}
    return [f"{n} line{'s' * (n != 1)}: {_TESTS.get(t, paired)}" for t, n in numbers.items()]


def print_drifts(run: Run, console: Console | None = None) -> None:
    """Print what each row of an encoder in a lower precision differs by from the row of the same encoder in float32."""
    console = console or Console()
    every = [e for e in run.header.get("encoders", ()) if e.get("kind") == "model" and e.get("fingerprint")]
    exact = {_settings_of(e): str(e["encoder"]) for e in every if e.get("dtype") == "float32"}
    for other in every:
        usual = exact.get(_settings_of(other))
        if usual is None or other.get("dtype") == "float32":
            continue
        try:
            found = compare(run, chosen={"encoder": [str(other["encoder"]), usual]})
        except HengyuError:  # no row stands on both sides; the board says why
            continue
        print_comparison(found, console)
        sizes = [abs(line.difference) for line in found.lines]
        worst = found.lines[sizes.index(max(sizes))]
        console.print(
            plain(
                f"{other['dtype']} moves {found.metric} by {percent(sum(sizes) / len(sizes))} points in the mean of "
                f"{len(sizes)} numbers, by {percent(max(sizes))} at most ({worst.first.task}, {worst.first.pooling}, "
                f"{worst.first.entry})"
            ),
            soft_wrap=True,
        )


def _settings_of(encoder: Mapping[str, Any]) -> str:
    """Return what an encoder shares with the same one in another precision."""
    names = ("fingerprint", "max_length", "prompt", "query_prompt", "pre_tokenizer", "attention", "long", "backend")
    return repr([encoder.get(name) for name in names])


def print_comparison(found: Comparison, console: Console | None = None) -> None:
    """Print every line; a pipe gets one line each, and nothing is cut."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    for head in ("task", *AXES):
        table.add_column(head, overflow="fold")
    for head in ("first", "second", "difference", "interval", "p", "p (Holm)"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for line in found.lines:
        names = [line.first.task, *(line.shared(axis) for axis in AXES)]
        cells = [Text(plain(word)) for word in (*names, *_words(line), line.verdict)]
        table.add_row(*cells, style=_STYLES.get(line.verdict))
    _say(console, _title(found), "bold")
    _say(console, _about(found), "dim")
    if console.is_terminal:
        console.print(table)
    else:
        natural = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
        Console(file=console.file, width=max(natural, 20), color_system=None).print(table)
    for way in _ways(found):
        _say(console, way, "dim")
    for note in found.notes:
        _say(console, f"note: {note}", "yellow")


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(plain(line), style), soft_wrap=True)


def _table(found: Comparison) -> Sheet:
    heads = ("task", *AXES, "first", "second", "difference", "interval", "p", "p (Holm)", "verdict")
    names = ((line.first.task, *(line.shared(axis) for axis in AXES)) for line in found.lines)
    rows = tuple((*name, *_words(line), line.verdict) for name, line in zip(names, found.lines, strict=True))
    return Sheet("Differences", "", heads, rows, frozenset(range(5, 11)))


def _charts(found: Comparison) -> list[Chart]:
    """Return the forest plot of the lines that have an interval."""
    kind = f"{found.sides[0]} - {found.sides[1]}"
    told = places([[line.shared(axis) for axis in AXES] for line in found.lines])
    spans = [
        Span(line.first.task, kind, place, line.difference, line.low, line.high, line.verdict, line.p, line.p_adjusted)
        for line, place in zip(found.lines, told, strict=True)
        if line.low is not None and line.high is not None
    ]
    about = f"Each line is a difference of {found.metric} with its interval. Right of 0 the first side is better."
    return [forest("differences", f"Differences: {found.metric} × 100", about, spans)] if spans else []


def write_comparison(found: Comparison, out: Path) -> Path:
    """Write ``out/index.html`` and return its path."""
    path = out / "index.html"
    text = make_page(
        "compare.html.j2",
        ["address.js", "language.js", "scrolling.js", "start.js"],
        found=found,
        title=_title(found),
        about=_about(found),
        ways=_ways(found),
        table=_table(found),
        drawn=_charts(found),
        charts=True,
    )
    write_bytes(path, text.encode("utf-8", "replace"))
    return path
