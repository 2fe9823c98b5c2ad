"""Indexes find what faiss and NumPy find, ties by number, whatever the size of the blocks they read."""

from __future__ import annotations

import subprocess
import sys

import faiss
import numpy as np
import pytest

from hengyu.base.errors import HengyuError
from hengyu.methods import Index
from hengyu.methods.grammar import parse_entry
from hengyu.methods.search.cost import threads
from hengyu.methods.search.exact import exact_search
from hengyu.numerics.sample import Sample

EVERY = (
    "flat",
    "lsh(bits=96)",
    "binary-flat",
    "binary-hash(bits=8, flips=2)",
    "hnsw(m=8)",
    "ivf(lists=16, probes=4)",
    "ivfpq(lists=16, m=8, bits=4)",
    "simhash-buckets(bits=6, probes=20)",
    "rabitq-flat",
    "rabitq-flat(bits=4, fastscan=true)",
    "ivfrabitq(lists=16, probes=4)",
    "ivfpq(lists=16, m=8, bits=4, fastscan=true)",
    "nsg(r=16)",
    "rabitq-flat > rescore(k=150)",
    "pq-flat(m=8, bits=6)",
    "int8-flat",
)
FLAT, LSH = "flat", "lsh(bits=96)"


def make(text: str) -> Index:
    steps = parse_entry(text).steps
    index = steps[-1].make()
    return index if len(steps) == 1 else index.over(steps[0].make())


def unit(n: int, d: int = 48, seed: int = 0) -> np.ndarray:
    """Vectors near a plane of few dimensions, at length 1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12)) @ np.random.default_rng(99).normal(size=(12, d)) + 0.3 * rng.normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def ordered(scores: np.ndarray, k: int) -> np.ndarray:
    """Numbers (Q, k) by NumPy: higher scores first, equal ones by number."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


X, Q = unit(3000), unit(60, seed=1)
# small whole numbers: products are exact in float32, and most of them tie
GRID = np.random.default_rng(2).integers(-2, 3, size=(4000, 24)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 10, 100, 130])
@pytest.mark.parametrize("batch", [1, 7, 50])
def test_flat_gives_the_numbers_that_numpy_gives_among_heavy_ties(k, batch):
    index = make(FLAT).build(GRID)
    queries = GRID[:50]
    found = [index.search(queries[i : i + batch], k) for i in range(0, 50, batch)]
    truth = queries @ GRID.T
    assert np.array_equal(np.concatenate([ids for ids, _ in found]), ordered(truth, k))
    assert np.array_equal(np.concatenate([s for _, s in found]), -np.sort(-truth, axis=1)[:, :k])


def test_exact_search_gives_the_numbers_that_numpy_gives_without_the_query_itself():
    own = np.arange(0, 3000, 50)
    truth = np.round(X[own].astype(np.float64) @ X.T.astype(np.float64), 9)
    truth[np.arange(60), own] = -np.inf
    found = exact_search(Sample.of(X), X[own], own, 100, block=700)
    assert np.array_equal(found.ids, ordered(truth, 100))
    assert found.scores == pytest.approx(-np.sort(-truth, axis=1)[:, :100])


@pytest.mark.parametrize("copies", [2, 40])
def test_exact_search_orders_equal_vectors_by_number_even_past_its_spare_places(copies):
    x = np.tile(X[:80], (copies, 1))
    own = np.arange(5)
    found = exact_search(Sample.of(x), x[own], own, 30, block=64)
    truth = np.round(x[own].astype(np.float64) @ x.T.astype(np.float64), 9)
    truth[np.arange(5), own] = -np.inf
    assert np.array_equal(found.ids, ordered(truth, 30))


