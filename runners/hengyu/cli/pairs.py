"""Descriptions of pairs and guesses for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from hengyu.base.escapes import plain
from hengyu.cards import pairs_card
from hengyu.cards.card import Card, CollectionCard
from hengyu.cards.data import Pairs
from hengyu.cards.guess import Guess, guess
from hengyu.cards.notes import distribution
from hengyu.cards.rows import at_lines

__all__ = ["describe_guess", "describe_pairs", "show_pairs"]

_WIDTH = 30  # characters of a sentence


def describe_guess(guess: Guess) -> Iterator[str]:
    """Yield lines on the decisions about a file, and its first rows."""
    yield plain(f"{guess.file}:")
    for what, how in guess.said:
        yield plain(f"  {what:<10} {how}")
    for what, (first, second, label) in zip(("first rows", "", ""), guess.preview, strict=False):
        yield plain(f"  {what:<10} {_short(first)} | {_short(second)} | {_short(label)}")


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def describe_pairs(pairs: Pairs) -> Iterator[str]:
    """Yield lines on the pairs of a split: their number, labels, dropped lines and oddities."""
    yield plain(f"{pairs.task}: {len(pairs.labels)} pairs, labels {distribution(pairs.labels)}")
    if pairs.dropped:
        lines = "line" if len(pairs.dropped) == 1 else "lines"
        yield f"  {len(pairs.dropped)} malformed {lines} left out ({at_lines('line', pairs.dropped)})"
    for note in pairs.notes:
        yield plain(f"  {note.removeprefix(f'{pairs.task}: ')}")


def describe_collection(card: Card, folder: Path) -> Iterator[str]:
    """Yield lines on the splits of a retrieval card whose files are in a folder; raises `HengyuError` for what is wrong there."""
    from hengyu.cards.collection import load_collection

    assert isinstance(card, CollectionCard)
    for split in card.splits:
        found = load_collection(card, split, folder)
        yield plain(
            f"{found.task}: {len(found.documents):,} documents, {len(found.queries):,} queries, {len(found.labels):,} judgements"
        )
        for note in found.notes:
            yield plain(f"  {note.removeprefix(f'{found.task}: ')}")
        yield plain(f"  evaluate on it: hengyu run retrieval --datasets {card.path.parent} --task {found.task}")


def show_pairs(files: Sequence[Path], *, quiet: bool) -> tuple[str, ...]:
    """Return the tasks of files of pairs, and print on stderr how each is read; raises `HengyuError`."""
    tasks = []
    for file in files:
        card = pairs_card(file)
        split = next(name for name, split in card.splits.items() if split.file == file.name)
        tasks.append(f"{card.name}:{split}")
        if quiet:
            continue
        if card.path.is_file():
            click.echo(plain(f"{file}: read with the card {card.path}"), err=True)
            continue
        for line in describe_guess(guess(file)):
            click.echo(line, err=True)
        click.echo(plain(f"  to change any of this: hengyu card {file}, then edit {card.path}"), err=True)
    return tuple(tasks)
