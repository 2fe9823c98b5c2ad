"""Guess: how a file of sentence pairs is laid out, decided from the whole file, and the card that says so."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.cards.card import COMPRESSED, FORMATS
from hengyu.cards.content import CODECS, decode, detect_encoding, not_utf8
from hengyu.cards.delimited import SEPARATORS, csv_records, fields_of, is_number, raw_lines
from hengyu.cards.likely import label_rank, meaning, sentence_pair
from hengyu.cards.rows import parquet_names, quoting_of, read_columns, unpacked

__all__ = ["Guess", "Wishes", "card_name", "card_place", "guess"]

_CALLED = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "|", " ": "space", "  ": "runs of spaces"}
_SCALES = ((0, 1), (0, 5), (-1, 1), (0, 10), (0, 100))
_SHOWN = 3  # rows of a preview
_CLASSES = 10  # different words that may be the classes of a label column


@dataclass(frozen=True)
class Wishes:
    """What the user says of a file; whatever is None or empty is guessed."""

    columns: tuple[str, ...] = ()  # first sentence, second sentence, label: names, or positions from 0
    header: bool | None = None
    separator: str = ""
    encoding: str = ""
    quoting: str = ""
    kind: str = ""  # "binary" or "graded"
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Guess:
    """How a file is laid out."""

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
    said: tuple[tuple[str, str], ...]  # what was decided, in words, for the user
    preview: tuple[tuple[str, str, str], ...]  # the first rows: sentence, sentence, label

    def toml(self, name: str) -> str:
        """Return the card as TOML."""
        by_ending = _by_ending(self.file)
        lines = [f"name = {_toml(name)}"]
        if self.format != by_ending:
            lines.append(f"format = {_toml(self.format)}")
        if self.format in ("tsv", "csv"):
            if self.separator != {"tsv": "\t", "csv": ","}[self.format]:
                lines.append(f"separator = {_toml(self.separator)}")
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
    """Return a file's name without the endings that say its format."""
    name = file.name
    for ending in (*COMPRESSED, *FORMATS):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def _by_ending(file: Path) -> str:
    name = file.name.lower()
    name = next((name[: -len(e)] for e in COMPRESSED if name.endswith(e)), name)
    return FORMATS.get(Path(name).suffix, "")


def card_name(file: Path) -> str:
    """Return the name that a card of a file gets: the file's, as far as it can be a folder's name."""
    return re.sub(r"[^\w.-]+", "-", _bare(file)).strip(".-") or "pairs"


def card_place(file: Path) -> Path:
    """Return where the card of a file stands unless it is said otherwise: beside it."""
    return file.with_name(f"{_bare(file)}.toml")


@dataclass
class _Table:
    """A file as columns of values, before it is known which of them are the pair."""

    format: str
    names: list[str]  # of the columns; [] for a text file whose header is not known yet
    columns: list[list[Any]]
    separator: str = ""
    quoting: str = "auto"
    encoding: str = "utf-8"
    lines: int = 0
    ragged: int = 0  # lines of another number of fields


def guess(file: Path, wishes: Wishes | None = None) -> Guess:
    """Decide how a file of pairs is laid out; raises `HengyuError` that says what could not be decided, and what to add."""
    wishes = wishes or Wishes()
    if not file.is_file():
        what = (
            "is a folder; name a file of pairs in it"
            if file.is_dir()
            else "no such file, or no regular file; check the path"
        )
        raise HengyuError(f"{file}: {what}")
    if file.suffix == ".toml":
        raise HengyuError(
            f"{file}: is a card or a suite, and no file of pairs; name the file it describes, or use --datasets {file.parent} "
            "--task NAME:SPLIT"
        )
    try:
        content = file.read_bytes()
    except OSError as e:
        raise HengyuError(f"{file}: cannot be read ({e.strerror}); check its permissions") from None
    table = _read(content, file, wishes)
    header = _header(table, wishes)
    if table.format in ("tsv", "csv") and header:
        table.names = [str(c[0]) for c in table.columns]
        table.columns = [c[1:] for c in table.columns]
    if not table.columns or not table.columns[0]:
        raise HengyuError(f"{file}: holds no pairs; get the file again or check that it is the right one")
    places = _places(table, wishes, str(file))
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


