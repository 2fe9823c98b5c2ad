"""A card: a dataset's files, labels, origin and terms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
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
    "Raters",
    "Split",
    "TripleCard",
    "TripleColumns",
    "files_of",
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
    ".qrels": "tsv",
    ".trec": "tsv",
}
COMPRESSED = (".gz", ".xz", ".bz2")
"""Extensions of compressed files, which are decompressed while reading."""
PARTS = ("corpus", "queries", "qrels")
"""The files of a split of a retrieval card."""

_LATER = ("separator", "quoting", "encoding", "label_map", "unanswered")  # keys that version 0.1 did not have
_PROSE = ("path", "title", "language", "licence", "terms", "homepage", "citation", "description")


@dataclass(frozen=True)
class Columns:
    """The columns of the pair and its label: header names, or positions from 0."""

    sentence1: str | int = "sentence1"
    sentence2: str | int = "sentence2"
    label: str | int = "label"


@dataclass(frozen=True)
class TripleColumns:
    """The columns of a triple: header names, or positions from 0."""

    anchor: str | int = "anchor"
    positive: str | int = "positive"  # has the same meaning as the anchor, or follows from it
    negative: str | int = "negative"  # does not, however similar it looks


@dataclass(frozen=True)
class Split:
    """One part of a dataset."""

    name: str
    file: str  # relative to the card's folder, or to the folder given with --data
    rows: int | None = None
    sha256: str = ""  # of the file
    hub: str = ""  # the split's name on the hub, or a glob over the repository's files; "" if not on the hub
    url: str = ""  # of the file, byte for byte, where it can be downloaded; "" if nowhere

    @property
    def remote(self) -> bool:
        """Whether it can be downloaded."""
        return bool(self.hub or self.url)


@dataclass(frozen=True)
class CollectionColumns:
    """The columns of ids, texts and grades in the files of a retrieval card; the defaults are BEIR's names.

    Without a given name, a file that has no ``_id`` is read by its ``id``.
    """

    id: str | int = "_id"  # of a document, and of a query
    title: str | int = "title"  # of a document; it may be missing
    text: str | int = "text"
    query: str | int = "query-id"
    document: str | int = "corpus-id"
    grade: str | int = "score"


@dataclass(frozen=True)
class CollectionSplit(Split):
    """One split of a retrieval dataset; ``file`` is the first with judgements (qrels).

    Each part is a file, a pattern, a folder, or several of these.
    """

    corpus: str | tuple[str, ...] = ""
    queries: str | tuple[str, ...] = ""
    qrels: str | tuple[str, ...] = ""

    def files(self) -> dict[str, tuple[str, ...]]:
        """Return the files, patterns and folders of each of `PARTS`."""
        parts = (self.corpus, self.queries, self.qrels or self.file)
        return {part: (f,) if isinstance(f, str) else f for part, f in zip(PARTS, parts, strict=True)}


@dataclass(frozen=True)
class Raters:
    """Where the scores of the single raters are, whose mean is the label.

    They are a list in a column of the split's own file, or columns of another file, whose rows are found by an id.
    """

    kind: str  # "human" or "model"
    column: str = ""  # of the split's file; "" for columns of another file
    file: str = ""  # relative to the card's folder
    id: str = ""  # the column of ids, in both files
    columns: tuple[str, ...] = ()  # a column is one and the same rater throughout
    sha256: str = ""  # of the other file


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
    format: str = ""  # "" for the one of the file's extension
    header: bool = True
    columns: Columns = Columns()
    malformed: str = "error"  # or "drop"
    separator: str = ""  # between fields; "" for the tab of TSV and the comma of CSV
    quoting: str = "auto"  # of fields: "csv", "none", or "auto", decided from the whole file
    encoding: str = "utf-8"
    label_map: Mapping[str, float] = field(
        default_factory=dict, hash=False
    )  # label as written in the file -> its value
    hub: Hub | None = None
    raters: Raters | None = None
    long: str = ""  # what encoders do with texts above their maximum length; "" for truncation
    distractors: tuple[str, ...] = ()  # files of texts that retrieval suites search too, relative to the card's folder
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
        """The sha256 of everything that affects the pairs that are read, so without raters, long, distractors and prose.

        What is read of distractors has a digest of its own (`hengyu.cards.distractors.Distractors`).
        """
        usual = {f.name: f.default for f in fields(self) if f.name in _LATER} | {"label_map": {}}
        content = {
            key: value
            for key, value in asdict(self).items()
            if key not in (*_PROSE, "raters", "long", "distractors") and not (key in _LATER and value == usual[key])
        }
        for split in content["splits"].values():
            split.pop("url")  # where a file comes from does not change what is read
            if split.get("qrels") == "":  # a key that version 0.1 did not have
                del split["qrels"]
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def remote(self) -> bool:
        """Whether some of its splits can be downloaded."""
        return self.hub is not None or any(split.url for split in self.splits.values())

    def split(self, name: str) -> Split:
        """Return a split by name; raises `HengyuError` for an unknown one."""
        if name not in self.splits:
            raise HengyuError(f"{self.path}: {self.name} has no split '{name}'{did_you_mean(name, self.splits)}")
        return self.splits[name]

    def default_path(self, split: str, part: str = "file") -> Path:
        """Return the path of a split's file next to the card; raises `HengyuError` for a link out of that folder."""
        own = self.split(split)
        names = own.files()[part] if isinstance(own, CollectionSplit) else (own.file,)
        return self.default_paths(split, part, names)[0]

    def default_paths(self, split: str, part: str, names: Sequence[str]) -> list[Path]:
        """Return the paths of files next to the card, as `files_of` does; raises `HengyuError` for links out of that folder."""
        paths = files_of(self.path.parent, names)
        self._keep_inside(f"splits.{split}.{part}", paths)
        return paths

    def distractor_paths(self) -> tuple[Path, ...]:
        """Return the files of distractors, next to the card; raises `HengyuError` for links out of that folder."""
        paths = tuple(self.path.parent / name for name in self.distractors)
        self._keep_inside("distractors", paths)
        return paths

    def _keep_inside(self, key: str, paths: Sequence[Path]) -> None:
        folder = self.path.parent
        for path in paths:
            if not resolved(path).is_relative_to(resolved(folder)):
                raise HengyuError(
                    f"{self.path}: key '{key}' leads out of {folder} through a link; put the file into that folder"
                )


