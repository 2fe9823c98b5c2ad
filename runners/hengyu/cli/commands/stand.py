"""hengyu stand: where a model stands among published figures."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("stand")
@click.argument("run")
@click.option(
    "--results",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of mteb's result files, in addition to the figures included with Hengyu.",
)
@click.option(
    "--fetch",
    multiple=True,
    metavar="ADDRESS",
    help="Download the result files of this folder of mteb's results repository, as the browser shows it with its commit: "
    "https://github.com/embeddings-benchmark/results/tree/COMMIT/results/MODEL/REVISION. Repeatable.",
)
@click.option(
    "--as",
    "named",
    multiple=True,
    metavar="NAME=ID",
    help="The id under which an encoder of the run was published; NAME may be left out if there is one. Repeatable.",
)
@click.option("--encoder", default="", metavar="NAME", help="Only this encoder of the run.")
@click.option("--model", default="", metavar="ID|DIR", help="Where that model is now, if it has moved.")
@options.data
@options.datasets
@click.option(
    "--neighbours", type=click.IntRange(min=0), default=2, show_default=True, help="Models shown on either side."
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    metavar="N",
    help="Try causes out on at most N pairs; 0 for all.",
)
@click.option("--no-try", is_flag=True, help="Do not encode anything to find out why a figure is not reproduced.")
@click.option(
    "--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Also write everything to this file."
)
@options.offline
@options.trust_remote_code
@click.option("--quiet", is_flag=True, help="Do not show progress.")
def command(
    run: str,
    results: Path | None,
    fetch: tuple[str, ...],
    named: tuple[str, ...],
    encoder: str,
    model: str,
    data: Path | None,
    datasets: tuple[Path, ...],
    neighbours: int,
    limit: int,
    no_try: bool,
    json_: Path | None,
    offline: bool,
    trust_remote_code: bool,
    quiet: bool,
) -> None:
    """Show where the models of a run stand among published figures.

    RUN is a folder, an id, the beginning of one, or 'latest'. For each task: your score with its interval, the published
    figure of the same model, the difference, the place among other models, and which of them lie inside the interval. Only
    figures of one protocol are compared (pairs, splits, pooling, method, fit_on); others are listed with what differs.

    If the model's own figure is not reproduced, likely causes are tested on the task's pairs: another pooling, split,
    prompt, maximum length, dtype. The report ends with how many ranks of the published leaderboards can be distinguished
    at all.
    """
    from rich.console import Console

    from hengyu.base.errors import HengyuError
    from hengyu.base.progress import Progress
    from hengyu.storage.records import find_run, load_run, write_json
    from hengyu.tools.standing.stand import Places, stand
    from hengyu.tools.standing.text import print_standing, to_json

    found = load_run(find_run(run))
    models = [str(e["encoder"]) for e in found.header.get("encoders", ()) if e.get("kind") == "model"]
    ids: dict[str, str] = {}
    for word in named:
        name, mark, id_ = word.rpartition("=")
        if not mark:
            chosen = [encoder] if encoder else models
            if len(chosen) != 1:
                raise HengyuError(f"--as {word}: the run has {len(models)} models; write NAME={word}")
            name = chosen[0]
        ids[name] = id_
    if model and not encoder and len(models) != 1:
        raise HengyuError(f"--model {model}: the run has {len(models)} models; say which with --encoder")
    standing = stand(
        found,
        results=results,
        fetch=fetch,
        named=ids,
        encoder=encoder,
        places=Places(model, data, datasets, offline, trust_remote_code),
        limit=limit,
        tries=not no_try,
        progress=Progress(None if quiet else Console(stderr=True)),
    )
    print_standing(standing, neighbours=neighbours)
    if json_:
        write_json(json_, to_json(standing))
