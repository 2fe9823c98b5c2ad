"""hengyu speed: the ratios that `make perf` stored, over time."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("speed")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    metavar="PERCENT",
    help="Exit with 1 where a ratio is worse than the median of the earlier ones by more than this.",
)
def command(folder: Path | None, tolerance: float | None) -> None:
    """Compare the newest ratios that 'make perf' stored with the earlier ones of the same machine.

    FOLDER is where pytest-benchmark keeps its files, by default .benchmarks in the clone. Every ratio is of two times
    taken in the same run. Exit code 0; 1 for a ratio beyond its bound, or beyond --tolerance where that is given.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hengyu.base.escapes import plain
    from hengyu.base.paths import checkout
    from hengyu.tools.speed import compare, load_timings

    timings = load_timings(folder or (checkout() or Path.cwd()) / ".benchmarks")
    newest, rows = timings[-1], compare(timings)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(plain(f"{newest.date[:19]}, commit {newest.commit}, {newest.machine}"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("ratio", "now", "bound", "median before", "runs before", "change"):
        table.add_column(name, justify="left" if name == "ratio" else "right", overflow="fold")
    bad: list[str] = []
    for row in rows:
        bound = f">= {row.ratio.at_least:g}" if row.ratio.at_least is not None else f"<= {row.ratio.at_most:g}"
        beyond = tolerance is not None and row.worse is not None and 100 * row.worse > tolerance
        if not row.held or beyond:
            bad.append(
                f"{row.name}: {row.ratio.value:.3g} " + ("is worse than before" if row.held else f"is not {bound}")
            )
        said = "" if row.worse is None else f"{abs(row.worse):.1%} {'worse' if row.worse > 0 else 'better'}"
        before = "" if row.median is None else f"{row.median:.3g}"
        table.add_row(plain(row.name), f"{row.ratio.value:.3g}", bound, before, str(len(row.earlier)), said)
    console.print(table)
    for line in bad:
        click.echo(plain(line), err=True)
    if bad:
        raise SystemExit(1)
