"""Laws of the projections and codes, then equality with SciPy, scikit-learn, sentence-transformers and faiss."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import sentences
from scipy.linalg import hadamard
from scipy.stats import spearmanr

from hengyu.base.errors import Degenerate, HengyuError
from hengyu.bench.run import run
from hengyu.cli import main
from hengyu.encoders import EncoderSpec
from hengyu.methods import SampleTransform, find_method
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import parse_entry
from hengyu.numerics.distortion import measure
from hengyu.numerics.hadamard import next_power_of_two, srht, walsh_hadamard
from hengyu.numerics.product_codes import product_centroids
from hengyu.numerics.projections import KINDS, draw, orthogonal_blocks
from hengyu.numerics.sample import Sample
from hengyu.numerics.signs import angle_cosine
from hengyu.numerics.similarity import cosines
from hengyu.numerics.theory import jl_dim
from hengyu.numerics.winners import winners
from hengyu.report.charts.dimensions import collect
from hengyu.report.exports.table import tidy
from hengyu.report.page.leaderboard import render
from hengyu.storage.fits import FitStore
from hengyu.storage.records import Run, load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import find_suite, load_suite
from hengyu.tasks.pairs.vectors import StsVectors

DRAWN = ("jl(dim=8)", "simhash(bits=40)", "itq(bits=8)", "pq(m=4, bits=3)", "flyhash(expand=5)", "biohash(epochs=2)")
EVERY = (*DRAWN, "int8", "binary", *(f"jl(dim=8, kind={k})" for k in KINDS))
TRAINED = ("itq(bits=8)", "pq(m=5, bits=4)", "biohash(epochs=2)", "int8")


def cloud(n: int = 1500, d: int = 24, seed: int = 0) -> np.ndarray:
    """Anisotropic float32 vectors with a mean, as encoders give them."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d)) * np.geomspace(3, 0.1, d)
    return (rng.normal(size=(n, d)) @ mix + rng.normal(size=d)).astype(np.float32)


def fitted(text: str, x: np.ndarray, seed: int | None = None) -> Any:
    entry = parse_entry(text)
    return (entry if seed is None else entry.with_seed(seed)).steps[0].make().fit(x)


