"""What was found of a run's rows at another size, as a table for a terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from hengyu.base.escapes import plain
from hengyu.base.memory import as_words
from hengyu.numerics.curves import Extrapolated
from hengyu.tools.sizing.plan import NOT_MEASURED, SizedRow, Sizing

__all__ = ["as_json", "notes", "print_sizing"]

_WIDE = 160


def print_sizing(sizing: Sizing) -> None:
    """Print the table, the best row that fits, and what the numbers cannot say."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    limits = sizing.limits
    asked = [f"{limits.n:,} documents"]
    asked += [f"{as_words(limits.memory)} of memory"] if limits.memory is not None else []
    asked += [f"{limits.qps:g} queries/s on one thread"] if limits.qps is not None else []
    console.print(", ".join(asked))
    shared = {
        name: values.pop()
        for name in ("encoder", "pooling")
        if len(values := {getattr(r.score, name) for r in sizing.rows}) == 1
    }
    heads = [name for name in ("encoder", "pooling") if name not in shared]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in (*heads, "entry", sizing.metric, "interval", "memory", "queries/s", "range", "build", "verdict"):
        text = head in (*heads, "entry", "verdict")
        table.add_column(head, justify="left" if text else "right", no_wrap=head != "entry", overflow="fold")
    for row in sizing.rows:
        table.add_row(*(plain(str(getattr(row.score, name))) for name in heads), plain(row.score.entry), *_cells(row))
    console.print(table)
    best = sizing.best
    name = plain(" | ".join(str(getattr(best.score, head)) for head in (*heads, "entry"))) if best else ""
    console.print(f"The best row that fits: {name}." if best else "No row is certain to fit.")
    if limits.memory is None and limits.qps is None:
        console.print("No limit was given (--memory, --qps), so every measured row fits.")
    for note in notes(sizing):
        console.print(f"- {plain(note)}")


def notes(sizing: Sizing) -> list[str]:
    """Return what a reader must know of the numbers, and what they cannot say."""
    n, documents = sizing.limits.n, sizing.documents
    measured = [row for row in sizing.rows if row.largest]
    found = []
    if n > documents:
        found.append(
            f"{sizing.metric} was measured among {documents:,} documents. Among {n:,} it is lower; by how much is not known here: "
            "measure it with hengyu run --distractors."
        )
    if measured:
        sizes = sorted({row.largest for row in measured})
        upto = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        found.append(
            f"Indexes were measured up to {upto} vectors on this machine, one query a call, on one thread; the ranges say how far "
            "the measured sizes let an extrapolation be trusted, and are no confidence intervals."
        )
        found.append(
            "Times are CPU seconds, which equal clock time on a quiet machine; other work makes a search slower."
        )
    if sizing.disturbed < 1:
        found.append(
            f"The machine was busy: a measurement got as little as {100 * sizing.disturbed:.0f} % of a core. Ranges of times then "
            "allow for a factor of two each way; repeat the command when the machine is idle."
        )
    if measured:
        found.append(
            "Vectors were random, with the width, mean and spectrum of the run's own. How long a graph or cells of real "
            "vectors take, and what they find at this size, only a run at this size shows."
        )
        found.append(
            "Memory is that of the index, built from vectors in memory; building can take more. The encoder, the texts, and the "
            "time to encode a query and to apply the steps before the index are not counted."
        )
    reasons: dict[str, list[str]] = {}
    for row in sizing.rows:
        if row.verdict == NOT_MEASURED:
            reasons.setdefault(row.reason, []).append(row.score.entry)
    found += [f"Not measured: {', '.join(names)}: {reason}." for reason, names in reasons.items()]
    return found


def as_json(sizing: Sizing) -> dict[str, Any]:
    """Return everything as JSON."""
    return {
        "limits": asdict(sizing.limits),
        "documents": sizing.documents,
        "metric": sizing.metric,
        "rows": [
            {
                **{k: getattr(r.score, k) for k in ("encoder", "pooling", "entry", "fit_on", "value", "low", "high")},
                **{k: _plain(getattr(r, k)) for k in ("bytes", "qps", "build_seconds")},
                **{k: getattr(r, k) for k in ("largest", "share", "verdict", "reason")},
            }
            for r in sizing.rows
        ],
        "notes": notes(sizing),
    }


def _plain(found: Extrapolated | None) -> dict[str, Any] | None:
    return asdict(found) if found else None


def _cells(row: SizedRow) -> tuple[str, ...]:
    s = row.score
    score = f"{100 * (s.value or 0):.2f}"
    interval = f"[{100 * s.low:.2f}, {100 * s.high:.2f}]" if s.low is not None and s.high is not None else ""
    if row.bytes is None or row.qps is None or row.build_seconds is None:
        return score, interval, "", "", "", "", row.verdict
    size = as_words(row.bytes.value) if row.bytes.exact else _range(as_words(row.bytes.low), as_words(row.bytes.high))
    return (
        *(score, interval, size, _rate(row.qps.value), _range(_rate(row.qps.low), _rate(row.qps.high))),
        *(_range(_clock(row.build_seconds.low), _clock(row.build_seconds.high)), row.verdict),
    )


def _range(low: str, high: str) -> str:
    """Return both ends of a range, or one where they are written alike."""
    return low if low == high else f"{low} to {high}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _clock(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 90 else f"{seconds:.2g} s"