def test_exact_search_reads_a_narrow_cone_twice_and_not_once_a_query():
    x = np.float32(1) + np.float32(1e-3) * X
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    read = []

    def rows(at):
        read.append(len(at))
        return x[at]

    own = np.arange(0, 3000, 10)
    found = exact_search(Sample(rows, np.ones(len(x), np.int64)), x[own], own, 100, block=512)
    truth = np.round(x[own].astype(np.float64) @ x.T.astype(np.float64), 9)
    truth[np.arange(len(own)), own] = -np.inf
    assert np.array_equal(found.ids, ordered(truth, 100))
    assert sum(n > 0 for n in read) <= 2 * (len(x) // 512 + 1) + len(own) // 128 + 1


def test_ranks_share_the_best_of_a_tie_and_are_0_beyond_the_nearest():
    x = np.array([[1, 0], [1, 0], [0.8, 0.6], [0, 1], [0.8, 0.6], [-1, 0]], np.float32)
    exact = exact_search(Sample.of(x), x[:1], np.array([0]), 3)
    assert exact.ids.tolist() == [[1, 2, 4]]
    assert exact.ranks(np.array([[1, 4, 2]])).tolist() == [[1, 2, 2]]
    assert exact.ranks(np.array([[3, 5, -1]])).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("k", [1, 10, 101])
@pytest.mark.parametrize("bits", [64, 96, 200])
def test_lsh_finds_what_faiss_finds_and_equal_distances_stand_by_number(bits, k):
    bare = faiss.IndexLSH(48, bits)
    bare.add(X)
    distances, _ = bare.search(Q, k)
    ids, scores = make(f"lsh(bits={bits})").build(X).search(Q, k)
    assert scores == pytest.approx(1 - 2 * distances / bits)
    codes, asked = (np.unpackbits(bare.sa_encode(v), axis=1).astype(np.int32) for v in (X, Q))
    hamming = (asked[:, None] != codes[None]).sum(axis=2)
    assert np.array_equal(ids, ordered(-hamming, k))


@pytest.mark.parametrize("d", [48, 45])
def test_binary_flat_orders_by_the_signs_that_differ(d):
    x, q = X[:, :d], Q[:, :d]
    ids, scores = make("binary-flat").build(x).search(q, 20)
    hamming = ((q > 0)[:, None] != (x > 0)[None]).sum(axis=2)
    assert np.array_equal(ids, ordered(-hamming, 20))
    assert scores == pytest.approx(1 - 2 * np.sort(hamming, axis=1)[:, :20] / d)


@pytest.mark.parametrize(
    "everything",
    [
        "ivf(lists=16, probes=16)",
        "simhash-buckets(bits=6, tables=1, probes=64)",
        "simhash-buckets(bits=5, tables=3, probes=32)",
        "hnsw(m=32, ef=3000, build_ef=200)",
        "nsg(r=64, search_width=3000)",
        "binary-flat > rescore(k=3000)",
    ],
)
def test_looking_everywhere_is_exact_search(everything):
    ids, scores = make(everything).build(X).search(Q, 20)
    truth, best = make(FLAT).build(X).search(Q, 20)
    assert np.array_equal(ids, truth)
    assert scores == pytest.approx(best, abs=1e-5)


def test_more_probes_find_at_least_as_much_and_the_likeliest_buckets_find_most():
    truth = make(FLAT).build(X).search(Q, 10)[0]
    shares = []
    for probes in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        ids = make(f"simhash-buckets(bits=8, tables=1, probes={probes})").build(X).search(Q, 10)[0]
        shares.append(np.mean([np.isin(t, i).mean() for t, i in zip(truth, ids, strict=True)]))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert shares[4] > 0.6  # 16 of 256 buckets at random would find a sixteenth


def test_probes_are_taken_in_the_order_of_their_margins():
    from itertools import combinations

    index = make("simhash-buckets(bits=6, tables=1, probes=9, seed=3)").build(X)
    margins = index._margins(Q[:1])[0, 0]
    flips = [sum(1 << b for b in f) for r in range(7) for f in combinations(range(6), r)]
    cost = [sum(margins[b] ** 2 for b in range(6) if f >> b & 1) for f in flips]
    key = sum(1 << b for b in range(6) if margins[b] > 0)
    buckets = [key ^ flips[i] for i in np.argsort(cost)[:9]]
    keys = ((index._margins(X)[:, 0] > 0) << np.arange(6)).sum(axis=1)
    inside = np.flatnonzero(np.isin(keys, buckets))
    ids, _ = index.search(Q[:1], 3000)
    assert sorted(ids[ids >= 0]) == inside.tolist()


@pytest.mark.parametrize("text", [pytest.param(e, marks=pytest.mark.long) if e.startswith("nsg") else e for e in EVERY])
def test_what_is_found_does_not_depend_on_the_blocks_it_was_read_in(text):
    x = np.tile(X, (6, 1))[:17_000]  # more than one portion
    with threads(1):  # as in a run: several threads grow a graph as they happen to be scheduled
        found = [make(text).build(Sample.of(x), block=block).search(Q, 50) for block in (64, 4096, 17_000)]
    for ids, scores in found[1:]:
        assert np.array_equal(ids, found[0][0])
        assert np.array_equal(scores, found[0][1])


@pytest.mark.parametrize("text", EVERY)
def test_results_are_ordered_by_score_then_number_and_missing_ones_are_told(text):
    index = make(text).build(X)
    ids, scores = index.search(Q, 200)
    assert ids.shape == scores.shape == (60, 200)
    assert ((ids >= 0) | (scores == -np.inf)).all()
    assert (scores[:, 1:] <= scores[:, :-1]).all()
    tied = (scores[:, 1:] == scores[:, :-1]) & (ids[:, 1:] >= 0)
    assert (ids[:, 1:] > ids[:, :-1])[tied].all()
    for row in ids:
        assert len(set(row[row >= 0])) == (row >= 0).sum()


@pytest.mark.parametrize(
    ("text", "each"),
    [
        *[
            ("flat", 4 * 48),
            ("lsh(bits=96)", 12),
            ("binary-flat", 6),
            ("ivf", 4 * 48 + 8),
            ("ivfpq(lists=16, m=8)", 16),
        ],
        *[("rabitq-flat", 6 + 8), ("rabitq-flat(bits=4)", 4 * 6 + 20), ("ivfrabitq(lists=16)", 6 + 8 + 8)],
        ("rabitq-flat > rescore", 6 + 8 + 4 * 48),
        ("pq-flat(m=12)", 12),
        ("pq-flat(m=12, bits=4)", 6),
        ("int8-flat", 48),
    ],
)
def test_a_vector_takes_the_bytes_that_the_method_says(text, each):
    index = make(text).build(X)
    assert index.vector_size() == pytest.approx(each, rel=0.01)
    assert index.size() >= each * len(X)


def test_more_bits_find_more():
    truth = make(FLAT).build(X).search(Q, 10)[0]

    def recall(bits: int) -> float:
        ids = make(f"lsh(bits={bits})").build(X).search(Q, 10)[0]
        return float(np.mean([np.isin(t, i).mean() for t, i in zip(truth, ids, strict=True)]))

    assert recall(32) < recall(128) < recall(1024)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ivf(lists=5000)", "more lists than there are vectors"),
        ("ivfpq(m=7)", "does not divide the 48 columns"),
        ("ivfpq(lists=4000, probes=1, m=8)", "more centroids than there are vectors"),
        ("pq-flat(m=7)", "does not divide the 48 columns"),
        ("pq-flat(m=8, bits=12)", "more centroids than there are vectors"),
        ("binary-hash(bits=20)", "needs 80 columns, but there are 48"),
    ],
)
def test_an_index_that_cannot_hold_the_vectors_says_why(text, said):
    with pytest.raises(ValueError, match=said):
        make(text).build(X)


