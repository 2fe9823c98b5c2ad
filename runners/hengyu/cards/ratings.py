"""The scores of the single raters, whose mean is the label of a pair."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import DATA, read_bytes
from hengyu.base.errors import HengyuError
from hengyu.cards.card import Card, Raters, format_of
from hengyu.cards.checks import Checked, Faults, number_of, show
from hengyu.cards.rows import read_columns

__all__ = ["read_ratings"]

_NEAR = 0.01  # of the scale: labels are rounded means


def read_ratings(
    card: Card, raters: Raters, content: bytes, path: Path, layout: Mapping[str, Any], checked: Checked
) -> NDArray[np.float64]:
    """Return the scores (n, R) of the pairs of a split; raises `HengyuError` for any fault in them.

    Args:
        card: the card.
        raters: where its scores are.
        content: the bytes of the split's file.
        path: that file, for messages.
        layout: how it is read (`hengyu.cards.rows.read_columns`).
        checked: its pairs.
    """
    where = str(path)
    if raters.column:
        rows = read_columns(content, where, wanted=(card.columns.sentence1, raters.column), **layout)
        found = dict(zip(rows.numbers, rows.columns[1], strict=True))
        given = [found[number] for number in checked.numbers]
    else:
        rows = read_columns(content, where, wanted=(card.columns.sentence1, raters.id), **layout)
        names = dict(zip(rows.numbers, map(str, rows.columns[1]), strict=True))
        where = str(card.path.parent / raters.file)
        given = _by_id(raters, Path(where), [names[number] for number in checked.numbers], where)
    return _checked(given, card, where, checked)


def _by_id(raters: Raters, path: Path, wanted: Sequence[str], where: str) -> list[Any]:
    try:
        content = read_bytes(path, DATA)
    except OSError as e:
        raise HengyuError(f"{where}: the raters' scores cannot be read ({e.strerror or e}); check the file") from None
    digest = hashlib.sha256(content).hexdigest()
    if raters.sha256 not in ("", digest):
        raise HengyuError(f"{where}: the sha256 is {digest}, but {raters.sha256} was expected; get the file again")
    rows = read_columns(content, where, format=format_of(raters.file), header=True, wanted=(raters.id, *raters.columns))
    found = dict(zip(map(str, rows.columns[0]), zip(*rows.columns[1:], strict=True), strict=True))
    for name in wanted:
        if name not in found:
            raise HengyuError(f"{where}: has no line with the id '{name[:40]}'; add it, or leave out 'raters'")
    return [list(found[name]) for name in wanted]


def _checked(given: Sequence[Any], card: Card, where: str, checked: Checked) -> NDArray[np.float64]:
    faults = Faults()
    low, high = card.scale
    count = len(given[0]) if given and isinstance(given[0], list) else 0
    rows: list[list[float]] = []
    for number, scores, label in zip(checked.numbers, given, checked.labels.tolist(), strict=True):
        if not isinstance(scores, list) or len(scores) < 2:
            faults.note(
                "the raters' scores must be a list of two or more; check 'raters' in the card", number, show(scores)
            )
            continue
        if len(scores) != count:
            faults.note(
                "every pair needs as many scores as the first; correct the file", number, f"{len(scores)} scores"
            )
            continue
        pairs = [number_of(score, "a rater's score") for score in scores]
        fault = next((fault for _, fault in pairs if fault), "")
        values = [value for value, _ in pairs]
        if not fault and not all(low <= value <= high for value in values):
            fault = f"a rater's score must be within {low:g}..{high:g}; correct it, or the card's scale"
        if not fault and abs(float(np.mean(values)) - label) > _NEAR * (high - low):
            fault = (
                f"the label must be the mean of the raters' scores, {np.mean(values):.4g}; check 'raters' in the card"
            )
        if fault:
            faults.note(fault, number, show(label) if fault.startswith("the label") else show(scores))
            continue
        rows.append(values)
    faults.report(where, checked.unit, {}, card)
    return np.array(rows, np.float64)
