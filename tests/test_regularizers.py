"""Regularisers of every tuner: their laws, that 0 leaves them out, and that evaluations are without noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_tuning import training_data_of
from torch import Tensor, nn

import hengyu.methods.training.gradients as gradients
import hengyu.methods.training.loop as loop
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.gradients import backward, embedded, perturbed
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.regularizers import (
    clip_gradients,
    gradient_penalty,
    layer_weights,
    noisy_embeddings,
    noisy_weights,
    weissi,
)
from hengyu.methods.training.supervised import CosineSimilarityLoss, SoftmaxLoss
from hengyu.methods.training.virtual_adversarial import add_virtual_gradients, predictions, worst_direction
from hengyu.methods.tuners.sbert import SBert

BATCH = np.arange(16)


@pytest.fixture
def trainable(tiny_bert: Path) -> TrainableEncoder:
    return TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")


@pytest.fixture
def opened(trainable: TrainableEncoder) -> TrainableEncoder:
    trainable.open(dropout=0.0, length=64)
    trainable.model.train()
    return trainable


@pytest.fixture
def objective(opened: TrainableEncoder) -> CosineSimilarityLoss:
    return CosineSimilarityLoss(opened, training_data_of(40), SBert())


def flat(trainable: TrainableEncoder) -> Tensor:
    """Return the gradients of all parameters in one vector, and remove them."""
    found = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in trainable.parameters()])
    for p in trainable.parameters():
        p.grad = None
    return found


def tuned(trainable: TrainableEncoder, entry: str, n: int = 40) -> dict[str, Any]:
    method = parse_entry(entry).steps[0].make()
    method.tune(trainable, training_data_of(n), lambda done: None)
    report: dict[str, Any] = method.report
    return report


def test_the_gradient_penalty_of_a_quadratic_is_that_of_algebra() -> None:
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    e = nn.Parameter(torch.randn(4, 5, generator=generator, dtype=torch.float64))
    penalty = gradient_penalty((w @ e).square().sum() / 2, e, 0.6)  # the gradient is W'We
    square = (w.T @ w).detach()
    assert float(penalty.detach()) == pytest.approx(0.3 * float((square @ e).detach().square().sum()))
    (found,) = torch.autograd.grad(penalty, e, retain_graph=True)
    torch.testing.assert_close(found, 0.6 * square @ square @ e.detach())
    assert torch.autograd.gradcheck(lambda w: gradient_penalty((w @ e).tanh().square().sum(), e, 0.6), (w,))
    assert float(gradient_penalty(w.sum(), e, 0.6).detach()) == 0  # a loss that the matrix has no part in


def test_the_penalised_gradients_of_a_model_are_those_of_double_backward(
    opened: TrainableEncoder, objective: CosineSimilarityLoss
) -> None:
    plain = backward(opened, objective, BATCH)
    without = flat(opened)
    assert backward(opened, objective, BATCH, penalty=5.0) == pytest.approx(
        plain, abs=1e-6
    )  # the report's loss is plain
    found = flat(opened)
    opened.model.set_attn_implementation("eager")
    parameters = opened.parameters()
    value = objective.loss(opened.embed(objective.rows(BATCH)), BATCH)
    (slope,) = torch.autograd.grad(value, opened.embeddings, create_graph=True)
    want = torch.autograd.grad(value + 2.5 * (slope**2).sum(), parameters, allow_unused=True)
    wanted = torch.cat(
        [torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, want, strict=True)]
    )
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    assert (found - without).norm() > 0.05 * without.norm()


def test_a_small_step_of_fgm_and_the_penalty_are_nearly_the_same(
    opened: TrainableEncoder, objective: CosineSimilarityLoss
) -> None:
    plain = backward(opened, objective, BATCH)
    assert opened.embeddings.grad is not None
    slope, without = float(opened.embeddings.grad.norm()), flat(opened)
    likeness, gains = [], []
    for strength in (0.03, 0.01, 0.001):
        backward(opened, objective, BATCH, penalty=strength)
        penalised = flat(opened) - without
        backward(opened, objective, BATCH)
        with perturbed(opened.embeddings, strength * slope):  # strength times the gradient
            flat(opened)
            gains.append((backward(opened, objective, BATCH) - plain) / (strength * slope))
        moved = flat(opened) - without
        likeness.append(float(torch.cosine_similarity(penalised, moved, dim=0)))
    assert 0.8 < likeness[0] < likeness[1] < likeness[2] and likeness[2] > 0.995
    assert float(moved.norm() / penalised.norm()) == pytest.approx(1, abs=0.05)
    assert gains[1:] == pytest.approx([slope, slope], rel=0.01)  # the loss of FGM is L + eps |g|


def test_the_worst_direction_of_a_quadratic_is_its_first_eigenvector() -> None:
    root = torch.randn(12, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    hessian = root.T @ root
    values, vectors = torch.linalg.eigh(hessian)
    start = torch.randn(8, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    reached = [
        float(d @ hessian @ d) for d in (worst_direction(start, lambda d: hessian @ d, k) for k in (0, 1, 3, 200))
    ]
    assert reached == sorted(reached) and reached[-1] == pytest.approx(float(values[-1]))
    assert abs(float(worst_direction(start, lambda d: hessian @ d, 200) @ vectors[:, -1])) == pytest.approx(1)
    torch.testing.assert_close(
        worst_direction(start, lambda d: None, 3), start / start.norm()
    )  # without a slope it stays
    torch.testing.assert_close(worst_direction(start, lambda d: 0 * d, 3), start / start.norm())


def virtual(
    trainable: TrainableEncoder, objective: Any, size: float = 0.5, iterations: int = 1, chunk: int = 0
) -> float:
    torch.manual_seed(3)
    settings: Any = {"size": size, "iterations": iterations, "chunk": chunk}
    return add_virtual_gradients(trainable, objective, BATCH, trainable.parameters(), **settings)


def test_the_virtual_adversarial_loss_is_a_divergence_that_sees_no_labels(
    opened: TrainableEncoder, objective: CosineSimilarityLoss
) -> None:
    small, double = (virtual(opened, objective, size, 0) for size in (0.01, 0.02))
    assert small > 0 and double == pytest.approx(4 * small, rel=0.1)  # flat where nothing is moved
    assert virtual(opened, objective, 1e-9) == pytest.approx(0, abs=1e-6)
    random, worst = virtual(opened, objective, 0.1, 0), virtual(opened, objective, 0.1, 1)
    assert worst > 2 * random
    found = flat(opened)
    objective.labels = 1 - objective.labels
    flat(opened)
    assert (virtual(opened, objective, 0.1, 0), virtual(opened, objective, 0.1, 1)) == (random, worst)
    assert found.norm() > 0


def test_virtual_gradients_are_those_at_the_moved_embeddings_and_leave_no_trace(
    opened: TrainableEncoder, objective: CosineSimilarityLoss
) -> None:
    weight, rows = opened.embeddings, objective.rows(BATCH)
    before = [p.detach().clone() for p in opened.parameters()]
    backward(opened, objective, BATCH)
    plain = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in opened.parameters()])
    loss = virtual(opened, objective, 0.3, 0)
    assert all(torch.equal(p, b) for p, b in zip(opened.parameters(), before, strict=True))
    added = flat(opened) - plain  # to the gradients that were there
    torch.manual_seed(3)
    used = sorted({t for row in rows for t in row})
    move = torch.zeros_like(weight)
    move[torch.tensor(used)] = torch.randn(len(used), weight.shape[1])
    with torch.no_grad():
        given = predictions(objective, opened.embed(rows), len(BATCH))
        weight.add_(0.3 * move / move.norm())
    found = predictions(objective, opened.embed(rows), len(BATCH))
    want = (given.exp() * (given - found)).nan_to_num().sum() / len(BATCH)
    want.backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(float(want.detach()), rel=1e-4)
    torch.testing.assert_close(added, flat(opened), rtol=1e-3, atol=1e-5)


def test_a_chunk_has_the_same_virtual_gradients(trainable: TrainableEncoder) -> None:
    trainable.open(dropout=0.0, length=64)
    objective = CosineSimilarityLoss(trainable, training_data_of(40), SBert())
    whole = virtual(trainable, objective, 0.3), flat(trainable)
    parts = virtual(trainable, objective, 0.3, chunk=8), flat(trainable)
    assert parts[0] == pytest.approx(whole[0], rel=1e-3)
    assert (parts[1] - whole[1]).norm() < 1e-3 * whole[1].norm()
    trainable.open(dropout=0.3, length=64)
    trainable.model.train()
    assert virtual(trainable, objective, 1e-9, chunk=8) == pytest.approx(0, abs=1e-6)  # all passes have one dropout


def test_a_classifier_predicts_its_labels(opened: TrainableEncoder) -> None:
    objective = SoftmaxLoss(opened, training_data_of(40), SBert(loss="classify"))
    vectors = opened.embed(objective.rows(BATCH))
    found = predictions(objective, vectors, len(BATCH))
    torch.testing.assert_close(found, torch.log_softmax(objective.logits(vectors), dim=1))
    twice = wrapped(objective, "r-drop")
    torch.testing.assert_close(predictions(twice, torch.cat([vectors, vectors]), len(BATCH)), found)


def wrapped(objective: Any, name: str) -> Any:
    """Return an objective in a wrapper with its defaults."""
    return parse_entry(f"{name}(sbert)").steps[0].make().changed(objective, None)


def test_noise_on_embeddings_has_its_size_in_training_and_is_absent_in_evaluations(opened: TrainableEncoder) -> None:
    layer, rows = opened.model.get_input_embeddings(), opened.tokens(["今天去公园", "我们"])
    ids, clean = torch.zeros(200, 50, dtype=torch.long), opened.vectors(rows)
    with noisy_embeddings(layer, 0.3):
        noise = (layer(ids) - opened.embeddings[0]).detach()
        assert float(noise.std()) == pytest.approx(0.3, rel=0.01) and abs(float(noise.mean())) < 0.005
        assert not torch.equal(noise[0, 0], noise[0, 1])  # of the same token
        assert np.array_equal(opened.vectors(rows), clean)
        assert not np.array_equal(opened.embed(rows).detach().numpy(), clean)
    assert not layer._forward_hooks
    with pytest.raises(KeyError), noisy_embeddings(layer, 0.3):
        raise KeyError
    assert not layer._forward_hooks


def test_noise_on_weights_has_its_size_and_leaves_no_trace(opened: TrainableEncoder) -> None:
    parameters = opened.parameters()
    before = [p.detach().clone() for p in parameters]
    with noisy_weights(parameters, 0.02):
        noise = torch.cat([(p - b).flatten() for p, b in zip(parameters, before, strict=True)]).detach()
    assert float(noise.std()) == pytest.approx(0.02, rel=0.02) and bool((noise != 0).float().mean() > 0.99)
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))


def test_noise_comes_with_the_seed(tiny_bert: Path) -> None:
    def weights(options: str) -> tuple[bytes, list[float]]:
        trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
        losses = tuned(trainable, f"sbert(lr=1e-3, batch=16, dropout=0.0, sentences=16{options})")["loss"]
        return b"".join(p.detach().numpy().tobytes() for p in trainable.parameters()), losses

    both = ", embedding_noise=0.1, weight_noise=0.01"
    first = weights(both)
    assert weights(both) == first
    others = [weights(options) for options in ("", ", embedding_noise=0.1", ", weight_noise=0.01", f"{both}, seed=1")]
    assert len({first[0], *(found for found, _ in others)}) == 5


def test_a_chunk_meets_the_same_embedding_noise_in_both_passes(
    opened: TrainableEncoder, objective: CosineSimilarityLoss
) -> None:
    with noisy_embeddings(opened.model.get_input_embeddings(), 0.2):
        torch.manual_seed(3)
        backward(opened, objective, BATCH, chunk=8)
        cached = flat(opened)
        torch.manual_seed(3)
        value = objective.loss(embedded(opened, objective.rows(BATCH), 8), BATCH)
        value.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(cached, flat(opened), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 0.3, 1.0, 50.0])
def test_both_forms_of_clipping_keep_the_bound_and_the_direction(size: float) -> None:
    direction = torch.nn.functional.normalize(torch.randn(24, generator=torch.Generator().manual_seed(2)), dim=0)
    found = {}
    for form in ("hard", "smooth"):
        parts = [nn.Parameter(torch.zeros(4, 5)), nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2))]
        parts[0].grad, parts[1].grad = (size * direction[:20]).view(4, 5), size * direction[20:]
        clip_gradients(parts, 1.0, form)
        assert parts[0].grad is not None and parts[1].grad is not None and parts[2].grad is None
        clipped = torch.cat([parts[0].grad.flatten(), parts[1].grad])
        found[form] = float(clipped @ direction)
        torch.testing.assert_close(clipped, found[form] * direction, atol=1e-6, rtol=1e-5)
    assert found["hard"] == pytest.approx(min(size, 1.0), rel=1e-4)
    assert found["smooth"] == pytest.approx(size / (size + 1.0), rel=1e-4)
    assert found["hard"] / 2 - 1e-6 <= found["smooth"] <= found["hard"] + 1e-6 <= 1 + 2e-6


def test_weissi_does_not_see_a_shift_of_scale_between_layers() -> None:
    generator = torch.Generator().manual_seed(4)
    weights = [torch.randn(6, 6, generator=generator, dtype=torch.float64) for _ in range(3)]
    x = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    shifted = [w * s for w, s in zip(weights, (4.0, 0.5, 0.5), strict=True)]

    def network(layers: list[Tensor]) -> Tensor:
        hidden = x
        for w in layers:
            hidden = (w @ hidden).relu()
        return hidden

    torch.testing.assert_close(network(weights), network(shifted))
    value = weissi(weights, 0.3, 0.2)
    torch.testing.assert_close(value, weissi(shifted, 0.3, 0.2))
    assert sum(float(w.square().sum()) for w in shifted) > 1.5 * sum(float(w.square().sum()) for w in weights)
    numbers = [w.flatten().tolist() for w in weights]
    norms = [math.sqrt(sum(v * v for v in each)) for each in numbers]
    want = 0.3 * sum(map(math.log, norms))
    want += 0.2 * sum(abs(v) / norm for each, norm in zip(numbers, norms, strict=True) for v in each)
    assert float(value) == pytest.approx(want)
    w = weights[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(weissi([w, torch.zeros_like(w)], 0.3, 0.0), w)
    torch.testing.assert_close(slope, 0.3 * weights[0] / weights[0].square().sum())
    assert float(weissi([torch.zeros(2, 2)], 0.3, 0.2)) == 0


def test_weissi_takes_the_matrices_of_layers_and_shrinks_them(trainable: TrainableEncoder) -> None:
    trainable.open(dropout=0.0, length=64)
    names = {id(p): name for name, p in trainable.model.named_parameters()}
    taken = [names[id(p)] for p in layer_weights(trainable.model, trainable.parameters())]
    assert taken and all(n.startswith("encoder.") and n.endswith("weight") and "LayerNorm" not in n for n in taken)
    assert len(taken) == 6 * trainable.model.config.num_hidden_layers  # query, key, value, output, up, down

    def norms(options: str) -> Tensor:
        tuned(trainable, f"sbert(lr=1e-3, batch=16, dropout=0.0, sentences=32{options})")
        return torch.stack([p.detach().norm() for p in layer_weights(trainable.model, trainable.parameters())])

    plain = norms("")
    assert bool((norms(", weissi=10.0") < plain).all())


def test_the_defaults_take_no_part_of_this(trainable: TrainableEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a regulariser was computed")

    for name in ("add_virtual_gradients", "weissi", "layer_weights", "clip_gradients"):
        monkeypatch.setattr(loop, name, never)
    for name in ("gradient_penalty", "twice_differentiable"):
        monkeypatch.setattr(gradients, name, never)
    monkeypatch.setattr(torch, "randn_like", never)
    tuned(trainable, "simcse(lr=1e-3, batch=16, sentences=32)")
    zeros = "gradient_penalty=0.0, vat=0.0, vat_iterations=1, embedding_noise=0.0, weight_noise=0.0, weissi=0.0, weissi_l1=0.0"
    assert parse_entry(f"simcse({zeros}, clip_form=hard)") == parse_entry("simcse")


@pytest.mark.parametrize(
    "entry",
    [
        "cosent(batch=16, sentences=32, {})",
        "esimcse(batch=16, sentences=32, {})",
        "matryoshka(r-drop(mnrl(batch=16, positive=0.5, {})), dims=16)",
    ],
)
def test_all_of_it_together_trains(trainable: TrainableEncoder, entry: str) -> None:
    options = "lr=1e-4, clip=1.0, clip_form=smooth, fgm=0.1, gradient_penalty=1.0, vat=0.1, embedding_noise=0.05, "
    report = tuned(trainable, entry.format(f"{options} weight_noise=0.001, weissi=0.01, weissi_l1=0.001"))
    assert np.isfinite(report["loss"]).all()
    assert all(bool(p.isfinite().all()) for p in trainable.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("gradient_penalty=-1.0", r"simcse\(gradient_penalty=-1.0\) must lie in 0..1e\+06"),
        ("embedding_noise=-1.0", "must lie in 0..1000"),
        ("weissi=nan", "weissi"),
        ("vat=-1.0", "must lie in 0..1000"),
        ("vat_iterations=0", "must lie in 1..100"),
        ("clip=1.0, clip_form=soft", r"simcse\(clip_form=soft\) must be hard or smooth"),
        ("clip_form=smooth", "needs clip, the maximum norm"),
        ("gradient_penalty=1.0, chunk=8", "needs the whole batch at once; leave out chunk"),
    ],
)
def test_what_cannot_be_is_said(options: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_entry(f"simcse({options})").steps[0].make()


def test_vat_moves_embeddings_that_are_not_trained(trainable: TrainableEncoder) -> None:
    pytest.importorskip("peft")
    before = TrainableEncoder(trainable.encoder, "mean")
    before.open(dropout=0.0, length=64)
    report = tuned(trainable, "lora(simcse(lr=1e-3, batch=16, sentences=32, vat=0.3))")
    assert np.isfinite(report["loss"]).all()
    assert torch.equal(trainable.embeddings, before.embeddings)
    changed = [not torch.equal(a, b) for a, b in zip(trainable.parameters(), before.parameters(), strict=True)]
    assert any(changed)


def test_weissi_without_layers_to_train_is_refused(tiny_bert: Path) -> None:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert), prompt="“{text}”是[MASK]")), "mask")
    with pytest.raises(ValueError, match="none is trained; leave them out"):
        tuned(trainable, "p-tuning(batch=16, weissi=0.1)")


def test_what_a_cross_encoder_predicts_is_the_probability_of_the_label(tiny_bert: Path) -> None:
    method = parse_entry("cross-encoder(lr=1e-3, batch=16, epochs=1, vat=0.3)").steps[0].make()
    model = method.trainable(open_encoder(EncoderSpec(str(tiny_bert))), "cls")
    model.open(dropout=0.0, length=64)
    objective = method.make(model, training_data_of(40))
    vectors = torch.randn(8, 32)
    found = predictions(objective, vectors, 8).exp()
    assert found.shape == (8, 2)
    assert torch.allclose(found[:, 1], torch.sigmoid(model.logits(vectors)))
