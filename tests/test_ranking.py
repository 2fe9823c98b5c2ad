"""What a retrieval task asks for, and how good an answer is: laws, trec_eval's numbers, worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hengyu.base.errors import HengyuError
from hengyu.cards.relevance import Relevance
from hengyu.tasks.search.ranking import QUALITY, scores


def example() -> Relevance:
    """Texts 7, 3, 9, 5, 4; 7 and 9 answer each other, 7 and 4 too; 3 with itself is no question, 5 is not relevant."""
    first, second = np.array([7, 3, 7, 5]), np.array([9, 3, 4, 3])
    return Relevance.of(first, second, np.array([True, True, True, False]))


def random_task(seed: int = 0, n: int = 300, m: int = 200) -> Relevance:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, m, size=(2, n))
    return Relevance.of(first, second, rng.random(n) < 0.4)


def test_a_worked_example_of_the_task():
    task = example()
    assert task.corpus.tolist() == [7, 3, 5, 9, 4]  # as they first appear: the first column, then the second
    assert task.own.tolist() == [0, 3, 4]
    assert task.queries.tolist() == [7, 9, 4]
    assert [task.partners[a:b].tolist() for a, b in zip(task.starts, task.starts[1:], strict=False)] == [
        [3, 4],
        [0],
        [0],
    ]
    assert task.groups.tolist() == [0, 0, 0]
    assert (task.gains(np.array([[3, 4, 1], [0, -1, -1], [3, 1, 0]])) > 0).tolist() == [
        [True, True, False],
        [True, False, False],
        [False, False, True],
    ]


def test_the_relation_is_mutual_and_never_of_a_row_with_itself():
    task = random_task()
    own = np.repeat(task.own, task.counts)
    pairs = set(zip(own.tolist(), task.partners.tolist(), strict=True))
    assert pairs == {(b, a) for a, b in pairs}
    assert all(a != b for a, b in pairs)
    assert len(pairs) == len(task.partners)
    group = dict(zip(task.own.tolist(), task.groups.tolist(), strict=True))
    assert all(group[a] == group[b] for a, b in pairs)


def test_the_order_of_pairs_that_say_the_same_twice_changes_nothing_but_the_numbers_of_rows():
    first, second = np.array([0, 1, 2, 0]), np.array([1, 0, 3, 1])
    task = Relevance.of(first, second, np.ones(4, bool))
    assert task.counts.tolist() == [1, 1, 1, 1]


def test_a_task_without_a_question_is_refused():
    with pytest.raises(HengyuError, match="no pair of two different sentences is relevant"):
        Relevance.of(np.array([1, 2]), np.array([1, 3]), np.array([True, False]), "task 'x:test'")


def test_a_worked_example_of_the_scores():
    ids = np.array([[1, 3, 2, 4], [0, 1, 2, 4], [3, 1, 2, -1]])
    ranks = np.array([[4, 1, 0, 2], [1, 2, 2, 4], [1, 0, 0, 0]])
    found = scores(example(), ids, ranks)
    both = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert found["ndcg@10"] == pytest.approx([both, 1, 0])
    assert found["mrr@10"] == pytest.approx([0.5, 1, 0])
    assert found["recall@1"] == pytest.approx([0, 1, 0])
    assert found["recall@10"] == pytest.approx([1, 1, 0])
    assert found["exact-recall@1"] == pytest.approx([0, 1, 1])
    # of four places: ranks up to 4 count, a tie shares the better rank, 0 and -1 do not
    assert found["exact-recall@10"] == pytest.approx([0.75, 1, 0.25])


def test_the_scores_are_those_of_trec_eval():
    pytrec_eval = pytest.importorskip("pytrec_eval")
    task = random_task(3)
    rng = np.random.default_rng(1)
    ids = np.stack([rng.permutation(np.delete(np.arange(len(task.corpus)), q))[:100] for q in task.own])
    found = scores(task, ids, np.ones_like(ids))
    wanted = {
        str(i): {str(p): 1 for p in task.partners[task.starts[i] : task.starts[i + 1]]}
        for i in range(len(task.queries))
    }
    run = {str(i): {str(d): 1000.0 - place for place, d in enumerate(row)} for i, row in enumerate(ids)}
    names = {"ndcg_cut.10", "recall.1,10,100", "recip_rank"}
    said = pytrec_eval.RelevanceEvaluator(wanted, names).evaluate(run)
    for ours, theirs in (
        ("ndcg@10", "ndcg_cut_10"),
        ("recall@1", "recall_1"),
        ("recall@10", "recall_10"),
        ("recall@100", "recall_100"),
    ):
        assert found[ours] == pytest.approx([said[str(i)][theirs] for i in range(len(ids))]), ours
    reciprocal = np.array([said[str(i)]["recip_rank"] for i in range(len(ids))])
    assert found["mrr@10"] == pytest.approx(np.where(reciprocal >= 0.1 - 1e-9, reciprocal, 0))


def test_scores_lie_between_0_and_1_and_the_ideal_ranking_has_1():
    task = random_task(5)
    ideal = np.full((len(task.queries), 100), -1)
    for i in range(len(task.queries)):
        partners = task.partners[task.starts[i] : task.starts[i + 1]]
        ideal[i, : len(partners)] = partners
    best = scores(task, ideal, np.ones_like(ideal))
    for metric in ("ndcg@10", "mrr@10", "recall@100"):
        assert best[metric] == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    ids = np.stack([rng.permutation(len(task.corpus))[:100] for _ in task.queries])
    found = scores(task, np.where(rng.random(ids.shape) < 0.1, -1, ids), rng.integers(0, 120, ids.shape))
    assert set(found) == set(QUALITY)
    for metric, values in found.items():
        assert ((values >= 0) & (values <= 1)).all(), metric
