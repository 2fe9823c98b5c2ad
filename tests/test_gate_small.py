"""The gate's test at few groups: laws, agreement with exact results, false alarms; what is inconclusive and what it says."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from helpers import small_samples as small
from scipy.stats import beta, ttest_1samp
from test_gate import ABOUT, key, scores

from hengyu.evaluation.blocks import BLOCKS, block_means
from hengyu.evaluation.gate.findings import EXIT
from hengyu.evaluation.gate.gate import judge
from hengyu.evaluation.mean_test import (
    groups_needed,
    interval,
    p_value,
    summary_interval,
    summary_p_value,
    weighted_mean_tail,
)
from hengyu.evaluation.paired import keep_blocks
from hengyu.numerics.influence import spearman_contributions
from hengyu.numerics.metrics import spearman, spearman_many
from hengyu.numerics.resampling import interval as percentile_interval
from hengyu.numerics.resampling import logit_interval, p_of_zero
from hengyu.report.gate.text import gate_json, gate_markdown, summary, warning
from hengyu.tasks.pairs.groups import pair_groups

SOAK = int(os.environ.get("HENGYU_SOAK", "0"))


@pytest.mark.parametrize("hits", [0, 1, 7, 19, 20])
def test_for_hits_and_misses_the_tail_is_that_of_clopper_and_pearson(hits: int) -> None:
    n, share = 20, 0.4
    values = np.repeat([1.0, 0.0], [hits, n - hits]) - share
    exact = beta.sf(share, hits + 1, n - hits) if hits < n else 1.0
    assert weighted_mean_tail(values, 1.0 - share) == pytest.approx(exact, abs=1e-9)


def test_the_tail_is_that_of_random_weights() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(-0.2, 1.0, 30)
    weights = rng.exponential(size=(200_000, 31))
    share = float(np.mean(weights @ np.append(values, 2.0) >= 0.0))
    assert weighted_mean_tail(values, 2.0) == pytest.approx(share, abs=5 * (share / 200_000) ** 0.5)


def test_the_p_value_is_never_below_students_and_near_it_for_many_normal_values() -> None:
    rng = np.random.default_rng(5)
    for n in (2, 5, 30):
        x = rng.normal(0.5, 1.0, n)
        assert p_value(x) >= ttest_1samp(x, 0.0).pvalue - 1e-12
    x = rng.normal(0.0, 1.0, 20_000) + 0.02
    assert np.log(p_value(x)) == pytest.approx(np.log(ttest_1samp(x, 0.0).pvalue), rel=0.1)


def test_equal_falls_are_as_sure_as_as_many_coins() -> None:
    for n in (2, 3, 8, 12):
        assert p_value(np.full(n, -0.3)) == pytest.approx(min(1.0, 2.0 * 0.5**n))
    assert p_value(np.array([-1.0])) == 1.0 and p_value(np.zeros(5)) == 1.0


def test_an_interval_excludes_0_exactly_where_p_is_small() -> None:
    rng = np.random.default_rng(6)
    for n in (3, 10, 60):
        x = rng.exponential(size=n) + 0.2
        p = p_value(x, 1.0)
        assert p < 0.9
        for level, outside in ((1 - 1.02 * p, True), (1 - 0.98 * p, False)):
            low, high = interval(x, 1.0, level)
            assert (low > 0 or high < 0) == outside
            assert low <= x.mean() <= high
        p = summary_p_value(-0.3, 0.04, n, n - 1.0, 1.0)
        assert p < 1.0 and summary_interval(-0.3, 0.04, n, n - 1.0, 1.0, 1 - p)[1] == pytest.approx(0.0, abs=1e-6)


def test_what_is_known_of_mean_and_error_alone_gives_no_smaller_p_than_the_values() -> None:
    rng = np.random.default_rng(7)
    for n in (8, 30, 100):
        x = np.where(rng.random(n) < 0.05, 1.0, -0.12)
        if x.mean() < 0:
            error = x.std(ddof=1) / n**0.5
            assert summary_p_value(float(x.mean()), float(error), n, n - 1.0, 1.0) >= 0.99 * p_value(x, 1.0)


def test_twice_the_groups_needed_are_enough_and_half_are_not() -> None:
    x = np.random.default_rng(8).normal(-0.1, 0.5, 20)
    needed = groups_needed(x, 20, 0.01, 1.0)
    assert needed is not None and p_value(x, 1.0) > 0.01
    times = -(-needed // 20)
    assert p_value(np.tile(x, 2 * times), 1.0) <= 0.01 < p_value(np.tile(x, max(times // 2, 1)), 1.0)
    assert groups_needed(np.zeros(5), 5, 0.01) is None


def test_contributions_have_the_correlation_as_mean_and_the_influences_of_the_standard_error() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=400).round(1), rng.integers(0, 4, 400).astype(float)
    found = spearman_contributions(x, y)
    (value,), (error,) = spearman_many([x], y)
    assert found.mean() == pytest.approx(value) == pytest.approx(spearman(x, y))
    assert found.std() / 20 == pytest.approx(error)


def test_blocks_keep_the_mean_and_groups_whole() -> None:
    rng = np.random.default_rng(10)
    values, groups = rng.normal(size=5000), np.arange(5000) // 3
    blocks = block_means(values, groups)
    assert blocks.shape == (BLOCKS,) and blocks.mean() == pytest.approx(values.mean())
    one = np.zeros(5000)
    one[groups == 77] = 1.0
    assert np.count_nonzero(block_means(one, groups)) == 1
    np.testing.assert_allclose(
        block_means(values[:6], np.array([0, 0, 1, 1, 2, 2])), values[:6].reshape(3, 2).mean(axis=1)
    )


def test_pairs_that_share_a_sentence_are_one_group_and_long_chains_are_cut() -> None:
    first, second = np.array([0, 2, 4, 0]), np.array([1, 3, 5, 3])
    assert pair_groups(first, second).tolist() == [0, 0, 1, 0]
    n = 1000  # a chain through all pairs: pair i shares its second sentence with pair i + 1
    chain = pair_groups(np.repeat(np.arange(n // 2), 2), 10_000 + (np.arange(n) + 1) // 2)
    assert len(np.unique(chain)) == n // 2


def allowed(replays: int) -> int:
    """Return how many false alarms a rate as promised gives at most, but in one of 10,000 such tests."""
    from scipy.stats import binom

    return int(binom.ppf(0.9999, replays, small.PROMISED))


@pytest.mark.parametrize("n", small.SIZES)
def test_false_alarms_stay_below_the_promised_rate(n: int) -> None:
    """HENGYU_SOAK=N takes N x 1,000 replays for each design in place of 60."""
    replays = 1000 * SOAK if SOAK else 60 if n < 1000 else 30
    for designs, red in ((small.QUERIES, small.queries_red), (small.PAIRS, small.pairs_red)):
        for name, design in designs.items():
            rng = np.random.default_rng(small.made.SEED)
            alarms = sum(red(rng, n, design) for _ in range(replays))  # type: ignore[operator]
            assert alarms <= allowed(replays), (n, name, alarms)


def test_the_same_designs_alarm_students_t_alone() -> None:
    """The simulation can fail: without the bound, rare gains are taken for a fall."""
    rng = np.random.default_rng(small.made.SEED)
    draw = small.QUERIES["one gain in twenty"]
    alarms = 0
    for _ in range(200):
        before, now = draw(rng, 20)
        d = now - before
        alarms += d.mean() < 0 and (np.ptp(d) == 0 or ttest_1samp(d, 0.0).pvalue <= 0.01)
    assert alarms > 20


def test_a_drop_of_one_point_over_ten_thousand_queries_is_caught() -> None:
    """Assumed: two thirds of the queries do not move, and the others move by 0.3 up or down."""
    rng = np.random.default_rng(small.made.SEED)
    replays, caught = 200, 0
    for _ in range(replays):
        moved = rng.random(10_000) < 1 / 3
        d = np.where(moved, rng.choice([-0.3, 0.3], 10_000, p=[0.55, 0.45]), 0.0)
        caught += small.is_red(small.change(d, 1.0))
    assert caught >= 0.95 * replays, caught


def few(values: np.ndarray, tmp_path):
    """Return a baseline and a run over few pairs, the run's scores spoilt."""
    labels = np.arange(len(values)) % 3.0
    before = small.made.scores(tmp_path / "before", labels, {"entry": labels + 0.1 * values})
    return before, small.made.scores(tmp_path / "now", labels, {"entry": values - labels})


