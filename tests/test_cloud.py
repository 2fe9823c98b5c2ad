"""Diagnostics of a cloud: known clouds, laws, equality with SciPy and scikit-learn, and the command."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hengyu.base.errors import Degenerate
from hengyu.cli import main
from hengyu.numerics.cloud import BINS, describe, describe_cuts, hubness, random_histogram, unit_rows, vmf_concentration
from hengyu.numerics.theory import angle_variance


def uniform(n: int, d: int, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)))


def test_uniform_directions_look_uniform() -> None:
    c = describe(uniform(4000, 50))
    assert c.mean_norm == pytest.approx(1 / np.sqrt(4000), abs=0.01)
    assert abs(c.anisotropy) < 0.003
    assert c.effective_rank == pytest.approx(50, abs=1)
    assert c.uniformity == pytest.approx(
        -4 + 8 / 50, abs=0.02
    )  # log E exp(4 cos - 4), cos nearly normal of variance 1/50
    assert c.angle_mean == pytest.approx(90, abs=0.1)
    assert c.angle_sd == pytest.approx(np.degrees(np.sqrt(angle_variance(50))), rel=0.02)
    assert c.angles == pytest.approx(random_histogram(50), abs=0.01)
    assert sum(c.angles) == pytest.approx(1)


def test_a_common_direction_shows_in_mean_and_anisotropy() -> None:
    x = uniform(3000, 20) + 3 * np.eye(20)[0]
    c = describe(x)
    assert c.mean_norm > 0.9
    assert c.anisotropy == pytest.approx(c.mean_norm**2, abs=0.003)  # E <u, v> = |E u|^2
    assert describe(x - x.mean(axis=0)).mean_norm < 0.1


def test_scale_and_rotation_change_nothing() -> None:
    x = uniform(800, 16) * np.geomspace(3, 0.1, 16) + 0.2
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0]
    pairs = (np.arange(9), np.arange(9, 18))
    one, two = asdict(describe(x, pairs)), asdict(describe(5 * x @ turn, pairs))
    for key, value in one.items():
        assert two[key] == pytest.approx(value, rel=1e-6, abs=1e-4), key


def test_concentration_recovers_that_of_a_von_mises_fisher_distribution() -> None:
    from scipy.stats import vonmises_fisher

    drawn = vonmises_fisher(np.eye(10)[0], 40).rvs(5000, random_state=np.random.default_rng(0))
    assert describe(drawn).concentration == pytest.approx(40, rel=0.03)
    assert vmf_concentration(1.0, 10) is None
    assert vmf_concentration(0.0, 10) == 0


def test_the_spectrum_is_cumulative_over_powers_of_two() -> None:
    x = np.random.default_rng(0).normal(size=(500, 6)) * [8, 4, 2, 1, 1, 1]
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    shares = np.cumsum(values) / values.sum()
    assert describe(x).spectrum == pytest.approx((shares[0], shares[1], shares[3]))


def test_alignment_is_the_mean_squared_distance_of_what_means_the_same() -> None:
    x = uniform(100, 8)
    a, b = np.arange(50), np.arange(50, 100)
    assert describe(x, (a, b)).alignment == pytest.approx(((x[a] - x[b]) ** 2).sum(axis=1).mean())
    assert describe(x, (a, a)).alignment == pytest.approx(0)
    assert describe(x).alignment is None
    assert describe(x, (a[:0], a[:0])).alignment is None


def test_hubness_is_the_skewness_of_scikit_learns_neighbours() -> None:
    from scipy.stats import skew
    from sklearn.neighbors import NearestNeighbors

    x = uniform(1500, 30)
    near = NearestNeighbors(n_neighbors=11, metric="cosine").fit(x).kneighbors(x, return_distance=False)[:, 1:]
    assert hubness(x) == pytest.approx(skew(np.bincount(near.ravel(), minlength=1500)), abs=0.02)
    assert hubness(uniform(1500, 3)) < hubness(x)  # hubs are of high dimension
    assert hubness(uniform(4, 3)) == 0  # everyone is the neighbour of everyone


def test_samples_are_seeded_and_zero_rows_left_out() -> None:
    x = uniform(400, 12)
    assert describe(x, rows=100, pairs=500, seed=3) == describe(x, rows=100, pairs=500, seed=3)
    assert describe(x, rows=100, pairs=500, seed=3) != describe(x, rows=100, pairs=500, seed=4)
    assert describe(np.concatenate([x, np.zeros((5, 12))])).n == 400
    with pytest.raises(Degenerate, match="1 vectors are non-zero"):
        describe(np.eye(3)[[0]])
    with pytest.raises(ValueError, match="9000 columns; for more than 8192 vectors at most 8192 are supported"):
        describe(np.broadcast_to(np.zeros(1), (9000, 9000)))
    same = describe(np.ones((20, 4)))
    assert same.concentration is None
    assert np.isfinite(same.hubness)
    assert same.angles[0] == 1


def test_a_cut_is_described_as_its_columns_alone_and_more_columns_than_rows_have_the_same_eigenvalues() -> None:
    x = np.random.default_rng(0).normal(size=(300, 40)) * np.geomspace(2, 0.2, 40) + 0.3
    for cut, one in zip((8, 40), describe_cuts(x, (8, 40), seed=5), strict=True):
        alone = {k: v for k, v in asdict(describe(x[:, :cut], seed=5)).items() if v is not None}
        for key, value in alone.items():
            assert getattr(one, key) == pytest.approx(value, rel=1e-9, abs=1e-12), key
    few = x[:25]
    values = np.linalg.eigvalsh(np.cov(few.T))[::-1].clip(0)
    p = values[values > 1e-12] / values.sum()
    wide = describe(few)
    assert wide.effective_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert wide.spectrum == pytest.approx([values[: 2**k].sum() / values.sum() for k in range(6)])


@pytest.mark.parametrize("dim", [2, 3, 100, 5000])
def test_the_random_histogram_sums_to_1(dim: int) -> None:
    found = random_histogram(dim)
    assert len(found) == BINS
    assert sum(found) == pytest.approx(1, abs=1e-3)
    assert found == pytest.approx(found[::-1])


def test_the_command_describes_an_entry_before_and_after(tmp_path: Path) -> None:
    words = ["cloud", "hengyu-static", "--entry", "whitening(dim=64)", "--entry", "center > simhash(bits=64)", "--json"]
    done = CliRunner().invoke(main, [*words, str(tmp_path / "found.json")])
    assert done.exit_code == 0, done.output
    assert "whitening(dim=64)" in done.output and "random" in done.output
    found = json.loads((tmp_path / "found.json").read_bytes())["clouds"]
    assert list(found) == sorted(["raw", "whitening(dim=64)", "center > simhash(bits=64)"])
    assert abs(found["whitening(dim=64)"]["anisotropy"]) < 0.02 < found["raw"]["anisotropy"]
    # of 64 columns all count the same after whitening; of 256 of the encoder not nearly
    assert found["whitening(dim=64)"]["effective_rank"] == pytest.approx(64)
    assert found["raw"]["effective_rank"] < 200
    assert found["raw"]["alignment"] is not None
    wide = CliRunner().invoke(main, ["cloud", "hengyu-static", "--entry", "pca(dim=999)"])
    assert wide.exit_code == 2
    assert "entry 'pca(dim=999)': dim=999 is larger than the 256" in wide.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--entry", "whitenin"), "did you mean 'whitening'"),
        (("--task", "hengyu-sts:tset"), "did you mean 'test'"),
        (("--pooling", "maen"), "did you mean 'mean'"),
        (("nowhere/model",), "the network is off"),
    ],
)
def test_mistakes_are_sentences(words: tuple[str, ...], says: str) -> None:
    done = CliRunner().invoke(main, ["cloud", *words])
    assert done.exit_code == 2, done.output
    assert says in done.output