def _said(table: _Table, header: bool, columns: Sequence[str | int], labels: str) -> tuple[tuple[str, str], ...]:
    names = {"tsv": "text with fields", "csv": "text with fields", "json": "JSON", "jsonl": "JSON lines"}
    said = [("format", names.get(table.format, table.format))]
    if table.format in ("tsv", "csv"):
        mark = _CALLED.get(table.separator, json.dumps(table.separator, ensure_ascii=False))
        ragged = f" ({table.ragged} of {table.lines} lines have another number of fields)" if table.ragged else ""
        said.append(("separator", f"{mark}: {len(table.columns)} fields a line{ragged}"))
        said.append(("quoting", {"csv": "CSV quoting", "none": "quotes are text"}[table.quoting]))
    if table.format != "parquet":
        said.append(("encoding", table.encoding.upper()))
    if table.format in ("tsv", "csv"):
        said.append(("header", f"yes: {', '.join(table.names)}" if header else "no: line 1 is data"))
    shown = [f"{c} (position)" if isinstance(c, int) else c for c in columns]
    said.append(("columns", f"sentence1 = {shown[0]}, sentence2 = {shown[1]}, label = {shown[2]}"))
    said.append(("labels", labels))
    return tuple(said)


def _read(content: bytes, file: Path, wishes: Wishes) -> _Table:
    where = str(file)
    if _starts(content, where, b"PAR1"):
        names = parquet_names(content, where)
        rows = read_columns(content, where, format="parquet", header=True, wanted=names)
        return _Table("parquet", names, list(rows.columns), lines=len(rows.numbers))
    # UTF-16 is let through: it is a name of an encoding that is asked for
    raw = unpacked(content, where, "utf-8")
    encoding = wishes.encoding or _encoding(raw, where)
    text = decode(raw, where, encoding)
    if text.lstrip()[:1] in ("{", "["):
        table = _json(text, where)
        if table:
            table.encoding = encoding
            table.format = "json" if _by_ending(file) == "json" else "jsonl"
            return table
    return _delimited(text, file, encoding, wishes)


def _starts(content: bytes, where: str, magic: bytes) -> bool:
    return content.startswith(magic) or unpacked(content, where, "parquet")[:4] == magic


def _encoding(raw: bytes, where: str) -> str:
    if raw[:2] not in (b"\xff\xfe", b"\xfe\xff") and b"\0" not in raw[:400]:
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as e:
            found = detect_encoding(raw)
            if not found:
                number = raw.count(b"\n", 0, e.start) + 1
                raise not_utf8(where, number, e.start - raw.rfind(b"\n", 0, e.start), raw) from None
            return found
        return "utf-8"
    return detect_encoding(raw) or "utf-8"


def _json(text: str, where: str) -> _Table | None:
    """Return JSON as a table; None for text that is none, which happens to begin with a bracket."""
    first = text.lstrip().split("\n", 1)[0]
    try:
        item = json.loads(first)
    except (ValueError, RecursionError):
        try:
            item = json.loads(text)
        except (ValueError, RecursionError):
            if not re.match(r'\s*(\[\s*)?\{\s*"', text):
                return None
            item = {}
    one = item[0] if isinstance(item, list) and item else item
    if not isinstance(one, dict):
        return None
    names = list(one)
    if not names:
        read_columns(text.encode(), where, format="jsonl", header=True, wanted=())  # says what is broken
    rows = read_columns(text.encode(), where, format="jsonl", header=True, wanted=[(name, None) for name in names])
    return _Table("jsonl", names, list(rows.columns), lines=len(rows.numbers))


def _delimited(text: str, file: Path, encoding: str, wishes: Wishes) -> _Table:
    """Split text with the first separator that gives (nearly) all lines the same number of fields, three or more."""
    lines = raw_lines(text)
    first = next((line for line in lines if line.strip()), "")
    best: tuple[float, _Table] | None = None
    by_ending = _by_ending(file)
    for mark in (wishes.separator,) if wishes.separator else SEPARATORS:
        if len(fields_of(first, mark)) < 3 and not wishes.separator:
            continue
        format_ = "csv" if mark == "," or (by_ending == "csv" and mark != "\t") else "tsv"
        quoted, _ = quoting_of(text, format_, mark, wishes.quoting or "auto")
        try:
            records = (
                [r for _, r in csv_records(text, str(file), mark)] if quoted else [fields_of(s, mark) for s in lines]
            )
        except HengyuError:
            if wishes.separator or wishes.quoting:
                raise
            quoted, records = False, [fields_of(s, mark) for s in lines]
        width, often = Counter(map(len, records)).most_common(1)[0]
        share = often / len(records)
        if (width < 3 or share < 0.5 or (not mark.strip(" ") and share < 1)) and not wishes.separator:
            continue
        kept = [r for r in records if len(r) == width]
        table = _Table(
            *(format_, [], [list(c) for c in zip(*kept, strict=True)], mark, "csv" if quoted else "none", encoding),
            *(len(records), len(records) - often),
        )
        if share > 0.98:
            return table
        if best is None or share > best[0]:
            best = share, table
    if best is None:
        raise HengyuError(
            f"{file}: no separator gives its lines the same number of fields, three at least (line 1 is {first[:60]!r}); say "
            "which it is with --separator, or write the pairs as a table of two sentences and a label"
        )
    return best[1]