def test_few_pairs_are_inconclusive_with_the_number_needed_and_a_warning(tmp_path) -> None:
    before, now = few(np.random.default_rng(11).normal(size=6), tmp_path)
    judged = judge(before, now)
    (found,) = judged.verdicts
    assert found.verdict == "inconclusive" and judged.code == 0
    assert found.needed is not None and found.needed > 6
    assert f"6 independent pairs cannot tell this from chance; it would take about {found.needed:,}" in found.reason
    assert warning(judged).startswith("warning: 1 cell fell") and "--strict" in warning(judged)
    assert "inconclusive" in summary(judged) and warning(judged).split(":")[0] in gate_markdown(judged)
    assert f'"groups_needed": {found.needed}' in gate_json(judged)
    strict = judge(before, now, strict=True)
    assert strict.code == EXIT["inconclusive"] and warning(strict) == ""


def test_an_interval_of_width_zero_is_not_taken_for_certain() -> None:
    about = {"T:test": ABOUT | {"n": 3}}
    before, now = (scores({"a": v}, half=0.0, tasks=about) for v in (0.5, 0.4))
    assert judge(before, now).verdicts[0].verdict == "inconclusive"
    many = {"T:test": ABOUT | {"n": 10_000}}
    assert judge(replace(before, tasks=many), replace(now, tasks=many)).verdicts[0].verdict == "fail"


