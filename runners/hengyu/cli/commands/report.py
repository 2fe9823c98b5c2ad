"""hengyu report: the leaderboard of a run as one HTML file, and an index of runs."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("report")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the page; for several runs, of their index, with a folder for each.",
)
@click.option(
    "--errors",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show the N worst-ranked pairs of each task and method, with their sentences; for a retrieval suite the N queries with "
    "the worst first relevant result. Do not use it for published pages if you may not publish the sentences.",
)
@click.option("--data", type=options.FOLDER, help="With --errors: folder with the datasets' files.")
@click.option(
    "--datasets", multiple=True, type=options.FOLDER, help="With --errors: folder with your own cards; repeatable."
)
def command(
    runs: tuple[str, ...], out: Path | None, errors: int | None, data: Path | None, datasets: tuple[Path, ...]
) -> None:
    """Write the HTML page of runs, without evaluating again.

    Pages are site/RUN/index.html, and site/index.html lists every run of the reports folder. With --out, one run is
    DIR/index.html; several are DIR/RUN/index.html, and DIR/index.html lists them.
    """
    from hengyu.base.errors import HengyuError
    from hengyu.base.paths import reports_dir
    from hengyu.report.page.index import listed, write_index, write_listing
    from hengyu.report.page.leaderboard import write_report
    from hengyu.report.page.worst_pairs import mistakes
    from hengyu.storage.records import find_run, load_run

    folders = list(dict.fromkeys(find_run(run) for run in runs))
    found = {folder: load_run(folder) for folder in folders}
    seen: dict[str, Path] = {}
    for folder, run in found.items():
        if seen.setdefault(run.id, folder) != folder:
            raise HengyuError(
                f"{seen[run.id]} and {folder} have the same name, {run.id}, so one page would replace the other; "
                "run 'hengyu report' for each, with its own --out DIR"
            )
    site = out or reports_dir() / "site"
    alone = out is not None and len(found) == 1
    for run in found.values():
        if run.unverified:
            click.echo(f"warning: not verified: {run.unverified}", err=True)
        wrong = mistakes(run, errors, data_dir=data, datasets=datasets) if errors else []
        click.echo(str(write_report(run, site if alone else site / run.id, wrong, listed=not alone)))
    if out and len(found) > 1:
        click.echo(str(write_listing((listed(folder, site) for folder in found), site)))
    elif not out:
        write_index(reports_dir())