def test_faiss_beside_torch_in_either_order_does_not_crash():
    for first, second in (("torch", "faiss"), ("faiss", "torch")):
        program = (
            f"import {first}, {second}\nimport numpy as np, torch, faiss\n"
            "x = np.random.default_rng(0).normal(size=(2000, 64)).astype('float32')\n"
            "i = faiss.IndexHNSWFlat(64, 16); i.add(x); a = torch.from_numpy(x) @ torch.from_numpy(x).T\n"
            "i.search(x, 5); faiss.Kmeans(64, 16).train(x); (a @ a).sum(); print('whole')\n"
        )
        done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "whole"), done.stderr


def shares(text: str, k: int = 10) -> float:
    """The share of the exact ten among the first k."""
    truth = make(FLAT).build(X).search(Q, 10)[0]
    ids = make(text).build(X).search(Q, k)[0]
    return float(np.mean([np.isin(t, i).mean() for t, i in zip(truth, ids, strict=True)]))


def test_rabitq_finds_more_with_more_bits_and_than_lsh_of_as_many():
    assert (
        shares("lsh(bits=48)") < shares("rabitq-flat") < shares("rabitq-flat(bits=2)") < shares("rabitq-flat(bits=4)")
    )
    assert shares("rabitq-flat(bits=9)") > 0.97
    assert shares("rabitq-flat > rescore(k=100)") == shares("rabitq-flat", 100) > shares("rabitq-flat")


def test_product_codes_score_the_query_itself_with_decoded_vectors():
    found = make("pq-flat(m=8, bits=6, seed=3)").build(X)
    decoded = found._index.reconstruct_n(0, len(X))
    ids, scores = found.search(Q, 10)
    assert np.array_equal(ids[:, 0], (Q @ decoded.T).argmax(axis=1))
    assert scores == pytest.approx(np.einsum("qkd,qd->qk", decoded[ids], Q), abs=1e-5)
    assert shares("pq-flat(m=8, bits=4)") < shares("pq-flat(m=8, bits=6)") < shares("pq-flat(m=24, bits=6)")
    other = make("pq-flat(m=8, bits=6, seed=4)").build(X)
    assert not np.array_equal(other._index.reconstruct_n(0, 100), decoded[:100])


def test_a_byte_a_column_loses_less_than_a_step():
    found = make("int8-flat").build(X)
    step = (X.max(axis=0) - X.min(axis=0)) / 255
    assert (np.abs(found._index.reconstruct_n(0, len(X)) - X) <= 0.51 * step + 1e-6).all()
    assert shares("int8-flat") > 0.97


def test_rescored_scores_are_exact_products():
    ids, scores = make("lsh(bits=96) > rescore(k=60)").build(X).search(Q, 10)
    assert scores == pytest.approx(np.einsum("qkd,qd->qk", X[ids], Q), abs=1e-6)
    coarse = make("lsh(bits=96)").build(X).search(Q, 60)[0]
    assert all(np.isin(mine, theirs).all() for mine, theirs in zip(ids, coarse, strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rescore", "must come after an index; write it like 'rabitq-flat > rescore'"),
        ("bm25 > rescore", "put nothing after it"),
        ("flat > rescore > rescore", "put nothing after it"),
        ("flat > lsh", "put nothing after it"),
        ("rabitq-flat(bits=10)", "must lie in 1..9"),
        ("ivfpq(fastscan=true)", "needs bits=4"),
        ("nsg(r=1)", "must lie in 2..512"),
        ("pq-flat(bits=13)", "must lie in 1..12"),
    ],
)
def test_entries_that_cannot_be_are_one_sentence(text, said):
    with pytest.raises(HengyuError, match=said):
        parse_entry(text)
