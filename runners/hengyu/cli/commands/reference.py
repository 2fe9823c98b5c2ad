"""hengyu reference: compares a run with mteb's results."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("reference")
@click.argument("run")
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for records/ and site/.")
def command(run: str, results: Path, out: Path | None) -> None:
    """Compare a run with results of mteb.

    RESULTS is a folder of mteb's result files. A new leaderboard shows the rows of RUN and a row per model with mteb's scores
    for the run's tasks. These were measured by others, so they have no interval and no paired difference. The run itself is
    not changed.
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
    click.echo(f"{taken} of {len(read)} scores belong to the run's tasks", err=True)
    click.echo(f"records: {folder}")
    page = write_report(finished, reports / "site" / finished.id)
    write_index(reports)
    click.echo(f"leaderboard: {page}")
