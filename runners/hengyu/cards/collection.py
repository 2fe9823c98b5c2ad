"""Collections: reads the documents, queries and judgements of a retrieval task from its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import sha256_of
from hengyu.base.errors import HengyuError
from hengyu.cards.card import PARTS, CollectionCard, CollectionColumns, format_of
from hengyu.cards.data import Pairs, cached, fetched_digest, hold_against, locate_all
from hengyu.cards.judgements import Judgements, Texts, check_judgements, check_texts, qrels_layout, wanted_of
from hengyu.cards.rows import Rows, at_lines, first_line, joined, read_columns
from hengyu.storage.identity import array_digest, text_digest
from hengyu.storage.identity import digest as digest_of

__all__ = ["Collection", "Part", "load_collection", "read_parts"]

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Collection(Pairs):
    """A retrieval task. Its pairs are the judgements: text of the query, text of the document, grade.

    Attributes:
        documents: (m,) texts, in the order of the file; equal texts are separate documents.
        queries: (Q,) texts, in the order of the file; only those with a judgement.
        asked: (J,) the query of each judgement.
        answers: (J,) the document of each judgement.
        own: (Q,) the document that is the query itself, excluded from its results; -1 for none.
        lost: the query (L,) and the grade (L,) of what is relevant, but is not in the corpus.
    """

    documents: tuple[str, ...]
    queries: tuple[str, ...]
    asked: Ids
    answers: Ids
    own: Ids
    lost: tuple[Ids, NDArray[np.float64]]

    @cached_property
    def digest(self) -> str:
        """The sha256 of what was read: documents and queries in order, and their judgements."""
        texts = text_digest(self.documents), text_digest(self.queries)
        lost = [array_digest(*self.lost)] if len(self.lost[0]) else []
        return digest_of([*texts, array_digest(self.asked, self.answers, self.labels, self.own), *lost])


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

    Queries without a judgement are left out and counted. Those whose judgements are all of grade 0 count with 0, as in
    trec_eval, unless the card leaves them out as well.
    """
    task = f"{card.name}:{split}"
    files = {part: _parts(card, split, data_dir, part) for part in PARTS}
    digests = [_digest(card, split, file) for part in PARTS for file in files[part]]
    documents, queries, judged = read_parts(files, card)
    every = hashlib.sha256(" ".join(digests).encode()).hexdigest()
    notes = [
        f"{task}: {len(lines)} lines of {files[part][0].path.name} left out ({at_lines('line', lines)})"
        for part, lines in zip(PARTS, (documents.lines, queries.lines, judged.lines), strict=True)
        if lines
    ]
    return _collection(card, split, documents, queries, judged, (files["qrels"][0].path, every), notes)


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
    others = everyone[asked] != judged.documents
    relevant = np.union1d(asked[(judged.grades > 0) & others], judged.lost[0])
    kept = relevant if card.unanswered == "drop" else np.union1d(relevant, asked[others])
    if not len(relevant):
        raise HengyuError(f"{source[0]}: no judgement has a grade above 0, so no query has an answer; check the column")
    if len(documents.texts) < 2:
        raise HengyuError(f"{source[0]}: {task} has only one document; a search needs more")
    every = len(queries.texts)
    if len(kept) < every:
        lack = "relevant document" if card.unanswered == "drop" else "judgement"
        notes.append(f"{task}: {every - len(kept)} of {every} queries have no {lack} and are left out")
    if len(relevant) < len(kept):
        notes.append(
            f"{task}: {len(kept) - len(relevant)} of {len(kept)} queries have no judgement above 0 and count with 0, as in "
            'trec_eval; unanswered = "drop" in the card leaves them out'
        )
    if len(judged.lost[0]):
        notes.append(
            f"{task}: {len(judged.lost[0])} relevant documents are not in the corpus; they stay in the ideal ranking, as in "
            "trec_eval"
        )
    if card.exclude == "nothing":
        notes += _found_first(task, documents, queries, judged, kept)
    place = np.full(len(queries.texts), -1, np.int64)
    place[kept] = np.arange(len(kept))
    at = np.flatnonzero(place[asked] >= 0)
    texts = tuple(queries.texts[i] for i in kept)
    first = tuple(queries.texts[i] for i in asked[at])
    second = tuple(documents.texts[i] for i in judged.documents[at])
    return Collection(
        *(task, card, split, first, second, judged.grades[at], *source, (), tuple(notes)),
        *(documents.texts, texts, place[asked[at]], judged.documents[at], everyone[kept]),
        (place[judged.lost[0]], judged.lost[1]),
    )


def _found_first(task: str, documents: Texts, queries: Texts, judged: Judgements, kept: Ids) -> list[str]:
    """Say how many queries find themselves: their text is a document's that is not relevant to them."""
    place = {text: row for row, text in reversed(list(enumerate(documents.texts)))}
    good = {(q, d) for q, d, g in zip(judged.queries, judged.documents, judged.grades, strict=True) if g > 0}
    same = [(int(q), place[queries.texts[q]]) for q in kept if queries.texts[q] in place]
    itself = sum(pair not in good for pair in same)
    if not itself:
        return []
    return [
        f"{task}: {itself} of {len(kept)} queries stand in the corpus as they are, not judged relevant, and find themselves "
        'first; exclude = "same-text" (or "same-id") in the card leaves them out of their own results'
    ]


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
        rows = [_read(f, part) for f in several]
        found[part] = joined(rows), ", ".join(f.where for f in several)
    documents, queries = (check_texts(found[part][0], card, found[part][1]) for part in ("corpus", "queries"))
    found["corpus"][0].columns[-1].clear()  # the same sentences, without their titles
    return documents, queries, check_judgements(found["qrels"][0], card, found["qrels"][1], queries, documents)


def _read(file: Part, part: str) -> Rows:
    """Read the columns of a file; judgements without a header by their places, as they are laid out."""
    wanted = wanted_of(file.columns, part)
    if part != "qrels" or file.format not in ("tsv", "csv"):
        return read_columns(file.path, file.where, format=file.format, header=file.header, wanted=wanted)
    layout = qrels_layout(first_line(file.path, file.where), wanted, "," if file.format == "csv" else "\t")
    return read_columns(
        *(file.path, file.where),
        format=file.format,
        header=layout.header,
        wanted=layout.wanted,
        separator=layout.separator,
    )


def _parts(card: CollectionCard, split: str, data_dir: Path | None, part: str) -> list[Part]:
    paths = locate_all(card, split, data_dir, part)
    if paths == [cached(card, split, part=part)]:
        return [Part(part, paths[0], str(paths[0]), "jsonl", True, CollectionColumns())]
    header = any(isinstance(c, str) for c in wanted_of(card.fields, part))
    for path in paths:
        if not format_of(path.name, card.format):
            raise HengyuError(
                f'{path}: has an extension of no known format; add format = "tsv" or another one to the card'
            )
    return [Part(part, path, str(path), format_of(path.name, card.format), header, card.fields) for path in paths]


def _digest(card: CollectionCard, split: str, part: Part) -> str:
    try:
        digest = sha256_of(part.path)
    except OSError as e:
        raise HengyuError(f"{part.path}: cannot be read ({e.strerror or e}); check its permissions") from None
    fetched = part.path == cached(card, split, part=part.name)
    noted = fetched_digest(part.path, f"{split}.{part.name}") if fetched else ""
    hold_against(part.path, digest, noted, card, fetched=fetched)
    return digest
