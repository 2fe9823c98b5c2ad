"""hengyu distill: trains a small encoder to reproduce the vectors of another."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("distill")
@click.argument("teacher", metavar="TEACHER")
@click.argument("corpus", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CORPUS...")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The folder to write.")
@click.option(
    "--student",
    type=click.Choice(["bert", "static"]),
    default="bert",
    show_default=True,
    help="A BERT, or the mean over rows of character n-grams.",
)
@click.option("--start", default="", metavar="ID|DIR", help="The BERT to start from; by default random weights.")
@options.api
@options.key_env
@options.dimensions
@options.key_over_http
@click.option("--pooling", default="native", show_default=True, help="The teacher's pooling.")
@click.option("--prompt", default="", help="The teacher's prompt: a prefix, or a template with {text}.")
@click.option(
    "--texts-file", default="", metavar="FILE", help="The texts of a .npy file of vectors; by default next to it."
)
@click.option(
    "--store", metavar="DIR", type=options.PLACE, help="Store of the teacher's vectors; by default that of runs."
)
@click.option(
    "--exclude", multiple=True, metavar="CARD:SPLIT", help="Compare the lines with this split, and exclude equal ones."
)
@click.option("--exclude-near", is_flag=True, help="Exclude near duplicates of these splits, too.")
@click.option(
    "--centre",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Subtract the mean of the student's vectors of these texts: of the kind that it will be used for.",
)
@options.data
@options.datasets
@click.option("--licence", default="", metavar="NAME", help="Licence of the weights, for the model card.")
@click.option("--teacher-licence", default="", metavar="TEXT", help="Licence of the teacher, for the model card.")
@click.option("--corpus-licence", default="", metavar="TEXT", help="Licences of the corpus, for the model card.")
@click.option("--layers", type=int, help="Layers of a BERT without --start.  [default: 4]")
@click.option("--width", type=int, help="Width of the student's vectors.  [default: 256]")
@click.option("--heads", type=int, help="Attention heads.  [default: 4]")
@click.option("--length", type=int, help="Maximum input length in tokens.  [default: 128]")
@click.option("--head", is_flag=True, default=None, help="Add a dense layer after the pooling.")
@click.option("--grams", type=int, help="Maximum number of n-grams of a static student.  [default: 56000]")
@click.option("--longest", type=int, help="Characters of the longest n-gram.  [default: 3]")
@click.option("--seen", type=int, help="Minimum occurrences of an n-gram.  [default: 3]")
@click.option("--bits", type=int, help="Bits per number of a static student, 4 or 8.  [default: 4]")
@click.option("--steps", type=int, help="[default: 14000; static 2500]")
@click.option("--positions", type=int, help="Tokens per step of a BERT.  [default: 2048]")
@click.option("--texts", type=int, help="Texts per step of a static student.  [default: 1024]")
@click.option("--lr", type=float, help="Peak learning rate.  [default: 0.001; static 0.02]")
@click.option("--warmup", type=int, help="Steps until the peak learning rate.  [default: 200; static 50]")
@click.option("--loss", type=click.Choice(["cosine", "mse"]), help="Loss between vector and target.  [default: cosine]")
@click.option("--similarity", type=float, help="Weight of the in-batch similarity loss.  [default: 0.1]")
@click.option("--most", type=int, help="Do not train a BERT on lines of more tokens; 0 for all.  [default: 56]")
@click.option("--held-out", type=int, help="Lines for the held-out cosine; at most a tenth.  [default: 2000]")
@click.option("--seed", type=int, help="[default: 0]")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of the student's matrix products; auto: the faster one.",
)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda, cuda:1, ...")
@options.offline
@options.trust_remote_code
@click.option("--quiet", is_flag=True, help="Do not show progress.")
def command(
    teacher: str,
    corpus: tuple[Path, ...],
    out: Path,
    student: str,
    start: str,
    api: str,
    key_env: str,
    dimensions: int,
    key_over_http: bool,
    pooling: str,
    prompt: str,
    texts_file: str,
    store: str | None,
    exclude: tuple[str, ...],
    exclude_near: bool,
    centre: Path | None,
    data: Path | None,
    datasets: tuple[Path, ...],
    licence: str,
    teacher_licence: str,
    corpus_licence: str,
    dtype: str,
    threads: int,
    device: str,
    offline: bool,
    trust_remote_code: bool,
    quiet: bool,
    **recipe: float | bool | str | None,
) -> None:
    """Train a small encoder to reproduce the vectors of TEACHER.

    TEACHER is any encoder: a folder, a hub id, a model behind an API (--api), or precomputed vectors; then lines of the corpus
    without a vector are left out. The corpus is UTF-8 text with one sentence per line, possibly .gz or .xz. The teacher's
    vectors are centred, so that raw cosines of the student can be used directly. A BERT starts from another model's weights
    (--start hengyu-mini) or from random weights of the given shape. DIR becomes a sentence-transformers folder with a model
    card.

    After an interruption the same command continues: the teacher's vectors are in the store, and the training goes on from
    the last checkpoint (in DIR.part), at most a minute old. The corpus is held in memory.
    """
    from rich.console import Console

    from hengyu.base.progress import Progress
    from hengyu.encoders import EncoderSpec, pooling_name
    from hengyu.storage.vectors import VectorStore
    from hengyu.tools.distillation.card import Licences
    from hengyu.tools.distillation.job import distill
    from hengyu.tools.distillation.recipe import defaults

    spec = EncoderSpec(
        teacher,
        prompt=prompt,
        texts=texts_file,
        trust_remote_code=trust_remote_code,
        api=api,
        key_env=key_env,
        dimensions=dimensions,
        allow_api=bool(api),
        key_over_http=key_over_http,
    )
    done = distill(
        spec,
        corpus,
        out,
        defaults(student, recipe),
        start=start,
        pooling=pooling_name(pooling),
        exclude=exclude,
        exclude_near=exclude_near,
        centre=centre,
        data=data,
        datasets=datasets,
        store=VectorStore.at(store),
        dtype="" if dtype == "auto" else dtype,
        threads=threads,
        device=device,
        offline=offline,
        licences=Licences(licence, teacher_licence, corpus_licence),
        progress=Progress(None if quiet else Console(stderr=True)),
    )
    if not done.new:
        click.echo("it already exists, made by this command; nothing was done", err=True)
    click.echo(str(done.folder))
