"""Judgements: turns the rows of a retrieval dataset into documents, queries and grades; mistakes name their lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.cards.card import CollectionCard, CollectionColumns
from hengyu.cards.checks import Faults, number_of, show, text_fault
from hengyu.cards.rows import Rows, Wanted

__all__ = [
    "Judgements",
    "QrelsLayout",
    "Texts",
    "check_judgements",
    "check_texts",
    "qrels_layout",
    "wanted_of",
]

Ids = NDArray[np.int64]
_EITHER = CollectionColumns().id


@dataclass(frozen=True)
class Texts:
    """Texts by id, in the order of the file; ``dropped`` are ids of lines that the card's malformed = "drop" left out."""

    rows: Mapping[str, int]  # id -> row
    texts: tuple[str, ...]
    dropped: frozenset[str]
    lines: tuple[int, ...]  # dropped


@dataclass(frozen=True, eq=False)
class Judgements:
    """Query (J,), document (J,) and grade (J,) of each judgement, in the order of the file; and the lines dropped.

    ``lost`` are the query (L,) and the grade (L,), above 0, of judgements whose document was dropped, or is not in the corpus.
    """

    queries: Ids
    documents: Ids
    grades: NDArray[np.float64]
    lines: tuple[int, ...]
    lost: tuple[Ids, NDArray[np.float64]]


def wanted_of(columns: CollectionColumns, part: str) -> tuple[Wanted, ...]:
    """Return the columns of a part's file: id, title and text; id and text; or query, document and grade."""
    if part == "qrels":
        return columns.query, columns.document, columns.grade
    own: Wanted = (str(_EITHER), "id") if columns.id == _EITHER else columns.id
    if part == "queries":
        return own, columns.text
    title: Wanted = (columns.title, None) if isinstance(columns.title, str) else columns.title
    return own, title, columns.text


@dataclass(frozen=True)
class QrelsLayout:
    """How the judgements of a text file are read."""

    header: bool
    wanted: tuple[Wanted, ...]
    separator: str


def qrels_layout(line: str, wanted: tuple[Wanted, ...], separator: str) -> QrelsLayout:
    """Return how judgements are read, from the first line of their file.

    A card's positions, or names that the line has, are followed; but the first three of a line of TREC's would be query, 0 and
    document, and mean query, document and grade. Else a line of four fields is TREC's (query, 0, document, grade)
    and one of three is BEIR's without its header, if the last is a number. Fields without ``separator`` are separated by blanks.
    """
    blank = separator not in line and len(line.split()) > 1
    mark = " " if blank else separator
    fields = line.split() if blank else [f.strip() for f in line.split(separator)]
    if all(isinstance(c, int) for c in wanted):
        trec = wanted == (0, 1, 2) and len(fields) == 4 and fields[1].casefold() in ("0", "q0")
        return QrelsLayout(False, (0, 2, 3) if trec else wanted, mark)
    number = fields[-1].lstrip("+-").replace(".", "", 1).isdecimal()
    named = any(c in fields for c in wanted)
    if number and not named and len(fields) in (3, 4):
        return QrelsLayout(False, (0, 2, 3) if len(fields) == 4 else (0, 1, 2), mark)
    return QrelsLayout(True, wanted, mark)


def check_texts(rows: Rows, card: CollectionCard, where: str) -> Texts:
    """Check documents or queries row by row; raises one `HengyuError` with every kind of mistake and its lines.

    A document with a title is title, space, text; a text that is null is empty. Ids must be unique; a line with an empty text
    is dropped if the card says so.
    """
    faults = Faults()
    malformed = dict(rows.malformed)
    found: dict[str, int] = {}
    texts: list[str] = []
    dropped: set[str] = set()
    titles = rows.columns[1] if len(rows.columns) == 3 else None
    for i, number in enumerate(rows.numbers):
        own, fault = _id(rows.columns[0][i])
        if fault:
            faults.note(fault, number, show(rows.columns[0][i]))
            continue
        if own in found or own in dropped:
            faults.note("ids must be unique; give every text its own id", number, show(own))
            continue
        text = "" if rows.columns[-1][i] is None else rows.columns[-1][i]
        title = titles[i] if titles is not None else ""
        if isinstance(title, str) and title.strip() and isinstance(text, str):
            text = f"{title} {text}" if text.strip() else title
        elif title is not None and not isinstance(title, str):
            faults.note(
                "a title must be text; put it in quotes, or name the right column in the card", number, show(title)
            )
        fault = text_fault(text)
        if fault and isinstance(text, str) and not text.strip():
            malformed.setdefault(number, ("a text must not be empty", ""))
            dropped.add(own)
            continue
        if fault:
            faults.note(fault, number, show(text))
        found[own] = len(texts)
        texts.append(text)
    faults.report(where, rows.unit, malformed, card)
    if not texts:
        raise HengyuError(f"{where}: holds no texts; get the file again or check that it is the right one")
    return Texts(found, tuple(texts), frozenset(dropped), tuple(sorted(malformed)))


def check_judgements(rows: Rows, card: CollectionCard, where: str, queries: Texts, documents: Texts) -> Judgements:
    """Check judgements row by row; raises one `HengyuError` with every kind of mistake and its lines.

    A grade of 0 or below means not relevant, and counts as 0. A pair that is judged twice, or an unknown id, is a mistake, or is
    left out if the card drops malformed lines (the first line of a repeated pair counts); two grades for a pair are always a
    mistake. A relevant document that is left out stays in the ideal ranking of its query, as in trec_eval.
    """
    faults = Faults()
    malformed = dict(rows.malformed)
    asked: list[int] = []
    answers: list[int] = []
    grades: list[float] = []
    seen: dict[tuple[int, int], float] = {}
    lost: dict[tuple[int, str], float] = {}
    for number, query, document, given in zip(rows.numbers, *rows.columns, strict=True):
        grade, fault = number_of(given, "grade")
        grade = max(grade, 0.0)
        if fault:
            faults.note(fault, number, show(given))
            continue
        places: list[int] = []
        for value, texts, what in ((query, queries, "query"), (document, documents, "document")):
            own, fault = _id(value)
            if fault:
                faults.note(fault, number, show(value))
            elif own in texts.rows:
                places.append(texts.rows[own])
            elif own in texts.dropped:
                malformed.setdefault(number, (f"the {what} has an empty text", ""))
            else:
                malformed.setdefault(number, (f"the {what} must be an existing id", f"{show(own)}, which no line has"))
        if len(places) < 2:
            name, fault = _id(document)
            if len(places) == 1 and not fault and name not in documents.rows and grade > 0:
                lost.setdefault((places[0], name), grade)
            continue
        pair = (places[0], places[1])
        if pair not in seen:
            seen[pair] = grade
            asked.append(pair[0])
            answers.append(pair[1])
            grades.append(grade)
        elif seen[pair] == grade:
            malformed.setdefault(number, ("a pair of query and document must be judged once", ""))
        else:
            faults.note(
                "a pair must have only one grade; keep the right one", number, f"{grade:g} after {seen[pair]:g}"
            )
    faults.report(where, rows.unit, malformed, card)
    places_of = np.array(asked, np.int64), np.array(answers, np.int64)
    gone = np.array([query for query, _ in lost], np.int64), np.array(list(lost.values()), np.float64)
    return Judgements(*places_of, np.array(grades, np.float64), tuple(sorted(malformed)), gone)


def _id(value: Any) -> tuple[str, str]:
    if type(value) is int:
        return str(value), ""
    if not isinstance(value, str) or not value:
        return (
            "",
            "an id must be text or a whole number, and not empty; correct it, or name the right column in the card",
        )
    return value, ""
