"""hengyu cloud: how the sentence vectors of a model lie in space, before and after a method."""

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
@click.option("--entry", "entries", multiple=True, help="Look at them after this entry too; repeatable.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of samples and of entries.")
@click.option("--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers here too.")
@options.methods
def command(
    load: Callable[[], Sentences],
    entries: tuple[str, ...],
    seed: int,
    json_: Path | None,
) -> None:
    """Describe the cloud of MODEL's sentence vectors: mean, anisotropy, effective rank, uniformity, hubness, angles.

    Entries are fitted on the sentences of the task, as 'hengyu run' does with fit_on target. The histogram of the angles
    of random pairs stands beside that of independent directions, uniform in as many dimensions.
    """
    from hengyu.base.errors import HengyuError, gather
    from hengyu.methods.grammar import parse_entry
    from hengyu.storage.records import write_json
    from hengyu.tools.cloud import describe_entry
    from hengyu.tools.cloud_report import print_clouds, to_json

    parsed = [parse_entry(e) for e in dict.fromkeys(("raw", *entries))]
    gather(f"entry '{e}' ends in an index, which leaves no vectors to look at; leave it out" for e in parsed if e.index)
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
