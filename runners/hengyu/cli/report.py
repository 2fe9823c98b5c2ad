"""hengyu report: a run's leaderboard as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("report")
@click.argument("run")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the page; by default site/<run>."
)
@click.option(
    "--errors",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show the N pairs whose rank is most wrong for each task and entry, with their sentences. For your own eyes: "
    "leave it out of a page that you publish, the sentences may not be yours.",
)
@click.option("--data", type=_FOLDER, help="With --errors: folder that holds the datasets' files.")
@click.option(
    "--datasets", multiple=True, type=_FOLDER, help="With --errors: folder with cards of your own; repeatable."
)
def command(run: str, out: Path | None, errors: int | None, data: Path | None, datasets: tuple[Path, ...]) -> None:
    """Write the page of a RUN (a folder, an id, the start of one, or 'latest'), nothing is weighed again."""
    from hengyu.records import find_run, load_run
    from hengyu.report.html import write_report
    from hengyu.report.mistakes import mistakes
    from hengyu.resources import reports_dir

    found = load_run(find_run(run))
    wrong = mistakes(found, errors, data_dir=data, datasets=datasets) if errors else []
    click.echo(str(write_report(found, out or reports_dir() / "site" / found.id, wrong)))
