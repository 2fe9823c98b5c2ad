"""hengyu distort: the distortion of real vectors by random projections, and its theoretical bound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hengyu.cli import options

if TYPE_CHECKING:
    from hengyu.tools.task_vectors import Sentences

__all__ = ["command"]


@click.command("distort")
@options.task_vectors
@click.option(
    "--dim",
    "dims",
    multiple=True,
    type=click.IntRange(min=1),
    help="Output dimension; by default the lemma's; repeatable.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="NAME",
    help="Kind of projection, by default gaussian, see jl; repeatable.",
)
@click.option(
    "--bits",
    "bits",
    multiple=True,
    type=click.IntRange(1, 9),
    help="Measure RaBitQ at this many bits instead of jl; repeatable.",
)
@click.option("--eps", default=0.2, show_default=True, help="Change that counts as distortion.")
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(1, 1000), help="Number of draws.")
@click.option("--pairs", default=10_000, show_default=True, type=click.IntRange(1, 10_000_000), help="Pairs sampled.")
@click.option(
    "--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Also write the numbers to this file."
)
def command(
    load: Callable[[], Sentences],
    dims: tuple[int, ...],
    kinds: tuple[str, ...],
    bits: tuple[int, ...],
    eps: float,
    seeds: int,
    pairs: int,
    json_: Path | None,
) -> None:
    """Measure the distortion by random projections (jl), or by RaBitQ.

    The sentence vectors of MODEL are normalised and projected. For every kind and dimension it prints the quantiles of the
    change in squared lengths, squared distances and inner products, the share that changes by eps or more, and the lemma's
    upper bound on that share. With --bits it measures RaBitQ's estimate of inner products: its bias, the quantiles of its error,
    and the share of eps or more beside the share that theory gives.
    """
    from dataclasses import asdict

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hengyu.base.errors import HengyuError, did_you_mean
    from hengyu.base.escapes import plain
    from hengyu.numerics.distortion import QUANTILES, measure
    from hengyu.numerics.projections import KINDS, MOST
    from hengyu.numerics.rabitq import measure_rabitq
    from hengyu.numerics.theory import jl_dim
    from hengyu.storage.records import write_json

    for kind in kinds:
        if kind not in KINDS:
            raise HengyuError(f"--kind {kind}: unknown{did_you_mean(kind, KINDS)}")
    if not 0 < eps <= 1:
        raise HengyuError(f"--eps {eps:g}: must lie between 0 and 1, where the bound holds")
    if bits and (kinds or dims):
        raise HengyuError("hengyu distort: --bits applies to RaBitQ, --kind and --dim to jl; give one or the other")
    loaded = load()
    n, width = loaded.x.shape
    if bits:
        try:
            coded = [measure_rabitq(loaded.x, b, eps=eps, pairs=pairs, seeds=seeds) for b in bits]
        except ValueError as e:
            raise HengyuError(f"hengyu distort: {e}") from None
        said = f"{loaded.encoder}, {loaded.pooling}, {loaded.task}: {n:,} vectors of {width}, {seeds} rotations, eps = {eps:g}"
        click.echo(plain(said))
        click.echo(f"RaBitQ: estimated inner product minus the true one, of {pairs:,} pairs of unit vectors")
        for c in coded:
            errors = "  ".join(f"{100 * q:g} %: {e:+.4f}" for q, e in zip(QUANTILES, c.errors, strict=True))
            click.echo(f"  {c.bits} bit{'s' if c.bits > 1 else ''}: cosine of vector and code {c.alignment:.4f}")
            click.echo(f"    error   {errors}")
            click.echo(f"    bias    {c.bias:+.6f}, standard error over rotations {c.bias_error:.6f}; in theory 0")
            click.echo(f"    share of errors of {eps:g} or more: {c.outside:.3g}; in theory {c.bound:.3g}")
        if json_:
            about = {"task": loaded.task, "encoder": loaded.encoder, "pooling": loaded.pooling}
            write_json(json_, {**about, "found": list(map(asdict, coded))})
        return
    wanted = dims or (jl_dim(max(n, 2), eps, inner=True),)
    if max(wanted) > MOST:
        raise HengyuError(f"hengyu distort: dim={max(wanted)} exceeds {MOST}; give a larger --eps, or --dim")
    try:
        found = [
            measure(loaded.x, dim, kind=kind, eps=eps, pairs=pairs, seeds=seeds)
            for kind in kinds or ("gaussian",)
            for dim in wanted
        ]
    except ValueError as e:
        raise HengyuError(f"hengyu distort: {e}") from None
    said = f"{loaded.encoder}, {loaded.pooling}, {loaded.task}: {n:,} vectors of {width}, {seeds} draws, eps = {eps:g}"
    click.echo(plain(said))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for word in ("kind", "dim", "quantity", *(f"{100 * q:g} %" for q in QUANTILES), "share >= eps", "bound"):
        table.add_column(word, justify="left" if word in ("kind", "what moves") else "right", no_wrap=True)
    for d in found:
        parts = (("length^2", d.norms), ("distance^2", d.distances), ("inner product", d.inners))
        for (name, quantiles), outside, bound in zip(parts, d.outside, d.bounds or (None,) * 3, strict=True):
            shown = (f"{q:+.4f}" for q in quantiles)
            table.add_row(d.kind, str(d.dim), name, *shown, f"{outside:.3g}", "-" if bound is None else f"{bound:.3g}")
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    click.echo("bound: 2 exp(-eps^2 dim / 8), for inner products 4 exp(-eps^2 dim / 8); -: not proved for this kind")
    if json_:
        about = {"task": loaded.task, "encoder": loaded.encoder, "pooling": loaded.pooling}
        write_json(json_, {**about, "found": list(map(asdict, found))})
