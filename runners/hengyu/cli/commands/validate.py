"""hengyu validate: whether suites and cards can be read."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--datasets", multiple=True, type=options.FOLDER, help="Folder with cards (*.toml) that suites name; repeatable."
)
def command(files: tuple[Path, ...], datasets: tuple[Path, ...]) -> None:
    """Read suites and cards (FILE, .toml) and name every mistake in them; no data is read, nothing is weighed.

    A file with a key 'tasks' is a suite, any other a card. Tasks of a suite must be of a card that ships with Hengyu,
    lies in --datasets, or is among the files. Exit code 0 or 2. It is the hook of .pre-commit-hooks.yaml.
    """
    from hengyu.base.errors import HengyuError, gather
    from hengyu.cards import is_suite, load_card, load_cards, parse_task
    from hengyu.suites.suite import load_suite

    problems: list[str] = []
    suites: list[Path] = []
    own: list[Path] = []
    for path in files:
        try:
            if is_suite(path):
                suites.append(path)
            else:
                load_card(path)
                own.append(path)
        except HengyuError as e:
            problems += e.problems
    gather(problems)
    cards = load_cards((*datasets, *own))
    for path in suites:
        try:
            suite = load_suite(path)
        except HengyuError as e:
            problems += e.problems
            continue
        for task in suite.tasks:
            try:
                parse_task(cards, task)
            except HengyuError as e:
                problems += [f"{path}: task '{task}': {p}" for p in e.problems]
    gather(problems)
    click.echo(f"{len(suites)} suites and {len(own)} cards can be read")
