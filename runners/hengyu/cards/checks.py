"""Checks: turns rows into valid sentences and labels; every mistake is reported with its lines."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, gather
from hengyu.cards.card import Card
from hengyu.cards.delimited import is_number
from hengyu.cards.likely import meaning
from hengyu.cards.rows import Rows, at_lines

__all__ = ["Checked", "Faults", "check_rows", "check_split", "number_of", "show", "text_fault"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_LABEL = "the label"
_MISSING = "the label is missing"
_HIDDEN = {"", "None", "nan", "NaN", "NA", "null", "NULL", "?", "-", "--", "N/A", "_"}
_BOOLEANS = {"true": 1.0, "false": 0.0}
_CLASSES = 10  # up to so many different words of a label column are taken for its classes
_EMPTY = "a sentence must not be empty"
_MEND = 'correct the file, or skip such lines with malformed = "drop" in the card'


@dataclass(frozen=True, eq=False)
class Checked:
    """Valid rows: sentences are text, labels are finite and on the scale; and the lines dropped."""

    first: tuple[str, ...]  # (n,)
    second: tuple[str, ...]  # (n,)
    labels: NDArray[np.float64]  # (n,)
    dropped: tuple[int, ...]
    numbers: tuple[int, ...]  # (n,) the line of each
    unit: str  # of those: "line", "row" or "item"
    notes: tuple[str, ...]  # decisions about how to read the file


class Faults:
    """Collects lines by what is wrong with them."""

    def __init__(self) -> None:
        self.lines: dict[str, list[int]] = {}
        self.example: dict[str, str] = {}

    def note(self, fault: str, number: int, example: str = "") -> None:
        """Record a line with its fault, written as "problem; remedy"."""
        lines = self.lines.setdefault(fault, [])
        if number not in lines[-1:]:
            lines.append(number)
        self.example.setdefault(fault, example)

    def explain(self, start: str, remedy: str) -> None:
        """Replace the remedy of every fault with this beginning by one that was found from all lines together."""
        for fault in [f for f in self.lines if f.startswith(start) and not f.startswith(_MISSING)]:
            what = f"{fault.partition('; ')[0]}; {remedy}"
            self.lines[what], self.example[what] = self.lines.pop(fault), self.example.pop(fault)

    def report(self, where: str, unit: str, malformed: Mapping[int, tuple[str, str]], card: Card) -> None:
        """Raise one `HengyuError` with a sentence per fault, if any; malformed lines are a fault unless they are dropped."""
        if card.malformed == "error":
            for number, (fault, example) in sorted(malformed.items()):
                self.note(f"{fault}; {_MEND}", number, example)
        sentences = []
        for fault, numbers in self.lines.items():
            what, _, remedy = fault.partition("; ")
            example = self.example[fault]
            if example and what != _MISSING:
                what += f", not {example}" + (" (the first of them)" if len(numbers) > 1 else "")
            sentences.append(f"{where}: {at_lines(unit, numbers)}: {what}; {remedy}")
        gather(sentences)


def check_rows(rows: Rows, card: Card, where: str) -> Checked:
    """Check row by row; raises one `HengyuError` with every kind of mistake and its lines."""
    _refuse_hidden(rows, card, where)
    faults = Faults()
    malformed = dict(rows.malformed)
    one, two, given = rows.columns
    for i, number in enumerate(rows.numbers):
        for sentence in (one[i], two[i]):
            fault = text_fault(sentence)
            if fault == _EMPTY:
                malformed.setdefault(number, (fault, ""))
            elif fault:
                faults.note(fault, number, show(sentence))
    kept = [i for i, number in enumerate(rows.numbers) if number not in malformed]
    labels = np.empty(len(kept), np.float64)
    known: dict[tuple[type, Any], tuple[float, str]] = {}
    wrong: list[Any] = []
    for place, i in enumerate(kept):
        value = given[i]
        key = (type(value), _hashable(value))
        if key not in known:
            known[key] = label_of(value, card)
            if known[key][1]:
                wrong.append(value)
        labels[place], fault = known[key]
        if fault:
            faults.note(fault, rows.numbers[i], show(value))
    _refuse_header(rows, card, where, wrong)
    remedy = labels_remedy(given, card) if wrong else ""
    if remedy:
        faults.explain(_LABEL, remedy)
    faults.report(where, rows.unit, malformed, card)
    first, second = (tuple(column[i] for i in kept) for column in (one, two))
    numbers = tuple(rows.numbers[i] for i in kept)
    return Checked(first, second, labels, tuple(sorted(malformed)), numbers, rows.unit, tuple(rows.notes))


def _refuse_header(rows: Rows, card: Card, where: str, wrong: list[Any]) -> None:
    """Raise `HengyuError` if only the first line's label is wrong: it is a header that the card does not declare."""
    if card.header or not rows.head or rows.numbers[:1] != [1] or len(rows.numbers) < 2:
        return
    if len(wrong) != 1 or rows.columns[2][0] != wrong[0]:
        return
    if rows.columns[2].count(wrong[0]) > 1 or any(map(is_number, rows.head)):
        return
    columns = card.columns
    places = {key: getattr(columns, key) for key in ("sentence1", "sentence2", "label")}
    names = ", ".join(f"{key} = {quoted(rows.head[p])}" for key, p in places.items() if isinstance(p, int))
    raise HengyuError(
        f"{where}: line 1: the label must be a number, not {show(wrong[0])}: the line looks like a header; set header = true "
        f"and columns = {{ {names} }} in the card"
    )


