"""hengyu baseline: save the scores of a run, to compare later runs with."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("baseline")
@click.argument("run")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; by default baselines/SUITE.json in the reports folder.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="Save this metric, too, besides Spearman or the retrieval metrics; repeatable.",
)
@click.option("--show", is_flag=True, help="Only print what would change.")
def command(run: str, out: Path | None, metrics: tuple[str, ...], show: bool) -> None:
    """Save a run as the baseline of its suite.

    RUN is a folder, an id, the beginning of one, or 'latest'. The file has one line per cell, so that its diff can be
    reviewed before it is committed; changes are printed. A cell that changed by less than 0.005 points keeps its old
    line. For a retrieval suite nDCG, MRR and recall are saved, but not the costs.
    """
    from hengyu.base.errors import HengyuError, did_you_mean
    from hengyu.base.escapes import plain
    from hengyu.base.paths import reports_dir
    from hengyu.evaluation.gate.baselines import baseline_of, changes, read_baseline, settle, write_baseline
    from hengyu.evaluation.run_metrics import metrics_of
    from hengyu.storage.records import load_run
    from hengyu.storage.records.unfinished import find_finished
    from hengyu.tasks.interface.registry import score_names

    for metric in metrics:
        if metric not in score_names():
            raise HengyuError(f"--metric '{metric}' is unknown{did_you_mean(metric, score_names())}")
    found = load_run(find_finished(run))
    if found.unverified:
        raise HengyuError(found.unverified)
    new, notes = baseline_of(found, tuple(dict.fromkeys((*metrics_of(found), *metrics))))
    path = out or reports_dir() / "baselines" / f"{new.suite}.json"
    old = read_baseline(path) if path.is_file() else None
    if old is not None:
        new = settle(old, new)
    lines = changes(old, new) if old else [f"{path}: new, {len(new.cells)} cells"]
    for note in notes:
        click.echo(plain(f"note: {note}"), err=True)
    for line in lines or ["nothing changed"]:
        click.echo(plain(line))
    if not show:
        write_baseline(path, new)
        click.echo(str(path))
