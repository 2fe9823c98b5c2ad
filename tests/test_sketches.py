"""The randomized solver: laws, then equality with the exact one and with scikit-learn, then what is reported."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import save_grades
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.utils.extmath import randomized_svd

from hengyu.base.errors import Degenerate, HengyuError, WrongSize
from hengyu.cli import main
from hengyu.methods.grammar import parse_entry
from hengyu.methods.transforms.pca import PCA
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample
from hengyu.numerics.shrinkage import ledoit_wolf
from hengyu.numerics.similarity import cosines
from hengyu.numerics.sketches import OVERSAMPLE, Sketched, expected_error, sketch_spectrum
from hengyu.storage.records import load_run

Floats = NDArray[np.float64]


@cache
def rows(n: int = 1500, d: int = 300, decay: float = 0.7, seed: int = 0) -> NDArray[np.float32]:
    """Vectors whose eigenvalues fall by a power of their number, away from the origin."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x = (rng.normal(size=(n, d)) * np.arange(1.0, d + 1) ** -decay) @ turn + 3 * turn[0]
    return x.astype(np.float32)


def error(found: Sketched, covariance: Floats) -> float:
    s = found.spectrum
    return float(np.linalg.norm(covariance - (s.vectors * s.values) @ s.vectors.T, 2))


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_the_error_lies_between_the_best_possible_and_both_bounds(passes: int) -> None:
    moments = Moments.of(rows())
    values = moments.spectrum.values
    for rank in (5, 40):
        found = [sketch_spectrum(Sample.of(rows()), rank, passes, seed) for seed in range(5)]
        errors = [error(f, moments.covariance) for f in found]
        assert min(errors) >= values[rank] * (1 - 1e-9)
        assert all(e <= f.bound for e, f in zip(errors, found, strict=True))
        assert np.mean(errors) <= expected_error(values, rank, passes)


def test_more_passes_come_closer() -> None:
    covariance = Moments.of(rows()).covariance
    errors = [error(sketch_spectrum(Sample.of(rows()), 40, p), covariance) for p in (1, 2, 3, 5)]
    assert errors == sorted(errors, reverse=True)


def test_eigenvectors_are_orthonormal_and_eigenvalues_never_too_large() -> None:
    found, exact = sketch_spectrum(Sample.of(rows()), 40), Moments.of(rows()).spectrum
    vectors, values = found.spectrum.vectors, found.spectrum.values
    assert np.abs(vectors.T @ vectors - np.eye(40)).max() < 1e-10
    assert (np.diff(values) <= 0).all()
    assert (values <= exact.values[:40] * (1 + 1e-6)).all()  # the Nystrom approximation is below the matrix
    assert found.explained == pytest.approx(values.sum() / exact.values.sum())


def test_a_matrix_of_low_rank_is_found_exactly() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 20)) @ rng.normal(size=(20, 300)) + 5
    found, exact = sketch_spectrum(Sample.of(x), 20, 2), Moments.of(x).spectrum
    np.testing.assert_allclose(found.spectrum.values, exact.values[:20], rtol=1e-6)
    assert found.bound < 1e-6 * exact.values[0]
    assert found.explained == pytest.approx(1)


def test_repeated_rows_and_blocks_count_like_the_rows_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    x, times = rows(200, 120), np.random.default_rng(1).integers(1, 4, 200)
    whole = sketch_spectrum(Sample.of(np.repeat(x, times, axis=0)), 30)
    monkeypatch.setattr("hengyu.numerics.sketches._CELLS", 1)
    parts = sketch_spectrum(Sample.of(x, times), 30)
    assert parts.count == whole.count
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-10)
    np.testing.assert_allclose(parts.spectrum.values, whole.spectrum.values, rtol=1e-4)
    assert parts.variance == pytest.approx(whole.variance)


def test_it_is_as_good_as_scikit_learns() -> None:
    x = rows()
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    covariance = Moments.of(x).covariance
    # two power iterations of A with 32 more columns multiply by the covariance as often as three passes do
    _, s, v = randomized_svd(centred, 40, n_oversamples=OVERSAMPLE, n_iter=2, random_state=0)
    theirs = float(np.linalg.norm(covariance - (v.T * (s**2 / (len(x) - 1))) @ v, 2))
    assert error(sketch_spectrum(Sample.of(x), 40, 3), covariance) < 1.05 * theirs
    leading = SklearnPCA(5, svd_solver="full").fit(x)
    ours = PCA(dim=5, solver="randomized", sketch=60, passes=5).fit(x)
    assert np.abs(np.abs(ours.matrix.T @ leading.components_.T) - np.eye(5)).max() < 1e-3


