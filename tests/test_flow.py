"""The laws of flows: invertible, the right log-determinant, a density that integrates to 1, and whitening as optimum."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from zuko import transforms

from hengyu.base.errors import Degenerate
from hengyu.methods.flows.gaussianity import gaussianity
from hengyu.methods.flows.glow import ActNorm, Coupling, Glow, LULinear
from hengyu.methods.flows.linear import climb, gaussian_bits
from hengyu.methods.flows.training import bits_per_dim, hold_out
from hengyu.methods.transforms.flow import Flow
from hengyu.methods.transforms.linear_flow import LinearFlow
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.moments import Moments, spanning_columns
from hengyu.numerics.sample import Sample
from hengyu.numerics.similarity import cosines

SHAPES = [
    (c, m, levels, d)
    for c in ("additive", "affine")
    for m in ("lu", "reverse")
    for levels, d in ((1, 2), (2, 7), (3, 12))
]


def glow(coupling: Any, mix: Any, levels: int, d: int) -> Glow:
    """A flow in float64 with every parameter away from its start."""
    generator = torch.Generator().manual_seed(3)
    net = Glow(d, levels, 2, 8, coupling, mix, generator).double()
    net.started()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return net


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cloud(n: int = 1500, d: int = 12, seed: int = 0) -> np.ndarray:
    """Gaussian rows, float32, with a mean and a covariance of condition number around 1,000."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0] * np.geomspace(3.0, 0.1, d)
    return (rng.normal(size=(n, d)) @ basis.T + rng.normal(size=d)).astype(np.float32)


@pytest.mark.parametrize(("coupling", "mix", "levels", "d"), SHAPES)
def test_the_inverse_of_forward_is_the_identity(coupling: str, mix: str, levels: int, d: int) -> None:
    net, x = glow(coupling, mix, levels, d), rows(50, d)
    with torch.no_grad():
        z = net(x)[0]
        assert z.shape == x.shape
        assert (net.inverse(z) - x).abs().max() < 1e-8
        assert (net(net.inverse(x))[0] - x).abs().max() < 1e-8


@pytest.mark.parametrize(("coupling", "mix", "levels", "d"), SHAPES)
def test_the_log_determinant_is_that_of_autograds_jacobian(coupling: str, mix: str, levels: int, d: int) -> None:
    net, x = glow(coupling, mix, levels, d), rows(5, d)
    log_det = net(x)[1]
    assert log_det.dtype == torch.float64
    for row, ours in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0][0], row)
        assert float(ours.detach()) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-9)


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_the_likelihood_integrates_to_one_in_the_plane(coupling: str) -> None:
    net = glow(coupling, "lu", 1, 2)
    side = torch.linspace(-14.0, 14.0, 1201, dtype=torch.float64)
    x = torch.cartesian_prod(side, side)
    with torch.no_grad():
        density = torch.exp2(-2.0 * bits_per_dim(*net(x)))
    total = float(density.sum() * (side[1] - side[0]) ** 2)
    assert total == pytest.approx(1.0, abs=1e-3)
    assert density.max() > 0.01  # it lies on the grid, not beside it


@pytest.mark.parametrize("mix", ["lu", "reverse"])
@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_every_parameter_gets_a_gradient(coupling: str, mix: str) -> None:
    net = glow(coupling, mix, 2, 8)
    bits_per_dim(*net(rows(200, 8))).mean().backward()  # type: ignore[no-untyped-call]
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


def test_the_first_batch_gives_the_actnorms_their_values() -> None:
    norm = ActNorm(6).double()
    x = rows(400, 6) * torch.arange(1.0, 7.0, dtype=torch.float64) + 5.0
    with torch.no_grad():
        y, log_det = norm(x)
        assert y.mean(dim=0).abs().max() < 1e-9
        assert (y.std(dim=0, unbiased=False) - 1).abs().max() < 1e-5
        assert float(log_det) == pytest.approx(-float(x.std(dim=0, unbiased=False).log().sum()), abs=1e-4)
        before = norm.shift.clone()
        norm(x + 100.0)
        assert torch.equal(norm.shift, before)  # only the first


