"""RaBitQ: equal to faiss's, unbiased, within its error bound, and OPQ below it."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from click.testing import CliRunner

from hengyu.cli import main
from hengyu.methods.codes.pq import PQ
from hengyu.methods.codes.rabitq import Rabitq
from hengyu.methods.transforms.opq import Opq
from hengyu.numerics.projections import draw
from hengyu.numerics.rabitq import grid, measure_rabitq, rabitq_alignment, rabitq_error
from hengyu.numerics.similarity import cosines

D = 64


def cloud(n: int = 600, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, D)) * np.geomspace(3, 0.3, D) + rng.normal(size=D)).astype(np.float32)


def test_one_bit_stands_for_what_faiss_stands_for() -> None:
    x = cloud()
    code = Rabitq(seed=3).fit(x)
    turn = draw("orthogonal", D, D, 3)
    turned = np.ascontiguousarray(turn(x.astype(np.float64)), np.float32)
    centre = np.asarray(turn(code.mean[None]), np.float32)[0].copy()
    theirs = faiss.RaBitQuantizer(D, faiss.METRIC_INNER_PRODUCT, 1)
    codes, back = np.zeros((len(x), theirs.code_size), np.uint8), np.zeros_like(turned)
    pointers = [faiss.swig_ptr(array) for array in (turned, codes, centre, back)]
    theirs.compute_codes_core(pointers[0], pointers[1], len(x), pointers[2])
    theirs.decode_core(pointers[1], pointers[3], len(x), pointers[2])
    ours, along = code(x), centre / np.linalg.norm(centre)
    back -= (back @ along)[:, None] * along  # the component along the mean is kept as it is
    assert ours @ along == pytest.approx(turned @ along, abs=1e-3)
    assert ours - (ours @ along)[:, None] * along == pytest.approx(back, abs=1e-3)
    assert code.bytes_per_vector(D) == D // 8 + 8 and Rabitq(bits=4).bytes_per_vector(D) == D // 2 + 8


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_grid_holds_what_the_bits_can_say_and_nearly_the_nearest_point(bits: int) -> None:
    x = np.random.default_rng(1).normal(size=(200, 3))
    points, cosine = grid(x, bits)
    assert set(np.unique(np.abs(points))) <= set(np.arange(2 ** (bits - 1)) + 0.5)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert cosine == pytest.approx(
        np.einsum("nd,nd->n", points / np.linalg.norm(points, axis=1, keepdims=True), unit), abs=1e-6
    )
    sizes = np.arange(2 ** (bits - 1)) + 0.5
    every = np.stack(np.meshgrid(sizes, sizes, sizes), axis=-1).reshape(-1, 3)
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    best = (np.abs(unit) @ every.T).max(axis=1)
    assert (cosine <= best + 1e-6).all() and (best - cosine).mean() < 0.003


def test_the_code_is_unbiased_and_better_with_more_bits() -> None:
    x = cloud()
    lost = []
    first, second = np.arange(300), np.arange(300, 600)
    true = cosines(x, first, second)
    for bits in (1, 2, 4, 8):
        lost.append(np.abs(cosines(Rabitq(bits=bits).fit(x)(x), first, second) - true).mean())
    assert lost == sorted(lost, reverse=True) and lost[-1] < 0.01


@pytest.mark.parametrize("bits", [1, 3])
def test_estimates_are_unbiased_and_err_as_theory_says(bits: int) -> None:
    found = measure_rabitq(cloud(), bits, eps=0.1 if bits == 1 else 0.02, pairs=4000, seeds=20)
    assert abs(found.bias) < 4 * found.bias_error
    assert found.outside == pytest.approx(found.bound, rel=0.1) and found.bound > 0.001
    assert found.alignment == pytest.approx(rabitq_alignment(D, bits), abs=0.003)


def test_the_bound_holds_the_share_that_it_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 48))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    points, cosine = grid(x, 1)
    query = rng.normal(size=48)
    query /= np.linalg.norm(query)
    error = (points @ query) / np.linalg.norm(points, axis=1) / cosine - x @ query
    within = np.mean([abs(e) <= rabitq_error(48, s, 0.9, i) for e, s, i in zip(error, cosine, x @ query, strict=True)])
    assert within == pytest.approx(0.9, abs=0.02)


def test_opq_is_a_rotation_after_which_pq_loses_less() -> None:
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(700, 16)) * np.geomspace(4, 0.2, 16)).astype(np.float32)
    turned = Opq(m=4, bits=4).fit(x)
    y = turned(x)
    assert turned.matrix @ turned.matrix.T == pytest.approx(np.eye(16), abs=1e-4)
    lost = [float(((PQ(m=4, bits=4).fit(z)(z) - z) ** 2).sum()) for z in (x, y)]
    assert lost[1] < 0.9 * lost[0]


def test_the_commands_say_theory_and_measurement() -> None:
    done = CliRunner().invoke(main, ["theory", "rabitq", "--dim", "256", "--bits", "1", "--bits", "4"])
    assert done.exit_code == 0, done.output
    assert "cosine of vector and code 0.7987, bias 0, deviation 0.0472" in done.output and "4 bits" in done.output
    refused = CliRunner().invoke(main, ["distort", "--bits", "1", "--dim", "8"])
    assert refused.exit_code == 2 and "give one or the other" in refused.stderr
