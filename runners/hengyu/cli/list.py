"""hengyu list: what there is to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

__all__ = ["LISTS", "command"]

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _datasets(folders: tuple[Path, ...], data: Path | None) -> None:
    """Print name, splits with sizes, label scale, licence, where its files are, and hub id of every card."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hengyu.cards import load_cards
    from hengyu.data import whereabouts
    from hengyu.resources import share

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("dataset", "splits", "labels", "licence", "here", "hub"):
        table.add_column(heading, overflow="fold")
    for card in load_cards(folders).values():
        places: dict[str, list[str]] = {}
        for split in card.splits:
            found = next((word for word, path in whereabouts(card, split, data).items() if path.is_file()), "missing")
            beside = "shipped" if card.path.is_relative_to(share("datasets")) else "beside its card"
            places.setdefault({"given": "in --data", "beside": beside}.get(found, found), []).append(split)
        state = "; ".join(word if len(places) == 1 else f"{word}: {' '.join(s)}" for word, s in places.items())
        sizes = ", ".join(f"{s.name} {s.rows:,}" if s.rows else s.name for s in card.splits.values())
        low, high = card.scale
        labels = "0/1" if card.binary else f"{low:g}..{high:g}"
        table.add_row(card.name, sizes, labels, card.licence, state, card.hub.id if card.hub else "")
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


# what can be listed: a word of the command line -> a function of --datasets and --data that prints
LISTS: dict[str, Callable[[tuple[Path, ...], Path | None], None]] = {"datasets": _datasets}


@click.command()
@click.argument("what", type=click.Choice(list(LISTS)))
@click.option("--datasets", multiple=True, type=_FOLDER, help="Folder with cards (*.toml) of your own; repeatable.")
@click.option("--data", type=_FOLDER, help="Folder with the files of the tasks, as given to 'hengyu run'.")
def command(what: str, datasets: tuple[Path, ...], data: Path | None) -> None:
    """List the datasets there are, with what is known of each."""
    LISTS[what](datasets, data)
