"""hengyu reference: mteb's results as rows beside ours."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("reference")
@click.argument("run")
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where records/ and site/ go.")
def command(run: str, results: Path, out: Path | None) -> None:
    """Lay mteb's RESULTS (a folder of its result files) beside the rows of a RUN, as a board of its own.

    Each model is a row with the numbers that mteb has for the run's tasks. They were measured by others, so they have no
    interval and no paired difference. The run itself is left as it is.
    """
    from hengyu.base.paths import reports_dir
    from hengyu.report.mteb_references import read_results, with_references
    from hengyu.report.page.index import write_index
    from hengyu.report.page.leaderboard import write_report
    from hengyu.report.terminal import print_board
    from hengyu.storage.records import find_run, load_run

    found = load_run(find_run(run))
    read = read_results(results)
    reports = out or reports_dir()
    folder, taken = with_references(found, read, reports)
    finished = load_run(folder)
    print_board(finished)
    click.echo(f"{taken} of {len(read)} numbers are of the run's tasks", err=True)
    click.echo(f"records: {folder}")
    page = write_report(finished, reports / "site" / finished.id)
    write_index(reports)
    click.echo(f"leaderboard: {page}")
