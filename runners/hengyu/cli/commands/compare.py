"""hengyu compare: paired differences between two runs, or within one."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("compare")
@click.argument("run")
@click.argument("other", required=False)
@click.option("--entry", "entries", multiple=True, metavar="ENTRY", help="Only this method; give two to compare them.")
@click.option(
    "--encoder", "encoders", multiple=True, metavar="NAME", help="Only this encoder; give two to compare them."
)
@click.option(
    "--pooling", "poolings", multiple=True, metavar="NAME", help="Only this pooling; give two to compare them."
)
@click.option(
    "--fit-on", "fits", multiple=True, metavar="WORD", help="Only rows with this fit_on; give two to compare them."
)
@click.option("--task", "tasks", multiple=True, metavar="CARD:SPLIT", help="Only this task; repeatable.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "md", "markdown", "latex", "tex"]),
    default="table",
    show_default=True,
    help="table: for reading; csv, md (markdown), latex (tex, a table for a paper): for other programs.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Also write an HTML page into this folder."
)
@options.methods
def command(
    run: str,
    other: str | None,
    entries: tuple[str, ...],
    encoders: tuple[str, ...],
    poolings: tuple[str, ...],
    fits: tuple[str, ...],
    tasks: tuple[str, ...],
    format_: str,
    out: Path | None,
) -> None:
    """Compare two runs, or two methods of one run.

    Prints the paired differences RUN minus OTHER of Spearman (nDCG@10 for retrieval), row by row, with 95 % confidence
    intervals and Holm-adjusted p-values.

    A run is a folder, an id, the beginning of one, or 'latest'. Without OTHER, give two names of one option to compare
    them within RUN: --entry whitening --entry raw. With OTHER, the first name is RUN's and the second OTHER's. Both sides
    use the same pairs and resamples; runs with different protocols are refused, with the field that differs.

    A baseline is named like an encoder: --encoder hengyu-small --encoder tfidf compares it with every row of the other.
    """
    from hengyu.base.errors import HengyuError
    from hengyu.base.escapes import plain
    from hengyu.evaluation.comparison import compare
    from hengyu.methods.grammar import parse_entry
    from hengyu.report.comparison.exports import FORMATS
    from hengyu.report.comparison.text import print_comparison, write_comparison
    from hengyu.report.exports.table import ALIASES
    from hengyu.storage.records import find_run, load_run

    def same(text: str) -> str:
        # entries are known by their printed form; one that does not parse is looked up as typed, and reported if missing
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
    if format_ == "table":
        print_comparison(found)
    else:
        click.echo(FORMATS[ALIASES.get(format_, format_)](found).encode("utf-8"), nl=False)
    if out:
        click.echo(f"page: {write_comparison(found, out)}", err=format_ != "table")
