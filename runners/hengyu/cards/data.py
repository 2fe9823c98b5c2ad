"""Data: reads the pairs and labels of a task; every mistake is reported with file and line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hengyu.base.bounded import DATA, read_bytes
from hengyu.base.errors import HengyuError, Missing
from hengyu.base.json_files import find_json
from hengyu.base.paths import cache_dir
from hengyu.cards.card import Card, CollectionCard, CollectionSplit, Columns, TripleCard, files_of, format_of
from hengyu.cards.checks import check_rows, check_split
from hengyu.cards.notes import pair_notes
from hengyu.cards.ratings import read_ratings
from hengyu.cards.rows import at_lines, read_rows
from hengyu.cards.triples import read_triples
from hengyu.storage.identity import array_digest, text_digest
from hengyu.storage.identity import digest as digest_of

__all__ = [
    "Pairs",
    "SampleOf",
    "cached",
    "downloaded",
    "fetched_digest",
    "hold_against",
    "load_pairs",
    "locate",
    "locate_all",
    "unlike",
    "whereabouts",
]

_CACHED = Columns()  # of the JSON lines written by `hengyu fetch`


@dataclass(frozen=True)
class SampleOf:
    """What pairs are a random sample of (`hengyu.cards.sampling`): that many pairs, by that seed."""

    n: int
    seed: int


@dataclass(frozen=True, eq=False)
class Pairs:
    """A task's sentence pairs in the order of the file, with labels on the card's scale."""

    task: str  # "LCQMC:test"
    card: Card
    split: str
    first: tuple[str, ...]  # (n,)
    second: tuple[str, ...]  # (n,)
    labels: NDArray[np.float64]  # (n,)
    source: Path
    sha256: str  # of the file
    dropped: tuple[int, ...]  # malformed lines, counted from 1
    notes: tuple[str, ...]  # decisions about how to read the file, and oddities of the pairs
    ratings: NDArray[np.float64] | None = field(default=None, kw_only=True)  # (n, R) of the single raters
    sample: SampleOf | None = field(default=None, kw_only=True)  # None for all pairs of the split

    @cached_property
    def digest(self) -> str:
        """The sha256 of what was read: texts and labels in order, and the meaning of the labels."""
        texts = text_digest(self.first), text_digest(self.second)
        return digest_of([*texts, array_digest(self.labels), list(self.card.scale), self.card.binary])


def unlike(pairs: Pairs, about: Mapping[str, Any], run: str) -> str:
    """Describe how a task differs from the one recorded in a run's header; "" if the content is equal, whatever the bytes."""
    of = about.get("of")
    if isinstance(of, int) and pairs.sample is None:
        return (
            f"{pairs.task}: run {run} evaluated a sample of its {of:,} pairs, which cannot be drawn from these "
            f"{len(pairs.labels):,}"
        )
    if "digest" in about:
        if about["digest"] == pairs.digest:
            return ""
        if about.get("sha256") == pairs.sha256:
            return f"{pairs.card.path}: gives texts or labels of {pairs.source} that differ from those of run {run}"
    elif about.get("sha256") == pairs.sha256:
        return ""
    return f"{pairs.source}: is not the file that run {run} read (sha256 {about.get('sha256')}, here {pairs.sha256})"


def load_pairs(card: Card, split: str, data_dir: Path | None = None) -> Pairs:
    """Read a split from the first place that has it; raises `HengyuError` for any fault in the file."""
    part = card.split(split)
    if isinstance(card, CollectionCard):
        raise HengyuError(
            f"{card.path}: {card.name} is a retrieval dataset without labelled pairs; evaluate it with a suite of "
            f"kind = \"retrieval\", like 'hengyu run retrieval --task {card.name}:{split}'"
        )
    path = locate(card, split, data_dir)
    try:
        content = read_bytes(path, DATA)
    except OSError as e:
        raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); check the file and its permissions") from None
    digest = hashlib.sha256(content).hexdigest()
    fetched = path == cached(card, split)
    expected = fetched_digest(path, split) if fetched else part.sha256
    hold_against(path, digest, expected, card, fetched=fetched or path == downloaded(card, split))
    form = format_of(part.file, card.format)
    ratings = None
    if isinstance(card, TripleCard):
        checked = read_triples(content, str(path), card, form)
    else:
        form, header, columns = ("jsonl", True, _CACHED) if fetched else (form, card.header, card.columns)
        own = {} if fetched else {"separator": card.separator, "quoting": card.quoting, "encoding": card.encoding}
        rows = read_rows(content, str(path), format=form, header=header, columns=columns, **own)
        # fetched files hold the labels after the map was applied
        checked = check_rows(rows, replace(card, label_map={}) if fetched else card, str(path))
        if card.raters and not fetched:
            layout = {**own, "format": form, "header": header}
            ratings = read_ratings(card, card.raters, content, path, layout, checked)
    check_split(checked.labels, card, str(path))
    count = len(checked.labels) // (2 if isinstance(card, TripleCard) else 1)
    if part.rows is not None and count != part.rows:
        lost = f" ({at_lines('malformed line', checked.dropped)} dropped)" if checked.dropped else ""
        raise HengyuError(
            f"{path}: {count} rows{lost}, but {card.path} says {part.rows}; "
            f"get the file again, or correct splits.{split}.rows"
        )
    task = f"{card.name}:{split}"
    odd = [] if isinstance(card, TripleCard) else pair_notes(checked, card)
    notes = tuple(f"{task}: {note}" for note in (*checked.notes, *odd))
    texts = checked.first, checked.second
    return Pairs(task, card, split, *texts, checked.labels, path, digest, checked.dropped, notes, ratings=ratings)


