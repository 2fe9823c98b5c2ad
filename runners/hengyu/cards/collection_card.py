"""The card of a retrieval dataset: corpus, queries and judgements (qrels) in separate files, as in BEIR."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from hengyu.base.toml_tables import Table
from hengyu.cards import keys
from hengyu.cards.card import PARTS, CollectionCard, CollectionColumns, CollectionSplit, Hub, Split

__all__ = ["EXCLUDE", "collection_card"]

EXCLUDE = ("nothing", "same-id", "same-text")
"""The document excluded from a query's results: none, the one with its id, or the one with its text."""

_APART = [
    ("must be a different column from id and title; name each of them", ("id", "title", "text")),
    ("and the two ids must be three different columns; name each of them", ("query", "document", "grade")),
]
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
        **keys.prose(table, name),
    )


def _splits(table: Table, card: str, format_: str, columns: CollectionColumns, hub: Hub | None) -> dict[str, Split]:
    found: dict[str, Split] = {}
    named = all(isinstance(c, str) for c in asdict(columns).values())
    for name, inner in table.tables("splits").items():
        keys.split_name(inner, name)
        files = {
            part: keys.file_key(
                inner,
                part,
                f"{card}/{name}.{part}.jsonl" if hub else _DEFAULTS.get(part, ""),
                format_,
                required=not hub and part == "qrels",
                named=named,
            )
            for part in PARTS
        }
        theirs = inner.take("hub", str, ("validation" if name == "valid" else name) if hub else "")
        found[name] = CollectionSplit(
            name, files["qrels"], hub=theirs, corpus=files["corpus"], queries=files["queries"]
        )
        inner.finish()
    if not found:
        table.problem(
            "splits",
            'is missing; add at least one, like [splits.test] with corpus = "corpus.jsonl", queries = "queries.jsonl" and '
            'qrels = "qrels.tsv"',
        )
    return found