def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(len(x) // 2), np.arange(len(x) // 2, len(x) // 2 * 2)


# the Walsh-Hadamard transform


@pytest.mark.parametrize("p", [1, 2, 4, 8, 256, 1024])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_transform_is_sylvesters_matrix(p: int, kind: type) -> None:
    x = np.random.default_rng(0).normal(size=(5, p)).astype(kind)
    found = walsh_hadamard(x)
    assert found.dtype == kind
    assert np.allclose(found, x @ hadamard(p), atol=1e-4 if kind is np.float32 else 1e-9)


def test_the_transform_is_its_own_inverse_up_to_n_and_keeps_angles() -> None:
    x = np.random.default_rng(1).normal(size=(7, 512))
    assert np.allclose(walsh_hadamard(walsh_hadamard(x)), 512 * x)
    assert np.allclose(walsh_hadamard(x) @ walsh_hadamard(x).T, 512 * x @ x.T)
    with pytest.raises(ValueError, match="must be a power of two, not 6"):
        walsh_hadamard(np.zeros((1, 6)))
    assert [next_power_of_two(d) for d in (1, 2, 3, 768, 1024)] == [1, 2, 4, 1024, 1024]


def test_srht_is_the_product_of_its_three_parts() -> None:
    rng = np.random.default_rng(2)
    x, signs, kept = rng.normal(size=(9, 20)), rng.choice([-1.0, 1.0], 32), rng.permutation(32)[:7]
    padded = np.pad(x, ((0, 0), (0, 12)))
    assert np.allclose(srht(x, signs, kept, 0.3), 0.3 * ((padded * signs) @ hadamard(32))[:, kept])


# random projections


@pytest.mark.parametrize("kind", KINDS)
def test_norms_are_kept_in_expectation(kind: str) -> None:
    """Over 400 draws; the standard error of a mean squared norm is about sqrt(2 / 16 / 400) = 0.018."""
    x = cloud(6, 48).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    images = [draw(kind, 48, 16, seed)(x) for seed in range(400)]
    assert np.mean([(u**2).sum(axis=1) for u in images], axis=0) == pytest.approx(np.ones(6), abs=0.1)
    assert np.mean([u @ u.T for u in images], axis=0) == pytest.approx(x @ x.T, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_projections_are_linear_and_of_either_precision(kind: str) -> None:
    a, b = cloud(40, 24, 1).astype(np.float64), cloud(40, 24, 2).astype(np.float64)
    project = draw(kind, 24, 16, 5)
    assert np.allclose(project(2 * a - b), 2 * project(a) - project(b))
    narrow = project(a.astype(np.float32))
    assert narrow.dtype == np.float32
    assert np.allclose(narrow, project(a), atol=1e-4)


def test_orthogonal_columns_are_orthogonal_and_uniform() -> None:
    r = draw("orthogonal", 24, 10, 3)(np.eye(24))
    assert np.allclose(r.T @ r, 2.4 * np.eye(10))
    full = draw("orthogonal", 24, 24, 3)
    x = cloud().astype(np.float64)
    assert np.allclose(full(x) @ full(x).T, x @ x.T)
    # a coordinate of a uniform direction in n dimensions has mean 0 and variance 1/n
    first = np.array([draw("orthogonal", 6, 1, s)(np.eye(6))[:, 0] for s in range(600)]) / np.sqrt(6)
    assert np.abs(first.mean(axis=0)).max() < 0.08
    assert first.var(axis=0) == pytest.approx(np.full(6, 1 / 6), abs=0.04)


def test_rademacher_has_two_values_and_sparse_is_scikit_learns() -> None:
    from sklearn.random_projection import SparseRandomProjection

    assert set(np.unique(draw("rademacher", 24, 16, 0)(np.eye(24)))) == {-0.25, 0.25}
    x = cloud(30, 100).astype(np.float64)
    theirs = SparseRandomProjection(16, dense_output=True, random_state=4).fit(x).transform(x)
    assert np.allclose(draw("sparse", 100, 16, 4)(x), theirs)


def test_gaussian_is_spread_as_scikit_learns() -> None:
    from scipy.stats import ks_2samp
    from sklearn.random_projection import GaussianRandomProjection

    theirs = GaussianRandomProjection(40, random_state=0).fit(np.zeros((1, 300))).components_
    ours = draw("gaussian", 300, 40, 0)(np.eye(300))
    assert ks_2samp(theirs.ravel(), ours.ravel()).pvalue > 1e-3


def test_a_smaller_gaussian_is_the_beginning_of_a_larger_one() -> None:
    small, large = (draw("gaussian", 24, k, 0)(np.eye(24)) * np.sqrt(k) for k in (5, 16))
    assert np.allclose(large[:, :5], small)


def test_the_draw_is_not_that_of_vectors_made_with_the_same_seed() -> None:
    """A matrix that shares its stream with the vectors would be aligned with them, and the lemma void."""
    x = np.random.default_rng(7).normal(size=(50, 400))
    assert np.abs((draw("gaussian", 400, 50, 7)(x) ** 2).sum(axis=1) / (x**2).sum(axis=1) - 1).max() < 0.9


# codes


def test_signs_are_plus_and_minus_1_and_compared_by_hamming() -> None:
    x = cloud()
    codes = fitted("simhash(bits=64)", x)(x)
    assert codes.dtype == np.int8
    assert set(np.unique(codes)) == {-1, 1}
    first, second = halves(x)
    hamming = (codes[first] != codes[second]).sum(axis=1)
    similarity = cosines(codes, first, second)
    assert np.allclose(similarity, 1 - 2 * hamming / 64)
    assert len(np.unique(similarity)) == len(np.unique(hamming))  # equal distances tie exactly
    assert np.allclose(angle_cosine(similarity), np.cos(np.pi * hamming / 64))


def test_simhash_is_jl_and_binary() -> None:
    x = cloud()
    both = fitted("binary", x)(fitted("jl(dim=64, seed=3)", x)(x.astype(np.float64)))
    assert (fitted("simhash(bits=64, kind=gaussian, seed=3)", x)(x) == both).all()
    few = fitted("binary", x)(fitted("jl(dim=20, kind=orthogonal, seed=3)", x)(x.astype(np.float64)))
    assert (fitted("simhash(bits=20, kind=orthogonal, seed=3)", x)(x) == few).all()


def test_super_bits_are_orthogonal_in_blocks_and_vary_less() -> None:
    r = orthogonal_blocks(24, 60, 3)
    for block in (r[:, :24], r[:, 24:48], r[:, 48:]):
        assert np.allclose(block.T @ block, np.eye(block.shape[1]))
    assert np.abs(r[:, :24].T @ r[:, 24:48]).max() > 0.1
    x = cloud(40)
    first, second = halves(x)
    spread = {
        kind: np.std(
            [cosines(fitted(f"simhash(bits=48, kind={kind})", x, s)(x), first, second) for s in range(200)], axis=0
        )
        for kind in ("gaussian", "orthogonal")
    }
    near = cosines(x, first, second) > 0.2
    assert near.sum() > 3
    assert (spread["orthogonal"][near] ** 2).mean() < (spread["gaussian"][near] ** 2).mean()


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_simhash_bits_differ_with_the_probability_of_the_angle(kind: str) -> None:
    """At 20,000 bits the standard error of a share is below 0.0036."""
    x = cloud(60)
    first, second = halves(x)
    estimate = cosines(fitted(f"simhash(bits=20000, kind={kind})", x)(x), first, second)
    angle = np.arccos(np.clip(cosines(x, first, second), -1, 1))
    assert (1 - estimate) / 2 == pytest.approx(angle / np.pi, abs=0.018)
    assert angle_cosine(estimate) == pytest.approx(np.cos(angle), abs=0.06)


def test_int8_codes_and_binary_bits_are_those_of_sentence_transformers() -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    x, other = cloud(), cloud(300, seed=5)
    x[:, 3] = 0.5
    method = fitted("int8", x)
    ranges = np.stack([x.min(axis=0), x.max(axis=0)])
    for rows in (x, other):  # other lies outside the ranges here and there
        assert (method.codes(rows) == quantize_embeddings(rows, "int8", ranges=ranges)).all()
    packed = np.packbits(fitted("binary", x)(x) > 0, axis=1)
    assert (packed == quantize_embeddings(x, "ubinary")).all()


def test_int8_moves_no_value_by_more_than_half_a_step() -> None:
    x = cloud()
    x[:, 3] = 0.5
    method = fitted("int8", x)
    assert (np.abs(method(x) - x) <= 0.501 * method.step + 1e-6).all()
    assert (method(x)[:, 3] == 0.5).all()
    assert method.report == {"dead_columns": 1}


def test_itq_finds_a_rotation_that_loses_less() -> None:
    x = cloud()
    method = fitted("itq(bits=12)", x)
    started, ended = method.report["loss"]
    assert ended < started
    assert np.allclose(method.matrix.T @ method.matrix, np.eye(12))  # axes times a rotation
    v = (x - method.mean) @ method.matrix
    assert ((v - method(x)) ** 2).mean() <= ended * (1 + 1e-5)
    # the rotation is the best for its own codes: no rotation near it takes v nearer to them
    for seed in range(5):
        skew = np.random.default_rng(seed).normal(size=(12, 12))
        turn = np.linalg.qr(np.eye(12) + 0.01 * (skew - skew.T))[0]
        turn *= np.sign(np.diag(turn))
        assert ((v @ turn - method(x)) ** 2).mean() > ((v - method(x)) ** 2).mean() - 1e-4


def test_itq_counts_repeats() -> None:
    x = cloud(300)
    counts = np.random.default_rng(3).integers(1, 4, 300)
    one = find_method("itq")(bits=6).fit_sample(Sample.of(x, counts))
    two = find_method("itq")(bits=6).fit(np.repeat(x, counts, axis=0))
    assert np.allclose(one.matrix, two.matrix)


def test_pq_is_faisss() -> None:
    import faiss

    x = cloud(600)
    method = fitted("pq(m=4, bits=4, seed=11)", x)
    theirs: Any = faiss.ProductQuantizer(24, 4, 4)
    theirs.cp.seed = 11
    theirs.train(np.ascontiguousarray(x))
    assert np.allclose(method.centroids.ravel(), faiss.vector_to_array(theirs.centroids))
    assert (method.codes(x) == theirs.compute_codes(x)).all()
    assert np.allclose(method(x), theirs.decode(theirs.compute_codes(x)))


def test_centroids_of_narrow_parts_are_faisss() -> None:
    import faiss

    rng = np.random.default_rng(5)
    # groups that are far apart: k-means ends at them, whatever the last bits of its distances
    x = (rng.integers(0, 4, (5000, 6)) * 10 + rng.normal(size=(5000, 6))).astype(np.float32)
    theirs: Any = faiss.ProductQuantizer(6, 6, 2)
    theirs.cp.seed = 3
    theirs.train(x)
    assert np.allclose(product_centroids(x, 6, 2, 3).ravel(), faiss.vector_to_array(theirs.centroids), atol=1e-3)
    x = rng.normal(size=(20_000, 6)).astype(np.float32)
    theirs, ours = faiss.ProductQuantizer(6, 3, 8), faiss.ProductQuantizer(6, 3, 8)
    theirs.train(x)
    faiss.copy_array_to_vector(product_centroids(x, 3, 8, 1234).ravel(), ours.centroids)
    lost = [float(((one.decode(one.compute_codes(x)) - x) ** 2).sum()) for one in (theirs, ours)]
    assert lost[1] == pytest.approx(lost[0], rel=0.01)


def test_pq_takes_the_nearest_centroid_of_each_part_whatever_the_width() -> None:
    x = cloud(600, 23)  # 23 columns in 4 parts of 6, one column of 0 added
    method = fitted("pq(m=4, bits=4)", x)
    padded = np.pad(x, ((0, 0), (0, 1))).reshape(600, 4, 1, 6)
    nearest = ((padded - method.centroids) ** 2).sum(axis=3).argmin(axis=2)
    wanted = np.take_along_axis(method.centroids, nearest.T[:, :, None], axis=1).transpose(1, 0, 2).reshape(600, 24)
    assert np.allclose(method(x), wanted[:, :23])
    lost = ((method(x) - x) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
    assert method.report["lost_variance"] == pytest.approx(lost, rel=1e-2)


def test_winners_are_the_largest() -> None:
    assert winners(np.array([[0.1, 3.0, -1.0, 2.0], [5.0, 4.0, 3.0, 2.0]]), 2).tolist() == [[0, 1, 0, 1], [1, 1, 0, 0]]


@pytest.mark.parametrize("text", ["flyhash(expand=10, active=0.1)", "biohash(expand=10, active=0.1, epochs=1)"])
def test_hashes_of_the_fly_have_equally_many_winners_and_compare_by_overlap(text: str) -> None:
    x = cloud(200)
    codes = fitted(text, x)(x)
    assert codes.shape == (200, 240)
    assert (codes.sum(axis=1) == 24).all()
    first, second = halves(x)
    assert np.allclose(cosines(codes, first, second), (codes[first] & codes[second]).sum(axis=1) / 24)


def test_flyhash_is_the_winners_of_a_sparse_product() -> None:
    """Dasgupta et al.: a binary matrix with a tenth of the inputs in each column, then the largest 5 %."""
    x = cloud(150, 40)
    method = fitted("flyhash(expand=10, seed=2)", x)
    codes = method(x)
    inputs = method._inputs[40]
    assert inputs.shape == (400, 4)
    matrix = np.zeros((40, 400))
    for unit, chosen in enumerate(inputs):
        assert len(set(chosen)) == 4
        matrix[chosen, unit] = 1
    assert (codes == winners(x.astype(np.float64) @ matrix, 20)).all()


def test_flyhash_ignores_what_is_added_to_a_whole_vector_and_its_scale() -> None:
    x = cloud(100).astype(np.float64)
    method = fitted("flyhash", x)
    assert (method(x) == method(3 * x + 7)).all()


def test_biohash_learns_where_the_data_are() -> None:
    """On data in 5 directions the units that learn turn to them, which random ones do not."""
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(30, 5)))[0].T
    x = centres[rng.integers(0, 5, 2000)] + 0.02 * rng.normal(size=(2000, 30))
    method = find_method("biohash")(expand=2, active=0.1, epochs=20).fit(x)
    w = method.synapses / np.linalg.norm(method.synapses, axis=0)
    unit = (centres - x.mean(axis=0)) / np.linalg.norm(centres - x.mean(axis=0), axis=1, keepdims=True)
    assert (unit @ w).max(axis=1).min() > 0.9
    assert method.report["units_that_learned"] >= 5


# what holds for all of them


@pytest.mark.parametrize("text", EVERY)
def test_rows_are_mapped_by_themselves(text: str) -> None:
    x = cloud(700)
    method = fitted(text, x)
    whole = method(x)
    assert len(whole) == len(x)
    parts = np.concatenate([method(x[:1]), method(x[1:130]), method(x[130:])])
    assert np.allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize("text", DRAWN)
def test_a_seed_gives_one_draw_and_another_seed_another(text: str) -> None:
    x = cloud(400)
    assert parse_entry(text).stochastic
    one, two, other = (fitted(text, x, seed)(x) for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()


@pytest.mark.parametrize("text", TRAINED)
def test_trained_ones_are_kept_and_recalled(text: str, tmp_path: Path) -> None:
    x = cloud(400)
    step = parse_entry(text).steps[0]
    fits = FitCache(FitStore(tmp_path))
    one, two = step.make(), step.make()
    assert isinstance(one, SampleTransform)
    fits.fit(one, step, (), "target", Sample.of(x))
    assert list(fits.seconds) == [str(step)]
    fits.seconds.clear()
    fits.fit(two, step, (), "target", Sample.of(x))
    assert not fits.seconds  # recalled
    assert (one(x) == two(x)).all()
    assert two.report == one.report


@pytest.mark.parametrize(
    ("text", "width", "wanted"),
    [
        ("raw", 768, 3072),
        ("jl(dim=64)", 64, 256),
        ("whitening(dim=256) > simhash(bits=100)", 100, 13),
        ("binary", 768, 96),
        ("itq(bits=32)", 32, 4),
        ("int8", 768, 768),
        ("pq(m=16)", 768, 16),
        ("pq(m=6, bits=4)", 768, 3),
        ("flyhash", 5120, 416),  # 256 winners of 5,120: 13 bits each
        ("biohash(active=0.4)", 1000, 125),  # a bit a unit is less than 400 positions
        ("simhash(bits=64) > l2", 64, 256),  # floats again
    ],
)
def test_bytes_of_a_vector(text: str, width: int, wanted: int) -> None:
    assert parse_entry(text).bytes_per_vector(width) == wanted


@pytest.mark.parametrize(
    "text", ["whitening(dim=16) > simhash(bits=96)", "center > itq(bits=8) > jl(dim=4)", "flyhash"]
)
def test_pipelines_compose(text: str) -> None:
    x = cloud(400)
    first, second = halves(x)
    vectors = StsVectors(
        x, first, second, {"target": Sample.of(x)}, np.zeros(200), (x[:50], first[:25], second[:25] % 50)
    )
    seen = vectors.observe(parse_entry(text), (), "target", 4)
    z = x
    for step in parse_entry(text).with_seed(4).steps:
        z = step.make().fit(z)(z)
    assert np.allclose(seen.similarity[0], cosines(z, first, second), atol=1e-6)
    assert seen.threshold_similarity.shape == (1, 25)
    assert seen.dims == (z.shape[1],)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jl", "needs the parameter 'dim'"),
        ("jl(dim=0)", r"must lie in 1\.\.65536"),
        ("jl(dim=1000000000)", r"must lie in 1\.\.65536"),
        ("jl(dim=4, kind=gauss)", "must be one of gaussian, orthogonal"),
        ("jl(dim=4, seed=-1)", r"must lie in 0\.\.2\^63"),
        ("simhash(bits=0)", "must lie in 1..65536"),
        ("simhash(bits=8, kind=srht)", "must be one of gaussian, orthogonal"),
        ("itq(bits=0)", "must be at least 1"),
        ("pq(m=0)", "at least 1 part"),
        ("pq(m=4, bits=20)", "must lie in 1..12"),
        ("flyhash(active=1.5)", "must lie between 0 and 1"),
        ("flyhash(expand=0)", "must lie in 1..100"),
        ("biohash(epochs=0)", "must lie in 1..1000"),
        ("binary(bits=3)", "it takes none"),
    ],
)
def test_mistakes_in_an_entry_are_said(text: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        parse_entry(text)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("jl(dim=25, kind=orthogonal)", ValueError, "dim=25 is larger than the 24"),
        ("jl(dim=33, kind=srht)", ValueError, "larger than 32, the power of two to which 24 is padded"),
        ("itq(bits=25)", ValueError, "bits=25 is larger than the 24"),
        ("pq(m=25, bits=2)", ValueError, "m=25 is larger than the 24"),
        ("pq(m=4)", Degenerate, "at least 256 distinct sentences, not 100"),
    ],
)
def test_what_cannot_be_is_said(text: str, kind: type[Exception], says: str) -> None:
    x = cloud(100)
    with pytest.raises(kind, match=says):
        fitted(text, x)(x)


