"""Similarities: their laws, their references, one worked example, and what a suite, a run and its pages make of them."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.words import sentences
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.spatial import distance
from scipy.stats import rankdata, spearmanr
from sentence_transformers import util

from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.bench.observe import every_key
from hengyu.bench.prepare import prepare_encoders
from hengyu.bench.run import run
from hengyu.cli import main
from hengyu.encoders import EncoderSpec
from hengyu.evaluation.comparison import compare
from hengyu.evaluation.run_metrics import scores_of
from hengyu.methods.base import Similarity
from hengyu.methods.grammar import parse_entry, parse_similarity
from hengyu.methods.registry import find_method, similarity_names
from hengyu.methods.similarities.csls import Csls
from hengyu.numerics.sample import Sample
from hengyu.report.board.board import make_board, parted
from hengyu.report.exports.table import COLUMNS, export
from hengyu.report.page.leaderboard import render
from hengyu.report.terminal import print_board
from hengyu.storage.identity import digest
from hengyu.storage.records import Run, load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.plan import Plan
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import Suite, load_suite
from hengyu.tasks.pairs.vectors import StsVectors

NAMES = ("cosine", "csls", "dot", "euclidean", "geodesic", "manhattan", "rcos", "recos", "spearman")
SEARCHED = ("cosine", "csls", "dot", "euclidean", "geodesic", "spearman")
BOUNDED = ("cosine", "rcos", "recos", "spearman")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 12)) + 0.4
FIRST, SECOND = RNG.integers(0, 60, 200), RNG.integers(0, 60, 200)


def made(name: str, x: np.ndarray = X) -> Similarity:
    """A similarity, fitted on the rows of x where it learns; its own default of k would need more rows."""
    method: Any = Csls(k=4) if name == "csls" else find_method(name)()
    fitted: Similarity = method.fit(Sample.of(x))
    return fitted


def of(name: str, x: np.ndarray = X) -> np.ndarray:
    return made(name, x).pairs(x, FIRST, SECOND)


def pair(name: str, a: Any, b: Any) -> float:
    x = np.array([a, b], np.float64)
    return float(find_method(name)().pairs(x, np.array([0]), np.array([1]))[0])


def same_order(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(rankdata(np.round(a, 12)), rankdata(np.round(b, 12))))


# laws


def test_the_similarities_are_those_of_their_folder() -> None:
    assert similarity_names() == NAMES
    assert tuple(n for n in NAMES if find_method(n).searchable) == SEARCHED  # type: ignore[attr-defined]
    assert [n for n in NAMES if find_method(n).needs_fit] == ["csls"]
    assert [n for n in NAMES if not find_method(n).by_pair] == ["csls"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_a_similarity_does_not_depend_on_the_order_of_a_pair_or_of_the_pairs(name: str) -> None:
    method = made(name)
    found = method.pairs(X, FIRST, SECOND)
    assert np.allclose(method.pairs(X, SECOND, FIRST), found, atol=1e-12)
    order = np.random.default_rng(1).permutation(len(FIRST))
    assert np.array_equal(method.pairs(X, FIRST[order], SECOND[order]), found[order])


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("dot", "csls")])
def test_no_vector_is_more_like_another_than_like_itself_and_equal_ones_tie(name: str) -> None:
    every = np.arange(len(X))
    itself = made(name).pairs(X, every, every)
    assert len(set(itself)) == 1
    assert (of(name) <= itself[0]).all()
    twice = np.concatenate([X, X])
    assert len(set(made(name).pairs(twice, every, every + len(X)))) == 1


@pytest.mark.parametrize("name", ["cosine", "geodesic", "spearman", "rcos", "recos", "csls"])
def test_scaling_a_vector_changes_nothing(name: str) -> None:
    assert np.allclose(of(name, X * RNG.uniform(0.1, 9, (60, 1))), of(name), atol=1e-6)


@pytest.mark.parametrize("name", ["euclidean", "manhattan"])
def test_a_shift_of_all_vectors_changes_no_distance(name: str) -> None:
    assert np.allclose(of(name, X + RNG.normal(size=12)), of(name))


@pytest.mark.parametrize("name", ["cosine", "geodesic", "dot", "euclidean", "csls"])
def test_a_rotation_changes_nothing(name: str) -> None:
    turn, _ = np.linalg.qr(RNG.normal(size=(12, 12)))
    assert np.allclose(of(name, X @ turn), of(name), atol=1e-6)


@pytest.mark.parametrize("name", ["rcos", "spearman"])
def test_a_number_added_to_all_columns_of_a_vector_changes_nothing(name: str) -> None:
    assert np.allclose(of(name, X + RNG.normal(size=(60, 1))), of(name))


def test_an_increasing_map_of_the_numbers_changes_no_rank_correlation() -> None:
    assert np.allclose(of("spearman", np.exp(X)), of("spearman"))
    assert not np.allclose(of("rcos", np.exp(X)), of("rcos"), atol=1e-3)  # which uses the numbers themselves


def test_the_dot_product_is_bilinear() -> None:
    a, b, c = RNG.normal(size=(3, 5))
    assert pair("dot", 2 * a + 3 * b, c) == pytest.approx(2 * pair("dot", a, c) + 3 * pair("dot", b, c))


def test_the_angle_orders_pairs_as_the_cosine_does() -> None:
    assert same_order(np.cos(of("geodesic")), of("cosine")) and same_order(of("geodesic"), of("cosine"))
    labels = RNG.normal(size=len(FIRST))
    assert spearmanr(of("geodesic"), labels)[0] == pytest.approx(spearmanr(of("cosine"), labels)[0], abs=1e-12)


def test_at_length_1_dot_and_euclidean_order_pairs_as_the_cosine_does() -> None:
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert np.allclose(of("dot", unit), of("cosine"))
    assert np.allclose(of("euclidean", unit), -np.sqrt(np.maximum(2 - 2 * of("cosine"), 0)), atol=1e-7)


numbers = st.lists(st.floats(-100, 100), min_size=5, max_size=5)


@given(numbers, numbers)
def test_the_bounded_ones_lie_between_minus_1_and_1_and_recos_is_never_nearer_to_0(a: Any, b: Any) -> None:
    found = {name: pair(name, a, b) for name in BOUNDED}
    assert all(np.isfinite(v) and -1 <= v <= 1 for v in found.values())
    assert abs(found["recos"]) >= abs(found["cosine"]) - 1e-9
    if found["cosine"]:
        assert np.sign(found["recos"]) == np.sign(found["cosine"])


def test_rcos_of_ranks_is_spearman() -> None:
    ranks = rankdata(X, axis=1)
    assert np.allclose(of("rcos", ranks), of("spearman"))


@pytest.mark.parametrize("name", BOUNDED)
def test_what_has_nothing_to_compare_is_0(name: str) -> None:
    assert pair(name, [0, 0, 0], [1, 2, 4]) == 0
    if name in ("rcos", "spearman"):
        assert pair(name, [7, 7, 7], [1, 2, 4]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_compared_as_the_numbers_that_they_are(name: str) -> None:
    codes = RNG.integers(-100, 100, (60, 12)).astype(np.int8)
    assert np.allclose(of(name, codes), of(name, codes.astype(np.float64)), atol=1e-6)


# references


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("cosine", util.pairwise_cos_sim),
        ("dot", util.pairwise_dot_score),
        ("euclidean", util.pairwise_euclidean_sim),
        ("manhattan", util.pairwise_manhattan_sim),
    ],
)
def test_it_is_what_sentence_transformers_calls_so(name: str, theirs: Any) -> None:
    a, b = torch.from_numpy(X[FIRST]), torch.from_numpy(X[SECOND])
    assert np.allclose(of(name), theirs(a, b).numpy(), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("cosine", lambda a, b: 1 - distance.cosine(a, b)),
        ("euclidean", lambda a, b: -distance.euclidean(a, b)),
        ("manhattan", lambda a, b: -distance.cityblock(a, b)),
        ("spearman", lambda a, b: spearmanr(a, b)[0]),
        ("geodesic", lambda a, b: -np.arccos(min(1.0, 1 - distance.cosine(a, b)))),
    ],
)
def test_it_is_what_scipy_has(name: str, theirs: Any) -> None:
    assert np.allclose(of(name), [theirs(X[i], X[j]) for i, j in zip(FIRST, SECOND, strict=True)], atol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_rcos_and_recos_are_bounded_by_every_reordering_of_the_columns(shift: float) -> None:
    for _ in range(20):
        a, b = RNG.normal(size=(2, 5)) + shift
        every = [float(a @ b[list(order)]) for order in itertools.permutations(range(5))]
        low, high, dot = min(every), max(every), float(a @ b)
        assert pair("rcos", a, b) == pytest.approx((2 * dot - low - high) / (high - low))
        assert pair("recos", a, b) == pytest.approx(dot / abs(high if dot > 0 else low))


def test_csls_is_the_formula_of_its_paper() -> None:
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    near = np.sort(cosine, axis=1)[:, -4:].mean(axis=1)
    np.fill_diagonal(cosine, 1.0)
    assert np.allclose(of("csls"), 2 * cosine[FIRST, SECOND] - near[FIRST] - near[SECOND], atol=1e-6)
    others = RNG.normal(size=(9, 12))  # of which none is in the reference set
    there = (others / np.linalg.norm(others, axis=1, keepdims=True)) @ unit.T
    assert np.allclose(made("csls").nearness(others), np.sort(there, axis=1)[:, -4:].mean(axis=1), atol=1e-6)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SEARCHED)
def test_products_order_the_rows_of_a_query_as_the_similarity_does(name: str) -> None:
    rows, queries = X[:45] + 3, X[45:] + 3
    method = made(name, rows)
    mapped, asked = (
        np.concatenate([part for part, _ in sample.blocks()])
        for sample in method.as_products(Sample.of(rows), Sample.of(queries), 7)
    )
    assert np.linalg.norm(mapped, axis=1).max() < 1 + 1e-6 and np.linalg.norm(asked, axis=1).max() < 1 + 1e-6
    both = np.concatenate([rows, queries])
    for q, products in enumerate(asked.astype(np.float64) @ mapped.astype(np.float64).T):
        wanted = method.pairs(both, np.full(45, 45 + q), np.arange(45))
        assert np.abs(rankdata(products) - rankdata(wanted)).max() <= 1  # float32 may exchange two neighbours


def test_the_worked_example_of_the_post() -> None:
    """kexue.fm/archives/11818: opposite orders, whose products are all positive."""
    a, b = (1, 2, 3), (6, 5, 4)
    assert pair("rcos", a, b) == -1
    assert pair("recos", a, b) == pytest.approx(28 / 32)
    assert pair("cosine", a, b) == pytest.approx(28 / np.sqrt(14 * 77))
    assert pair("spearman", a, b) == -1
    assert pair("dot", a, b) == 28
    assert pair("manhattan", a, b) == -9
    assert pair("euclidean", a, b) == pytest.approx(-np.sqrt(35))


def test_a_dimension_is_compared_and_fitted_on_its_first_columns() -> None:
    x = RNG.normal(size=(60, 20))
    vectors = StsVectors(x, FIRST, SECOND, {"target": Sample.of(x)}, RNG.normal(size=len(FIRST)))
    for dims in ((16, 20), "all"):
        got = vectors.observe(parse_entry("truncate by csls(k=4)"), dims, "target")
        assert got.dims == (16, 20) and got.sweep == {}
        for dim, found in zip(got.dims, got.similarity, strict=True):
            assert np.array_equal(found, of("csls", x[:, :dim]))
    with pytest.raises(ValueError, match="nothing to fit it on"):
        vectors.observe(parse_entry("raw by csls"), (), "none")


# the grammar


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("whitening by dot", "whitening by dot"),
        ("raw  by  cosine", "raw"),
        ("whitening(dim=8) > l2 by csls( k = 5 )", "whitening(dim=8) > l2 by csls(k=5)"),
        ("raw by csls(k=10)", "raw by csls"),
        ("flat by euclidean", "flat by euclidean"),
    ],
)
def test_what_is_printed_is_read_back(written: str, canonical: str) -> None:
    entry = parse_entry(written)
    assert str(entry) == canonical and parse_entry(canonical) == entry


def test_a_dimension_is_that_of_the_steps() -> None:
    entry = parse_entry("whitening(dim=8) by csls")
    assert (entry.dim, str(entry.with_dim(4)), entry.family) == (8, "whitening(dim=4) by csls", "whitening by csls")
    assert entry.bytes_per_vector(8) == 32 and [s.name for s in entry.walk()] == ["whitening", "csls"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("raw by cosin", "unknown similarity 'cosin'; did you mean 'cosine'?"),
        ("raw by pca", "pca is a transform, and no similarity; known: cosine, csls,"),
        ("whitening > dot", "write it after 'by', like 'whitening by dot'"),
        ("raw by", "expected a similarity but found 'the end'"),
        ("raw by dot > l2", "so it must come last"),
        ("raw by dot by dot", "so it must come last"),
        ("raw by csls(k=0)", "csls(k=0) must lie in 1..250"),
        ("raw by dot(k=2)", "dot has no parameter 'k'"),
        ("hnsw by dot", "hnsw searches by the cosine alone; only exact search"),
        ("flat by manhattan", "cannot be searched by; these can: cosine, csls, dot,"),
        ("bm25 by dot", "bm25 has no vectors of its own"),
        ("rrf(flat by dot, bm25)", "rrf joins lists that are found by the cosine"),
    ],
)
def test_mistakes_are_said_in_a_sentence(text: str, part: str) -> None:
    with pytest.raises(HengyuError) as e:
        parse_entry(text)
    assert f"entry '{text}': " in str(e.value) and part in str(e.value)


@pytest.mark.parametrize("text", ["cosin", "", "pca", "csls(k=0)", "dot > l2", "dot by dot", "3"])
def test_a_similarity_alone_is_refused_by_its_own_name(text: str) -> None:
    with pytest.raises(HengyuError, match=r"^similarity '"):
        parse_similarity(text)


# a suite and its run

SUITE = """
tasks = ["toy:test", "toy:valid"]
resamples = 40
baselines = ["random"]
entries = ["raw", { entry = "whitening", dims = [4] }]
"""
AXIS = 'similarity = ["cosine", "dot", "csls(k=5)", "geodesic", "rcos"]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A card with two splits, and suites of it: pairs with and without the axis, retrieval, pair classification."""
    root = tmp_path_factory.mktemp("similarities")
    rng = np.random.default_rng(5)
    for split, n in (("test", 90), ("valid", 60)):
        lines = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in sentences(rng, n))
        (root / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    card = 'name = "toy"\nlabels = { scale = [0, 1], kind = "binary" }\n'
    card += "".join(f'[splits.{s}]\nfile = "{s}.tsv"\n' for s in ("test", "valid"))
    (root / "toy.toml").write_text(card, encoding="utf-8")
    (root / "suites").mkdir()
    for name, text in {
        "plain": SUITE,
        "axis": SUITE + AXIS,
        "search": 'kind = "retrieval"\ntasks = ["toy:test"]\nresamples = 40\nbaselines = []\n'
        'entries = ["flat", "whitening(dim=8) > flat", "hnsw(m=4)"]\nsimilarity = ["dot", "euclidean", "csls(k=5)"]\n',
        "classes": 'kind = "pair-classification"\ntasks = ["toy:test"]\nresamples = 40\nbaselines = []\n'
        'entries = ["raw"]\nsimilarity = ["euclidean"]\n',
    }.items():
        (root / "suites" / f"{name}.toml").write_text(text, encoding="utf-8")
    return root


def suite_of(folder: Path, name: str, model: Path) -> Suite:
    loaded = load_suite(folder / "suites" / f"{name}.toml")
    return replace(loaded, encoders=(EncoderSpec(str(model), name="model"),))


@pytest.fixture(scope="module")
def runs(folder: Path, tiny_bert: Path) -> dict[str, Run]:
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
        for name in ("plain", "axis", "search", "classes"):
            plan = make_plan(suite_of(folder, name, tiny_bert), datasets=[folder])
            done = run(plan, reports=folder / "out", store=VectorStore(folder / "store"))
            assert done.failures == []
            found[name] = load_run(done.folder)
    return found


def test_rows_by_the_cosine_are_the_same_with_and_without_the_axis(runs: dict[str, Run]) -> None:
    def rows(run: Run) -> list[Any]:
        return [replace(r, suite="", seconds=None) for r in run.records if " by " not in r.entry]

    assert rows(runs["axis"]) == rows(runs["plain"]) != []
    whole, (plain,) = make_board(runs["axis"]).rows, [make_board(runs["plain"])]
    assert {r.entry for r in plain.rows} < {r.entry for r in whole}


def test_a_suite_has_a_row_for_each_similarity_and_its_paired_difference_to_the_cosine(runs: dict[str, Run]) -> None:
    ours = [r for r in runs["axis"].records if r.metric == "spearman" and r.task == "toy:test" and r.encoder == "model"]
    values = {r.entry: r.value for r in ours}
    by = ("", " by dot", " by csls(k=5)", " by geodesic", " by rcos")
    assert set(values) == {e + b for e in ("raw", "whitening(dim=4)") for b in by}
    assert {r.fit_on for r in ours if r.entry == "raw by csls(k=5)"} == {"target"}
    wanted = {(e + b, e) for e in ("raw", "whitening(dim=4)") for b in by[1:]}
    assert {(d.entry, d.against) for d in runs["axis"].differences} == wanted
    for d in runs["axis"].differences:
        if d.task == "toy:test":
            assert d.value == pytest.approx(values[d.entry] - values[d.against], abs=1e-12)
        if d.entry.endswith("geodesic"):
            assert (d.value, d.low, d.high) == (0, 0, 0)


def test_a_row_has_the_numbers_of_a_plain_script(folder: Path, runs: dict[str, Run], tiny_bert: Path) -> None:
    from hengyu.encoders import open_encoder

    with (folder / "test.tsv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    columns = [[line[c] for line in lines] for c in ("sentence1", "sentence2")]
    texts = list(dict.fromkeys([*columns[0], *columns[1]]))
    x = dict(zip(texts, encoder.encode(texts, ["mean"])["mean"].astype(np.float64), strict=True))
    dot = [float(x[a] @ x[b]) for a, b in zip(*columns, strict=True)]
    (record,) = [
        r
        for r in runs["axis"].records
        if (r.task, r.entry, r.metric) == ("toy:test", "raw by dot", "spearman") and r.on_board
    ]
    assert record.value == pytest.approx(spearmanr(dot, [int(line["label"]) for line in lines])[0], abs=1e-6)


def test_pages_terminal_and_exports_tell_the_rows_apart_and_show_a_column_where_it_varies(runs: dict[str, Run]) -> None:
    def printed(run: Run) -> str:
        out = io.StringIO()
        print_board(run, Console(file=out, width=200))
        return out.getvalue()

    for name in ("axis", "search"):
        text, table = printed(runs[name]), export(runs[name], "csv")
        assert " similarity " in text and " by dot" in text  # in the differences; a row has two columns
        rows = list(csv.DictReader(io.StringIO(table)))
        assert {r["similarity"] for r in rows} >= {"cosine", "dot", "csls(k=5)"}
        assert all(r["similarity"] == (r["entry"].partition(" by ")[2] or "cosine") for r in rows)
        assert json.loads(export(runs[name], "json"))[0]["similarity"] == "cosine"
        assert "by dot" in export(runs[name], "md") and "by dot" in export(runs[name], "latex")
    page = render(runs["axis"])
    assert "what the vectors of a pair are compared by" in page and 'data-pick="similarity"' in page
    assert " similarity " not in printed(runs["plain"]) and not make_board(runs["plain"]).similarities
    assert export(runs["plain"], "csv").splitlines()[0] == ",".join(COLUMNS)


def test_two_similarities_are_compared_pair_by_pair(runs: dict[str, Run]) -> None:
    scores = scores_of(runs["axis"])
    found = compare(runs["axis"], runs["axis"], {"entry": ["raw by dot", "raw"]})
    line = next(x for x in found.lines if x.first.task == "toy:test")
    assert line.test == "paired" and scores.cells
    (told,) = [d for d in runs["axis"].differences if (d.task, d.entry) == ("toy:test", "raw by dot")]
    assert (line.difference, line.low, line.high) == pytest.approx((told.value, told.low, told.high))


def test_retrieval_searches_by_other_similarities_where_search_is_exact(runs: dict[str, Run]) -> None:
    board = {r.entry: r for r in runs["search"].records if r.metric == "ndcg@10" and r.task == "toy:test"}
    exact = ("flat", "whitening(dim=8) > flat")
    assert set(board) == {
        "hnsw(m=4)",
        *(e + b for e in exact for b in ("", " by dot", " by euclidean", " by csls(k=5)")),
    }
    assert all(r.status == "ok" and r.value is not None for r in board.values())
    assert board["flat by dot"].dim == board["flat"].dim
    assert board["whitening(dim=8) > flat by euclidean"].dim == 8
    size = {r.entry: r.value for r in runs["search"].records if r.metric == "bytes-per-vector" and r.task == "toy:test"}
    # 8 numbers in float32, whatever they are compared by; csls stores how near each vector is to the others
    assert [size["whitening(dim=8) > flat" + b] for b in ("", " by dot", " by euclidean", " by csls(k=5)")] == [
        32,
        32,
        32,
        36,
    ]
    total = {r.entry: r.value for r in runs["search"].records if r.metric == "index-bytes" and r.task == "toy:test"}
    assert total["flat by euclidean"] == total["flat"]
    found = {r.entry: r.value for r in runs["search"].records if r.metric == "exact-recall@10" and r.task == "toy:test"}
    assert all(found[e] == 1 for e in board if "flat" in e)  # of the order of its own similarity
    assert {(d.entry, d.against) for d in runs["search"].differences} == {
        (e + b, e) for e in exact for b in (" by dot", " by euclidean", " by csls(k=5)")
    }


def test_pair_classification_judges_a_row_by_its_similarity(runs: dict[str, Run]) -> None:
    values = {(r.entry, r.metric): r.value for r in runs["classes"].records if r.task == "toy:test"}
    assert values["raw by euclidean", "max-ap"] == values["raw by euclidean", "ap"]
    assert values["raw", "max-ap"] >= max(values["raw", "ap"], values["raw by euclidean", "ap"])


# what is stored, and what is refused


def keys(folder: Path, model: Path, name: str, tmp_path: Path, **changed: Any) -> dict[str, str]:
    suite = suite_of(folder, name, model)
    plan: Plan = make_plan(suite.with_overrides(**changed) if changed else suite, datasets=[folder])
    prepared, _ = prepare_encoders(plan, VectorStore(tmp_path / "store"), silent, offline=True)
    every = [key for key in every_key(plan, prepared) if key["task"] == "toy:test" and key["encoder"] == "model"]
    return {key["entry"]: digest(key) for key in every}


def test_a_similarity_and_its_parameters_are_in_the_key_and_the_cosine_has_none(
    folder: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    axis, plain = (keys(folder, tiny_bert, name, tmp_path) for name in ("axis", "plain"))
    assert {e: k for e, k in axis.items() if " by " not in e} == plain
    assert len(set(axis.values())) == len(axis)
    other = keys(folder, tiny_bert, "plain", tmp_path, similarity=("csls",))
    assert other["raw by csls"] != axis["raw by csls(k=5)"] and other["raw"] == plain["raw"]


def test_the_command_line_replaces_the_similarities_of_a_suite(folder: Path, tiny_bert: Path) -> None:
    suite = suite_of(folder, "axis", tiny_bert)
    entries = [str(e.entry) for e in suite.with_overrides(similarity=("manhattan", "cosine")).entries]
    assert entries == ["raw", "raw by manhattan", "whitening", "whitening by manhattan"]
    entries = [str(e.entry) for e in suite.with_overrides(entries=("l2", "l2 by recos")).entries]
    assert entries[:6] == ["raw", "raw by dot", "raw by csls(k=5)", "raw by geodesic", "raw by rcos", "l2"]
    assert entries[-1] == "l2 by recos"
    assert suite.with_overrides(similarity=("cosine",)).compared == ()


def hengyu(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*words, "--datasets", str(folder)])
    return done.exit_code, " ".join(done.output.split())


def test_a_mistake_on_the_command_line_is_one_sentence_and_exit_code_2(folder: Path, tiny_bert: Path) -> None:
    plain, search = (str(folder / "suites" / f"{name}.toml") for name in ("plain", "search"))
    out = ("--out", str(folder / "cli"), "--store", str(folder / "store"), "--encoder", str(tiny_bert), "--quiet")
    for words, part in (
        (("run", plain, "--similarity", "dot,euclidian", *out), "--similarity 'euclidian': unknown similarity"),
        (("run", plain, "--similarity", "dot,euclidian", *out), "did you mean 'euclidean'?"),
        (("run", search, "--similarity", "manhattan", *out), "manhattan compares pairs and cannot be searched by"),
        (("run", plain, "--similarity", "csls(k=200)", *out), "too few for csls(k=200)"),
    ):
        code, said = hengyu(folder, *words)
        assert code == 2 and part in said and "Traceback" not in said, said


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('similarity = ["cosin"]', "key 'similarity': 'cosin': unknown similarity 'cosin'; did you mean 'cosine'?"),
        ('similarity = "dot"', "key 'similarity' must be a list, not 'dot'"),
        ("similarity = [3]", "key 'similarity' must hold strings only, not 3"),
        ('similarities = ["dot"]', "key 'similarities' is unknown; did you mean 'similarity'?"),
    ],
)
def test_a_mistake_in_a_suite_names_the_key(tmp_path: Path, line: str, part: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(SUITE + line + "\n", encoding="utf-8")
    with pytest.raises(HengyuError) as e:
        load_suite(path)
    assert f"{path}: {part}" in str(e.value)


def test_csls_needs_more_sentences_than_neighbours() -> None:
    with pytest.raises(ValueError, match=r"9 distinct sentences to fit on are too few for csls\(k=9\)"):
        Csls(k=9).fit(Sample.of(X[:9]))
    assert np.isfinite(Csls(k=8).fit(Sample.of(X[:9])).nearness(X[:9])).all()


def test_every_similarity_is_listed() -> None:
    done = CliRunner().invoke(main, ["list", "similarities"])
    assert done.exit_code == 0 and all(name in done.output for name in NAMES)
    assert "k=10" in done.output and "two vectors and their neighbours" in done.output


def test_the_shipped_suite_has_them_all() -> None:
    suite = load_suite(Path(__file__).parents[1] / "suites" / "similarity.toml")
    assert {"cosine", *(s.partition("(")[0] for s in suite.similarity)} == set(NAMES)
    assert {e.display_name for e in suite.encoders} == {"hengyu-mini", "hengyu-small", "hengyu-static"}


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ("whitening by dot", ("whitening", "dot")),
        ("raw by csls(k=5)", ("raw", "csls(k=5)")),
        ('bm25(grams=words, words="list by me.txt")', ('bm25(grams=words, words="list by me.txt")', "cosine")),
        ('promptbert(template="x by {text}") by rcos', ('promptbert(template="x by {text}")', "rcos")),
    ],
)
def test_a_similarity_is_not_looked_for_in_quoted_text(entry: str, parts: tuple[str, str]) -> None:
    assert parted(entry) == parts


def test_a_similarity_of_the_command_line_stands_beside_those_that_entries_name(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('tasks = ["hengyu-sts:valid"]\nentries = ["raw by dot", "whitening"]\n', encoding="utf-8")
    found = load_suite(path).with_overrides(similarity=("rcos",))
    assert [str(e.entry) for e in found.entries] == [
        "raw",
        "raw by rcos",
        "raw by dot",
        "whitening",
        "whitening by rcos",
    ]
