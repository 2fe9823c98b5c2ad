"""Embedding geometry on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hengyu.base.escapes import plain
from hengyu.numerics.cloud import Cloud, random_histogram
from hengyu.tools.task_vectors import Sentences

__all__ = ["print_clouds", "to_json"]

_BARS = " ▁▂▃▄▅▆▇█"
_SEEN = 5e-4  # smaller shares are left blank
_NOTES = """mean norm: length of the mean of the normalised vectors; anisotropy: mean cosine of random pairs
eff. rank: exp of the entropy of the covariance's eigenvalues; 90 %: number of directions with 90 % of the variance
kappa: concentration of a von Mises-Fisher distribution; alignment: mean |u-v|^2 of pairs with the same meaning;
uniformity: log mean exp(-2 |u-v|^2) of random pairs; hubness: skewness of the 10-occurrence
angles: of random pairs, 0 to 180 degrees; below each, those of independent directions of the same dimension"""


def print_clouds(sentences: Sentences, found: Mapping[str, Cloud], console: Console | None = None) -> None:
    """Print a row of numbers and two histograms per entry."""
    console = console or Console()
    if not console.is_terminal:
        console.width = 160
    n, width = sentences.x.shape
    where = f"{sentences.encoder}, {sentences.pooling}, {sentences.task}: {n:,} distinct sentences, {width} columns"
    console.print(Text(plain(where), "bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("entry", overflow="fold")
    heads = ("dim", "mean norm", "anisotropy", "eff. rank", "90 %", "kappa", "alignment", "uniformity", "hubness")
    for head in (*heads, "angle"):
        table.add_column(head, justify="right")
    for entry, c in found.items():
        kappa = "-" if c.concentration is None else f"{c.concentration:.1f}"
        aligned = "-" if c.alignment is None else f"{c.alignment:.3f}"
        numbers = (str(c.dim), f"{c.mean_norm:.3f}", f"{c.anisotropy:+.3f}", f"{c.effective_rank:.1f}", _ninety(c))
        more = (kappa, aligned, f"{c.uniformity:.3f}", f"{c.hubness:.2f}", f"{c.angle_mean:.1f} ± {c.angle_sd:.1f}")
        table.add_row(Text(plain(entry)), *numbers, *more)
    console.print(table)
    longest = max(len(plain(e)) for e in found)
    for entry, c in found.items():
        console.print(Text(f"{plain(entry):<{longest}}  |{_bars(c.angles)}|"), soft_wrap=True)
        if c.dim > 1:
            console.print(Text(f"{'random':>{longest}}  |{_bars(random_histogram(c.dim))}|", "dim"), soft_wrap=True)
    console.print(Text(_NOTES, "dim"), soft_wrap=True)


def _ninety(cloud: Cloud) -> str:
    """Return the number of directions, a power of two, with 90 % of the variance."""
    for power, share in enumerate(cloud.spectrum):
        if share >= 0.9:
            return f"<= {2**power}"
    return f"<= {cloud.dim}"


def _bars(shares: Sequence[float]) -> str:
    top = max(shares) or 1.0
    return "".join(_BARS[0 if s < _SEEN else max(1, round(s / top * 8))] for s in shares)


def to_json(sentences: Sentences, found: Mapping[str, Cloud], seed: int) -> dict[str, Any]:
    """Return the geometry of each entry as JSON; ``random_angles`` are those of independent directions."""
    return {
        "task": sentences.task,
        "encoder": sentences.encoder,
        "pooling": sentences.pooling,
        "seed": seed,
        "clouds": {
            entry: {**asdict(c), "random_angles": list(random_histogram(c.dim)) if c.dim > 1 else None}
            for entry, c in found.items()
        },
    }
