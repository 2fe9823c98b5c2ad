"""hengyu list: datasets, suites, encoders, methods and similarities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hengyu.cli import options

if TYPE_CHECKING:
    from hengyu.cards.card import Card

__all__ = ["LISTS", "command"]


def _datasets(folders: tuple[Path, ...], data: Path | None) -> None:
    """Print name, splits with sizes, label scale, licence, where its files are, and where they come from, of every card."""
    from hengyu.base.paths import share
    from hengyu.cards import load_cards
    from hengyu.cards.card import PARTS, CollectionCard
    from hengyu.cards.data import whereabouts

    rows: list[tuple[str, ...]] = []
    for card in load_cards(folders).values():
        places: dict[str, list[str]] = {}
        for split in card.splits:
            # a retrieval split is at the place of its last file, and missing if one of its files is
            parts = PARTS if isinstance(card, CollectionCard) else ("",)
            places_of = [whereabouts(card, split, data, part) for part in parts]
            words = [next((word for word, path in p.items() if path.is_file()), "missing") for p in places_of]
            found = "missing" if "missing" in words else words[-1]
            beside = "shipped" if card.path.is_relative_to(share("datasets")) else "next to its card"
            places.setdefault({"given": "in --data", "beside": beside}.get(found, found), []).append(split)
        state = "; ".join(word if len(places) == 1 else f"{word}: {' '.join(s)}" for word, s in places.items())
        sizes = ", ".join(f"{s.name} {s.rows:,}" if s.rows else s.name for s in card.splits.values())
        low, high = card.scale
        labels = "0/1" if card.binary else f"{low:g}..{high:g}"
        labels = {"retrieval": "grades", "triples": "triples"}.get(card.kind, labels)
        rows.append((card.name, sizes, labels, card.licence, state, _origin(card)))
    _table(("dataset", "splits", "labels", "licence", "here", "from"), rows)


def _origin(card: Card) -> str:
    """Return the hub id, or the host and first folders of the first URL."""
    if card.hub:
        return card.hub.id
    url = next((split.url for split in card.splits.values() if split.url), "")
    return "/".join(url.split("/")[2:5])


def _suites(folders: tuple[Path, ...], data: Path | None) -> None:
    """Print name, tasks, poolings, number of entries and title of every shipped suite."""
    from hengyu.base.paths import share
    from hengyu.suites.suite import load_suite

    rows: list[tuple[str, ...]] = []
    for path in sorted(share("suites").glob("*.toml")):
        suite = load_suite(path)
        n, m = len(suite.entries), len(suite.poolings)
        size = f"{n} {'entry' if n == 1 else 'entries'} x {m} {'pooling' if m == 1 else 'poolings'}"
        rows.append((suite.name, " ".join(suite.tasks), size, suite.title))
    _table(("suite", "tasks", "size", "title"), rows)


def _encoders(folders: tuple[Path, ...], data: Path | None) -> None:
    """Print the built-in encoders, the baselines, and how to give any other."""
    from hengyu.encoders import BUILT_IN, EncoderSpec, open_encoder
    from hengyu.encoders.lexical import BASELINE_NOTES

    rows: list[tuple[str, ...]] = []
    for name, what in BUILT_IN.items():
        builtin = open_encoder(EncoderSpec(name))
        size = sum(f.stat().st_size for f in builtin.folder.path.rglob("*") if f.is_file()) / 1e6
        given = " ".join(pooling for pooling, reason in builtin.poolings.items() if not reason)
        rows.append((name, "Apache-2.0", f"{size:.1f} MB", f"built in: {what}; poolings {given}"))
    rows += [(name, "", "", f"baseline: {note}") for name, note in BASELINE_NOTES.items()]
    rows.append(("FOLDER or HUB/ID", "its own", "", "any transformers or sentence-transformers model, with --encoder"))
    rows.append(("FILE.npy", "its own", "", "precomputed vectors, one per line of FILE.txt, with --encoder"))
    rows.append(("FOLDER with vectors.npy", "its own", "", "the same, with texts.txt; also .safetensors and .parquet"))
    rows.append(("NAME --api URL", "its own", "", "a model behind an OpenAI-compatible API, with --encoder"))
    _table(("encoder", "licence", "size", "what it is"), rows)


def _methods(folders: tuple[Path, ...], data: Path | None) -> None:
    """Print every method with its parameters and what it does."""
    from dataclasses import MISSING, fields

    from hengyu.methods.registry import find_method, method_names

    rows: list[tuple[str, ...]] = []
    for name in method_names():
        method = find_method(name)
        if method.category == "similarity":
            continue  # have a list of their own
        given = [(f.name, f.default) for f in fields(method) if f.init]
        words = (f"{key}=..." if value is MISSING else f"{key}={value}" for key, value in given)
        around = method.category == "tuner"
        parts = ("tuner" if around else f"entry {n + 1}" for n in range(method.joins))
        parameters = ", ".join((*parts, *words))
        learns = "sentences" if method.needs_fit else "nothing"
        learns = "labels" if method.labelled else "as the tuner" if around and method.joins else learns
        rows.append((name, parameters, learns, (method.__doc__ or "").strip().split("\n")[0].replace("``", "")))
    _table(("method", "parameters", "learns from", "what it does"), rows)


def _similarities(folders: tuple[Path, ...], data: Path | None) -> None:
    """Print every similarity with its parameters, what it is fitted on, and where it can be used."""
    from dataclasses import fields

    from hengyu.methods.base import Similarity
    from hengyu.methods.registry import find_method, similarity_names

    rows: list[tuple[str, ...]] = []
    for name in similarity_names():
        method = find_method(name)
        assert issubclass(method, Similarity)
        parameters = ", ".join(f"{f.name}={f.default}" for f in fields(method) if f.init)
        learns = "sentences" if method.needs_fit else "nothing"
        of = "two vectors" if method.by_pair else "two vectors and their neighbours"
        where = "pairs, retrieval" if method.searchable else "pairs"
        about = (method.__doc__ or "").strip().split("\n")[0].replace("``", "")
        rows.append((name, parameters, learns, of, where, about))
    _table(("similarity", "parameters", "learns from", "is of", "for", "what it does"), rows)


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table as wide as the terminal, or 200 columns when piped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hengyu.base.escapes import plain

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


# what can be listed: word of the command line -> function of --datasets and --data that prints
LISTS: dict[str, Callable[[tuple[Path, ...], Path | None], None]] = {
    "datasets": _datasets,
    "suites": _suites,
    "encoders": _encoders,
    "methods": _methods,
    "similarities": _similarities,
}


@click.command("list")
@click.argument("what", type=click.Choice(list(LISTS)))
@options.datasets
@click.option("--data", type=options.FOLDER, help="Folder with the files of the tasks, as given to 'hengyu run'.")
@options.methods
def command(what: str, datasets: tuple[Path, ...], data: Path | None) -> None:
    """List datasets, suites, encoders, methods or similarities."""
    LISTS[what](datasets, data)
