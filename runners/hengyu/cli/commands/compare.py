"""hengyu compare: paired differences between two runs, or two parts of one."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("compare")
@click.argument("run")
@click.argument("other", required=False)
@click.option("--entry", "entries", multiple=True, metavar="ENTRY", help="Keep this entry; two compare them.")
@click.option("--encoder", "encoders", multiple=True, metavar="NAME", help="Keep this encoder; two compare them.")
@click.option("--pooling", "poolings", multiple=True, metavar="NAME", help="Keep this pooling; two compare them.")
@click.option("--fit-on", "fits", multiple=True, metavar="WORD", help="Keep rows of this fit_on; two compare them.")
@click.option("--task", "tasks", multiple=True, metavar="CARD:SPLIT", help="On this task only; repeatable.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write a page into this folder, too.")
@options.methods
def command(
    run: str,
    other: str | None,
    entries: tuple[str, ...],
    encoders: tuple[str, ...],
    poolings: tuple[str, ...],
    fits: tuple[str, ...],
    tasks: tuple[str, ...],
    out: Path | None,
) -> None:
    """Print the paired differences of Spearman between RUN and OTHER: RUN minus OTHER, row by row.

    Of retrieval suites it is nDCG@10.

    A run is a folder, an id, the start of one, or 'latest'. Without OTHER give two names of one option, and the first
    minus the second is told within RUN: --entry whitening --entry raw. With OTHER, two names are RUN's and OTHER's. Both
    sides are taken over the same pairs under the same resamples; runs of unlike protocols are refused, with the field that
    differs. p is adjusted over all lines (Holm).
    """
    from hengyu.base.errors import HengyuError
    from hengyu.base.escapes import plain
    from hengyu.evaluation.comparison import compare
    from hengyu.methods.grammar import parse_entry
    from hengyu.report.comparison.text import print_comparison, write_comparison
    from hengyu.storage.records import find_run, load_run

    def same(text: str) -> str:
        # an entry is known by its printed form; what does not parse is looked up as it is, and told if it is not there
        try:
            return str(parse_entry(text))
        except HengyuError:
            return text

    first = load_run(find_run(run))
    chosen = {
        "entry": [same(e) for e in entries],
        **{"encoder": list(encoders), "pooling": list(poolings), "fit_on": list(fits), "task": list(tasks)},
    }
    second = load_run(find_run(other)) if other else None
    for one in (first, second):
        if one is not None and one.unverified:
            click.echo(plain(f"warning: not verified: {one.unverified}"), err=True)
    found = compare(first, second, chosen)
    print_comparison(found)
    if out:
        click.echo(f"page: {write_comparison(found, out)}")