def test_the_mixing_starts_as_a_rotation() -> None:
    mixing = LULinear(9, torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        matrix, log_det = mixing(torch.eye(9, dtype=torch.float64))
    assert (matrix @ matrix.T - torch.eye(9, dtype=torch.float64)).abs().max() < 1e-6  # made in float32
    assert abs(float(log_det)) < 1e-5


def test_the_layers_agree_with_zuko() -> None:
    generator = torch.Generator().manual_seed(0)
    for kind in ("additive", "affine"):
        ours = Coupling(6, 8, kind, generator).double()
        with torch.no_grad():
            for p in ours.parameters():
                p += 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for norm in ours.norms:
            norm.armed = False

        def meta(a: torch.Tensor, kind: str = kind, ours: Coupling = ours) -> Any:
            shift = ours._net(a)
            if kind == "additive":
                return transforms.DependentTransform(transforms.AdditiveTransform(shift), 1)
            shift, gate = shift.chunk(2, dim=1)
            scale = torch.sigmoid(gate + 2.0)
            affine = torch.distributions.AffineTransform(shift * scale, scale)
            return transforms.DependentTransform(affine, 1)

        theirs = transforms.CouplingTransform(meta, torch.arange(6) < ours.cut)
        x = rows(40, 6)
        y, log_det = ours(x)
        want, want_det = theirs.call_and_ladj(x)
        assert (y - want).abs().max() < 1e-12
        assert (log_det - want_det).abs().max() < 1e-12
    mixing = LULinear(5, generator).double()
    lower, upper = mixing._factors()
    diagonal = torch.diagonal(upper)
    packed = torch.tril(lower @ torch.diag(diagonal)) + torch.triu(torch.diag(1 / diagonal) @ upper, 1)
    x = rows(30, 5)
    want, want_det = transforms.LULinearTransform(packed).call_and_ladj(x)
    y, log_det = mixing(x)
    assert (y[:, mixing.back] - want).abs().max() < 1e-12
    assert float(log_det.detach()) == pytest.approx(float(want_det[0].detach()), abs=1e-12)


def entropy_bits(covariance: np.ndarray) -> float:
    """Entropy of a Gaussian in bits per dimension."""
    return float(
        (math.log(2 * math.pi * math.e) + np.linalg.slogdet(covariance)[1] / len(covariance)) / (2 * math.log(2))
    )


@pytest.mark.long
@pytest.mark.parametrize("mix", ["lu", "reverse"])
def test_training_on_a_gaussian_reaches_its_entropy(mix: str) -> None:
    rng = np.random.default_rng(4)
    factor = rng.normal(size=(4, 4)) + 2 * np.eye(4)
    x = (rng.normal(size=(20_000, 4)) @ factor.T).astype(np.float32)
    flow = Flow(levels=1, depth=4, mix=mix, lr=5e-3, steps=2000).fit(x)
    fresh = (rng.normal(size=(100_000, 4)) @ factor.T).astype(np.float32)
    z, log_det = flow._map(fresh)
    assert Flow.report_bits(z, log_det) == pytest.approx(entropy_bits(factor @ factor.T), rel=0.01)


def test_the_optimum_of_the_linear_flow_is_whitening_up_to_a_rotation() -> None:
    x = cloud(d=20).astype(np.float64)
    first, second = np.arange(500), np.arange(500, 1000)
    white = Whitening().fit(x)
    want = cosines(white(x), first, second)
    for by in ("exp", "full"):
        flow = LinearFlow(by=by).fit(x)
        z = flow(x)
        assert np.abs(np.cov(z.T) - np.eye(20)).max() < 1e-8
        assert np.abs(cosines(z, first, second) - want).max() < 1e-9
        rotation = np.linalg.lstsq(white(x), z, rcond=None)[0]
        assert np.abs(rotation.T @ rotation - np.eye(20)).max() < 1e-8
        assert flow.report["log_det"]["mean"] == pytest.approx(-np.linalg.slogdet(np.cov(x.T))[1] / 2, abs=1e-3)
        assert (np.diff(flow.report["train_bits"]) <= 0).all()  # likelihood never falls


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e9])
def test_the_linear_flow_climbs_at_any_condition_number(condition: float) -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    covariance = (basis * np.geomspace(1.0, 1 / condition, 8)) @ basis.T
    for by in ("exp", "full"):
        flow = climb(covariance, 200, by)
        assert np.abs(flow.matrix @ covariance @ flow.matrix.T - np.eye(8)).max() < 1e-5
        assert flow.log_det == pytest.approx(np.linalg.slogdet(flow.matrix)[1], abs=1e-6)  # exp adds up traces
        assert flow.bits[-1] == pytest.approx(entropy_bits(covariance), abs=1e-6)


def test_fewer_steps_stop_on_the_way_to_whitening() -> None:
    x = cloud()
    raw, done = (np.linalg.cond(np.cov(v.T)) for v in (x, LinearFlow().fit(x)(x)))
    part = np.linalg.cond(np.cov(LinearFlow(steps=3).fit(x)(x).T))
    assert done < 1.001 < part < raw


