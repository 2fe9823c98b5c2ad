"""A card: what one dataset is, where its files are, and on what terms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath

from hengyu.base.bounded import resolved
from hengyu.base.errors import HengyuError, did_you_mean

__all__ = [
    "COMPRESSED",
    "FORMATS",
    "PARTS",
    "Card",
    "CollectionCard",
    "CollectionColumns",
    "CollectionSplit",
    "Columns",
    "Hub",
    "Split",
    "TripleCard",
    "TripleColumns",
    "format_of",
]

FORMATS = {
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "tsv",
    ".data": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
COMPRESSED = (".gz", ".xz", ".bz2")
"""Endings of compressed files, which are decompressed as they are read."""
PARTS = ("corpus", "queries", "qrels")
"""The files of a split of a retrieval card."""

_LATER = ("separator", "quoting", "encoding", "label_map")  # keys that cards of version 0.1 did not have
_PROSE = ("path", "title", "language", "licence", "terms", "homepage", "citation", "description")


@dataclass(frozen=True)
class Columns:
    """Where the pair and its label stand: header names, or positions from 0."""

    sentence1: str | int = "sentence1"
    sentence2: str | int = "sentence2"
    label: str | int = "label"


@dataclass(frozen=True)
class TripleColumns:
    """Where the sentences of a triple stand: header names, or positions from 0."""

    anchor: str | int = "anchor"
    positive: str | int = "positive"  # means the same as the anchor, or follows from it
    negative: str | int = "negative"  # does not, however alike it looks


@dataclass(frozen=True)
class Split:
    """One part of a dataset."""

    name: str
    file: str  # relative to the card's folder, or to the folder given with --data
    rows: int | None = None
    sha256: str = ""  # of the file
    hub: str = ""  # the hub's name of the split, or a glob over the repository's files; "" where the hub has none


@dataclass(frozen=True)
class CollectionColumns:
    """Where ids, texts and grades stand in the files of a retrieval card; the defaults are BEIR's names.

    Where no name is given and a file has no ``_id``, its ``id`` counts.
    """

    id: str | int = "_id"  # of a document, and of a query
    title: str | int = "title"  # of a document; it may be missing
    text: str | int = "text"
    query: str | int = "query-id"
    document: str | int = "corpus-id"
    grade: str | int = "score"


@dataclass(frozen=True)
class CollectionSplit(Split):
    """One part of a retrieval dataset; ``file`` holds the judgements (qrels)."""

    corpus: str = ""
    queries: str = ""

    def files(self) -> dict[str, str]:
        """Return the file of each of `PARTS`."""
        return dict(zip(PARTS, (self.corpus, self.queries, self.file), strict=True))


@dataclass(frozen=True)
class Hub:
    """Where a dataset can be downloaded."""

    id: str
    revision: str  # 40 hex digits
    columns: Columns = Columns(label="score")
    subset: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)  # file of the repository -> digest


@dataclass(frozen=True)
class Card:
    """One dataset: files, labels, origin and terms."""

    name: str
    path: Path
    scale: tuple[float, float]
    label_kind: str  # "binary" (0 or 1) or "graded"
    splits: Mapping[str, Split] = field(hash=False)
    kind: str = "sts"
    format: str = ""  # "" for what the file's ending says
    header: bool = True
    columns: Columns = Columns()
    malformed: str = "error"  # or "drop"
    separator: str = ""  # between fields; "" for the tab of TSV and the comma of CSV
    quoting: str = "auto"  # of fields: "csv", "none", or what the whole file shows
    encoding: str = "utf-8"
    label_map: Mapping[str, float] = field(
        default_factory=dict, hash=False
    )  # label as it stands in the file -> its value
    hub: Hub | None = None
    title: str = ""
    language: str = "zh"
    licence: str = "not stated"
    terms: str = "not stated"
    homepage: str = ""
    citation: str = ""
    description: str = ""

    @property
    def binary(self) -> bool:
        """Whether labels are 0 or 1."""
        return self.label_kind == "binary"

    @cached_property
    def digest(self) -> str:
        """The sha256 of everything that decides what is read; titles, terms and other prose do not count."""
        usual = {f.name: f.default for f in fields(self) if f.name in _LATER} | {"label_map": {}}
        content = {
            key: value
            for key, value in asdict(self).items()
            if key not in _PROSE and not (key in _LATER and value == usual[key])
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def split(self, name: str) -> Split:
        """Return a split by name; raises `HengyuError` for one the card has not."""
        if name not in self.splits:
            raise HengyuError(f"{self.path}: {self.name} has no split '{name}'{did_you_mean(name, self.splits)}")
        return self.splits[name]

    def beside(self, split: str, part: str = "file") -> Path:
        """Return where a split's file stands next to the card; raises `HengyuError` for a link out of that folder."""
        folder = self.path.parent
        own = self.split(split)
        path = folder / (own.files()[part] if isinstance(own, CollectionSplit) else own.file)
        if not resolved(path).is_relative_to(resolved(folder)):
            raise HengyuError(
                f"{self.path}: key 'splits.{split}.{part}' leads out of {folder} through a link; put the file there"
            )
        return path


@dataclass(frozen=True)
class CollectionCard(Card):
    """A retrieval dataset: documents, queries, and which of them answer which."""

    fields: CollectionColumns = CollectionColumns()
    hub_fields: CollectionColumns = CollectionColumns()
    exclude: str = (
        "nothing"  # or "same-id", "same-text": the document that a query never finds, as it is the query itself
    )


@dataclass(frozen=True)
class TripleCard(Card):
    """Sentences to train on in threes: each is two pairs, the anchor with what means the same (1) and what does not (0)."""

    fields: TripleColumns = TripleColumns()


def format_of(file: str, declared: str = "") -> str:
    """Return the format of a file by its ending (before .gz, .xz or .bz2), unless one is declared; "" for an unknown one."""
    path = PurePosixPath(file.lower())
    if path.suffix in COMPRESSED:
        path = path.with_suffix("")
    return declared or FORMATS.get(path.suffix, "")
