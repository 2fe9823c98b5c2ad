"""hengyu pretrain: a small BERT from random weights."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("pretrain", context_settings={"show_default": True})
@click.argument("corpus", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CORPUS...")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The folder to write.")
@click.option("--exclude", multiple=True, metavar="CARD:SPLIT", help="Leave out lines that equal a sentence of it.")
@options.data
@options.datasets
@click.option("--layers", type=int, default=4)
@click.option("--width", type=int, default=256, help="Of a token's vector.")
@click.option("--heads", type=int, default=4, help="Of attention; the width is a multiple of them.")
@click.option("--length", type=int, default=128, help="Tokens of the longest input.")
@click.option("--steps", type=int, default=7011)
@click.option("--positions", type=int, default=3072, help="Token positions a step, padding included.")
@click.option("--lr", type=float, default=1e-3, help="The highest learning rate.")
@click.option("--warmup", type=int, default=300, help="Steps until it is reached.")
@click.option("--mask", type=float, default=0.12, help="Share of the positions to predict.")
@click.option("--dropout", type=float, default=0.1, help="Everywhere in the model, in training.")
@click.option("--characters", type=int, default=6800, help="Most Chinese characters of the vocabulary.")
@click.option("--others", type=int, default=400, help="Most other characters.")
@click.option("--words", type=int, default=600, help="Most Latin words and numbers.")
@click.option("--seen", type=int, default=4, help="Occurrences that a character needs.")
@click.option("--seen-words", type=int, default=30, help="Occurrences that a Latin word or number needs.")
@click.option("--held-out", type=int, default=1000, help="Lines for the held-out loss; at most a tenth of all.")
@click.option("--seed", type=int, default=0)
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", help="auto: the faster.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1)
@click.option("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1, ...")
@click.option("--quiet", is_flag=True, help="Show no progress.")
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
    **recipe: float,
) -> None:
    """Pretrain a small BERT on text (UTF-8, one sentence a line; .gz and .xz too), by masked language modelling.

    The vocabulary is made from the corpus, the weights start at random. The defaults are the recipe of the built-in
    encoder. DIR becomes a sentence-transformers folder (float16 safetensors, mean pooling) with a model card.

    Stopped at any moment, the same command goes on from the last checkpoint, at most a minute back (DIR.part holds it),
    and ends with the same weights when dtype and threads are the same. The corpus is held in memory.
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
        click.echo("it is there already, made from these files by this recipe; nothing was done", err=True)
    click.echo(str(done.folder))