def check_split(labels: NDArray[np.float64], card: Card, where: str) -> None:
    """Check that a split is not empty and its labels are not all the same; raises `HengyuError`.

    Constant labels have no correlation with anything. A single graded pair is accepted, since it may be there only to be
    read.
    """
    if not len(labels):
        raise HengyuError(f"{where}: holds no pairs; get the file again or check that it is the right one")
    if labels.min() != labels.max():
        return
    if card.binary:
        raise HengyuError(
            f"{where}: every label is {labels[0]:g}, but scores need both classes; add pairs of the other class"
        )
    if len(labels) > 1:
        raise HengyuError(
            f"{where}: every label is {labels[0]:g}, and constant labels have no correlation with anything; name "
            "another label column in the card, or another split"
        )


def show(value: Any) -> str:
    """Return a value as text for a message."""
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:39] + "…"


def quoted(word: str) -> str:
    """Return a word as a TOML string, or as a bare key if possible."""
    return json.dumps(word, ensure_ascii=False)


def text_fault(sentence: Any) -> str:
    """Return what is wrong with a sentence, or ""."""
    if not isinstance(sentence, str):
        return "a sentence must be text; put it in quotes, or name the right column in the card"
    if not sentence.strip():
        return _EMPTY
    if not sentence.isascii():
        try:
            sentence.encode("utf-8")
        except UnicodeEncodeError:
            return "a sentence must not contain half a surrogate pair; correct the \\u escapes"
    return ""


def _refuse_hidden(rows: Rows, card: Card, where: str) -> None:
    """Raise `HengyuError` if all labels are hidden, as in some published test sets."""
    marks = {value.strip() if isinstance(value, str) else value for value in map(_hashable, rows.columns[2])}
    if not marks or marks & set(card.label_map):
        return
    if marks <= {-1, "-1", "-1.0"} and not card.scale[0] <= -1 <= card.scale[1]:
        raise HengyuError(f"{where}: every label is -1, which marks hidden labels; use a split with labels")
    if len(rows.numbers) > 1 and marks <= _HIDDEN:
        raise HengyuError(
            f"{where}: every label is missing, as in test sets with hidden labels; use a split with "
            "labels, or name the right column in the card"
        )


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else repr(value)


