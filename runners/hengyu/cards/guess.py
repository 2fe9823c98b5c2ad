"""Guess: decides the layout of a file of sentence pairs from the whole file, and writes its card."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hengyu.base.bounded import DATA, read_bytes
from hengyu.base.errors import HengyuError
from hengyu.cards.card import COMPRESSED, FORMATS
from hengyu.cards.delimited import is_number
from hengyu.cards.layout import Layout, Wishes, format_by_ending, read_layout
from hengyu.cards.likely import meaning
from hengyu.cards.places import CLASSES, find_places, has_header

__all__ = ["Guess", "Wishes", "card_name", "card_place", "guess"]

_CALLED = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "|", " ": "space", "  ": "runs of spaces"}
_SCALES = ((0, 1), (0, 5), (-1, 1), (0, 10), (0, 100))
_SHOWN = 3  # rows in a preview


@dataclass(frozen=True)
class Guess:
    """The layout of a file."""

    file: Path
    format: str
    separator: str
    quoting: str
    encoding: str
    header: bool
    columns: tuple[str | int, str | int, str | int]
    kind: str
    scale: tuple[float, float]
    label_map: dict[str, float]
    said: tuple[tuple[str, str], ...]  # the decisions in words, for the user
    preview: tuple[tuple[str, str, str], ...]  # the first rows: sentence, sentence, label

    def toml(self, name: str) -> str:
        """Return the card as TOML."""
        by_ending = format_by_ending(self.file)
        lines = [f"name = {_toml(name)}"]
        if self.format != by_ending:
            lines.append(f"format = {_toml(self.format)}")
        if self.format in ("tsv", "csv"):
            if self.separator != {"tsv": "\t", "csv": ","}[self.format]:
                lines.append(f"separator = {_toml(self.separator)}")
            if self.quoting != "auto":
                lines.append(f"quoting = {_toml(self.quoting)}")
        if self.encoding != "utf-8":
            lines.append(f"encoding = {_toml(self.encoding)}")
        if self.format in ("tsv", "csv"):
            lines.append(f"header = {'true' if self.header else 'false'}")
        columns = ", ".join(
            f"{key} = {_toml(c)}" for key, c in zip(("sentence1", "sentence2", "label"), self.columns, strict=True)
        )
        lines.append(f"columns = {{ {columns} }}")
        meanings = ", ".join(f"{_toml(k)} = {v:g}" for k, v in self.label_map.items())
        mapped = f", map = {{ {meanings} }}" if meanings else ""
        lines.append(f'labels = {{ scale = [{self.scale[0]:g}, {self.scale[1]:g}], kind = "{self.kind}"{mapped} }}')
        lines += ["[splits.test]", f"file = {_toml(self.file.name)}"]
        return "\n".join(lines) + "\n"


def _toml(value: str | int) -> str:
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _bare(file: Path) -> str:
    """Return a file's name without its format extensions."""
    name = file.name
    for ending in (*COMPRESSED, *FORMATS):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def card_name(file: Path) -> str:
    """Return a file's card name: the file's own name, made valid for a folder."""
    return re.sub(r"[^\w.-]+", "-", _bare(file)).strip(".-") or "pairs"


def card_place(file: Path) -> Path:
    """Return the default path of a file's card, in the same folder."""
    return file.with_name(f"{_bare(file)}.toml")


def guess(file: Path, wishes: Wishes | None = None) -> Guess:
    """Decide the layout of a file of pairs; raises `HengyuError` with what is undecided and which option to add."""
    wishes = wishes or Wishes()
    if not file.is_file():
        what = (
            "is a folder; name a file of pairs in it"
            if file.is_dir()
            else "no such file, or not a regular file; check the path"
        )
        raise HengyuError(f"{file}: {what}")
    if file.suffix == ".toml":
        raise HengyuError(
            f"{file}: is a card or a suite, not a file of pairs; name the file it describes, or use --datasets {file.parent} "
            "--task NAME:SPLIT"
        )
    try:
        content = read_bytes(file, DATA)
    except OSError as e:
        raise HengyuError(f"{file}: cannot be read ({e.strerror}); check its permissions") from None
    table = read_layout(content, file, wishes)
    header = has_header(table, wishes)
    if table.format in ("tsv", "csv") and header:
        table.names = [str(c[0]) for c in table.columns]
        table.columns = [c[1:] for c in table.columns]
    if not table.columns or not table.columns[0]:
        raise HengyuError(f"{file}: holds no pairs; get the file again or check that it is the right one")
    places = find_places(table, wishes, str(file))
    kind, scale, meanings, label_note = _labels(table.columns[places[2]], wishes, str(file))
    by_position = table.format in ("tsv", "csv") and (not header or len(set(table.names)) < len(table.names))
    columns = tuple(p if by_position else table.names[p] for p in places)
    said = _said(table, header, columns, label_note)
    preview = tuple(
        (str(a), str(b), str(y)) for a, b, y in zip(*(table.columns[p][:_SHOWN] for p in places), strict=True)
    )
    assert len(columns) == 3
    return Guess(
        *(file, table.format, table.separator, table.quoting, table.encoding, header, columns),
        *(kind, scale, meanings, said, preview),
    )


