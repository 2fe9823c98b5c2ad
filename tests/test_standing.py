"""How rows stand: p-values, Holm's correction, ties with the best, intervals of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hengyu.evaluation.cells import Cell
from hengyu.evaluation.rank_intervals import paired_p, rank_intervals, standings
from hengyu.numerics.metrics import spearman
from hengyu.numerics.resampling import Resamples


def cells(scores, labels, resamples=500):
    """Cells of made-up rows, with the board's resamples."""
    drawn = Resamples(labels, resamples, seed=1, key="T:test").run(list(scores))["spearman"]
    return {
        ("e", "mean", f"row{i}", "none"): Cell(
            ("e", "mean", f"row{i}", "none"), 8, x, values={"spearman": spearman(x, labels)}, replicates={"spearman": r}
        )
        for i, (x, r) in enumerate(zip(scores, drawn, strict=True))
    }


def column(noises, n=800):
    """Rows whose scores are the labels under more and more noise of their own."""
    rng = np.random.default_rng(0)
    labels = rng.normal(size=n)
    return cells([labels + noise * rng.normal(size=n) for noise in noises], labels)


def test_the_p_value_is_that_of_students_t():
    from scipy.stats import t

    drawn = np.random.default_rng(0).normal(0.02, 0.01, 400)
    assert paired_p(0.02, drawn) == pytest.approx(2 * t.sf(0.02 / drawn.std(ddof=1), 399))
    assert paired_p(0.0, drawn) == 1.0
    assert paired_p(0.02, drawn[:1]) == 1.0
    assert paired_p(0.02, np.full(9, 0.02)) == 0.0


def test_the_best_row_is_level_with_itself_and_a_far_row_is_not():
    found = {s.entry: s for s in standings({"T:test": column([0.5, 0.52, 4.0])}, "spearman", 0.95)}
    best = found["row0"]
    assert (best.behind, best.low, best.high, best.p, best.tied) == (0.0, 0.0, 0.0, 1.0, True)
    far = found["row2"]
    assert not far.tied and far.behind < far.high < 0 and far.low <= far.behind
    assert (far.rank_low, far.rank_high) == (3, 3)
    assert found["row1"].behind < 0


def test_equal_rows_are_tied_and_share_their_ranks():
    rng = np.random.default_rng(2)
    labels = rng.normal(size=300)
    x = labels + rng.normal(size=300)
    one, two, three = standings({"T:test": cells([x, 2 * x + 1, rng.normal(size=300)], labels)}, "spearman", 0.95)
    assert one.tied and two.tied and not three.tied
    assert (one.rank_low, one.rank_high) == (two.rank_low, two.rank_high) == (1, 1)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_ranks_lie_between_1_and_the_rows_and_widen_with_the_level(seed):
    drawn = np.random.default_rng(seed).normal(size=(5, 40)) + np.arange(5)[:, None]
    low, high = rank_intervals(drawn, 0.9)
    wide_low, wide_high = rank_intervals(drawn, 0.99)
    assert (low >= 1).all() and (high <= 5).all() and (low <= high).all()
    assert (wide_low <= low).all() and (wide_high >= high).all()


def test_the_full_range_of_ranks_is_that_of_the_resamples():
    drawn = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 0.0]])
    low, high = rank_intervals(drawn, 1.0)
    assert low.tolist() == [1, 1, 3] and high.tolist() == [2, 2, 3]
    assert rank_intervals(np.zeros((3, 0)), 0.95) is None


def test_rows_without_a_number_and_lone_rows_have_no_standing():
    whole = column([0.5, 1.0])
    hole = Cell(("e", "mean", "bad", "none"), None, None, status="failed", reason="why")
    assert len(standings({"T:test": {**whole, hole.row: hole}}, "spearman", 0.95)) == 2
    (first,) = list(whole.items())[:1]
    assert standings({"T:test": dict([first])}, "spearman", 0.95) == []
