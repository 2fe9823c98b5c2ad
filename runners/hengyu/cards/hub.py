"""Fetching: downloads a card's splits from the hub or from their URLs, as pinned, only if the user asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hengyu.base.bounded import sha256_of
from hengyu.base.errors import HengyuError, Problems
from hengyu.cards.card import PARTS, Card, CollectionCard, Columns, Hub, Split, format_of
from hengyu.cards.checks import Checked, check_rows, check_split
from hengyu.cards.collection_fetch import fetch_collection, note, plain, write_rows
from hengyu.cards.data import cached, downloaded, fetched_digest
from hengyu.cards.remote import Remote, Unreachable, hold_pinned, pick_files
from hengyu.cards.rows import at_lines, read_rows
from hengyu.cards.web import download

__all__ = ["fetch"]


def fetch(card: Card, cache_root: Path | None = None, progress: Callable[[str], None] | None = None) -> list[Path]:
    """Download the splits of a card that are not cached yet, and return their files.

    Every downloaded split is kept, even if another one fails.

    Raises:
        HengyuError: one sentence for each split that could not be fetched.
    """
    if not card.remote:
        raise HengyuError(
            f"{card.path}: {card.name} has no [hub] and no url, so there is nothing to fetch; its files are local"
        )
    say = progress or (lambda line: None)
    done: list[Path] = []
    missing: list[tuple[Split, dict[str, Path]]] = []
    problems = Problems()
    for split in card.splits.values():
        if split.url:
            try:
                done.append(_fetch_file(card, split, cache_root, say))
            except Unreachable:  # the other splits would fail alike
                raise
            except HengyuError as e:
                problems.add(*e.problems)
            continue
        names = PARTS if isinstance(card, CollectionCard) else ("",)
        paths = {part: path for part in names if (path := cached(card, split.name, cache_root, part)) is not None}
        if not split.hub:
            continue
        if all(_whole(path, f"{split.name}.{part}" if part else split.name) for part, path in paths.items()):
            say(f"{card.name}:{split.name} is already here: {', '.join(map(str, paths.values()))}")
            done += paths.values()
        else:
            missing.append((split, paths))
    if missing:
        assert card.hub is not None
        remote = Remote(card.hub, card.name)
        say(f"{card.name}: asking for {card.hub.id} at {card.hub.revision[:8]}")
        files = remote.files()
        for split, paths in missing:
            say(f"{card.name}:{split.name}: fetching")
            with problems.caught():
                if isinstance(card, CollectionCard):
                    fetch_collection(card, split, paths, remote, files)
                else:
                    _fetch_split(card, card.hub, split, paths[""], remote, files)
                done += paths.values()
    problems.finish()
    return done


def _fetch_file(card: Card, split: Split, cache_root: Path | None, say: Callable[[str], None]) -> Path:
    """Return a split's file, downloaded from its URL unless it is here already."""
    path = downloaded(card, split.name, cache_root)
    assert path is not None
    task = f"{card.name}:{split.name}"
    if path.is_file() and sha256_of(path) == split.sha256:
        say(f"{task} is already here: {path}")
        return path
    say(f"{task}: fetching {split.url}")
    download(split.url, split.sha256, path, task, card.path, say)
    return path


def _whole(path: Path, split: str) -> bool:
    expected = fetched_digest(path, split)
    return bool(expected) and path.is_file() and sha256_of(path) == expected


def _fetch_split(card: Card, hub: Hub, split: Split, path: Path, remote: Remote, files: list[str]) -> None:
    task = f"{card.name}:{split.name}"
    parts: list[Checked] = []
    digests: dict[str, str] = {}
    for file in pick_files(files, split.hub, hub.subset, f"{task}: {hub.id}"):
        content = remote.content(file)
        digests[file] = hashlib.sha256(content).hexdigest()
        hold_pinned(card, file, digests[file], task)
        where = f"{task}: {hub.id}/{file}"
        named = any(isinstance(c, str) for c in (hub.columns.sentence1, hub.columns.sentence2, hub.columns.label))
        rows = read_rows(content, where, format=format_of(file), header=named, columns=hub.columns)
        parts.append(check_rows(rows, card, where))
    labels = np.concatenate([p.labels for p in parts])
    where = f"{task}: {hub.id} at {hub.revision[:8]} ({', '.join(digests)})"
    check_split(labels, card, where)
    dropped = [n for p in parts for n in p.dropped]
    if split.rows is not None and len(labels) != split.rows:
        lost = f" ({at_lines('malformed line', dropped)} dropped)" if dropped else ""
        raise HengyuError(
            f"{where}: {len(labels)} rows{lost}, but {card.path} says {split.rows}; "
            f"correct splits.{split.name}.rows, or its hub name or subset if these are the wrong files"
        )
    _write(path, parts, {"files": digests, "rows": len(labels), "dropped": dropped}, card, split)


def _write(path: Path, parts: list[Checked], about: dict[str, Any], card: Card, split: Split) -> None:
    names = tuple(map(str, (Columns.sentence1, Columns.sentence2, Columns.label)))
    rows = (
        dict(zip(names, (a, b, plain(y)), strict=True))
        for part in parts
        for a, b, y in zip(part.first, part.second, part.labels, strict=True)
    )
    digest, _ = write_rows(path, rows)
    note(path.parent, card, {split.name: about | {"sha256": digest}})