def _header(table: _Table, wishes: Wishes) -> bool:
    if table.format not in ("tsv", "csv"):
        return True
    if wishes.header is not None:
        return wishes.header
    head = [str(c[0]) for c in table.columns]
    if len(table.columns[0]) < 2:
        return sentence_pair(head) is not None and not any(map(is_number, head))
    places = [str(i) for i in range(len(head))]
    if head == places or head == ["", *places[:-1]]:  # as pandas names the columns of an array
        return True
    if any(is_number(c) for c in head):
        return False
    rest = [[v for v in c[1:] if v.strip()] for c in table.columns]
    if any(r and all(map(is_number, r)) for r in rest):
        return True
    if (
        sentence_pair(head) is not None
        or sum(label_rank(name) >= 0 for name in head) == 1
        and len(set(head)) == len(head)
    ):
        return all(name not in set(r) for name, r in zip(head, rest, strict=True))
    # a word that is none of the few which the rest of its column consists of
    return any(
        2 <= len(set(r)) <= _CLASSES and len(r) >= 2 * len(set(r)) and name not in r
        for name, r in zip(head, rest, strict=True)
    )


def _places(table: _Table, wishes: Wishes, where: str) -> tuple[int, int, int]:
    if wishes.columns:
        return _wished(table, wishes.columns, where)
    names = table.names or [str(i) for i in range(len(table.columns))]
    label = _label_place(table, names, where)
    others = [i for i in range(len(names)) if i != label]
    pair = sentence_pair([names[i] for i in others]) if table.names else None
    if pair is not None and all(_words(table.columns[others[p]]) for p in pair):
        return others[pair[0]], others[pair[1]], label
    texts = [i for i in others if _texts(table.columns[i])]
    if len(texts) < 2:
        texts = [i for i in others if _words(table.columns[i])]
    if len(texts) > 2:
        varied = [i for i in texts if len(set(map(str, table.columns[i]))) > 1]
        texts = _sentences(table, varied if len(varied) >= 2 else texts)
    if len(texts) != 2:
        raise HengyuError(f"{where}: {_undecided(table, names, texts or others, 'sentences')}")
    return texts[0], texts[1], label


def _wished(table: _Table, columns: Sequence[str], where: str) -> tuple[int, int, int]:
    if len(columns) != 3 or len(set(columns)) != 3:
        raise HengyuError(f"--columns {','.join(columns)}: name three different columns: sentence, sentence, label")
    found = []
    for column in columns:
        if column in table.names:
            found.append(table.names.index(column))
        elif column.isdecimal() and int(column) < len(table.columns):
            found.append(int(column))
        else:
            known = table.names or [str(i) for i in range(len(table.columns))]
            raise HengyuError(f"--columns: {where} has no column '{column}'{did_you_mean(column, known)}")
    return found[0], found[1], found[2]


def _undecided(table: _Table, names: Sequence[str], candidates: Sequence[int], what: str) -> str:
    one = (
        f"columns {', '.join(names[i] for i in candidates)} could hold the {what}"
        if candidates
        else f"no column seems to hold the {what}"
    )
    first = ", ".join(f"{n} = {str(c[0])[:20]!r}" for n, c in zip(names, table.columns, strict=True))
    given = ",".join(names[i] for i in (*candidates, *range(len(names)))[:2]) + ",LABEL"
    return f"{one} (row 1: {first}); say which columns are sentence, sentence and label, like --columns {given}"


def _words(values: Sequence[Any]) -> bool:
    texts = [v for v in values if isinstance(v, str) and v.strip()]
    return len(texts) >= 0.5 * len(values) and sum(map(is_number, texts)) < 0.5 * len(texts)


def _texts(values: Sequence[Any]) -> bool:
    """Whether most values are Chinese, or several words: no ids, links or names of a class."""
    seen = sum(isinstance(v, str) and bool(re.search(r"[^\x00-\u02ff]|\S\s\S", v)) for v in values)
    return _words(values) and seen >= 0.5 * len(values)


def _sentences(table: _Table, texts: Sequence[int]) -> list[int]:
    """Return the two of several columns of text that are clearly the longer or more varied ones, else all of them."""

    def size(i: int) -> tuple[float, float]:
        values = [str(v) for v in table.columns[i]]
        return len(set(values)) / len(values), sum(map(len, values)) / len(values)

    sizes = {i: size(i) for i in texts}
    ranked = sorted(texts, key=lambda i: -sizes[i][0] * sizes[i][1])
    least = [min(sizes[i][k] for i in ranked[:2]) for k in (0, 1)]
    rest = [i for i in ranked[2:] if sizes[i][0] > 0.5 * least[0] and sizes[i][1] > 0.5 * least[1]]
    return sorted(texts if rest else ranked[:2])


