"""Laws of the linear methods, then equality with NumPy's and scikit-learn's, then the published lines."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.decomposition import PCA as SklearnPCA

from hengyu.base.errors import Degenerate
from hengyu.methods import MomentTransform, find_method
from hengyu.methods.grammar import parse_entry
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.moments import Moments
from hengyu.numerics.similarity import cosines, cosines_by_dim


def cloud(n: int = 2000, d: int = 24, seed: int = 0) -> np.ndarray:
    """Anisotropic float32 vectors with a mean, as encoders give them."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d)) * np.geomspace(3, 0.1, d)
    return (rng.normal(size=(n, d)) @ mix + rng.normal(size=d) * 2).astype(np.float32)


def published(x: np.ndarray, k: int | None) -> np.ndarray:
    """The whitening of the published scripts: np.cov, SVD, U diag(1/sqrt(s)), the first k columns."""
    mu = x.mean(axis=0, keepdims=True)
    u, s, _ = np.linalg.svd(np.cov(x.T))
    return (x - mu) @ (u @ np.diag(1 / np.sqrt(s)))[:, :k]


def test_whitened_covariance_is_the_identity() -> None:
    z = Whitening().fit(cloud())(cloud())
    assert np.abs(np.cov(z.T) - np.eye(24)).max() < 1e-8
    assert np.abs(z.mean(axis=0)).max() < 1e-8


@pytest.mark.parametrize("k", [None, 16, 8])
def test_whitening_is_the_published_one(k: int | None) -> None:
    x = cloud()
    labels = np.random.default_rng(1).integers(0, 2, 1000)
    ours = cosines(Whitening(dim=k).fit(x)(x), np.arange(1000), np.arange(1000, 2000))
    z = published(x.astype(np.float64), k)
    a, b = z[:1000], z[1000:]
    theirs = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert np.abs(ours - theirs).max() < 1e-6
    assert abs(spearmanr(ours, labels)[0] - spearmanr(theirs, labels)[0]) < 1e-6


def test_whitening_with_beta_and_gamma_zero_is_a_rotation() -> None:
    x = cloud()
    z = Whitening(beta=0.0, gamma=0.0).fit(x)(x)
    assert np.allclose(z @ z.T, x.astype(np.float64) @ x.T.astype(np.float64))


def test_the_axes_of_whitening_are_about_beta_times_the_mean() -> None:
    x = cloud().astype(np.float64)
    for beta in (0.0, 0.4, 1.0):  # the covariance of kexue.fm 9079
        moved = x - beta * x.mean(axis=0)
        u, s, _ = np.linalg.svd(moved.T @ moved / (len(x) - 1))
        want = moved @ (u @ np.diag(s**-0.25))[:, :5]
        z = Whitening(dim=5, beta=beta, gamma=0.5).fit(x)(x)
        np.testing.assert_allclose(z @ z.T, want @ want.T, atol=1e-8)


def test_whitening_leaves_out_directions_of_rounding_noise() -> None:
    x = cloud()
    x = np.concatenate([x, x[:, :1] + x[:, 1:2]], axis=1)  # one column too many
    z = Whitening().fit(x)(x)
    assert z.shape[1] == 24
    assert np.isfinite(z).all()
    few = Whitening().fit(x[:10])(x)  # fewer rows than dimensions
    assert few.shape[1] == 9


def test_constant_vectors_are_degenerate() -> None:
    with pytest.raises(Degenerate, match="all the same"):
        Whitening().fit(np.ones((50, 4), np.float32))


def test_pca_is_scikit_learns_up_to_signs() -> None:
    x = cloud().astype(np.float64)
    ours = find_method("pca")(dim=5).fit(x)(x)
    theirs = SklearnPCA(n_components=5, svd_solver="full").fit(x).transform(x)
    assert np.abs(np.abs(ours) - np.abs(theirs)).max() < 1e-8


def test_standardize_gives_mean_0_and_variance_1_and_keeps_dead_columns_dead() -> None:
    x = cloud()
    x[:, 3] = 5.0
    z = find_method("standardize")().fit(x)(x)
    spread = z.std(axis=0, ddof=1)
    assert np.abs(z.mean(axis=0)).max() < 1e-8
    assert np.allclose(np.delete(spread, 3), 1)
    assert (z[:, 3] == 0).all()


def test_abtt_leaves_nothing_along_the_removed_axes() -> None:
    x = cloud()
    method = find_method("abtt")(top=3).fit(x)
    assert np.abs(method(x) @ method.axes).max() < 1e-5
    assert np.abs(method(x).mean(axis=0)).max() < 1e-5


def test_l2_gives_length_1_and_keeps_zero() -> None:
    x = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    assert find_method("l2")().fit(x)(x) == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize(
    "text", ["raw", "center", "standardize", "whitening", "pca", "abtt(top=2)", "truncate(dim=7)", "l2"]
)
def test_methods_work_row_by_row(text: str) -> None:
    x = cloud()
    method = parse_entry(text).steps[0].make().fit(x)
    assert np.allclose(method(x)[17:18], method(x[17:18]), atol=1e-9)


@pytest.mark.parametrize("text", ["center", "standardize", "whitening", "pca", "abtt"])
def test_repeats_are_counted_by_moments(text: str) -> None:
    x = cloud(200)
    counts = np.random.default_rng(3).integers(1, 5, 200)
    one, two = (parse_entry(text).steps[0].make() for _ in range(2))
    assert isinstance(one, MomentTransform)
    one.fit(np.repeat(x, counts, axis=0))
    two.fit_moments(Moments.of(x, counts))
    first, second = np.arange(100), np.arange(100, 200)
    assert np.allclose(cosines(one(x), first, second), cosines(two(x), first, second), atol=1e-9)


def test_moments_merge_in_any_grouping() -> None:
    x = cloud(10_000)
    whole = Moments.of(x)
    parts = Moments.of(x[:1]).merge(Moments.of(x[1:4000])).merge(Moments.of(x[4000:]))
    assert np.allclose(whole.covariance, np.cov(x.T.astype(np.float64)), rtol=1e-9)
    assert np.allclose(parts.covariance, whole.covariance, rtol=1e-9)
    assert np.allclose(parts.mean, x.astype(np.float64).mean(axis=0), rtol=1e-9)


def test_one_pass_gives_every_dimension() -> None:
    x = cloud(300)
    first, second = np.arange(150), np.arange(150, 300)
    every = cosines_by_dim(x, first, second, range(1, 25))
    for k in (1, 2, 7, 24):
        a, b = x[first, :k].astype(np.float64), x[second, :k].astype(np.float64)
        alone = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert np.abs(every[k - 1] - alone).max() < 1e-12


def test_cosine_of_a_row_with_itself_is_1_and_of_a_zero_vector_0() -> None:
    x = np.array([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]], np.float32)
    assert cosines(x, np.array([0, 0]), np.array([0, 1])).tolist() == [1.0, 0.0]
