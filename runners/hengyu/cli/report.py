"""hengyu report: a run's leaderboard as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("report")
@click.argument("run")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the page; by default site/<run>."
)
def command(run: str, out: Path | None) -> None:
    """Write the page of a RUN (a folder, an id, the start of one, or 'latest'), nothing is weighed again."""
    from hengyu.records import find_run, load_run
    from hengyu.report.html import write_report
    from hengyu.resources import reports_dir

    found = load_run(find_run(run))
    click.echo(str(write_report(found, out or reports_dir() / "site" / found.id)))
