"""hengyu validate: whether suites, cards and their data can be read."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@options.data
@click.option(
    "--datasets", multiple=True, type=options.FOLDER, help="Folder with cards (*.toml) that suites name; repeatable."
)
@click.option("--keys-only", is_flag=True, help="Check suites and cards without reading any data.")
def command(files: tuple[Path, ...], data: Path | None, datasets: tuple[Path, ...], keys_only: bool) -> None:
    """Read suites and cards (FILE, .toml) and the data they name, and report every mistake; nothing is evaluated.

    A file with a key 'tasks' is a suite, any other a card. Tasks of a suite must be of a card that ships with Hengyu,
    lies in --datasets, or is among the files. Of each split that is here it says how many pairs there are, how their
    labels are distributed, what was left out, and which pairs are odd. Data that can be fetched and is not here yet is
    no mistake. Exit code 0 or 2. It is the hook of .pre-commit-hooks.yaml.
    """
    from hengyu.base.errors import Missing, Problems
    from hengyu.cards import Card, is_suite, load_card, load_cards, parse_task
    from hengyu.cards.card import CollectionCard
    from hengyu.cards.collection import load_collection
    from hengyu.cards.data import Pairs, load_pairs
    from hengyu.cli.pairs import describe_pairs
    from hengyu.suites.suite import load_suite

    problems = Problems()
    suites: list[Path] = []
    own: list[Path] = []
    tasks: dict[tuple[str, str], Card] = {}
    for path in files:
        with problems.caught():
            if is_suite(path):
                suites.append(path)
            else:
                card = load_card(path)
                own.append(path)
                tasks |= {(card.name, split): card for split in card.splits}
    problems.finish()
    cards = load_cards((*datasets, *own))
    for path in suites:
        with problems.caught():
            for task in load_suite(path).tasks:
                with problems.caught(f"{path}: task '{task}': "):
                    card, split = parse_task(cards, task)
                    tasks.setdefault((card.name, split), card)
    problems.finish()

    def load(card: Card, split: str) -> Pairs:
        return load_collection(card, split, data) if isinstance(card, CollectionCard) else load_pairs(card, split, data)

    away: list[str] = []
    for (_, split), card in {} if keys_only else tasks.items():
        with problems.caught():
            try:
                pairs = load(card, split)
            except Missing:
                if not (card.hub and card.split(split).hub):
                    raise
                away.append(f"{card.name}:{split}")
            else:
                for line in describe_pairs(pairs):
                    click.echo(line)
    if away:
        click.echo(f"not here, and not checked: {', '.join(away)} (hengyu fetch NAME, or --data DIR)")
    problems.finish()
    counts = ((len(suites), "suite"), (len(own), "card"))
    click.echo(f"valid: {', '.join(_counted(n, word) for n, word in counts if n)}")


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
