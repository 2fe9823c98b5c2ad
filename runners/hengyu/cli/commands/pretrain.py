"""hengyu pretrain: pretrains a small encoder from scratch."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("pretrain", context_settings={"show_default": True})
@click.argument("corpus", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CORPUS...")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The folder to write.")
@click.option(
    "--exclude", multiple=True, metavar="CARD:SPLIT", help="Exclude lines that equal a sentence of this split."
)
@options.data
@options.datasets
@click.option(
    "--arch", default="bert", metavar="NAME", help="bert, albert (all blocks share their weights), dgcnn, gmlp or fnet."
)
@click.option("--layers", type=int, default=0, help="Blocks; 0: 4 of bert and albert, 8 of dgcnn and gmlp, 6 of fnet.")
@click.option("--width", type=int, default=256, help="Width of a token's vector.")
@click.option("--heads", type=int, default=4, help="Attention heads; the width must be a multiple.")
@click.option("--length", type=int, default=128, help="Maximum input length in tokens.")
@click.option("--steps", type=int, default=7011)
@click.option("--positions", type=int, default=3072, help="Token positions per step, including padding.")
@click.option("--lr", type=float, default=1e-3, help="Peak learning rate.")
@click.option("--warmup", type=int, default=300, help="Steps until the peak learning rate.")
@click.option("--mask", type=float, default=0.12, help="Share of positions to predict.")
@click.option("--dropout", type=float, default=0.1, help="Dropout rate during training.")
@click.option("--characters", type=int, default=6800, help="Maximum number of Chinese characters in the vocabulary.")
@click.option("--others", type=int, default=400, help="Maximum number of other characters.")
@click.option("--words", type=int, default=600, help="Maximum number of Latin words and numbers.")
@click.option("--seen", type=int, default=4, help="Minimum occurrences of a character.")
@click.option("--seen-words", type=int, default=30, help="Minimum occurrences of a Latin word or number.")
@click.option("--held-out", type=int, default=1000, help="Lines for the held-out loss; at most a tenth of all lines.")
@click.option(
    "--unshare-after", type=int, default=-1, help="The step after which an albert's blocks are untied; -1: never."
)
@click.option(
    "--init",
    default="bert",
    metavar="NAME",
    help="How matrices begin: bert (deviation 0.02), normal (variance 1/inputs), orthogonal (the same size).",
)
@click.option("--seed", type=int, default=0)
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", help="auto: the faster one."
)
@click.option("--threads", type=click.IntRange(1, 1024), default=1)
@click.option("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1, ...")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
def command(
    corpus: tuple[Path, ...],
    out: Path,
    exclude: tuple[str, ...],
    data: Path | None,
    datasets: tuple[Path, ...],
    dtype: str,
    threads: int,
    device: str,
    quiet: bool,
    **recipe: float | str,
) -> None:
    """Pretrain a small BERT, or another encoder, by masked language modelling.

    The corpus is UTF-8 text with one sentence per line, possibly .gz or .xz. The vocabulary is built from it, and the
    weights start at random. The defaults are the recipe of the built-in encoder. DIR becomes a sentence-transformers folder
    (float16 safetensors, mean pooling) with a model card.

    After an interruption the same command continues from the last checkpoint (in DIR.part), at most a minute old, and ends
    with the same weights if dtype and threads are the same. The corpus is held in memory.
    """
    from rich.console import Console

    from hengyu.base.progress import Progress
    from hengyu.tools.pretraining.job import pretrain
    from hengyu.tools.pretraining.recipe import Pretraining

    done = pretrain(
        corpus,
        out,
        Pretraining(**recipe),  # type: ignore[arg-type]
        exclude=exclude,
        data=data,
        datasets=datasets,
        dtype="" if dtype == "auto" else dtype,
        threads=threads,
        device=device,
        progress=Progress(None if quiet else Console(stderr=True)),
    )
    if not done.new:
        click.echo("it already exists, made from these files with this recipe; nothing was done", err=True)
    click.echo(str(done.folder))