def test_constant_vectors_have_nothing_to_learn_and_zero_vectors_break_nothing() -> None:
    same = np.full((300, 24), 0.1, np.float32)
    for text in ("itq(bits=2)", "biohash"):
        with pytest.raises(Degenerate):
            fitted(text, same)
    zero = np.zeros((3, 24), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in EVERY:
            found = fitted(text, cloud(300))(zero)
            assert np.isfinite(found.astype(float)).all(), text
            assert (found[0] == found[1]).all(), text


# on sentences


def of_sentences(senteval: Path, name: str) -> StsVectors:
    from hengyu.cards import load_cards
    from hengyu.cards.data import load_pairs
    from hengyu.encoders import open_encoder

    pairs = load_pairs(load_cards()[name], "test", senteval)
    x = open_encoder(EncoderSpec("hengyu-mini")).encode([*pairs.first, *pairs.second], ["mean"])["mean"]
    n = len(pairs.labels)
    return StsVectors(x, np.arange(n), np.arange(n, 2 * n), {"target": Sample.of(x)}, pairs.labels)


def points(vectors: StsVectors, entry: str, seed: int | None = None) -> float:
    """The Spearman x 100 of an entry."""
    seen = vectors.observe(parse_entry(entry), (), "target", seed)
    return 100 * float(spearmanr(seen.similarity[0], vectors.labels)[0])


@pytest.mark.real
@pytest.mark.parametrize("name", ["STS-B", pytest.param("PAWSX", marks=pytest.mark.long)])
def test_simhash_comes_within_a_point_of_the_cosine_at_1024_bits(senteval: Path, name: str) -> None:
    vectors = of_sentences(senteval, name)
    for before, wanted in (("", points(vectors, "raw")), ("center > ", points(vectors, "center"))):
        found = np.mean([points(vectors, f"{before}simhash(bits=1024)", seed) for seed in range(5)])
        assert abs(found - wanted) < 1, before


@pytest.mark.real
def test_at_the_lemmas_dimension_99_percent_of_inner_products_are_kept(senteval: Path) -> None:
    x = of_sentences(senteval, "STS-B").x
    dim = jl_dim(len(x), 0.3, inner=True)
    assert measure(x, dim, eps=0.3, seeds=3).outside[2] <= 0.01


SUITE = """
tasks = ["grades:test", "grades:valid"]
resamples = 100
baselines = ["tfidf"]
entries = [
    "raw", { entry = "whitening", dims = [8, 12, 16] }, { entry = "jl(dim=8, kind=srht)", seeds = 3 },
    { entry = "simhash(bits=16)", seeds = 3 }, "simhash(bits=32)", { entry = "simhash(bits=64)", seeds = 3 }, "int8",
    { entry = "whitening(dim=8) > itq(bits=8)", seeds = 2 }, "pq(m=4, bits=4)", "flyhash(expand=2)", "itq(bits=99)",
]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Run:
    """A run of a small suite over two tasks, with one entry that cannot be."""
    here = tmp_path_factory.mktemp("projection")
    rng = np.random.default_rng(7)
    for split in ("test", "valid"):
        text = "".join(f"{a}\t{b}\t{y}\n" for a, b, y in sentences(rng, 100))
        (here / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + text, encoding="utf-8")
    card = 'name = "grades"\nlabels = { scale = [0, 5] }\n'
    card += "".join(f'[splits.{s}]\nfile = "{s}.tsv"\n' for s in ("test", "valid"))
    (here / "grades.toml").write_text(card, encoding="utf-8")
    (here / "suites").mkdir()
    (here / "suites" / "small.toml").write_text(SUITE, encoding="utf-8")
    suite = replace(load_suite(here / "suites" / "small.toml"), encoders=(EncoderSpec(str(tiny_bert)),))
    plan = make_plan(suite, datasets=[here])
    return load_run(run(plan, reports=here / "out", store=VectorStore(here / "store")).folder)


def test_records_say_how_many_bytes_a_vector_takes(finished: Run) -> None:
    wanted = {
        "raw": 128,
        "whitening(dim=16)": 64,
        "jl(dim=8, kind=srht)": 32,
        "simhash(bits=16)": 2,
        "simhash(bits=64)": 8,
        "int8": 32,
        "whitening(dim=8) > itq(bits=8)": 1,
        "pq(m=4, bits=4)": 2,
        "flyhash(expand=2)": 3,  # 3 winners of 64: 6 bits each
        "itq(bits=99)": None,  # it has no number either
    }
    for record in finished.records:
        expected = None if record.encoder == "tfidf" else wanted.get(record.entry, record.bytes)
        assert record.bytes == (None if record.status == "incomplete" else expected), record
        assert tidy(record)["bytes"] == record.bytes
    means = [r for r in finished.records if r.task == "mean" and r.entry == "simhash(bits=64)" and r.on_board]
    assert [m.bytes for m in means] == [8]
    assert "2 bytes a vector" in render(finished)


def test_codes_have_a_curve_over_their_bits(finished: Run) -> None:
    curves = {s.method: [p.dim for p in s.points] for s in collect(finished) if s.task == "grades:test"}
    assert curves["simhash"] == [16, 32, 64]
    assert curves["whitening, fit_on target"] == [8, 12, 16]


def test_the_shipped_suite_draws_ten_times_what_is_drawn() -> None:
    suite = load_suite(find_suite("projection"))
    drawn = [e for e in suite.entries if e.entry.stochastic]
    assert len(drawn) > 20
    assert min(e.seeds for e in drawn) >= 10
    assert {e.entry.steps[-1].name for e in suite.entries} >= {
        *(parse_entry(t).family for t in DRAWN),
        "int8",
        "binary",
    }


def test_what_a_method_needs_is_listed_without_a_default() -> None:
    listed = CliRunner().invoke(main, ["list", "methods"]).output
    assert "dim=..., kind=gaussian, seed=0" in listed
    assert "MISSING" not in listed


def test_a_sweep_over_every_dimension_has_one_seed(tmp_path: Path) -> None:
    path = tmp_path / "swept.toml"
    entry = '{ entry = "flow > truncate", dims = "all", seeds = 2 }'
    path.write_text(f'tasks = ["hengyu-sts:test"]\nentries = [{entry}]\n', encoding="utf-8")
    with pytest.raises(HengyuError, match="a sweep is of one seed; list the dims"):
        load_suite(path)
    path.write_text('tasks = ["hengyu-sts:test"]\nentries = [{ entry = "jl(dim=3)", dims = [3] }]\n', encoding="utf-8")
    with pytest.raises(HengyuError, match="write an entry for each"):
        load_suite(path)