def test_a_linear_flow_has_the_bits_of_the_fitted_gaussian() -> None:
    report = LinearFlow().fit(cloud(4000)).report
    assert report["bits"] == pytest.approx(report["linear_bits"], abs=1e-5)
    assert abs(report["gaussianity"]["kurtosis"]) < 0.2


def test_the_same_seed_gives_the_same_bytes() -> None:
    x = cloud()
    one, two, other = (Flow(steps=60, seed=s).fit(x) for s in (1, 1, 2))
    assert one(x).tobytes() == two(x).tobytes()
    assert one.report == two.report
    assert one(x).tobytes() != other(x).tobytes()
    state = torch.random.get_rng_state()
    Flow(steps=5).fit(x)
    assert torch.equal(state, torch.random.get_rng_state())  # nobody else's random numbers are touched


def test_a_restored_flow_maps_the_same() -> None:
    x = cloud()
    flow = Flow(steps=60, levels=3, depth=2, coupling="affine", seed=5).fit(x)
    again = Flow(steps=60, levels=3, depth=2, coupling="affine", seed=9).restore(flow.state(), flow.report)
    assert again(x).tobytes() == flow(x).tobytes()
    assert np.abs(again.inverse(again(x)) - x[:, flow.columns]).max() < 1e-3
    with pytest.raises(ValueError, match="a different flow"):
        Flow(steps=60, levels=2, depth=2).restore(flow.state(), {})
    linear = LinearFlow().fit(x)
    assert LinearFlow().restore(linear.state(), {})(x).tobytes() == linear(x).tobytes()


def test_a_column_that_follows_from_the_others_is_left_out_and_changes_nothing() -> None:
    x = cloud(d=10).astype(np.float64)
    weights = np.full(10, 0.1)
    wider = np.column_stack([x[:, :4], x @ weights, x[:, 4:], np.full(len(x), 7.0)])
    assert len(spanning_columns(Moments.of(wider))) == 10
    first, second = np.arange(500), np.arange(500, 1000)
    want = cosines(LinearFlow().fit(x)(x), first, second)
    got = cosines(LinearFlow().fit(wider)(wider), first, second)
    assert np.abs(got - want).max() < 1e-7
    flow = Flow(steps=300).fit(wider.astype(np.float32))
    assert flow(wider).shape == (len(x), 10)
    assert flow.report["bits"] > flow.report["linear_bits"] - 0.5  # no run along the missing direction


def test_a_fit_reads_rows_block_by_block() -> None:
    x = cloud(30_000, 6)
    asked: list[int] = []

    def read(ids: np.ndarray) -> np.ndarray:
        asked.append(len(ids))
        return x[ids]

    streamed = Flow(steps=30).fit_sample(Sample(read, np.ones(len(x), np.int64)))
    assert max(asked) <= 4096
    assert streamed(x[:100]).tobytes() == Flow(steps=30).fit(x)(x[:100]).tobytes()


def test_repeats_stay_on_one_side_of_the_split() -> None:
    sample = Sample.of(cloud(200), np.full(200, 3))
    train, held = hold_out(sample, 0)
    assert not set(train) & set(held)
    assert len(train) + len(held) == 200


def test_gaussianity_knows_a_normal_from_others() -> None:
    rng = np.random.default_rng(0)
    normal = gaussianity(rng.normal(size=(5000, 30)))
    assert all(abs(v) < 0.05 for k, v in normal.items() if k != "kurtosis_worst"), normal
    heavy = gaussianity(rng.standard_t(5, size=(5000, 30)))
    assert heavy["kurtosis"] > 1
    assert heavy["chi2_distance"] > 0.3


def test_held_out_bits_of_a_gaussian_are_its_cross_entropy() -> None:
    x = cloud(50_000, 5)
    sample = Sample.of(x)
    train, held = hold_out(sample, 0)
    got = gaussian_bits(sample, train, held, np.arange(5))
    assert got == pytest.approx(entropy_bits(np.cov(x.T)), abs=0.02)


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(Degenerate, match="at least 64"):
        Flow().fit(cloud(20))
    with pytest.raises(Degenerate, match="two directions"):
        Flow().fit(np.ones((100, 4), np.float32))
    with pytest.raises(Degenerate, match="all the same"):
        LinearFlow().fit(np.ones((100, 4), np.float32))
    for wrong in ({"levels": 0}, {"coupling": "cubic"}, {"mix": "none"}, {"lr": 0.0}, {"steps": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match="flow"):
            Flow(**wrong)