@pytest.mark.parametrize("method", [PCA, Whitening])
def test_cosines_of_the_solvers_agree_and_columns_are_nested(method: type[PCA] | type[Whitening]) -> None:
    x = rows()
    a, b = np.arange(700), np.arange(700, 1400)
    kinds = {"solver": "randomized", "sketch": 200, "passes": 4}
    exact, wide = method(dim=40).fit(x)(x), method(dim=100, **kinds).fit(x)(x)  # type: ignore[arg-type]
    narrow = method(dim=40, **kinds).fit(x)(x)  # type: ignore[arg-type]
    assert (narrow == wide[:, :40]).all()
    assert np.abs(cosines(narrow, a, b) - cosines(exact, a, b)).max() < 0.01


def test_narrow_vectors_are_solved_exactly() -> None:
    x = rows(d=60)
    assert (Whitening(dim=20, solver="randomized").fit(x).matrix == Whitening(dim=20).fit(x).matrix).all()


def test_ledoit_wolf_is_scikit_learns() -> None:
    for n in (20, 200, 2000):
        x = rows(n, 60)
        weight = ledoit_wolf(Moments.of(x), Sample.of(x))
        assert weight == pytest.approx(ledoit_wolf_shrinkage(x.astype(np.float64)), rel=1e-6)
    times = np.arange(1, 51) % 3 + 1
    few = rows(50, 10)
    repeated = np.repeat(few, times, axis=0).astype(np.float64)
    assert ledoit_wolf(Moments.of(few, times), Sample.of(few, times)) == pytest.approx(ledoit_wolf_shrinkage(repeated))
    assert ledoit_wolf(Moments.of(np.ones((9, 3))), Sample.of(np.ones((9, 3)))) == 0


def test_whitening_with_shrinkage_whitens_the_shrunk_covariance() -> None:
    x = rows(100, 60)
    weight = ledoit_wolf_shrinkage(x.astype(np.float64))
    covariance = np.cov(x.T.astype(np.float64))
    shrunk = (1 - weight) * covariance + weight * np.trace(covariance) / 60 * np.eye(60)
    matrix = Whitening(shrink="ledoit-wolf").fit(x).matrix
    assert np.abs(matrix.T @ shrunk @ matrix - np.eye(60)).max() < 1e-8
    few = Whitening(shrink=0.5).fit(x[:10])
    assert few.matrix.shape == (60, 60)  # no direction is lost, where whitening alone has 9
    assert Whitening().fit(x[:10]).matrix.shape == (60, 9)
    np.testing.assert_array_equal(Whitening(shrink=0.0).fit(x).matrix, Whitening().fit(x).matrix)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("pca(solver=magic)", "must be exact or randomized"),
        ("pca(sketch=0)", "must be at least 1"),
        ("whitening(dim=300, solver=randomized)", "add sketch=300"),
        ("whitening(dim=4, solver=randomized, beta=0)", "not possible with solver=randomized"),
        ("whitening(shrink=2)", "a number in 0..1, or ledoit-wolf"),
        ("whitening(shrink=wolf)", "a number in 0..1, or ledoit-wolf"),
        ("whitening(dim=4, solver=randomized, shrink=ledoit-wolf)", "needs all eigenvalues"),
    ],
)
def test_parameters_are_checked(entry: str, said: str) -> None:
    with pytest.raises(HengyuError, match=said):
        parse_entry(entry)


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(WrongSize, match="dim=400 is larger than the 300"):
        PCA(dim=400, solver="randomized", sketch=400).fit(rows())
    with pytest.raises(WrongSize, match="dim=350 is larger than the 300"):
        PCA(dim=350, solver="randomized", sketch=350).fit(rows())
    with pytest.raises(Degenerate, match="all the same"):
        Whitening(solver="randomized", sketch=10).fit(np.ones((50, 100), np.float32))
    with pytest.raises(ValueError, match="no rows"):
        sketch_spectrum(Sample.of(np.zeros((0, 5))), 2)
    with pytest.raises(ValueError, match="at least 1"):
        sketch_spectrum(Sample.of(rows()), 0)


def test_a_run_tells_the_sketch_its_bound_and_its_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_grades(tmp_path)
    lines = [path.read_text(encoding="utf-8").splitlines()[1:] for path in sorted(tmp_path.glob("*.tsv"))]
    texts = sorted({text for part in lines for line in part for text in line.split("\t")[:2]})
    np.save(tmp_path / "wide.npy", rows(len(texts), 90))
    (tmp_path / "wide.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (tmp_path / "wide.toml").write_text(
        'tasks = ["grades:test"]\nbaselines = []\nresamples = 50\nencoders = ["wide.npy"]\n'
        'entries = [{ entry = "whitening(solver=randomized, sketch=24)", dims = [8, 16] }, { entry = "whitening", dims = [8] }]\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["run", "wide.toml", "--datasets", ".", "--out", "runs", "--store", "store"])
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs" / "records").iterdir()
    run = load_run(folder)
    fit = next(f for f in run.header["fits"] if "solver=randomized" in f["entry"])
    assert fit["sketch"] == 24 and fit["error_bound"] > 0 and 0 < fit["explained"] < 1
    assert len({r.entry for r in run.records}) == 4  # raw among them
