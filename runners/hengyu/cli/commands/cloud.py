"""hengyu cloud: the embedding geometry of a model, before and after a method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hengyu.cli import options

if TYPE_CHECKING:
    from hengyu.tools.task_vectors import Sentences

__all__ = ["command"]


@click.command("cloud")
@options.task_vectors
@click.option("--entry", "entries", multiple=True, help="Also describe the vectors after this method; repeatable.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of samples and methods.")
@click.option(
    "--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Also write the numbers to this file."
)
@options.methods
def command(
    load: Callable[[], Sentences],
    entries: tuple[str, ...],
    seed: int,
    json_: Path | None,
) -> None:
    """Describe the embedding geometry of a model.

    Prints mean norm, anisotropy, effective rank, uniformity, hubness and angles. Methods are fitted on the sentences
    of the task, like 'hengyu run' with fit_on target. The histogram of the angles of random pairs is shown with that of
    independent uniform directions in the same number of dimensions.
    """
    from hengyu.base.errors import HengyuError, gather
    from hengyu.methods.grammar import parse_entry
    from hengyu.storage.records import write_json
    from hengyu.tools.cloud import describe_entry
    from hengyu.tools.cloud_report import print_clouds, to_json

    parsed = [parse_entry(e) for e in dict.fromkeys(("raw", *entries))]
    gather(f"entry '{e}' ends in an index, which gives no vectors; remove the index" for e in parsed if e.index)
    trained = "trains the encoder, which 'hengyu cloud' does not; export a row of it and name its folder"
    gather(f"entry '{e}' {trained}" for e in parsed if e.tuners)
    loaded = load()
    found = {}
    for entry in parsed:
        try:
            found[str(entry)] = describe_entry(loaded, entry, seed)
        except ValueError as e:
            raise HengyuError(f"entry '{entry}': {e}") from None
    print_clouds(loaded, found)
    if json_:
        write_json(json_, to_json(loaded, found, seed))
