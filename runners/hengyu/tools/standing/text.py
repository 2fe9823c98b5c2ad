"""Where a model stands, on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hengyu.base.escapes import plain
from hengyu.report.board.cell import between, percent
from hengyu.report.published import Published
from hengyu.tools.standing.board import Audit
from hengyu.tools.standing.causes import Search
from hengyu.tools.standing.place import TOLERANCE, Place
from hengyu.tools.standing.stand import Found, Standing

__all__ = ["print_standing", "to_json"]

_PIPED = 200
_SHOWN = 4  # figures of another protocol


def print_standing(standing: Standing, console: Console | None = None, *, neighbours: int = 2) -> None:
    """Print a table for each row of the run, with its neighbours, and what the published boards can tell."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_PIPED, color_system=None)
    rows: dict[tuple[str, ...], list[Found]] = {}
    for found in standing.found:
        rows.setdefault(found.place.record.row, []).append(found)
    for row, several in rows.items():
        _print_row(console, row, several, neighbours)
    if standing.audits:
        _say(console, "What the published boards can tell", "bold")
        for audit in standing.audits:
            _say(console, _audited(audit))
    _say(
        console,
        "Figures are compared under one protocol only: the same pairs, splits, pooling, method and what it was fitted on. The "
        "interval is that of other pairs being drawn; the same model on the same pairs should agree to "
        f"{100 * TOLERANCE:.1f}.",
        "dim",
    )


def _print_row(console: Console, row: tuple[str, ...], several: Sequence[Found], neighbours: int) -> None:
    model = several[0].place.model
    known = (
        f"published as {model}" if model else "no published figure is known to be of this model; --as NAME=ID names one"
    )
    _say(console, f"{row[0]}, {row[1]}, {row[2]}, fitted on {row[3]}: {known}", "bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in (
        "task",
        "pairs",
        "yours x 100",
        "its interval",
        "published",
        "difference",
        "its interval",
        "",
        "place",
    ):
        table.add_column(head, justify="left" if head in ("task", "", "place") else "right")
    for found in several:
        table.add_row(*(Text(plain(word)) for word in _words(found.place)))
    console.print(table)
    for found in several:
        for line in _lines(found, neighbours):
            _say(console, f"  {line}")
    console.print()


def _words(place: Place) -> list[str]:
    record, nearest = place.record, place.nearest
    words = [record.task, f"{record.n:,}", percent(place.value), between(record.low, record.high)]
    if nearest is None:
        words += ["", "", "", "other protocol" if place.others else ""]
    else:
        ends = (None if x is None else x - nearest.value for x in (record.low, record.high))
        verdict = "reproduced" if place.agrees else "not reproduced"
        words += [
            percent(nearest.value),
            percent(place.value - nearest.value, signed=True),
            between(*ends, signed=True),
        ]
        words.append(verdict)
    if not place.field:
        return [*words, ""]
    span = f" ({place.ranks[0]} to {place.ranks[1]})" if place.ranks else ""
    inside = len(place.inside)
    return [*words, f"{place.rank} of {len(place.field) + 1}{span}; {inside} published inside the interval"]


def _lines(found: Found, neighbours: int) -> Iterator[str]:
    place = found.place
    task = place.record.task
    near = place.neighbours(neighbours)
    if near:
        inside = set(map(id, place.inside))
        shown = (f"{f.models[0]} {percent(f.value)}{'' if id(f) in inside else ' (outside)'}" for f in near)
        yield f"{task}: beside it {'; '.join(shown)}"
    for figure in place.own:
        yield f"{task}: published {percent(figure.value)}: {figure.protocol}, {figure.source}"
    for figure, words in place.others[:_SHOWN]:
        yield f"{task}: not compared {percent(figure.value)}: {', '.join(words)} ({figure.protocol}, {figure.source})"
    if len(place.others) > _SHOWN:
        yield f"{task}: and {len(place.others) - _SHOWN} more figures under other protocols"
    if found.search:
        yield f"{task}: {_searched(found.search, place.record.n)}"
    elif found.untried:
        yield f"{task}: nothing was tried: {found.untried}"


