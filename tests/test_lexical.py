"""Lexical search and fusions: equal to a plain script, ties by number, entries that are parsed and printed alike."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from hengyu.base.errors import HengyuError
from hengyu.cards.relevance import Relevance
from hengyu.methods.grammar import parse_entry
from hengyu.methods.search.fused import JoinedQueries, drop_own
from hengyu.numerics.sample import Sample
from hengyu.report.board.board import family_of
from hengyu.tasks.search.vectors import RetrievalVectors

TEXTS = [
    "今天天气很好",
    "天气 预报说明天下雨",
    "我喜欢吃苹果",
    "苹果公司发布手机",
    "今天天气很好",
    "",
    "Hello 世界",
    "手机没电了",
]
QUERIES = ["今天的天气", "苹果手机", "hello", "完全无关文字", "天气天气"]


def make(text):
    return parse_entry(text).steps[-1].make()


def grams(text, low=1, high=2):
    text = " ".join(text.lower().split(" "))
    return [text[i : i + n] for n in range(low, high + 1) for i in range(len(text) - n + 1)]


def bm25(texts, queries, terms, k1=1.2, b=0.75):
    """The scores (Q, n) by the formula, term by term."""
    counts = [Counter(terms(t)) for t in texts]
    mean = sum(map(Counter.total, counts)) / len(texts)
    df = Counter(term for c in counts for term in c)
    out = np.zeros((len(queries), len(texts)))
    for i, query in enumerate(queries):
        for term in terms(query):
            idf = math.log(1 + (len(texts) - df[term] + 0.5) / (df[term] + 0.5))
            for j, c in enumerate(counts):
                out[i, j] += idf * c[term] * (k1 + 1) / (c[term] + k1 * (1 - b + b * c.total() / mean))
    return out


def listed(scores, k):
    """Numbers (Q, k) of the best scores above 0, ties by number, -1 for none."""
    order = np.argsort(-np.round(scores, 9), axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(scores, order, axis=1) > 0, order, -1)


@pytest.mark.parametrize(
    ("entry", "lengths", "k1", "b"), [("bm25", (1, 2), 1.2, 0.75), ("bm25(grams=2, k1=0.9, b=0.4)", (2, 2), 0.9, 0.4)]
)
def test_bm25_is_its_formula(entry, lengths, k1, b):
    truth = bm25(TEXTS, QUERIES, lambda t: grams(t, *lengths), k1, b)
    ids, scores = make(entry).build(TEXTS).search(QUERIES, 6)
    assert np.array_equal(ids, listed(truth, 6))
    wanted = -np.sort(-truth, axis=1)[:, :6]
    assert scores == pytest.approx(np.where(wanted > 0, wanted, -np.inf), rel=1e-6)
    assert ids[0, :2].tolist() == [0, 4]  # equal texts tie, and stand by number
    assert (ids[3] == -1).any()  # most texts share no term with it


def test_bm25_finds_words_by_jieba():
    jieba = pytest.importorskip("jieba")
    texts = [t for t in TEXTS if t]
    truth = bm25(texts, QUERIES, lambda t: [w for w in jieba.lcut(t.lower()) if not w.isspace()])
    ids, _ = make("bm25(grams=jieba)").build(texts).search(QUERIES, 4)
    assert np.array_equal(ids, listed(truth, 4))


def test_tfidf_is_the_cosine_of_scikit_learns_vectors():
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True)
    x = vectorizer.fit_transform(TEXTS)
    truth = (vectorizer.transform(QUERIES) @ x.T).toarray()
    assert np.array_equal(make("tfidf").build(TEXTS).search(QUERIES, 6)[0], listed(truth, 6))


def test_lexical_search_does_not_depend_on_how_many_ask_at_once():
    index = make("bm25").build(TEXTS)
    whole = index.search(QUERIES, 20)
    single = [index.search(QUERIES[i : i + 1], 20) for i in range(len(QUERIES))]
    assert np.array_equal(whole[0], np.concatenate([ids for ids, _ in single]))
    assert whole[0].shape == (5, 20) and (whole[0][:, len(TEXTS) :] == -1).all()
    assert index.size() > 0 and index.vector_size() > 0


def test_texts_without_terms_are_refused():
    with pytest.raises(ValueError, match="no text has a term of grams=3"):
        make("bm25(grams=3)").build(["ab", ""])


LISTS = [
    (np.array([[3, 1, 2], [0, 1, -1]]), np.array([[9.0, 5.0, 1.0], [2.0, 1.0, -np.inf]], np.float32)),
    (np.array([[1, 4, 3], [-1, -1, -1]]), np.array([[0.9, 0.5, 0.1], [-np.inf] * 3], np.float32)),
]


def test_rrf_sums_reciprocal_ranks():
    ids, scores = make("rrf(flat, bm25, k=10)").fuse(LISTS, 4)
    assert ids[0].tolist() == [1, 3, 4, 2]
    assert scores[0] == pytest.approx([1 / 12 + 1 / 11, 1 / 11 + 1 / 13, 1 / 12, 1 / 13])
    assert ids[1].tolist() == [0, 1, -1, -1] and scores[1, 2] == -np.inf


def test_zsum_sums_standardised_scores_and_the_lowest_for_what_a_list_lacks():
    ids, scores = make("zsum(flat, bm25, weight=0.75)").fuse(LISTS, 4)
    a, b = (np.array(x) for x in ([9.0, 5.0, 1.0], [0.9, 0.5, 0.1]))
    a, b = 0.75 * (a - a.mean()) / a.std(), 0.25 * (b - b.mean()) / b.std()
    truth = {3: a[0] + b[2], 1: a[1] + b[0], 2: a[2] + b[2], 4: a[2] + b[1]}
    best = sorted(truth, key=lambda row: (-truth[row], row))
    assert ids[0].tolist() == best and scores[0] == pytest.approx([truth[row] for row in best], abs=1e-6)


def test_own_rows_leave_the_lists_before_they_are_joined():
    ids, scores = drop_own(*LISTS[0], np.array([1, -1]))
    assert ids.tolist() == [[3, 2], [0, 1]] and scores.tolist() == [[9.0, 1.0], [2.0, 1.0]]
    queries = JoinedQueries((["a", "b", "c"], np.eye(3)), np.array([0, 1, -1]))
    assert len(queries) == 3 and queries[1:].parts[0] == ["b", "c"] and queries[1:].own.tolist() == [1, -1]


def test_a_fusion_is_the_plain_fusion_of_what_its_entries_find():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 8)).astype(np.float32)
    texts = ["".join(chr(0x4E00 + c) for c in rng.integers(0, 30, 6)) for _ in range(60)]
    task = Relevance.of(np.arange(30), np.arange(30, 60), np.ones(30, bool))
    rows = RetrievalVectors(
        Sample.of(x), Sample.of(x[task.queries]), task, {}, texts=lambda: (texts, [texts[i] for i in task.own])
    )
    unit = x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True)
    sums = np.zeros((60, 60))
    for scores in (unit @ unit.T, bm25(texts, texts, grams)):
        scores[np.arange(60), np.arange(60)] = -np.inf
        order = np.argsort(-np.round(scores, 9), axis=1, kind="stable")[:, :20]
        kept = np.take_along_axis(scores, order, axis=1)
        gain = np.where(kept > 0 if kept.max() > 1 else kept > -np.inf, 1 / (61.0 + np.arange(20)), 0)
        np.put_along_axis(sums, order, np.take_along_axis(sums, order, axis=1) + gain, axis=1)
    found = rows.observe(parse_entry("rrf(flat, bm25, depth=20)"), "none")
    assert found.ranks is None and found.dim is None
    truth = np.argsort(-np.round(sums, 12), axis=1, kind="stable")[:, :10]
    assert np.array_equal(found.ids[:, :10], truth[task.own])
    parts = [rows.observe(parse_entry(e), "none").sizes["index-bytes"] for e in ("flat", "bm25")]
    assert found.sizes["index-bytes"] == sum(parts)


@pytest.mark.parametrize(
    "text",
    [
        "rrf(whitening(dim=8) > flat, bm25)",
        "zsum(bm25(grams=jieba), tfidf, weight=0.7)",
        'rrf(rrf(flat, hnsw), bm25(grams="1-3"), k=5)',
    ],
)
def test_entries_in_entries_are_parsed_and_printed_alike(text):
    entry = parse_entry(text)
    assert str(entry) == text and parse_entry(str(entry)) == entry and entry.index
    assert family_of(text) == text.partition("(")[0]
    assert parse_entry("rrf( flat ,bm25( k1 = 1.2 ),k=60)") == parse_entry("rrf(flat, bm25)")


def test_what_is_in_a_fusion_counts():
    entry = parse_entry("rrf(jl(dim=4) > flat, simhash-buckets(seed=1))")
    assert entry.stochastic and not entry.lexical and parse_entry("rrf(bm25, tfidf)").lexical
    assert str(entry.with_seed(7)) == "rrf(jl(dim=4, seed=7) > flat, simhash-buckets(seed=1))"
    keys = [parse_entry(f"rrf({e}, bm25)").steps[0].key for e in ("flat", "lsh", "lsh(bits=8)")]
    assert len({str(k) for k in keys}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rrf(k=3, flat, bm25)", "rrf joins entries, which stand before its parameters"),
        ("rrf(flat, bm25", "expected ',' but found 'the end'"),
        ("rrf(flat bm25)", "expected '>' but found 'bm25'"),
        ("whitening(flat)", "expected '=' but found '\\)'"),
        ("rrf(" * 20, "entries inside each other"),
        ("bm25(grams=0)", "must be lengths in 1..10"),
        ('bm25(grams="2-1")', "must be lengths in 1..10"),
        ("bm25(b=1.5)", "must lie in 0..1"),
        ("zsum(flat, bm25, weight=2)", "must lie in 0..1"),
        ("rrf(flat, bm25, depth=0)", "must lie in 1..1000000"),
        ("rrf(flat, bm25) > l2", "put nothing after it"),
    ],
)
def test_mistakes_are_one_sentence(text, said):
    with pytest.raises(HengyuError, match=said):
        parse_entry(text)
