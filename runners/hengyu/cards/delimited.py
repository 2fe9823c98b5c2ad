"""Delimited text: separator, quoting and fields of a file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.cards.columns import Rows, Wanted, choice

__all__ = [
    "QUOTINGS",
    "SEPARATORS",
    "carriage_returns",
    "csv_records",
    "decide_quoting",
    "fields_of",
    "is_number",
    "nameless",
    "raw_lines",
    "suggest",
    "table",
]

QUOTINGS = ("auto", "csv", "none")
SEPARATORS = ("\t", "\x01", "|||", "||", "###", "@@@", ",", ";", "|", "::", "~", "^", "，", "  ", " ")
"""Separators that are tried, in this order, if a file does not have its card's."""

_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_WORDS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars (|)", " ": "spaces", "  ": "runs of spaces"}
_SAMPLE = 200  # records used for a suggestion
_CLASSES = 10  # up to so many different words may be labels
_SHOWN = 8  # fields of a header shown in a message


def is_number(text: str) -> bool:
    """Whether a field is a number."""
    return _NUMBER.fullmatch(text) is not None


def fields_of(line: str, separator: str) -> list[str]:
    """Split a line; a separator of spaces means a run of at least so many."""
    if separator.isspace() and not separator.strip(" "):
        return re.split(f" {{{len(separator)},}}", line.strip(" "))
    return line.split(separator)


def raw_lines(text: str) -> list[str]:
    """Return the lines of a text without line ends and trailing empty lines; only LF ends a line."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def csv_records(text: str, where: str, separator: str = ",") -> list[tuple[int, list[str]]]:
    """Return CSV records and their first lines; raises `HengyuError` for broken quoting."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for record in reader:
            records.append((start, record))
            start = reader.line_num + 1
    except csv.Error as e:
        raise HengyuError(
            f'{where}: line {start}: broken quoting ({e}); correct the quotes from that line on, or add quoting = "none" to '
            "the card if quotes are part of the text"
        ) from None
    while records and not records[-1][1]:
        records.pop()
    return records


@dataclass
class _Scan:
    """Statistics of the quotes in a text that is read as CSV."""

    strict: bool = True  # no text follows the closing quote of a field
    bare: int = 0  # unquoted fields that hold a quote
    quoted: int = 0  # quoted fields that are not empty
    first: int = 0  # line of the first of them
    across: int = 0  # quoted fields that hold a separator or a line end
    comma: int = 0  # other quoted fields with a comma, which Excel quotes
    commas: int = 0  # unquoted fields with a comma
    plain: Counter[int] = field(default_factory=Counter)  # column -> fields quoted without a reason
    open: Counter[int] = field(default_factory=Counter)  # column -> unquoted fields with words
    widths: Counter[int] = field(default_factory=Counter)  # number of fields -> number of records


def _scan(text: str, separator: str) -> _Scan:
    end = re.escape(separator)
    pattern = re.compile(rf'(?:"([^"]*(?:""[^"]*)*)"|([^"\n{end}][^\n{end}]*)?)({end}|\r?\n|\r?\Z)')
    scan = _Scan()
    column = at = 0
    while at < len(text):
        found = pattern.match(text, at)
        if found is None:
            scan.strict = False
            return scan
        quoted, bare, mark = found.groups()
        if quoted:
            scan.quoted += 1
            scan.first = scan.first or text.count("\n", 0, at) + 1
            if separator in quoted or "\n" in quoted or "\r" in quoted:
                scan.across += 1
            elif '"' in quoted:
                pass  # a quote inside is a reason for quoting
            elif "," in quoted:
                scan.comma += 1
            else:
                scan.plain[column] += 1
        elif bare:
            scan.bare += '"' in bare
            scan.commas += "," in bare
            if not is_number(bare):
                scan.open[column] += 1
        at = found.end()
        column += 1
        if mark != separator or at == len(text):
            if column > 1 or quoted or bare:
                scan.widths[column + (mark == separator)] += 1
            column = 0
    return scan