def test_pairs_that_repeat_are_no_new_pairs(tmp_path) -> None:
    """A hundred copies of the same ten pairs know no more than the ten."""
    from hengyu.storage.records.observations import save_labels

    rng = np.random.default_rng(12)
    labels = np.tile(rng.integers(0, 3, 10).astype(float), 100)
    noise = np.tile(rng.normal(size=10), 100)
    sides = {n: {"entry": labels + s * noise} for n, s in (("before", 0.5), ("now", 1.5))}
    runs = {n: small.made.scores(tmp_path / n, labels, seen) for n, seen in sides.items()}
    assert judge(runs["before"], runs["now"]).verdicts[0].verdict == "fail"
    for n in runs:
        save_labels(tmp_path / n, {small.made.TASK: labels}, {small.made.TASK: np.tile(np.arange(10), 100)})
    (found,) = judge(runs["before"], runs["now"]).verdicts
    assert found.change.groups == 10 and found.verdict == "inconclusive"
    assert keep_blocks(runs["before"])[1][small.made.TASK]["groups"] == 10
    assert key("a")  # the helper module's keys and these are of one kind


def test_p_and_the_percentile_interval_are_one_rule() -> None:
    rng = np.random.default_rng(13)
    for shift in np.linspace(-0.3, 0.3, 41):
        drawn = rng.normal(shift, 0.1, 500)
        low, high = percentile_interval(drawn, 0.95)
        assert (p_of_zero(drawn, float(shift)) < 0.05) == (low > 0 or high < 0)
    assert p_of_zero(np.full(10, 0.2), 0.2) == 0.0 and p_of_zero(np.zeros(10), 0.0) == 1.0


def test_logit_intervals_stay_inside_and_cover() -> None:
    """200 pairs, 10 of them positive, AUC 0.95: percentile intervals cover 81 % there."""
    from scipy.stats import norm

    from hengyu.numerics.metrics import auc
    from hengyu.numerics.resampling import Resamples

    rng = np.random.default_rng(14)
    y = np.repeat([1.0, 0.0], [10, 190])
    x = rng.normal(size=(150, 200)) + np.sqrt(2) * norm.ppf(0.95) * y
    drawn = Resamples(y, 300, seed=1, key="auc").run(x, metrics=("auc",))["auc"]
    found = [logit_interval(auc(row, y), d, 10) for row, d in zip(x, drawn, strict=True)]
    assert all(0.0 <= low < high <= 1.0 for low, high in found)
    assert np.mean([low <= 0.95 <= high for low, high in found]) > 0.9
    assert np.mean([a <= 0.95 <= b for a, b in map(percentile_interval, drawn)]) < 0.9
    assert logit_interval(1.0, np.ones(9), 10)[0] == pytest.approx(0.025**0.1)
    assert logit_interval(0.0, np.zeros(9), 10) == (0.0, pytest.approx(1 - 0.025**0.1))
    assert logit_interval(0.7, np.full(9, 0.7), 1) == (0.0, 1.0)
