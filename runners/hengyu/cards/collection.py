"""Collections: reads the documents, queries and judgements of a retrieval task from its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import open_regular
from hengyu.base.errors import HengyuError
from hengyu.cards.card import PARTS, CollectionCard, CollectionColumns, CollectionSplit, format_of
from hengyu.cards.data import Pairs, cached, fetched_digest, hold_against, locate
from hengyu.cards.judgements import Judgements, Texts, check_judgements, check_texts, wanted_of
from hengyu.cards.rows import Rows, at_lines, joined, read_columns
from hengyu.storage.identity import array_digest, text_digest
from hengyu.storage.identity import digest as digest_of

__all__ = ["Collection", "Part", "load_collection", "read_parts"]

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Collection(Pairs):
    """A retrieval task. Its pairs are the judgements: text of the query, text of the document, grade.

    Attributes:
        documents: (m,) texts, in the order of the file; equal texts are separate documents.
        queries: (Q,) texts, in the order of the file; only those with a relevant document.
        asked: (J,) the query of each judgement.
        answers: (J,) the document of each judgement.
        own: (Q,) the document that is the query itself, excluded from its results; -1 for none.
    """

    documents: tuple[str, ...]
    queries: tuple[str, ...]
    asked: Ids
    answers: Ids
    own: Ids

    @cached_property
    def digest(self) -> str:
        """The sha256 of what was read: documents and queries in order, and their judgements."""
        texts = text_digest(self.documents), text_digest(self.queries)
        return digest_of([*texts, array_digest(self.asked, self.answers, self.labels, self.own)])


@dataclass(frozen=True)
class Part:
    """One file of a split, and how it is read."""

    name: str  # one of PARTS
    path: Path
    where: str  # its name in messages
    format: str
    header: bool
    columns: CollectionColumns


def load_collection(card: CollectionCard, split: str, data_dir: Path | None = None) -> Collection:
    """Read a split from the first places that have its files; raises `HengyuError` for whatever is wrong with them.

    Queries without a document of a grade above 0 are left out and counted, as in BEIR and mteb.
    """
    task = f"{card.name}:{split}"
    files = {part: _part(card, split, data_dir, part) for part in PARTS}
    digests = {part: _digest(card, split, file) for part, file in files.items()}
    documents, queries, judged = read_parts({part: [file] for part, file in files.items()}, card)
    every = hashlib.sha256(" ".join(digests[part] for part in PARTS).encode()).hexdigest()
    notes = [
        f"{task}: {len(lines)} lines of {files[part].path.name} left out ({at_lines('line', lines)})"
        for part, lines in zip(PARTS, (documents.lines, queries.lines, judged.lines), strict=True)
        if lines
    ]
    return _collection(card, split, documents, queries, judged, (files["qrels"].path, every), notes)


def _collection(
    card: CollectionCard,
    split: str,
    documents: Texts,
    queries: Texts,
    judged: Judgements,
    source: tuple[Path, str],
    notes: list[str],
) -> Collection:
    task = f"{card.name}:{split}"
    everyone = _own(card.exclude, documents, queries)
    asked = judged.queries
    kept = np.unique(asked[(judged.grades > 0) & (everyone[asked] != judged.documents)])
    if not len(kept):
        raise HengyuError(f"{source[0]}: no judgement has a grade above 0, so no query has an answer; check the column")
    if len(documents.texts) < 2:
        raise HengyuError(f"{source[0]}: {task} has only one document; a search needs more")
    lost = len(queries.texts) - len(kept)
    if lost:
        notes.append(f"{task}: {lost} of {len(queries.texts)} queries have no relevant document and are left out")
    place = np.full(len(queries.texts), -1, np.int64)
    place[kept] = np.arange(len(kept))
    at = np.flatnonzero(place[asked] >= 0)
    texts = tuple(queries.texts[i] for i in kept)
    first = tuple(queries.texts[i] for i in asked[at])
    second = tuple(documents.texts[i] for i in judged.documents[at])
    return Collection(
        *(task, card, split, first, second, judged.grades[at], *source, (), tuple(notes)),
        *(documents.texts, texts, place[asked[at]], judged.documents[at], everyone[kept]),
    )


def _own(exclude: str, documents: Texts, queries: Texts) -> Ids:
    """Return the document (Q,) that is the query itself, -1 for none."""
    if exclude == "same-id":
        return np.array([documents.rows.get(name, -1) for name in queries.rows], np.int64)
    if exclude == "same-text":
        place: dict[str, int] = {}
        for i, text in enumerate(documents.texts):
            place.setdefault(text, i)
        return np.array([place.get(text, -1) for text in queries.texts], np.int64)
    return np.full(len(queries.texts), -1, np.int64)


def read_parts(files: Mapping[str, Sequence[Part]], card: CollectionCard) -> tuple[Texts, Texts, Judgements]:
    """Read documents, queries and judgements, each from one file or several; raises `HengyuError`."""
    found: dict[str, tuple[Rows, str]] = {}
    for part, several in files.items():
        rows = [
            read_columns(f.path, f.where, format=f.format, header=f.header, wanted=wanted_of(f.columns, part))
            for f in several
        ]
        found[part] = joined(rows), ", ".join(f.where for f in several)
    documents, queries = (check_texts(found[part][0], card, found[part][1]) for part in ("corpus", "queries"))
    found["corpus"][0].columns[-1].clear()  # the same sentences, without their titles
    return documents, queries, check_judgements(found["qrels"][0], card, found["qrels"][1], queries, documents)


def _part(card: CollectionCard, split: str, data_dir: Path | None, part: str) -> Part:
    path = locate(card, split, data_dir, part)
    if path == cached(card, split, part=part):
        return Part(part, path, str(path), "jsonl", True, CollectionColumns())
    own = card.split(split)
    assert isinstance(own, CollectionSplit)
    header = any(isinstance(c, str) for c in wanted_of(card.fields, part))
    return Part(part, path, str(path), format_of(own.files()[part], card.format), header, card.fields)


def _digest(card: CollectionCard, split: str, part: Part) -> str:
    try:
        with open_regular(part.path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise HengyuError(f"{part.path}: cannot be read ({e.strerror or e}); check its permissions") from None
    fetched = part.path == cached(card, split, part=part.name)
    noted = fetched_digest(part.path, f"{split}.{part.name}") if fetched else ""
    hold_against(part.path, digest, noted, card, fetched=fetched)
    return digest
