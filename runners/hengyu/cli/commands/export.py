"""hengyu export: writes a run in formats for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hengyu.storage.records import Run

__all__ = ["command"]


@click.command("export")
@click.argument("run")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "json", "md", "markdown", "latex", "tex", "mteb", "ann-benchmarks"]),
    default="csv",
    show_default=True,
    help="csv and json: every record; md (markdown) and latex (tex): the leaderboard; mteb: a folder of its result files; "
    "ann-benchmarks: the vectors of a retrieval row, with their neighbours.",
)
@click.option(
    "--uncertainty",
    type=click.Choice(["interval", "pm", "none"]),
    default="interval",
    show_default=True,
    help="With latex: confidence intervals, half their width after a plus-minus sign, or neither.",
)
@click.option("--excel", is_flag=True, help="With csv: a file that Excel opens with Chinese names intact.")
@click.option(
    "--row", default="", metavar="ROW", help="With ann-benchmarks: the row, by enough of its parts; by default flat."
)
@click.option(
    "--task", default="", metavar="CARD:SPLIT", help="With ann-benchmarks: the task, where the run has several."
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write instead of stdout (for mteb: folder).")
@click.option(
    "--clouds", is_flag=True, help="The embedding geometry of each method instead of the scores (csv or json)."
)
def command(
    run: str, format_: str, uncertainty: str, excel: bool, row: str, task: str, out: Path | None, clouds: bool
) -> None:
    """Export the numbers of a run.

    RUN is a folder, an id, the beginning of one, or 'latest'.

    csv and json are tidy: one record per row, scores not x 100, an empty field or null for a missing number; task and
    split are separate (LCQMC, test), and means over tasks are the tasks mean and w-mean. rank, rank_low and rank_high are
    the row's rank by Spearman and its 95 % interval; tied: not significantly worse than the best. Text is kept as it
    is, but for characters that are not seen (shown as `<U+202E>`), so a spreadsheet may take a name that begins with = for a
    formula; --excel prevents that.

    latex is a table for a paper: booktabs, rows in groups by encoder, daggers where the difference from the reference is
    significant, the best in bold and the second best underlined, with caption and label.

    mteb writes each row as a model of mteb's result cache: mteb.ResultCache(DIR).load_results() reads it.

    ann-benchmarks writes an HDF5 file in the layout of its datasets: the vectors that the index of a row searches (train), the
    queries (test), and their 100 exact neighbours with angular distances. A row is given as for export-model: 'whitening > flat'.
    """
    from hengyu.report.exports.table import ALIASES, export, export_clouds, export_latex
    from hengyu.report.exports.table import excel as for_excel
    from hengyu.storage.records import find_run, load_run, write_bytes

    format_ = ALIASES.get(format_, format_)
    if excel and format_ != "csv":
        raise click.UsageError("--excel is for --format csv")
    if uncertainty != "interval" and (format_ != "latex" or clouds):
        raise click.UsageError("--uncertainty is for --format latex")
    if format_ == "mteb" and not clouds:
        from hengyu.report.exports.mteb import write_mteb

        if out is None or out.is_file():
            raise click.UsageError("mteb's results are a folder; give it with --out DIR")
        click.echo(f"{len(write_mteb(_warned(load_run(find_run(run))), out))} result files in {out}", err=True)
        return
    if (row or task) and format_ != "ann-benchmarks":
        raise click.UsageError("--row and --task are for --format ann-benchmarks")
    if format_ == "ann-benchmarks":
        if out is None or clouds or out.is_dir():
            raise click.UsageError("--format ann-benchmarks writes an HDF5 file; give it with --out FILE.hdf5")
        _write_ann_benchmarks(_warned(load_run(find_run(run))), row, task, out)
        return
    if out is not None and out.is_dir():
        raise click.UsageError(f"--out {out} is a folder; name a file")
    found = _warned(load_run(find_run(run)))
    if clouds:
        text = export_clouds(found, format_)
    else:
        text = export_latex(found, uncertainty) if format_ == "latex" else export(found, format_)
    content = for_excel(text) if excel else text.encode("utf-8")
    if out:
        write_bytes(out, content)
        click.echo(str(out), err=True)
        return
    # bytes, so that Chinese names and line ends are the same on all platforms
    click.echo(content, nl=False)


def _write_ann_benchmarks(run: Run, row: str, task: str, out: Path) -> None:
    from rich.console import Console

    from hengyu.base.escapes import plain
    from hengyu.base.progress import Progress
    from hengyu.storage.fits import FitStore
    from hengyu.tools.ann_benchmarks import write_ann_benchmarks

    progress = Progress(Console(stderr=True))
    done = write_ann_benchmarks(run, row, out, task=task, fits=FitStore.default(), progress=progress)
    click.echo(
        plain(
            f"{done.task}, {' | '.join(done.row)}: {done.train:,} vectors of {done.dim}, {done.test:,} queries, "
            f"{done.neighbours} neighbours of each"
        ),
        err=True,
    )
    click.echo(str(out), err=True)


def _warned(run: Run) -> Run:
    """Warn if a run cannot be verified; returns the run."""
    if run.unverified:
        click.echo(f"warning: not verified: {run.unverified}", err=True)
    return run