def number_of(value: Any, what: str, *, words: bool = False) -> tuple[float, str]:
    """Return a finite number, or what is wrong with it; ``words``: words are common in its place."""
    text = value.strip() if isinstance(value, str) else ""
    if _NUMBER.fullmatch(text) or type(value) in (int, float, Decimal):
        try:
            number = float(text or value)  # float() knows fewer white-space characters than strip()
        except OverflowError:
            number = math.inf
    elif _NOT_FINITE.fullmatch(text):
        number = math.nan
    else:
        instead = " (1 and 0 instead of words)" if words else ""
        return math.nan, f"the {what} must be a number{instead}; correct it, or name the right column in the card"
    return number, "" if math.isfinite(number) else f"the {what} must be finite; correct the file"


def label_of(value: Any, card: Card) -> tuple[float, str]:
    """Return the value of a label as written in a file, and what is wrong with it, or ""."""
    text = value.strip() if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    if card.label_map:
        return _mapped(text, card)
    if value is None or text == "":
        return math.nan, f"{_MISSING}; add it, or remove the line from the file"
    if card.binary and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()], ""
    number, fault = number_of(value, "label", words=card.binary)
    if fault:
        return number, fault
    low, high = card.scale
    if card.binary and number not in (0, 1):
        return number, f"{_LABEL} must be 0 or 1 in a binary card; correct the file or labels.kind in {card.path}"
    if not low <= number <= high:
        return number, f"{_LABEL} must lie in {low:g}..{high:g}; correct the file or labels.scale in {card.path}"
    return number, ""


def _mapped(text: str, card: Card) -> tuple[float, str]:
    if text in card.label_map:
        return card.label_map[text], ""
    if is_number(text):
        for key, meant in card.label_map.items():
            if is_number(key) and float(key) == float(text):
                return meant, ""
    known = ", ".join(map(quoted, card.label_map))
    return math.nan, f"{_LABEL} must be one of labels.map in the card ({known}); add it there, or correct the file"


def labels_remedy(given: Sequence[Any], card: Card) -> str:
    """Return what to write in the card if the labels follow another pattern: words, 1 and -1, another scale."""
    if card.label_map:
        return ""
    found = Counter(str(v).strip() for v in given if v is not None and str(v).strip())
    numbers = {float(f) for f in found if is_number(f)}
    words = [f for f in found if not is_number(f)]
    repeated = len(found) < sum(found.values()) or all(meaning(w) is not None for w in words)
    if len(words) == len(found) and 2 <= len(found) <= _CLASSES and repeated:
        seen = ", ".join(f"{show(w)} ({n})" for w, n in found.most_common())
        known = {w: meaning(w) for w in found}
        top, low = (1, 0) if card.binary else (card.scale[1], card.scale[0])
        example = ", ".join(f"{quoted(w)} = {top if m else low:g}" for w, m in known.items() if m is not None)
        if len(known) > sum(m is not None for m in known.values()):
            example = ", ".join(f"{quoted(w)} = ..." for w in found)
        return f"the words found are {seen}: give the value of each, like map = {{ {example} }} in the card's 'labels'"
    if words or not numbers:
        return ""
    if numbers == {1.0, -1.0}:
        return (
            'the labels are 1 and -1: write labels = { scale = [0, 1], kind = "binary", map = { "1" = 1, "-1" = 0 } }, or '
            "labels = { scale = [-1, 1] }, in the card"
        )
    low, high = min(numbers), max(numbers)
    if -1.0 in numbers and card.scale[0] > -1 and all(card.scale[0] <= v <= card.scale[1] for v in numbers - {-1.0}):
        return "a label of -1 marks a pair without a label: remove those lines from the file"
    if len(numbers) < 2 or not all(math.isfinite(v) for v in (low, high)):
        return ""
    return (
        f"the labels range from {low:g} to {high:g}: if they are right, write labels = {{ scale = "
        f'[{min(low, 0):g}, {high:g}], kind = "graded" }} in {card.path}'
    )
