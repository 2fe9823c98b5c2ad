"""Moments: merged along a tree that the number of rows alone decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hengyu.numerics import moments
from hengyu.numerics.moments import Moments, tree
from hengyu.numerics.sample import Sample


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "LEAF", 16)


def same(a: Moments, b: Moments) -> bool:
    return a.count == b.count and bool((a.mean == b.mean).all() and (a.scatter == b.scatter).all())


@settings(deadline=None, max_examples=50)
@given(rows=st.integers(1, 400), seed=st.integers(0, 99))
def test_whoever_takes_the_leaves_the_last_bit_is_the_same(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, counts = rng.normal(size=(rows, 5)).astype(np.float32), rng.integers(1, 4, rows)
    sample = Sample.of(x, counts)
    leaves = {start: Moments.of(sample.part(start, start + 16)) for start in reversed(range(0, rows, 16))}
    whole = tree(leaves[start] for start in sorted(leaves))
    assert whole is not None and same(whole, Moments.of(x, counts))
    repeated = np.repeat(x, counts, axis=0).astype(np.float64)
    assert whole.count == len(repeated)
    np.testing.assert_allclose(whole.mean, repeated.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(whole.scatter, np.atleast_2d(np.cov(repeated.T, bias=True)) * len(repeated), atol=1e-9)


def test_neighbours_are_merged_first() -> None:
    class Name(str):
        def merge(self, other: Name) -> Name:
            return Name(f"({self}{other})")

    for text, said in (
        ("a", "a"),
        ("abc", "((ab)c)"),
        ("abcdefg", "(((ab)(cd))((ef)g))"),
        ("abcdefgh", "(((ab)(cd))((ef)(gh)))"),
    ):
        assert tree(map(Name, text)) == said  # type: ignore[type-var]
    assert tree([Name("a"), None, None, Name("b")]) == "(ab)"  # type: ignore[type-var]
    assert tree([]) is None


def test_rows_that_never_occur_add_nothing() -> None:
    x = np.random.default_rng(1).normal(size=(64, 3))
    counts = np.zeros(64, np.int64)
    counts[20:24] = 1
    assert same(Moments.of(x, counts), Moments.of(x[20:24]))
    with pytest.raises(ValueError, match="there are no rows"):
        Moments.of(x, np.zeros(64, np.int64))


def test_few_rows_are_one_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "LEAF", 1 << 16)
    x = np.random.default_rng(2).normal(size=(9000, 3)) + 5
    parts = [Moments.of(x[start : start + 4096]) for start in range(0, 9000, 4096)]
    assert same(Moments.of(x), parts[0].merge(parts[1]).merge(parts[2]))