def _said(table: Layout, header: bool, columns: Sequence[str | int], labels: str) -> tuple[tuple[str, str], ...]:
    names = {"tsv": "text with fields", "csv": "text with fields", "json": "JSON", "jsonl": "JSON lines"}
    said = [("format", names.get(table.format, table.format))]
    if table.format in ("tsv", "csv"):
        mark = _CALLED.get(table.separator, json.dumps(table.separator, ensure_ascii=False))
        ragged = f" ({table.ragged} of {table.lines} lines have a different number of fields)" if table.ragged else ""
        said.append(("separator", f"{mark}: {len(table.columns)} fields per line{ragged}"))
        said.append(
            (
                "quoting",
                {"csv": "CSV quoting", "none": "quotes are part of the text", "auto": "no quotes"}[table.quoting],
            )
        )
    if table.format != "parquet":
        said.append(("encoding", table.encoding.upper()))
    if table.format in ("tsv", "csv"):
        said.append(("header", f"yes: {', '.join(table.names)}" if header else "no: line 1 is data"))
    shown = [f"{c} (position)" if isinstance(c, int) else c for c in columns]
    said.append(("columns", f"sentence1 = {shown[0]}, sentence2 = {shown[1]}, label = {shown[2]}"))
    said.append(("labels", labels))
    return tuple(said)


def _labels(
    values: Sequence[Any], wishes: Wishes, where: str
) -> tuple[str, tuple[float, float], dict[str, float], str]:
    """Return kind, scale, map and a description, from all labels."""
    given = [str(v).strip() for v in values if v is not None and str(v).strip()]
    found = Counter(given)
    seen = ", ".join(f"{w} ({n})" for w, n in sorted(found.items())[:CLASSES])
    if wishes.label_map:
        scale = wishes.scale or (0.0, 1.0)
        kind = wishes.kind or ("binary" if {v for _, v in wishes.label_map} <= {0, 1} and scale == (0, 1) else "graded")
        return kind, scale, dict(wishes.label_map), f"{kind}, as given by --map (found: {seen})"
    meanings: dict[str, float] = {}
    if found and not any(map(is_number, found)) and {w.lower() for w in found} - {"true", "false"}:
        known = {w: meaning(w) for w in sorted(found)}
        unknown = [w for w, value in known.items() if value is None]
        if unknown:
            raise HengyuError(
                f"{where}: the labels are words, and the meaning of {', '.join(map(repr, unknown[:CLASSES]))} is unknown (found: "
                f"{seen}); give the value of each with 'hengyu card {where} --map {sorted(found)[0]}=1,...'"
            )
        meanings = {w: value for w, value in known.items() if value is not None}
        return (
            "binary",
            (0.0, 1.0),
            meanings,
            f"binary: {', '.join(f'{w} = {v:g}' for w, v in meanings.items())} (found: {seen})",
        )
    numbers = {float(v) if is_number(v) else float(v.lower() == "true") for v in found}
    if numbers == {1.0, -1.0} and not wishes.kind and wishes.scale is None:
        return "binary", (0.0, 1.0), {"1": 1.0, "-1": 0.0}, f"binary: 1 = 1, -1 = 0 (found: {seen})"
    if wishes.kind == "binary" or (not wishes.kind and wishes.scale is None and numbers <= {0.0, 1.0}):
        return "binary", (0.0, 1.0), {}, f"binary, 0 or 1 (found: {seen})"
    if numbers == {-1.0} or not numbers:
        return "binary", (0.0, 1.0), {}, f"binary, 0 or 1 (found: {seen})"
    low, high = min(numbers), max(numbers)
    scale = wishes.scale or next(
        ((float(a), float(b)) for a, b in _SCALES if a <= low and high <= b), (float(min(low, 0)), float(high))
    )
    many = f"{len(numbers)} different values from {low:g} to {high:g}" if len(found) > CLASSES else seen
    return "graded", scale, {}, f"graded, {scale[0]:g} to {scale[1]:g} (found: {many})"
