"""hengyu validate: checks suites, cards and their data."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@options.data
@click.option(
    "--datasets", multiple=True, type=options.FOLDER, help="Folder with cards (*.toml) used by the suites; repeatable."
)
@click.option("--keys-only", is_flag=True, help="Check suites and cards without reading any data.")
def command(files: tuple[Path, ...], data: Path | None, datasets: tuple[Path, ...], keys_only: bool) -> None:
    """Check suites, cards and their data for mistakes.

    A FILE (.toml) with a key 'tasks' is a suite, any other a card; nothing is evaluated. The tasks of a suite need a card
    that ships with Hengyu, is in --datasets, or among the files. For each available split it prints the number of pairs,
    the distribution of labels, dropped lines and odd pairs. Data that is not downloaded yet is not a mistake. Exit code 0
    or 2. It is the hook of .pre-commit-hooks.yaml.
    """
    from hengyu.base.errors import Missing, Problems
    from hengyu.cards import Card, is_suite, load_card, load_cards, parse_task
    from hengyu.cards.card import CollectionCard
    from hengyu.cards.collection import load_collection
    from hengyu.cards.data import Pairs, load_pairs
    from hengyu.cards.distractors import read_distractors
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
                if not any(each.remote for each in card.splits.values()):  # a card of the user's own files
                    raise
                away.append(f"{card.name}:{split}")
            else:
                for line in describe_pairs(pairs):
                    click.echo(line)
    for card in {} if keys_only else {card.name: card for card in tasks.values() if card.distractors}.values():
        with problems.caught():
            paths = card.distractor_paths()
            with problems.caught(f"{card.path}: distractors: "):
                found = read_distractors(paths)
                click.echo(f"{card.name}: {len(found.texts):,} distractors of {', '.join(found.files)}")
    if away:
        click.echo(f"not here, and not checked: {', '.join(away)} (hengyu fetch NAME, or --data DIR)")
    problems.finish()
    counts = ((len(suites), "suite"), (len(own), "card"))
    click.echo(f"valid: {', '.join(_counted(n, word) for n, word in counts if n)}")


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
