"""What theory promises: known values, laws of the bounds and of the angle, and real vectors held against them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from hengyu.base.errors import Degenerate
from hengyu.cli import main
from hengyu.numerics.dimensions import measure_dimensions
from hengyu.numerics.distortion import measure
from hengyu.numerics.projections import PROVED
from hengyu.numerics.theory import (
    angle_density,
    angle_variance,
    cosine_quantile,
    entropy_dim,
    entropy_gap,
    inner_bound,
    jl_dim,
    jl_eps,
    norm_bound,
)


def said(*words: str) -> str:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return done.output


def cone(n: int, d: int) -> np.ndarray:
    """Vectors as encoders give them: around a large mean, of a falling spectrum."""
    rng = np.random.default_rng(2)
    return (rng.normal(size=(n, d)) * np.geomspace(2, 0.05, d) + rng.normal(size=d)).astype(np.float32)


def test_the_bounds_are_those_of_the_lemma() -> None:
    assert norm_bound(0.5, 256) == pytest.approx(2 * math.exp(-8))
    assert inner_bound(0.5, 256) == pytest.approx(4 * math.exp(-8))
    assert norm_bound(0.1, 8) == 1  # a probability


@pytest.mark.parametrize("eps", [0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("dim", [1, 7, 64, 500])
def test_the_bound_lies_above_the_chi_square_tail_it_is_of(eps: float, dim: int) -> None:
    from scipy.stats import chi2

    exact = chi2.sf(dim * (1 + eps), dim) + chi2.cdf(dim * (1 - eps), dim)
    assert exact <= norm_bound(eps, dim)


def test_the_dimension_is_the_least_under_the_union_bound() -> None:
    for n, eps, failure in ((1000, 0.2, 0.01), (10, 0.9, 0.5), (10**6, 0.1, 1e-6)):
        pairs = n * (n - 1) / 2
        for inner, bound in ((False, norm_bound), (True, inner_bound)):
            dim = jl_dim(n, eps, failure, inner=inner)
            assert pairs * bound(eps, dim) <= failure * (1 + 1e-9)
            assert pairs * bound(eps, dim - 1) > failure
            assert jl_eps(n, dim, failure, inner=inner) <= eps < jl_eps(n, dim - 1, failure, inner=inner)


def test_the_dimension_grows_with_the_logarithm_of_n_and_the_inverse_square_of_eps() -> None:
    assert jl_dim(10**6, 0.1) == pytest.approx(24 * math.log(10**6) / 0.1**2, rel=0.01)
    assert jl_dim(10**6, 0.05) == pytest.approx(4 * jl_dim(10**6, 0.1), rel=1e-3)
    assert jl_dim(10**4, 0.1) > johnson_lindenstrauss_min_dim(10**4, eps=0.1)


@pytest.mark.parametrize("kind", PROVED)
def test_at_the_lemmas_dimension_inner_products_are_kept(kind: str) -> None:
    x = cone(200, 1200)
    dim = jl_dim(len(x), 0.5, inner=True)
    assert dim < x.shape[1]
    found = measure(x, dim, kind=kind, eps=0.5, seeds=3)
    assert found.outside == (0, 0, 0)
    assert found.bounds is not None


@pytest.mark.parametrize("kind", PROVED)
@pytest.mark.parametrize(("dim", "eps"), [(64, 0.9), (256, 0.4)])
def test_what_moves_is_rarer_than_the_bound(kind: str, dim: int, eps: float) -> None:
    found = measure(cone(300, 400), dim, kind=kind, eps=eps, pairs=2000, seeds=5)
    assert found.bounds is not None
    assert all(share <= bound for share, bound in zip(found.outside, found.bounds, strict=True))
    assert list(found.inners) == sorted(found.inners)
    assert found.norms[0] < 0 < found.norms[-1]


def test_a_rotation_moves_nothing() -> None:
    found = measure(cone(100, 64), 64, kind="orthogonal", seeds=2)
    for quantiles in (found.norms, found.distances, found.inners):
        assert np.abs(quantiles).max() < 1e-9
    assert found == measure(cone(100, 64), 64, kind="orthogonal", seeds=2)


def test_distortion_needs_directions() -> None:
    with pytest.raises(Degenerate, match="0 vectors are non-zero"):
        measure(np.zeros((5, 4)), 2)
    with pytest.raises(Degenerate, match="equal direction"):
        measure(np.ones((5, 4)), 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        measure(cone(10, 4), 2, eps=1.5)
    with pytest.raises(ValueError, match="dim=5 is larger than the 4"):
        measure(cone(10, 4), 5, kind="orthogonal")
    assert measure(cone(10, 4), 2, kind="srht").bounds is None  # they are not proved of it


def test_the_variance_of_the_angle_has_its_known_values() -> None:
    assert angle_variance(100) == pytest.approx(0.0101007, abs=5e-8)
    assert angle_variance(1000) == pytest.approx(0.001001, abs=5e-8)
    assert angle_variance(2) == pytest.approx(math.pi**2 / 12)  # uniform
    assert angle_variance(3) == pytest.approx(math.pi**2 / 4 - 2)  # sin / 2
    assert angle_variance(10**9) == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.parametrize("dim", [2, 3, 10, 768])
def test_the_density_integrates_to_1_and_has_the_variance(dim: int) -> None:
    angle = np.linspace(0, np.pi, 200_001)
    density = angle_density(angle, dim)
    assert np.trapezoid(density, angle) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(density * (angle - np.pi / 2) ** 2, angle) == pytest.approx(angle_variance(dim), rel=1e-6)


def test_random_directions_have_that_density() -> None:
    from scipy.stats import kstest

    x, y = np.random.default_rng(0).normal(size=(2, 20_000, 30))
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    angle = np.arccos(cosine)
    assert angle.var() == pytest.approx(angle_variance(30), rel=0.05)
    grid = np.linspace(0, np.pi, 20_001)
    below = np.concatenate([[0], np.cumsum((angle_density(grid, 30)[1:] + angle_density(grid, 30)[:-1]) / 2)])
    assert kstest(angle, lambda t: np.interp(t, grid, below * grid[1])).pvalue > 1e-3
    for p in (0.01, 0.5, 0.975):
        assert (cosine < cosine_quantile(p, 30)).mean() == pytest.approx(p, abs=0.01)


@pytest.mark.parametrize(
    ("dim", "published"),  # the table of kexue.fm 7695
    [(32, -7.77471), (64, -15.4734), (96, -23.1726), (128, -30.8718), (256, -61.6692), (512, -123.264)],
)
def test_the_entropy_of_a_skip_gram_model_is_the_published_one(dim: int, published: float) -> None:
    assert entropy_gap(dim) == pytest.approx(published, rel=1e-5)


def test_the_rule_of_dimensions_follows_from_the_entropy() -> None:
    from scipy.special import iv

    for dim in (2, 3, 7, 40):  # E[exp(n cos)] by Bessel functions
        nu = dim / 2 - 1
        log_mean = math.lgamma(nu + 1) + nu * math.log(2 / dim) + math.log(iv(nu, dim))
        assert entropy_gap(dim) == pytest.approx(log_mean - dim * iv(nu + 1, dim) / iv(nu, dim), rel=1e-9)
    assert entropy_gap(4000) / 4000 == pytest.approx(-math.log((1 + math.sqrt(5)) / 2) / 2, rel=1e-4)
    for n in (2, 512, 100_000, 5_000_000):
        dim = entropy_dim(n)
        assert 2 * math.log(n) + entropy_gap(dim) < 0 and (dim == 2 or 2 * math.log(n) + entropy_gap(dim - 1) >= 0)
    assert (entropy_dim(512), entropy_dim(100_000), entropy_dim(5_000_000)) == (52, 96, 128)
    with pytest.raises(ValueError, match="at least 2"):
        entropy_dim(1)


def test_what_fewer_dimensions_leave_of_vectors() -> None:
    x = cone(600, 32)
    first, second = np.arange(300), np.arange(300, 600)
    labels = np.random.default_rng(0).normal(size=300)
    found = measure_dimensions(x, first, second, labels, [4, 16, 32])
    whole = found.kept[-1]
    assert whole.change[0] < 1e-9 and whole.score[0] == pytest.approx(found.score)
    changes = [k.change for k in found.kept]
    assert all(pca < jl for pca, jl in changes)  # the data's own axes lose less
    assert changes[0][0] > changes[1][0] and changes[0][1] > changes[2][1]
    values = np.linalg.eigvalsh(np.cov(x.T.astype(np.float64)))[::-1]
    assert found.holding[0.9] == int(np.argmax(np.cumsum(values) / values.sum() >= 0.9)) + 1
    assert found.enough(1.0, 0) == 4 and found.enough(1e-12, 1) is None


def test_the_commands_print_the_numbers() -> None:
    rule = said("theory", "dim", "--n", "100000")
    assert "dim 96 (8.33 log N = 95.9)" in rule and f"{jl_dim(100_000, 0.1, inner=True):,}" in rule
    out = said("theory", "jl", "--n", "20000", "--eps", "0.1", "--failure", "0.01")
    assert f"{jl_dim(20000, 0.1, 0.01):,}" in out
    assert f"{jl_dim(20000, 0.1, 0.01, inner=True):,}" in out
    assert "union bound over all pairs" in out
    assert "the bound is void" in said("theory", "jl", "--n", "20000", "--dim", "64")
    assert "variance  0.01010067" in said("theory", "angle", "--dim", "100")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("theory", "jl", "--n", "20", "--eps", "3"), "eps=3 must lie between 0 and 1"),
        (("theory", "jl", "--n", "20", "--eps", "0"), "eps=0 must lie between 0 and 1"),
        (("theory", "jl", "--n", "20", "--eps", "0.1", "--failure", "2"), "failure=2 must lie between 0 and 1"),
        (("theory", "jl", "--n", "20"), "give either --eps or --dim"),
        (("theory", "jl", "--n", "20", "--eps", "0.1", "--dim", "3"), "give either --eps or --dim"),
        (("distort", "--kind", "gausian"), "did you mean 'gaussian'"),
        (("distort", "--eps", "2"), "--eps 2: must lie between 0 and 1"),
        (("distort", "--pooling", "maen"), "did you mean 'mean'"),
    ],
)
def test_mistakes_are_sentences(words: tuple[str, ...], says: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2, done.output
    assert says in done.output


@pytest.mark.long
def test_the_rules_of_dimensions_are_held_against_real_sentences() -> None:
    out = said("theory", "dim", "hengyu-mini")
    assert "effective rank" in out and "<- 8.33 log N" in out and "random ones" in out


@pytest.mark.long
def test_on_real_sentences_the_lemma_keeps_99_percent_and_says_so(tmp_path: Path) -> None:
    out = said("distort", "--eps", "0.3", "--seeds", "3", "--json", str(tmp_path / "found.json"))
    assert "inner product" in out
    found = json.loads((tmp_path / "found.json").read_bytes())["found"][0]
    assert found["dim"] == jl_dim(found["vectors"], 0.3, inner=True)
    assert found["outside"][2] <= 0.01