def _is_label(values: Sequence[Any]) -> bool:
    given = [str(v).strip() for v in values if v is not None and str(v).strip()]
    if not given or any(isinstance(v, (list, dict)) for v in values):
        return False
    if all(map(is_number, given)):
        return True
    classes = set(given)
    known = len(classes) <= _CLASSES and all(meaning(c) is not None for c in classes)
    return known or (2 <= len(classes) <= _CLASSES and len(given) >= 3 * len(classes) and max(map(len, classes)) <= 20)


def _is_id(values: Sequence[Any]) -> bool:
    """Whether numbers count the rows, or are all different whole ones, as labels of more than a few rows are not."""
    given = [str(v).strip() for v in values]
    if not all(re.fullmatch(r"\d+", v) for v in given):
        return False
    numbers = [int(v) for v in given]
    counted = len(numbers) > 1 and all(b - a == 1 for a, b in zip(numbers, numbers[1:], strict=False))
    return counted or (len(numbers) > 5 and len(set(numbers)) == len(numbers))


def _label_place(table: _Table, names: Sequence[str], where: str) -> int:
    fit = [i for i, values in enumerate(table.columns) if _is_label(values)]
    named = [i for i in fit if table.names and label_rank(names[i]) >= 0]
    if table.names and not named:
        unlike = [i for i, name in enumerate(names) if 0 <= label_rank(name) < 3 and not _texts(table.columns[i])]
        named = unlike[:1] if len(fit) == 0 else []
    if named:
        ranks = sorted((label_rank(names[i]), i) for i in named)
        surest = [i for rank, i in ranks if rank <= max(ranks[0][0], 1)] if ranks[0][0] <= 1 else [i for _, i in ranks]
        if len(surest) == 1:
            return surest[0]
        fit = surest
    numbers = [i for i in fit if not _texts(table.columns[i])] or fit
    likely = [i for i in numbers if not _is_id(table.columns[i])]
    if not likely and len(numbers) > 1:  # a few rows, whose labels count as their ids do: ids come first
        likely = numbers[1:]
    likely = likely or numbers
    for test in (_varied, _bounded):
        likely = [i for i in likely if test(table.columns[i])] or likely
    if len(likely) != 1:
        raise HengyuError(f"{where}: {_undecided_label(table, names, likely)}")
    return likely[0]


def _undecided_label(table: _Table, names: Sequence[str], candidates: Sequence[int]) -> str:
    one = (
        f"columns {', '.join(names[i] for i in candidates)} could each hold the label"
        if candidates
        else "no column seems to hold labels (numbers, or a few different words)"
    )
    first = ", ".join(f"{n} = {str(c[0])[:20]!r}" for n, c in zip(names, table.columns, strict=True))
    return f"{one} (row 1: {first}); say which columns are sentence, sentence and label, like --columns A,B,LABEL"


def _varied(values: Sequence[Any]) -> bool:
    return len({str(v) for v in values}) > 1


def _bounded(values: Sequence[Any]) -> bool:
    return all(-1 <= float(v) <= 100 for v in map(str, values) if is_number(v))


def _labels(
    values: Sequence[Any], wishes: Wishes, where: str
) -> tuple[str, tuple[float, float], dict[str, float], str]:
    """Return kind, scale, map and a sentence on them, from all labels."""
    given = [str(v).strip() for v in values if v is not None and str(v).strip()]
    found = Counter(given)
    seen = ", ".join(f"{w} ({n})" for w, n in sorted(found.items())[:_CLASSES])
    meanings: dict[str, float] = {}
    if found and not any(map(is_number, found)) and {w.lower() for w in found} - {"true", "false"}:
        known = {w: meaning(w) for w in sorted(found)}
        unknown = [w for w, value in known.items() if value is None]
        if unknown:
            raise HengyuError(
                f"{where}: the labels are words, and what {', '.join(map(repr, unknown[:_CLASSES]))} means is not known (found: "
                f'{seen}); write the card with labels.map, like labels = {{ scale = [0, 1], kind = "binary", map = {{ '
                f"{_toml(sorted(found)[0])} = 1, ... }} }}"
            )
        meanings = {w: value for w, value in known.items() if value is not None}
        return (
            "binary",
            (0.0, 1.0),
            meanings,
            f"binary: {', '.join(f'{w} = {v:g}' for w, v in meanings.items())} (found: {seen})",
        )
    numbers = {float(v) for v in found if is_number(v)} | {
        {"true": 1.0, "false": 0.0}.get(v.lower(), 0.0) for v in found if not is_number(v)
    }
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
    many = f"{len(numbers)} different values from {low:g} to {high:g}" if len(found) > _CLASSES else seen
    return "graded", scale, {}, f"graded, {scale[0]:g} to {scale[1]:g} (found: {many})"
