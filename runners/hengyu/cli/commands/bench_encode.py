"""hengyu bench-encode: the encoding speed of a model on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("bench-encode")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--encoder", default="hengyu-mini", show_default=True, metavar="ID|DIR", help="The model.")
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=options.DTYPE,
    default=("float32", "bfloat16"),
    show_default=True,
    help="Dtype to measure; repeatable. Drift is relative to the first one.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=options.BACKEND,
    default=("torch",),
    show_default=True,
    help="Backend to measure; repeatable. Unsupported dtypes are skipped.",
)
@click.option(
    "--threads",
    multiple=True,
    type=click.IntRange(1, 1024),
    help="Number of threads; repeatable. By default 1 and PyTorch's default.",
)
@click.option(
    "--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1, 600), help="Duration of each measurement."
)
@options.device
@options.offline
def command(
    file: Path | None,
    encoder: str,
    dtypes: tuple[str, ...],
    backends: tuple[str, ...],
    threads: tuple[int, ...],
    seconds: float,
    device: str,
    offline: bool,
) -> None:
    """Measure the encoding speed of a model.

    The sentences are those of FILE (one per line), by default those of hengyu-sts. The peak is a plain 2048 x 2048 matrix
    product in the same dtype and threads; the share counts the operations of the model's matrix products. Drift is the
    largest cosine distance between a vector and that of the first row.
    """
    from itertools import islice

    import torch
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hengyu.base.escapes import plain
    from hengyu.base.text_lines import blocks
    from hengyu.cards import load_cards
    from hengyu.cards.data import load_pairs
    from hengyu.encoders import EncoderSpec
    from hengyu.encoders.engines import computes
    from hengyu.tools.throughput import measure

    if file:
        texts = [t for block in islice(blocks(file, 4096), 4) for t in block.texts]
    else:
        pairs = load_pairs(load_cards()["hengyu-sts"], "test")
        texts = [*pairs.first, *pairs.second]
    counts = threads or tuple(dict.fromkeys((1, torch.get_num_threads())))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("back-end", "dtype", "threads", "tokens/s", "sentences/s", "peak GFLOP/s", "share of peak", "drift"):
        table.add_column(name, justify="left" if name in ("back-end", "dtype") else "right")
    best = None
    specs = [
        EncoderSpec(encoder, device=device, dtype=dtype, backend=backend)
        for backend in dict.fromkeys(backends)
        for dtype in dict.fromkeys(dtypes)
        if computes(backend, dtype)
    ]
    for found in measure(specs, texts, counts, seconds=seconds, offline=offline):
        best = found if best is None or found.tokens > best.tokens else best
        table.add_row(
            *(found.spec.backend, found.spec.dtype, str(found.threads), f"{found.tokens:,.0f}", f"{found.texts:,.0f}"),
            *(f"{found.peak / 1e9:,.1f}", f"{found.share:.0%}", f"{found.drift:.1e}"),
        )
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    if best:
        how = f"{best.spec.backend}, {best.spec.dtype}, {best.threads} threads"
        click.echo(plain(f"fastest: {encoder} with {how}: {best.tokens:,.0f} tokens/s"))