@dataclass(frozen=True)
class CollectionCard(Card):
    """A retrieval dataset: documents, queries, and which documents answer which queries."""

    fields: CollectionColumns = CollectionColumns()
    hub_fields: CollectionColumns = CollectionColumns()
    exclude: str = (
        "nothing"  # or "same-id", "same-text": the document that is the query itself and is never returned for it
    )
    unanswered: str = "zero"  # or "drop": what queries count whose judgements are all of grade 0


@dataclass(frozen=True)
class TripleCard(Card):
    """Training triples; each is two pairs: the anchor with its positive (1) and with its negative (0)."""

    fields: TripleColumns = TripleColumns()


def files_of(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the files that names stand for below a folder, in order.

    A name is a file, a pattern with ``*``, or a folder, whose data files are meant. What matches nothing stays as it is written.
    """
    found: list[Path] = []
    for name in names:
        path = root / name
        if any(c in name for c in "*?["):
            found += sorted(p for p in root.glob(name) if not p.is_dir()) or [path]
        elif path.is_dir():
            found += sorted(p for p in path.iterdir() if format_of(p.name) and not p.is_dir()) or [path]
        else:
            found.append(path)
    return found


def format_of(file: str, declared: str = "") -> str:
    """Return the declared format of a file, else the one of its extension (before .gz, .xz or .bz2); "" if unknown."""
    path = PurePosixPath(file.lower())
    if path.suffix in COMPRESSED:
        path = path.with_suffix("")
    return declared or FORMATS.get(path.suffix, "")