def _count(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"


def decide_quoting(text: str, separator: str) -> tuple[bool, str]:
    """Decide whether quotes around fields are CSV quoting or part of the text, from the whole file.

    They are quoting if the file follows the rules of every CSV writer:

    - it is strict CSV, and no unquoted field contains a quote (a writer would have quoted it);
    - each quoted field has a reason (it contains the separator, a line end, a quote, or a comma in a file where no
      unquoted field does), or all words of the file are quoted, the first line included;
    - if quoted fields contain separators, the lines do not all have one width when quotes are taken as text.

    Returns:
        Whether it is CSV quoting, and a note about it ("" if no field is in quotes).
    """
    if '"' not in text:
        return False, ""
    scan = _scan(text, separator)
    lines = raw_lines(text)
    widths = Counter(len(line.split(separator)) for line in lines if line)
    if scan.strict and scan.quoted and not scan.bare:
        whole = len(scan.widths) == 1
        if scan.across and len(widths) == 1:
            decided = False
        elif scan.across and whole:
            decided = True
        else:
            everywhere = len(lines) > 1 and not any(scan.open[c] for c in range(max(scan.widths, default=0)))
            reasoned = not scan.plain and not (scan.comma and scan.commas)
            decided = everywhere or reasoned
        if decided:
            return True, (
                f"{_count(scan.quoted)} in quotes (the first on line {scan.first}) read as CSV, without the quotes; "
                'if the quotes are part of the text, add quoting = "none" to the card'
            )
    kept = [n for n, line in enumerate(lines, 1) for f in line.split(separator) if len(f) > 1 and f[0] == f[-1] == '"']
    if not kept:
        return False, ""
    return False, (
        f"{_count(len(kept))} in quotes (the first on line {kept[0]}) read as text, with the quotes; "
        'if they are CSV quoting, add quoting = "csv" to the card'
    )


def broken_by_quotes(text: str, separator: str) -> bool:
    """Whether the quotes of a CSV text are really text: without quoting all lines have one width, with it lines merge.

    In real CSV a field with a line end makes two lines that are too short.
    """
    if '"' not in text:
        return False
    scan = _scan(text, separator)
    if not (scan.strict and scan.across):
        return False
    rows = [line.split(separator) for line in raw_lines(text) if line]
    if len(rows) <= sum(scan.widths.values()) or len({len(r) for r in rows}) != 1:
        return False
    return any(all(is_number(r[i]) for r in rows[1:]) for i in range(len(rows[0])))


def suggest(lines: Sequence[str], needed: int, separator: str = "") -> str:
    """Return the separator that gives (nearly) all lines the same number of fields, at least ``needed``; "" for none."""
    lines = [line for line in lines if line.strip()][:_SAMPLE]
    for mark in SEPARATORS:
        if mark == separator or not lines:
            continue
        widths = Counter(len(fields_of(line, mark)) for line in lines)
        width, often = widths.most_common(1)[0]
        if width >= needed and often >= 0.9 * len(lines) and (len(mark.strip(" ")) or often == len(lines)):
            return mark
    return ""


def _called(separator: str) -> str:
    return _WORDS.get(separator, json.dumps(separator, ensure_ascii=False))


def _other(lines: Sequence[str], where: str, separator: str, needed: int) -> HengyuError | None:
    """Return an error that names the actual separator, or None if it is the one in use."""
    mark = suggest(lines, needed, separator)
    if not mark:
        return None
    add = {"\t": 'format = "tsv"', ",": 'format = "csv"'}.get(
        mark, f"separator = {json.dumps(mark, ensure_ascii=False)}"
    )
    if separator not in ("\t", ","):
        add = f"separator = {json.dumps(mark, ensure_ascii=False)}"
    width = len(fields_of(lines[0], mark))
    lacks = {"\t": "line 1 holds no tab: ", ",": "line 1 holds no comma: "}.get(separator, "line 1: ")
    return HengyuError(
        f"{where}: {lacks if separator not in lines[0] else 'line 1: '}its fields are separated by {_called(mark)}, not by "
        f"{_called(separator)}; add {add} to the card (each line then has {width} fields)"
    )


def table(
    records: Iterable[tuple[int, list[str]]], where: str, header: bool, wanted: Sequence[Wanted], separator: str
) -> Rows:
    """Read columns of records; raises `HengyuError` for missing ones, with the separator or header that would fit."""
    rows = Rows("line", tuple([] for _ in wanted))
    following: Iterator[tuple[int, list[str]]] = iter(records)
    found = next(following, None)
    if found is None:
        return rows
    head = found[1]
    rows.head = tuple(head)
    sample = [found]
    for record in following:
        sample.append(record)
        if len(sample) == _SAMPLE:
            break
    lines = [separator.join(fields) for _, fields in sample]
    if len(sample) == 1 and "\r" in lines[0].strip("\r") and '"' not in lines[0]:
        raise HengyuError(carriage_returns(where))
    if header and len(sample) > 3 and {len(fields) for _, fields in sample[1:]} == {len(head) + 1}:
        raise HengyuError(nameless(where, len(head) + 1))
    places = [w if isinstance(w, int) else _place(head if header else [], w, where, separator, lines) for w in wanted]
    given = [p for p in places if p is not None]
    # without a header the first line gives the number of fields, unless the first columns are wanted: then most lines do
    usual = not header and sorted(given) == list(range(len(wanted)))
    often = Counter(len(fields) for _, fields in sample).most_common(1)[0][0]
    width = max(often, len(wanted)) if usual else len(head)
    if max(given) >= width or (usual and len(head) == 1):
        tabless = ", and line 1 holds no tab" if separator == "\t" and len(head) == 1 else ""
        raise _other(lines, where, separator, max(given) + 1) or HengyuError(
            f"{where}: line 1 has {len(head)} fields{tabless} and no column {max(given)} (counted from 0); correct the card's "
            f"'columns', or its 'separator' if the fields are not separated by {_called(separator)}"
        )
    if usual and width > len(wanted):
        last = [fields[places[-1] or 0] for _, fields in sample if len(fields) == width]
        if (
            not all(map(is_number, last))
            and len(set(last)) > min(_CLASSES, len(last) // 2)
            and _numbered(sample, width)
        ):
            raise HengyuError(
                f"{where}: its lines have {width} fields, not {len(wanted)}; name the columns in the card, like "
                f"columns = {{ sentence1 = 1, sentence2 = 2, label = 3 }} (positions from 0); line 1 is {_fields(head)}"
            )
    for number, fields in chain(sample[header:], following):
        if len(fields) == width:
            rows.add(number, ["" if p is None else fields[p] for p in places])
        else:
            between = {"\t": " between tabs", ",": ""}.get(separator, f" between {_called(separator)}")
            if separator == "," and len(fields) > width:
                between = " (a field with a comma needs quotes)"
            rows.malformed[number] = (f"a line must have {width} fields{between}", str(len(fields)))
    return rows


def _numbered(sample: Sequence[tuple[int, list[str]]], width: int) -> bool:
    """Whether a column holds only numbers."""
    rows = [fields for _, fields in sample if len(fields) == width]
    return any(all(map(is_number, column)) for column in zip(*rows, strict=True))


def carriage_returns(where: str) -> str:
    """Return the message for a file whose lines end with carriage returns."""
    return f"{where}: its lines end with carriage returns only; convert it with tr '\\r' '\\n' < OLD > NEW"


def nameless(where: str, width: int) -> str:
    """Return the message for a header without a name for the first column, as R writes row names."""
    return (
        f"{where}: line 1 has {width - 1} fields and the others {width}: the first column has no name, as R writes row names; "
        "add a name for it at the beginning of line 1"
    )


def _fields(fields: Sequence[str]) -> str:
    more = f", and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
    return ", ".join(f if len(f) <= 20 else f[:19] + "…" for f in fields[:_SHOWN]) + more


def _place(head: list[str], wanted: Wanted, where: str, separator: str, lines: Sequence[str]) -> int | None:
    name = choice(wanted, head)
    if name is None:
        return None
    if head.count(name) == 1:
        return head.index(name)
    if name in head:
        raise HengyuError(f"{where}: line 1: the header names '{name}' twice; rename one of the columns")
    if lines[0].startswith(("{", "[{")) or lines[0].strip() == "[":
        raise HengyuError(f'{where}: line 1 is JSON; add format = "jsonl" to the card')
    if len(head) < 3:
        other = _other(lines, where, separator, 2)
        if other:
            raise other
    if any(map(is_number, head)):
        raise HengyuError(
            f"{where}: line 1 looks like data, not like a header ({_fields(head)}); add header = false to the "
            f"card{_positions(head)}"
        )
    remedy = "" if len(head) > 1 or separator != "\t" else ", and no tab either: is this really a tab-separated file?"
    hint = did_you_mean(name, head) if len(head) > 1 else ""
    raise HengyuError(
        f"{where}: line 1: the header has no column '{name}'{remedy}{hint}; give its name in the card's 'columns', "
        "or add header = false if line 1 is data ('hengyu card FILE' writes a matching card)"
    )


def _positions(head: Sequence[str]) -> str:
    """Return the columns to write if the first line shows them: two of words and one number."""
    numbers = [i for i, f in enumerate(head) if is_number(f)]
    words = [i for i in range(len(head)) if i not in numbers]
    if len(numbers) == 1 and len(words) == 2 and (*words, *numbers) != (0, 1, 2):
        return f", and columns = {{ sentence1 = {words[0]}, sentence2 = {words[1]}, label = {numbers[0]} }}"
    return "" if len(head) == 3 else ", and give the positions (from 0) of sentence1, sentence2 and label in 'columns'"