def _searched(search: Search, n: int) -> str:
    on = f"on {search.pairs:,} of {n:,} pairs" if search.pairs < n else f"on all {n:,} pairs"
    said = f"published {percent(search.figure)}, yours {percent(search.ours)}"
    cause = search.cause
    if cause:
        ends = "" if search.pairs == n else f" {between(cause.low, cause.high)}"
        return f"likely cause: {cause.cause}. With {cause.what} it is {percent(cause.value)}{ends}; {said} (tried {on})"
    best = min(search.trials, key=lambda t: abs(t.value - search.figure), default=None)
    kinds = ", ".join(dict.fromkeys(t.cause for t in search.trials))
    nearest = f"; the nearest is {best.what} with {percent(best.value)}" if best else ""
    return f"no cause found among {len(search.trials)} changes of {kinds} ({on}){nearest}; {said}"


def _audited(audit: Audit) -> str:
    least = f"from {100 * audit.least[1]:.1f} on if their errors are independent"
    if audit.together is not None:
        least = f"from {100 * audit.least[0]:.1f} on if their errors correlate by {audit.together:.2f}, as in this run, and {least}"

    def both(counts: tuple[int, int]) -> str:
        return f"{counts[0]}" if audit.together is None else f"{counts[0]} ({counts[1]})"

    return (
        f"{audit.task}: {audit.models} models, {audit.n:,} pairs, standard error of one score {100 * audit.error:.2f}. Two models "
        f"differ significantly {least}. Of {audit.models - 1} neighbouring ranks {both(audit.neighbours)} can be distinguished, "
        f"of all {audit.all_pairs} pairs of models {both(audit.pairs)}; {both(audit.first)} models share the first rank."
    )


def to_json(standing: Standing) -> dict[str, Any]:
    """Return everything as JSON; scores lie in [-1, 1]."""
    return {
        "run": standing.run.id,
        "tolerance": TOLERANCE,
        "places": [_json(found) for found in standing.found],
        "boards": [
            {
                "task": a.task,
                "models": a.models,
                "pairs": a.n,
                "standard_error": a.error,
                "correlation": a.together,
                "least_significant_difference": list(a.least),
                "neighbours_told_apart": list(a.neighbours),
                "model_pairs": a.all_pairs,
                "model_pairs_told_apart": list(a.pairs),
                "models_at_the_first_rank": list(a.first),
            }
            for a in standing.audits
        ],
    }


def _json(found: Found) -> dict[str, Any]:
    place, record = found.place, found.place.record
    search = found.search
    cause = search.cause if search else None
    return {
        "task": record.task,
        "encoder": record.encoder,
        "pooling": record.pooling,
        "entry": record.entry,
        "fit_on": record.fit_on,
        "n": record.n,
        "value": record.value,
        "interval": [record.low, record.high],
        "published_as": place.model,
        "same_protocol": [_figure(f) for f in place.own],
        "met": place.agrees,
        "other_protocol": [_figure(f) | {"differs_in": list(words)} for f, words in place.others],
        "rank": place.rank if place.field else None,
        "ranks": list(place.ranks) if place.field and place.ranks else None,
        "models": len(place.field) + 1,
        "inside": [_figure(f) for f in place.inside],
        "field": [_figure(f) for f in place.field],
        "cause": {"kind": cause.cause, "what": cause.what, "value": cause.value, "interval": [cause.low, cause.high]}
        if cause
        else None,
        "tried": [{"kind": t.cause, "what": t.what, "value": t.value} for t in search.trials] if search else [],
        "untried": found.untried,
    }


def _figure(figure: Published) -> dict[str, Any]:
    return {
        "model": figure.models[0],
        "value": figure.value,
        "protocol": figure.protocol,
        "pooling": figure.pooling,
        "entry": figure.entry,
        "fit_on": figure.fit_on,
        "splits": sorted(figure.splits),
        "source": figure.source,
    }


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(plain(line), style), soft_wrap=True)
