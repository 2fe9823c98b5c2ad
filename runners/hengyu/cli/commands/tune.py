"""hengyu tune: the settings of a suite's tuners, searched on valid splits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hengyu.cli import options

if TYPE_CHECKING:
    from hengyu.tools.tuning.search import Found

__all__ = ["command"]

_SHOWN = 10


@click.command("tune")
@click.argument("suite", metavar="SUITE")
@click.option("--budget", default="", metavar="TIME", help="Time of all searches together, like 90s, 30min or 2h.")
@click.option("--trials", type=click.IntRange(min=0), default=0, help="Trainings of each search; 0 for no limit.")
@click.option(
    "--entry", "entries", multiple=True, metavar="ENTRY", help="Tune this entry instead of the suite's; repeatable."
)
@click.option(
    "--fit-on", default="", metavar="WORD", help="What entries are trained on: train, target, CARD:train, ..."
)
@click.option(
    "--search",
    "searched",
    multiple=True,
    metavar="KEY[=RANGE]",
    help="Search this parameter, like lr, lr=1e-5..1e-3 or batch=16|64; by default lr, batch, epochs, temperature or scale.",
)
@click.option(
    "--encoder", "encoders", multiple=True, metavar="MODEL", help="Train this model instead of the suite's; repeatable."
)
@click.option(
    "--pooling", "poolings", multiple=True, metavar="NAME", help="Use this pooling instead of the suite's; repeatable."
)
@click.option(
    "--task", "tasks", multiple=True, metavar="CARD", help="Choose on the valid split of this card; repeatable."
)
@options.data
@options.datasets
@options.device
@options.offline
@options.methods
@click.option("--seed", type=click.IntRange(min=0), help="Seed of trainings and proposals; by default the suite's.")
@click.option(
    "--tables",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the tables of trials; by default reports/tuning.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the chosen entries to this TOML file."
)
@click.option("--quiet", is_flag=True, help="Print no progress.")
def command(
    suite: str,
    budget: str,
    trials: int,
    entries: tuple[str, ...],
    fit_on: str,
    searched: tuple[str, ...],
    encoders: tuple[str, ...],
    poolings: tuple[str, ...],
    tasks: tuple[str, ...],
    data: Path | None,
    datasets: tuple[Path, ...],
    device: str,
    offline: bool,
    seed: int | None,
    tables: Path | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Search the settings of a suite's tuners, using only train and valid splits.

    SUITE is of kind sts. Every entry that trains an encoder is trained first with its own settings, then with others, until the
    budget is spent. Each trial is scored by its Spearman on the valid splits of the suite's cards, the mean over the entry's dims
    if it has some, and ended early if its held-out curve is below the median of the others. A test split is never read. The chosen
    entries are printed as lines of a suite; run them on test with hengyu run.

    The table of trials (trials.json, trials.csv) is written after each of them. Interrupted, the same command goes on; with a
    larger budget, a finished search goes on as well. A score on valid is the highest of many, so it is optimistic.
    """
    from dataclasses import replace

    from rich.console import Console

    from hengyu.base.errors import HengyuError
    from hengyu.base.json_files import write_bytes
    from hengyu.base.paths import reports_dir
    from hengyu.base.progress import Progress
    from hengyu.suites.suite import find_suite, load_suite
    from hengyu.tools.tuning.job import CHOSEN, suite_line, suite_lines, tune
    from hengyu.tools.tuning.search import Budget

    if not budget and not trials:
        raise HengyuError("hengyu tune needs a limit; give --budget, like 30min, or --trials")
    limits = Budget(options.seconds(budget, "--budget") if budget else 0.0, trials)
    asked = load_suite(find_suite(suite)).with_overrides(
        encoders=encoders, poolings=poolings, entries=entries, fit_on=fit_on
    )
    asked = replace(
        asked,
        seed=asked.seed if seed is None else seed,
        encoders=tuple(replace(e, device=device or e.device) for e in asked.encoders),
    )
    found = tune(
        asked,
        limits,
        tables or reports_dir() / "tuning",
        tasks=tasks,
        searched=searched,
        data=data,
        datasets=datasets,
        offline=offline,
        progress=Progress(None if quiet else Console(stderr=True)),
    )
    for one in found:
        _print(one)
    if out:
        write_bytes(out, suite_lines(found).encode("utf-8"))
    for one in found:
        click.echo(suite_line(one))
    click.echo(f"written: {out}" if out else "written: " + ", ".join(str(one.table.root / CHOSEN) for one in found))


def _print(found: Found) -> None:
    """Print the best trials of a search."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hengyu.base.escapes import plain
    from hengyu.tools.tuning.trials import counted

    about, trials = found.table.about, found.table.trials
    done = sorted((t for t in trials if t.score is not None), key=lambda t: (-(t.score or 0), t.number))
    rest = [t for t in trials if t.score is None]
    title = f"{about['encoder']}, {about['pooling']}: {about['entry']} on {' and '.join(about['chosen_on'])}"
    table = Table(title=plain(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("trial", "Spearman", "seconds", *found.space):
        table.add_column(heading, justify="right")
    for t in done[:_SHOWN]:
        values = (str(t.values.get(name, "")) for name in found.space)
        table.add_row(str(t.number), f"{100 * (t.score or 0):.2f}", f"{t.seconds:.0f}", *map(plain, values))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    pruned = sum(t.state == "pruned" for t in rest)
    console.print(
        f"{counted(len(trials), 'trial')} ({found.new} new), {pruned} ended early, {len(rest) - pruned} failed, "
        f"{found.table.seconds:.0f} s; seed {found.subject.seed}; all of them: {found.table.root / 'trials.csv'}",
        soft_wrap=True,
    )
