"""The card of a retrieval dataset: corpus, queries and judgements (qrels) in separate files, as in BEIR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hengyu.base.toml_tables import Table
from hengyu.cards import keys
from hengyu.cards.card import PARTS, CollectionCard, CollectionColumns, CollectionSplit, Hub, Split

__all__ = ["EXCLUDE", "UNANSWERED", "collection_card"]

EXCLUDE = ("nothing", "same-id", "same-text")
"""The document excluded from a query's results: none, the one with its id, or the one with its text."""

UNANSWERED = ("zero", "drop")
"""Queries that have judgements, but none above 0: they count with 0, as in trec_eval, or are left out."""

_APART = [
    ("must be a different column from id and title; name each of them", ("id", "title", "text")),
    ("and the two ids must be three different columns; name each of them", ("query", "document", "grade")),
]
_COLUMNS = {"corpus": ("id", "title", "text"), "queries": ("id", "text"), "qrels": ("query", "document", "grade")}
_DEFAULTS = {"corpus": "corpus.jsonl", "queries": "queries.jsonl"}


def collection_card(table: Table, name: str, path: Path) -> CollectionCard:
    """Take the keys of a retrieval card; problems are recorded in the table."""
    format_ = keys.word(table, "format", "", ("", *keys.KINDS))
    columns = keys.columns(table, CollectionColumns(), _APART)
    remote: list[CollectionColumns] = []

    def of_hub(inner: Table) -> None:
        remote.append(keys.columns(inner, CollectionColumns(), _APART))

    hub = keys.hub(table, of_hub)
    return CollectionCard(
        name=name,
        path=path,
        scale=(0.0, 1.0),  # unused: grades have their own scale
        label_kind="graded",
        splits=_splits(table, name, format_, columns, hub),
        kind="retrieval",
        format=format_,
        malformed=keys.word(table, "malformed", "error", ("error", "drop")),
        hub=hub,
        fields=columns,
        hub_fields=remote[0] if remote else CollectionColumns(),
        exclude=keys.word(table, "exclude", "nothing", EXCLUDE),
        long=keys.long_texts(table),
        distractors=keys.distractors(table),
        unanswered=keys.word(table, "unanswered", "zero", UNANSWERED),
        **keys.prose(table, name),
    )


def _splits(table: Table, card: str, format_: str, columns: CollectionColumns, hub: Hub | None) -> dict[str, Split]:
    found: dict[str, Split] = {}
    for name, inner in table.tables("splits").items():
        keys.split_name(inner, name)
        files = {
            part: keys.files_key(
                inner,
                part,
                f"{card}/{name}.{part}.jsonl" if hub else _DEFAULTS.get(part, ""),
                format_,
                required=not hub and part == "qrels",
                named=all(isinstance(getattr(columns, c), str) for c in _COLUMNS[part]),
            )
            for part in PARTS
        }
        theirs = inner.take("hub", str, ("validation" if name == "valid" else name) if hub else "")
        qrels = files["qrels"]
        first = qrels if isinstance(qrels, str) else next(iter(qrels), "")
        more: dict[str, Any] = {} if qrels == first else {"qrels": qrels}
        found[name] = CollectionSplit(name, first, hub=theirs, corpus=files["corpus"], queries=files["queries"], **more)
        inner.finish()
    if not found:
        table.problem(
            "splits",
            'is missing; add at least one, like [splits.test] with corpus = "corpus.jsonl", queries = "queries.jsonl" and '
            'qrels = "qrels.tsv"',
        )
    return found
