"""hengyu export-model: a row of the leaderboard as a sentence-transformers model."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("export-model")
@click.argument("run")
@click.option(
    "--row", required=True, metavar="N|WORDS", help="Its number on the leaderboard, or parts: 'mean | whitening'."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--task", default="", metavar="CARD:SPLIT", help="Use the fit of this task (a row has one per task).")
@click.option("--fit-on", default="", metavar="CARD:SPLIT", help="Fit on the sentences of this split instead.")
@click.option("--seed", type=int, default=None, help="Seed of a row with several; by default the first.")
@click.option("--encoder", default="", metavar="ID|DIR", help="Where the encoder is now, if it has moved.")
@click.option("--data", type=options.FOLDER, help="Where the datasets' files are now, if they have moved.")
@options.datasets
@options.offline
@options.trust_remote_code
@click.option("--force", is_flag=True, help="Replace an existing model folder.")
@options.methods
def command(
    run: str,
    row: str,
    out: Path,
    task: str,
    fit_on: str,
    seed: int | None,
    encoder: str,
    data: Path | None,
    datasets: tuple[Path, ...],
    offline: bool,
    trust_remote_code: bool,
    force: bool,
) -> None:
    """Export a leaderboard row as a sentence-transformers model.

    The folder contains encoder, pooling and all steps of the method. A row of RUN is given by its number on the leaderboard,
    or by enough of encoder, pooling, method and fit_on, separated by bars, to identify it: 'hengyu-mini | mean |
    whitening(dim=64) | target'. The steps are fitted on the same data as in the run, and before the folder is published
    its vectors are compared with those that were evaluated.
    """
    from rich.console import Console

    from hengyu.base.errors import HengyuError
    from hengyu.base.escapes import plain
    from hengyu.base.progress import Progress
    from hengyu.report.board.board import percent
    from hengyu.storage.fits import FitStore
    from hengyu.storage.records import find_run, load_run
    from hengyu.tools.export_model.card import model_card, scorer_card
    from hengyu.tools.export_model.fitted import Places, refit, refit_scorer
    from hengyu.tools.export_model.folder import refuse_occupied, write_folder, write_scorer
    from hengyu.tools.export_model.row import choose, written

    found = load_run(find_run(run))
    if found.unverified:
        click.echo(f"warning: not verified: {found.unverified}", err=True)
    choice = choose(found, row, task, seed)
    refuse_occupied(out, force=force)
    progress = Progress(Console(stderr=True))
    places = Places(encoder, data, datasets, offline, trust_remote_code)
    if choice.entry.joint:
        joint = refit_scorer(found, choice, fit_on, places, progress=progress)
        made = write_scorer(joint, out, scorer_card(found, choice, joint), force=force)
        click.echo(plain(f"row: {written(choice.row)}"), err=True)
        click.echo(plain(f"modules: {' > '.join(made.modules)}; give it with --cross-encoder"), err=True)
        click.echo(plain(f"Spearman on {choice.task}: {percent(joint.spearman)}"), err=True)
        click.echo(f"checked: {made.probed} pairs, largest error {made.error:.1e}", err=True)
        click.echo(str(out))
        return
    fitted = refit(found, choice, fit_on, places, fits=FitStore.default(), progress=progress)
    of_run = choice.value_in(found)
    if not fit_on and of_run is not None and abs(of_run - fitted.spearman) > 1e-3:
        raise HengyuError(
            f"row '{written(choice.row)}': fitted again it scores {percent(fitted.spearman)} on {choice.task}, but the run "
            f"has {percent(of_run)}; run the suite again with these versions, then export the row"
        )
    done = write_folder(
        fitted, choice, out, lambda folder: model_card(found, choice, fitted, folder, fit_on), force=force
    )
    click.echo(plain(f"row: {written(choice.row)}"), err=True)
    click.echo(plain(f"modules: {' > '.join(done.modules)}"), err=True)
    run_has = "" if fit_on or of_run is None else f" (the run has {percent(of_run)})"
    click.echo(plain(f"Spearman on {choice.task}: {percent(fitted.spearman)}{run_has}"), err=True)
    click.echo(f"checked: {done.probed} sentences, largest error {done.error:.1e} of a vector's length", err=True)
    if done.own:
        click.echo("to load it, install hengyu and pass trust_remote_code=True", err=True)
    click.echo(str(out))
