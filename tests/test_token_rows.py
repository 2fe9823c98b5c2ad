"""Tokens in flat arrays: the rows that went in, and which of them are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hengyu.encoders.token_rows import TokenRows

ROWS = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=20)


@given(ROWS)
def test_what_comes_out_is_what_went_in(rows: list[list[int]]) -> None:
    held = TokenRows(rows)
    assert len(held) == len(rows)
    assert list(held) == rows == held[:] == [held[i] for i in range(len(rows))]
    assert held[::-2] == rows[::-2]
    assert held == rows and held == TokenRows(rows) and held != TokenRows([*rows, [1]])
    assert held.lengths.tolist() == [len(row) for row in rows]
    for beyond in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            held[beyond]


@given(ROWS)
def test_texts_alike_are_together_in_the_order_of_the_first(rows: list[list[int]]) -> None:
    held = TokenRows(rows * 2)
    among = np.arange(0, len(held), 2)
    first, members = held.groups(among)
    known: dict[tuple[int, ...], list[int]] = {}
    for i in among.tolist():
        known.setdefault(tuple(held[i]), []).append(i)
    assert [m.tolist() for m in members] == list(known.values())
    assert first.tolist() == [m[0] for m in known.values()]


def test_a_token_takes_four_bytes() -> None:
    held = TokenRows([range(1000)] * 100)
    assert held._ids.itemsize * len(held._ids) == 400_000
