"""hengyu fetch: downloads datasets at the revisions pinned in their cards."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("fetch")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="All datasets that can be downloaded.")
@options.datasets
def command(names: tuple[str, ...], everything: bool, datasets: tuple[Path, ...]) -> None:
    """Download datasets into the cache.

    'hengyu list datasets' shows the names. Files that are already there are kept, and a partial download is resumed.
    HF_ENDPOINT sets a mirror of the Hugging Face hub; HENGYU_MIRRORS="PREFIX=MIRROR ..." sets mirrors of other addresses.
    """
    from hengyu.base.errors import HengyuError, Problems
    from hengyu.base.escapes import plain
    from hengyu.cards import find_card, load_cards
    from hengyu.cards.hub import fetch
    from hengyu.cards.remote import Unreachable

    if bool(names) == everything:
        raise click.UsageError("name the datasets to fetch, or give --all")
    cards = load_cards(datasets)
    wanted = [c for c in cards.values() if c.remote] if everything else [find_card(cards, name) for name in names]
    problems = Problems()
    for card in wanted:
        try:
            paths = fetch(card, progress=lambda line: click.echo(plain(line), err=True))
        except HengyuError as e:
            problems.add(*e.problems)
            if isinstance(e, Unreachable):
                break
        else:
            for path in paths:
                click.echo(path)
    problems.finish()
