"""hengyu size: which pipelines of a retrieval run fit a larger corpus, a memory and a rate of queries."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("size")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--n", required=True, metavar="NUMBER", help="Documents that are to be searched, like 5e6.")
@click.option("--memory", metavar="SIZE", help="Memory that the index may take, like 4GiB.")
@click.option("--qps", type=click.FloatRange(min=0, min_open=True), help="Queries a second, on one thread.")
@click.option(
    "--seconds",
    default=5.0,
    show_default=True,
    type=float,
    help="Seconds of the processor to measure each index; more gives larger sizes and narrower ranges.",
)
@click.option(
    "--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Also write the numbers to this file."
)
@click.option("--quiet", is_flag=True, help="Print no progress.")
def command(
    runs: tuple[str, ...],
    n: str,
    memory: str | None,
    qps: float | None,
    seconds: float,
    json_: Path | None,
    quiet: bool,
) -> None:
    """Show which pipelines of a retrieval run fit a corpus of N documents.

    RUN is a run's folder, its id or 'latest'. Each index of the run is measured on this machine at several sizes, on random
    vectors with the width, mean and spectrum of the run's own, and extrapolated: bytes as a line, which is exact for most indexes,
    and seconds with the error that the measured sizes show. Rows are in the order of their nDCG@10 in the run.

    Lexical search and fusions depend on the texts: their rows need three runs with corpora of different sizes (hengyu run
    --distractors), named one after the other.
    """
    from rich.console import Console

    from hengyu.base.errors import HengyuError
    from hengyu.base.memory import as_bytes
    from hengyu.base.progress import Progress
    from hengyu.storage.records import find_run, load_run, write_json
    from hengyu.tools.sizing.plan import Limits, size_rows
    from hengyu.tools.sizing.text import as_json, print_sizing

    if not 1 <= seconds <= 3600:
        raise HengyuError(
            f"--seconds {seconds:g}: must lie in 1..3600; in less than a second indexes of the same kind cannot be told apart"
        )
    limits = Limits(_count(n), as_bytes(memory, "--memory") if memory else None, qps)
    found = size_rows(
        [load_run(find_run(word)) for word in runs],
        limits,
        seconds=seconds,
        progress=Progress(None if quiet else Console(stderr=True)),
    )
    print_sizing(found)
    if json_:
        write_json(json_, as_json(found))


def _count(text: str) -> int:
    from hengyu.base.errors import HengyuError

    try:
        value = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        value = 0.0
    if not 1 <= value <= 1e12 or value != int(value):
        raise HengyuError(f"--n {text}: must be a whole number of documents from 1 to 1e12, like 5e6")
    return int(value)
