"""Fetches a retrieval dataset from the hub to the cache: checked, and written as plain JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hengyu.base.bounded import sha256_of
from hengyu.base.json_files import write_blocks, write_json
from hengyu.cards.card import Card, CollectionCard, CollectionColumns, Split, format_of
from hengyu.cards.collection import Part, read_parts
from hengyu.cards.data import fetched_splits
from hengyu.cards.judgements import Judgements, Texts
from hengyu.cards.remote import Remote, hold_pinned, pick_parts

__all__ = ["fetch_collection", "note", "plain", "write_rows"]

_NAMES = CollectionColumns()
_BLOCK = 1024  # lines written at a time


def fetch_collection(
    card: CollectionCard, split: Split, paths: Mapping[str, Path], remote: Remote, files: Iterable[str]
) -> None:
    """Download, check and write the files of a split; raises `HengyuError` for any fault in them."""
    assert card.hub is not None
    task = f"{card.name}:{split.name}"
    parts: dict[str, list[Part]] = {}
    digests: dict[str, dict[str, str]] = {}
    for part, names in pick_parts(files, split.hub, card.hub.subset, f"{task}: {card.hub.id}").items():
        parts[part], digests[part] = [], {}
        for name in names:
            path = remote.path(name)
            digests[part][name] = sha256_of(path)
            hold_pinned(card, name, digests[part][name], task)
            where = f"{task}: {card.hub.id}/{name}"
            parts[part].append(Part(part, path, where, format_of(name), True, card.hub_fields))
    documents, queries, judged = read_parts(parts, card)
    ids = [list(texts.rows) for texts in (queries, documents)]
    rows = {"corpus": _texts(documents), "queries": _texts(queries), "qrels": _judgements(judged, *ids)}
    dropped = {"corpus": documents.lines, "queries": queries.lines, "qrels": judged.lines}
    about = {}
    for part, path in paths.items():
        digest, count = write_rows(path, rows[part])
        key = f"{split.name}.{part}"
        about[key] = {"files": digests[part], "rows": count, "dropped": list(dropped[part]), "sha256": digest}
    note(paths["qrels"].parent, card, about)


def _texts(texts: Texts) -> Iterator[dict[str, Any]]:
    for name, text in zip(texts.rows, texts.texts, strict=True):
        yield {str(_NAMES.id): name, str(_NAMES.text): text}


def _judgements(judged: Judgements, queries: list[str], documents: list[str]) -> Iterator[dict[str, Any]]:
    names = (str(_NAMES.query), str(_NAMES.document), str(_NAMES.grade))
    for query, document, grade in zip(judged.queries, judged.documents, judged.grades, strict=True):
        yield dict(zip(names, (queries[query], documents[document], plain(grade)), strict=True))


def plain(number: float) -> int | float:
    """Return a number as text, integers without a decimal point."""
    return int(number) if number == int(number) else float(number)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> tuple[str, int]:
    """Write rows as JSON lines; return the sha256 of the file and the number of rows."""
    total, count = hashlib.sha256(), 0

    def blocks() -> Iterator[bytes]:
        nonlocal count
        lines: list[str] = []
        for row in rows:
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
            if len(lines) == _BLOCK:
                yield _noted(lines)
                lines.clear()
        yield _noted(lines)

    def _noted(lines: list[str]) -> bytes:
        block = "".join(lines).encode("utf-8")
        total.update(block)
        return block

    write_blocks(path, blocks())
    return total.hexdigest(), count


def note(folder: Path, card: Card, about: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the fetched files to fetch.json."""
    assert card.hub is not None
    hub = card.hub
    header = {"schema": 1, "card": card.name, "id": hub.id, "revision": hub.revision, "subset": hub.subset}
    notes = folder / "fetch.json"
    write_json(notes, header | {"splits": {**fetched_splits(notes), **about}})