def hold_against(path: Path, digest: str, expected: str, card: Card, *, fetched: bool) -> None:
    """Raise `HengyuError` if a file differs from what was fetched or from its card's digest."""
    if fetched and not expected:
        raise HengyuError(
            f"{path}: cannot be verified (the fetch.json beside it is damaged or missing); delete the folder "
            f"{path.parent} and run 'hengyu fetch {card.name}' again"
        )
    if expected not in ("", digest):
        remedy = f"run 'hengyu fetch {card.name}' again" if fetched else f"get it again, or correct it in {card.path}"
        raise HengyuError(f"{path}: the sha256 is {digest}, but {expected} was expected; {remedy}")


def cached(card: Card, split: str, root: Path | None = None, part: str = "") -> Path | None:
    """Return where `hengyu fetch` puts a split, or a ``part`` of a retrieval split; None without a hub id."""
    if card.hub is None:
        return None
    file = f"{split}.{part}.jsonl" if part else f"{split}.jsonl"
    return (root or cache_dir()) / "datasets" / card.name / card.hub.revision / file


def downloaded(card: Card, split: str, root: Path | None = None) -> Path | None:
    """Return where `hengyu fetch` puts a split's file from its URL, as it is there; None without a URL."""
    own = card.split(split)
    if not own.url:
        return None
    return (root or cache_dir()) / "datasets" / card.name / own.sha256[:16] / PurePosixPath(own.file).name


def whereabouts(card: Card, split: str, data_dir: Path | None = None, part: str = "") -> dict[str, Path]:
    """Return where a split is searched, in order.

    That is given (--data), beside (the card), downloaded (from its URL), and cached (from the hub).
    """
    places = {"given": files_of(data_dir, _files(card, split, part))[0]} if data_dir else {}
    places["beside"] = card.default_path(split, part or "file")
    own, converted = downloaded(card, split), cached(card, split, part=part)
    return places | ({"downloaded": own} if own else {}) | ({"cached": converted} if converted else {})


def _files(card: Card, split: str, part: str) -> tuple[str, ...]:
    own = card.split(split)
    return own.files()[part] if isinstance(own, CollectionSplit) and part else (own.file,)


def locate(card: Card, split: str, data_dir: Path | None = None, part: str = "") -> Path:
    """Return the file of a split, the first of several; raises `Missing` with the places searched and the remedy."""
    return locate_all(card, split, data_dir, part)[0]


def locate_all(card: Card, split: str, data_dir: Path | None = None, part: str = "") -> list[Path]:
    """Return the files of a split, from the first place that has them all; raises `Missing` as `locate` does."""
    names = _files(card, split, part)
    places = whereabouts(card, split, data_dir, part)
    for place, first in places.items():
        if place in ("cached", "downloaded"):
            paths = [first]
        elif place == "given" and data_dir:
            paths = files_of(data_dir, names)
        else:
            paths = card.default_paths(split, part or "file", names)
        if all(path.exists() and not path.is_dir() for path in paths):  # pipes are refused by the reader
            return paths
    file = ", ".join(names)
    near = _near(data_dir, names[0]) if data_dir else ""
    fetch = f"run 'hengyu fetch {card.name}' or " if card.split(split).remote else ""
    remedy = f"{fetch}give the folder that holds {file} with --data DIR"
    task = f"{card.name}:{split} is not here"
    raise Missing(f"{task} (looked for {', '.join(map(str, places.values()))}); {near or remedy}", f"{task}; {remedy}")


def _near(data_dir: Path, file: str) -> str:
    """Suggest the folder above or below the given one that holds a file; "" if none does."""
    try:
        folders = [data_dir.parent, *sorted(p for p in data_dir.iterdir() if p.is_dir())]
    except OSError:
        return ""
    return next((f"{folder} holds it: give --data {folder}" for folder in folders if (folder / file).is_file()), "")


class _Fetched(Struct):
    """fetch.json."""

    splits: dict[str, dict[str, Any]]


def fetched_digest(path: Path, split: str) -> str:
    """Return the sha256 that `hengyu fetch` recorded for a cached split, "" if none."""
    return str(fetched_splits(path.parent / "fetch.json").get(split, {}).get("sha256", ""))


def fetched_splits(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a fetch.json notes of the splits beside it; nothing where it cannot be read."""
    found = find_json(path, _Fetched)
    return found.splits if found else {}
