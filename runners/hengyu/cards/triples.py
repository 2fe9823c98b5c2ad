"""Triples: turns rows of anchor, positive and negative into labelled pairs to train on."""

from __future__ import annotations

from hengyu.cards.card import TripleCard
from hengyu.cards.checks import Checked, check_rows
from hengyu.cards.rows import Rows, read_columns

__all__ = ["read_triples"]


def read_triples(content: bytes, where: str, card: TripleCard, format: str) -> Checked:
    """Read triples as pairs, two of each: the anchor with its positive (1), then with its negative (0).

    A triple with an empty sentence is malformed as a whole. Raises `HengyuError` for any fault in the file.
    """
    wanted = (card.fields.anchor, card.fields.positive, card.fields.negative)
    rows = read_columns(
        content,
        where,
        format=format,
        header=card.header,
        wanted=wanted,
        separator=card.separator,
        quoting=card.quoting,
        encoding=card.encoding,
    )
    return check_rows(_as_pairs(rows), card, where)


def _as_pairs(rows: Rows) -> Rows:
    pairs = Rows(rows.unit, ([], [], []), malformed=dict(rows.malformed), notes=rows.notes)
    for number, anchor, positive, negative in zip(rows.numbers, *rows.columns, strict=True):
        for other, label in ((positive, 1), (negative, 0)):
            pairs.add(number, (anchor, other, label))
    return pairs
