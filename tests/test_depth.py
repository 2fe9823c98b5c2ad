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
