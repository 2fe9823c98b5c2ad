"""Norms and angles through random layers: what theory says, what a simulation sees, and the command."""

from __future__ import annotations

import math

import numpy as np
import pytest
from click.testing import CliRunner

from hengyu.cli import main
from hengyu.numerics.depth import angle_after, norm_spread, simulate


def test_orthogonal_layers_keep_norms_and_angles() -> None:
    found = simulate(16, 30, "orthogonal", "linear", angle=1.0, networks=3)
    np.testing.assert_allclose(found.norm, 1, atol=1e-12)
    np.testing.assert_allclose(found.angle, 1.0, atol=1e-12)
    assert found.norm_sd.max() < 1e-12 and found.angle_sd.max() < 1e-12


def test_normal_layers_stray_as_theory_says() -> None:
    """The log of the norm of 400 networks has the mean and deviation of the theory, within four standard errors."""
    width, layers, networks = 20, 8, 400
    logs = []
    for seed in range(networks // 2):
        pair = simulate(width, layers, "normal", "linear", angle=1.0, networks=2, seed=seed)
        # of two numbers, mean and deviation give both back
        half = pair.norm_sd[-1] / math.sqrt(2)
        logs += [math.log(pair.norm[-1] + half), math.log(pair.norm[-1] - half)]
    mean, spread = norm_spread(width, layers)
    assert np.mean(logs) == pytest.approx(mean, abs=4 * spread / math.sqrt(networks))
    assert np.std(logs) == pytest.approx(spread, abs=4 * spread / math.sqrt(2 * networks))
    wide, deep = norm_spread(400, layers)[1], norm_spread(width, 4 * layers)[1]
    assert wide == pytest.approx(spread * math.sqrt(width / 400), rel=0.05) and deep == pytest.approx(2 * spread)


def test_relu_draws_directions_together() -> None:
    assert angle_after(0.0, "relu") == pytest.approx(0, abs=1e-7)
    assert angle_after(math.pi / 2, "relu") == pytest.approx(math.acos(1 / math.pi))  # Cho and Saul
    assert angle_after(math.pi, "relu") == pytest.approx(math.pi / 2)
    expected = 1.2
    for matrices in ("normal", "orthogonal"):
        found = simulate(256, 1, matrices, "relu", angle=expected, networks=40)
        error = 4 * found.angle_sd[1] / math.sqrt(40)
        assert found.angle[1] == pytest.approx(angle_after(expected, "relu"), abs=error)
        assert found.norm[1] == pytest.approx(1, abs=4 * found.norm_sd[1] / math.sqrt(40) + 0.01)


@pytest.mark.parametrize("matrices", ["normal", "orthogonal"])
def test_it_is_what_whole_matrices_do(matrices: str) -> None:
    """Drawn in full, matrices of width 8 give the same means and deviations, within four standard errors."""
    width, layers, networks = 8, 3, 600
    rng = np.random.default_rng(5)
    norms, angles = [], []
    for _ in range(networks):
        pair = np.zeros((width, 2))
        pair[0, 0], pair[:2, 1] = 1, (math.cos(1.0), math.sin(1.0))
        for _ in range(layers):
            weight = rng.standard_normal((width, width)) / math.sqrt(width)
            if matrices == "orthogonal":
                q, r = np.linalg.qr(weight)
                weight = q * np.sign(np.diag(r))
            pair = math.sqrt(2) * np.maximum(weight @ pair, 0)
        lengths = np.linalg.norm(pair, axis=0)
        if lengths.all():
            norms.append(lengths[0])
            angles.append(math.acos(min(1.0, pair[:, 0] @ pair[:, 1] / lengths.prod())))
    found = simulate(width, layers, matrices, "relu", angle=1.0, networks=networks)
    for mean, spread, seen in ((found.norm, found.norm_sd, norms), (found.angle, found.angle_sd, angles)):
        error = np.std(seen) / math.sqrt(networks / 2)
        assert mean[-1] == pytest.approx(np.mean(seen), abs=4 * error)
        assert spread[-1] == pytest.approx(np.std(seen), rel=0.25)


def test_the_default_is_good_to_a_twentieth() -> None:
    """The true deviation after 24 linear layers of width 256 is 14.96 degrees, from 60."""
    found = simulate(256, 24, "normal", "linear", angle=math.pi / 3)
    assert math.degrees(found.angle_sd[-1]) == pytest.approx(14.96, rel=0.05)


def test_networks_without_an_angle_are_left_out_and_counted() -> None:
    found = simulate(2, 3, "normal", "relu", angle=1.0, networks=60)
    assert 2 <= found.networks < 60
    assert all(np.isfinite(part).all() for part in (found.norm, found.norm_sd, found.angle, found.angle_sd))
    with pytest.raises(
        ValueError, match="in 3 of 3 networks of width 2 a vector became 0 within 40 layers; use a larger"
    ):
        simulate(2, 40, "normal", "relu", angle=1.0, networks=3)
    ran = CliRunner().invoke(
        main, ["theory", "depth", "--width", "2", "--layers", "3", "--activation", "relu", "--networks", "60"]
    )
    assert ran.exit_code == 0 and "nan" not in ran.output
    assert f"without {60 - found.networks} of the 60 normal networks, in which ReLU made a vector 0" in ran.output
    for words, said in (
        ("--width 2 --layers 40 --activation relu --networks 3", "a vector became 0 within 40 layers"),
        ("--width 4096 --layers 1000 --networks 10000", "exceeds 10,000,000,000; lower one of them"),
    ):
        ran = CliRunner().invoke(main, ["theory", "depth", *words.split()])
        assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1) and said in ran.stderr


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="gelu is not one of linear, relu"):
        angle_after(1.0, "gelu")
    with pytest.raises(ValueError, match="use normal or orthogonal"):
        simulate(8, 2, "uniform", "linear", angle=1.0)
    with pytest.raises(ValueError, match="at least 2, 1 and 2"):
        simulate(8, 2, "normal", "linear", angle=1.0, networks=1)


def test_the_command_prints_both_beside_the_theory() -> None:
    words = ["theory", "depth", "--width", "16", "--layers", "5", "--angle", "60", "--networks", "2"]
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 0, ran.output
    rows = [line.split() for line in ran.output.splitlines() if line[:7].strip().isdecimal()]
    assert [row[0] for row in rows] == ["0", "1", "2", "4", "5"]
    assert all(row[4:7] == ["1.000", "+-", "0.000"] and row[-3:] == ["60.00", "+-", "0.00"] for row in rows)
    assert "log of the norm -0.1595 +- 0.4079" in ran.output
    ran = CliRunner().invoke(main, [*words, "--activation", "relu"])
    assert ran.exit_code == 0 and " 52.48 " in ran.output and "at infinite width" in ran.output
    assert CliRunner().invoke(main, [*words, "--angle", "180"]).exit_code == 2
