"""Checks: rows to sentences and labels that a benchmark can stand on, every mistake named by its lines."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, gather
from hengyu.cards.card import Card
from hengyu.cards.rows import Rows, at_lines

__all__ = ["Checked", "Faults", "check_rows", "check_split", "number_of", "show", "text_fault"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_EMPTY = "a sentence must not be empty"
_MEND = 'mend the file, or leave such lines out with malformed = "drop" in the card'


@dataclass(frozen=True, eq=False)
class Checked:
    """Rows that passed: sentences that are text, labels that are finite and on the scale; and the lines dropped."""

    first: tuple[str, ...]  # (n,)
    second: tuple[str, ...]  # (n,)
    labels: NDArray[np.float64]  # (n,)
    dropped: tuple[int, ...]


class Faults:
    """Collects lines by what is wrong with them."""

    def __init__(self) -> None:
        self.lines: dict[str, list[int]] = {}
        self.example: dict[str, str] = {}

    def note(self, fault: str, number: int, example: str = "") -> None:
        """Take a line and what is wrong with it, in words and remedy, a semicolon between them."""
        lines = self.lines.setdefault(fault, [])
        if number not in lines[-1:]:
            lines.append(number)
        self.example.setdefault(fault, example)

    def report(self, where: str, unit: str, malformed: Mapping[int, tuple[str, str]], card: Card) -> None:
        """Raise one `HengyuError` with a sentence for each fault, if there is any; malformed lines are one unless dropped."""
        if card.malformed == "error":
            for number, (fault, example) in sorted(malformed.items()):
                self.note(f"{fault}; {_MEND}", number, example)
        sentences = []
        for fault, numbers in self.lines.items():
            what, _, remedy = fault.partition("; ")
            example = self.example[fault]
            if example:
                what += f", not {example}" + (" (the first of them)" if len(numbers) > 1 else "")
            sentences.append(f"{where}: {at_lines(unit, numbers)}: {what}; {remedy}")
        gather(sentences)


def check_rows(rows: Rows, card: Card, where: str) -> Checked:
    """Check row by row; raises one `HengyuError` with every kind of mistake and the lines it stands on."""
    if _hidden(rows, card):
        raise HengyuError(
            f"{where}: every label is -1, which is how hidden labels are published; use a split that has its labels"
        )
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
    for place, i in enumerate(kept):
        value = given[i]
        key = (type(value), value if isinstance(value, (str, int, float)) else repr(value))
        if key not in known:
            known[key] = _label(value, card)
        labels[place], fault = known[key]
        if fault:
            faults.note(fault, rows.numbers[i], show(value))
    faults.report(where, rows.unit, malformed, card)
    first, second = (tuple(column[i] for i in kept) for column in (one, two))
    return Checked(first, second, labels, tuple(sorted(malformed)))


def check_split(labels: NDArray[np.float64], card: Card, where: str) -> None:
    """Check a split as a whole: it is not empty, and a binary card's holds both classes; raises `HengyuError`."""
    if not len(labels):
        raise HengyuError(f"{where}: holds no pairs; get the file again or check that it is the right one")
    if card.binary and labels.min() == labels.max():
        raise HengyuError(
            f"{where}: every label is {labels[0]:g}, and one class alone cannot be scored; give pairs of both classes"
        )


def show(value: Any) -> str:
    """Return a value as a message shows it."""
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:39] + "…"


def text_fault(sentence: Any) -> str:
    """Return what is wrong with a sentence, "" for nothing."""
    if not isinstance(sentence, str):
        return "a sentence must be text; put it in quotes, or name the right column in the card"
    if not sentence.strip():
        return _EMPTY
    if not sentence.isascii():
        try:
            sentence.encode("utf-8")
        except UnicodeEncodeError:
            return "a sentence must be characters, with no half surrogate pairs; mend the \\u escapes"
    return ""


def _hidden(rows: Rows, card: Card) -> bool:
    marks = {value.strip() if isinstance(value, str) else value for value in _hashable(rows.columns[2])}
    return bool(marks) and marks <= {-1, "-1"} and not card.scale[0] <= -1 <= card.scale[1]


def _hashable(values: list[Any]) -> list[Any]:
    return [value if isinstance(value, (str, int, float)) else repr(value) for value in values]


def number_of(value: Any, what: str, *, words: bool = False) -> tuple[float, str]:
    """Return a finite number, or what is wrong with it; ``words``: people write words in its place."""
    text = value.strip() if isinstance(value, str) else ""
    if _NUMBER.fullmatch(text) or type(value) in (int, float, Decimal):
        try:
            number = float(text or value)  # float() takes fewer characters for white space than strip() does
        except OverflowError:
            number = math.inf
    elif _NOT_FINITE.fullmatch(text):
        number = math.nan
    else:
        instead = " (1 and 0 in the place of words)" if words else ""
        return math.nan, f"the {what} must be a number{instead}; mend it, or name the right column in the card"
    return number, "" if math.isfinite(number) else f"the {what} must be finite; mend the file"


def _label(value: Any, card: Card) -> tuple[float, str]:
    number, fault = number_of(value, "label", words=card.binary)
    if fault:
        return number, fault
    low, high = card.scale
    if card.binary and number not in (0, 1):
        return number, f"the label must be 0 or 1 in a binary card; mend the file or labels.kind in {card.path}"
    if not low <= number <= high:
        return number, f"the label must lie in {low:g}..{high:g}; mend the file or labels.scale in {card.path}"
    return number, ""
