"""The training loop: batches, gradients (plain, in chunks, adversarial, penalised), Adam, and evaluations of the model.

sentence-transformers' trainer is not used: it has other poolings (no first-last-mean, no prompt's mask), pads a whole
batch to its longest text (half as fast on short Chinese questions), and has no queue, predictor or perturbation. Tests
check that the losses equal that library's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hengyu.base.errors import Degenerate
from hengyu.base.progress import Tick
from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.curve import TrainingMonitor
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.regularizers import (
    clip_gradients,
    gradient_penalty,
    layer_weights,
    noisy_embeddings,
    noisy_weights,
    twice_differentiable,
    weissi,
)

__all__ = ["Objective", "ObjectiveWrapper", "backward", "embedded", "reproducible", "train"]

Ids = NDArray[np.int64]
Rows = Sequence[Sequence[int]]
_FEWEST = 16  # examples
_LOOKS = 6  # evaluations, besides the one before the first step
_APART = 8  # minimum steps between evaluations: one takes as long as several steps
_EPOCH = 4  # evaluations an epoch, where they decide when a training ends
_SMALL = 30_000_000  # parameters: below this a second thread costs more than it gives


class Objective(Protocol):
    """A method's objective on batches of examples, which are numbered 0..size."""

    size: int
    heads: Sequence[nn.Module]  # trained with the model and then discarded
    heads_lr: float  # the heads' learning rate, without decay; 0 for the recipe's
    groups: Ids | None  # (size,) the card of each example, where they are of several: a batch is of one

    def rows(self, batch: Ids) -> Rows:
        """Return the token ids to embed."""

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the loss of their vectors, without side effects."""

    def after(self, batch: Ids) -> None:
        """Update after a step."""


class ObjectiveWrapper:
    """An objective that has another one's rows and heads; its class says what becomes of the loss."""

    def __init__(self, inner: Objective) -> None:
        self.inner = inner
        self.size, self.heads, self.heads_lr, self.groups = inner.size, inner.heads, inner.heads_lr, inner.groups

    def rows(self, batch: Ids) -> Rows:
        """Return the rows of the objective inside."""
        return self.inner.rows(batch)

    def after(self, batch: Ids) -> None:
        """Update the objective inside after a step."""
        self.inner.after(batch)


@contextmanager
def reproducible(trainable: TrainableEncoder, seed: int) -> Iterator[None]:
    """Seed torch and restore its state afterwards; small models train in one thread, so that the order of sums is fixed."""
    threads = torch.get_num_threads()
    devices = [trainable.device] if trainable.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        if trainable.device.type == "cpu" and sum(p.numel() for p in trainable.parameters()) < _SMALL:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@dataclass
class _Dice:
    """The state of the random number generators, so that a pass can be repeated with the same dropout."""

    device: torch.device
    states: list[Tensor] = field(default_factory=list)

    def note(self) -> None:
        """Save the state."""
        self.states = [torch.get_rng_state()]
        if self.device.type == "cuda":
            self.states.append(torch.cuda.get_rng_state(self.device))

    def replay(self) -> None:
        """Restore the state."""
        torch.set_rng_state(self.states[0])
        if len(self.states) > 1:
            torch.cuda.set_rng_state(self.states[1], self.device)


def embedded(trainable: TrainableEncoder, rows: Rows, chunk: int) -> Tensor:
    """Return the vectors of rows, ``chunk`` rows at a time; 0 for all at once."""
    size = chunk or len(rows)
    return torch.cat([trainable.embed(rows[at : at + size]) for at in range(0, len(rows), size)])


def backward(
    trainable: TrainableEncoder, objective: Objective, batch: Ids, chunk: int = 0, *, penalty: float = 0.0
) -> float:
    """Add the gradients of a batch's loss, with a gradient penalty or without, to those of the parameters.

    Returns the loss, without the penalty, which needs the whole batch at once (no chunk).

    With a chunk the pass needs memory for that many rows only, whatever the batch (Gao et al., Scaling Deep Contrastive
    Learning Batch Size under Memory Limited Setup, arXiv:2101.06983): vectors are computed without a graph, the loss gives
    their gradients, and a second pass with the same dropout propagates these to the parameters.
    """
    rows = objective.rows(batch)
    if not chunk:
        with twice_differentiable() if penalty else nullcontext():
            loss = objective.loss(embedded(trainable, rows, 0), batch)
            total = loss + gradient_penalty(loss, trainable.embeddings, penalty) if penalty else loss
            total.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())
    parts = [rows[at : at + chunk] for at in range(0, len(rows), chunk)]
    dice, vectors = [], []
    with torch.no_grad():
        for part in parts:
            dice.append(_Dice(trainable.device))
            dice[-1].note()
            vectors.append(trainable.embed(part))
    whole = torch.cat(vectors).requires_grad_()
    loss = objective.loss(whole, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert whole.grad is not None
    after = _Dice(trainable.device)
    after.note()
    for part, die, gradient in zip(parts, dice, torch.split(whole.grad, chunk), strict=True):
        die.replay()
        trainable.embed(part).backward(gradient)  # type: ignore[no-untyped-call]
    after.replay()
    return float(loss.detach())


class _Best:
    """The weights of the best evaluation, and how many evaluations have passed since it."""

    def __init__(self, parameters: Sequence[nn.Parameter], patience: int) -> None:
        self.parameters, self.patience = parameters, patience
        self.score, self.step, self.since = -np.inf, 0, 0
        self._kept: list[Tensor] = []

    def over(self, step: int, score: float) -> bool:
        """Note an evaluation; returns whether the training is to end."""
        if score > self.score:
            self.score, self.step, self.since = score, step, 0
            self._kept = [p.detach().clone() for p in self.parameters]
        else:
            self.since += 1
        return self.since >= self.patience

    def restore(self) -> None:
        """Put the weights of the best evaluation back."""
        with torch.no_grad():
            for p, kept in zip(self.parameters, self._kept, strict=True):
                p.copy_(kept)


def train(
    trainable: TrainableEncoder,
    objective: Objective,
    training_data: TrainingData,
    recipe: TrainingConfig,
    tick: Tick,
    monitor: type[TrainingMonitor] = TrainingMonitor,
) -> dict[str, Any]:
    """Train the model in place, evaluated by a ``monitor`` now and then; returns the training report as JSON."""
    if objective.size < _FEWEST:
        raise Degenerate(f"it is trained on {objective.size} examples; it needs at least {_FEWEST}")
    own = trainable.parameters()
    known = set(map(id, own))  # a decoder may share its weights with the model
    heads = [p for head in objective.heads for p in head.parameters() if id(p) not in known]
    parameters = [*own, *heads]
    matrices = layer_weights(trainable.model, own) if recipe.weissi or recipe.weissi_l1 else []
    if (recipe.weissi or recipe.weissi_l1) and not matrices:
        raise ValueError(
            "weissi and weissi_l1 penalise the layers' weight matrices, and none is trained; leave them out"
        )
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if objective.heads_lr and heads:
        groups = [{"params": own}, {"params": heads, "lr": objective.heads_lr}]
    optimizer = torch.optim.Adam(groups, lr=recipe.lr)
    rng = np.random.default_rng([recipe.seed, 2])
    total = recipe.epochs * len(_epoch(np.arange(objective.size), recipe.batch, objective.groups))
    best = _Best(own, recipe.patience) if recipe.patience else None
    often = min(max(_LOOKS, _EPOCH * recipe.epochs) if best else _LOOKS, max(1, total // _APART))
    looks = {round(total * k / often) for k in range(1, often + 1)}
    curve = monitor(trainable, training_data, recipe.seed, total, objective.size, judged=best is not None)
    found = curve.look(0, [])
    if best:
        best.over(0, _held_out(found))
    trainable.model.train()
    losses: list[float] = []
    step = 0
    for step, batch in enumerate(_batches(objective.size, recipe, rng, objective.groups), 1):
        if recipe.decay:
            optimizer.param_groups[0]["lr"] = recipe.lr * (1 - (step - 1) / total)
        optimizer.zero_grad(set_to_none=True)
        with (
            noisy_embeddings(trainable.model.get_input_embeddings(), recipe.embedding_noise),
            noisy_weights(own, recipe.weight_noise),
        ):
            losses.append(backward(trainable, objective, batch, recipe.chunk, penalty=recipe.gradient_penalty))
            if recipe.fgm:
                with _perturbed(trainable.embeddings, recipe.fgm):
                    backward(trainable, objective, batch, recipe.chunk)
        if matrices:
            weissi(matrices, recipe.weissi, recipe.weissi_l1).backward()  # type: ignore[no-untyped-call]
        if recipe.clip:
            clip_gradients(parameters, recipe.clip, recipe.clip_form)
        if not np.isfinite(losses[-1]):
            raise ValueError(f"the loss became NaN or infinite at step {step} of {total}; lower lr, or set clip=1")
        optimizer.step()
        objective.after(batch)
        tick(step)
        if step in looks:
            found = curve.look(step, losses)
            losses = []
            if best and best.over(step, _held_out(found)):
                break
    about = {"kind": "tuner", "examples": objective.size, "steps": step}
    if best:
        best.restore()
        about |= {"planned_steps": total, "kept_step": best.step}
    return {**about, **curve.report()}


def _held_out(found: dict[str, float]) -> float:
    """Return the held-out Spearman of an evaluation; raises `Degenerate` without one."""
    if "held_out_spearman" not in found:
        raise Degenerate("patience needs a held-out score, and the held-out labels or cosines are all the same")
    return found["held_out_spearman"]


def _batches(size: int, recipe: TrainingConfig, rng: np.random.Generator, groups: Ids | None = None) -> Iterator[Ids]:
    """Yield numbers of examples in a new order every epoch; a final batch of one example is skipped.

    With ``groups`` (size,) a batch is of one group, and the batches of all groups come in random order.
    """
    for _ in range(recipe.epochs):
        found = _epoch(rng.permutation(size), recipe.batch, groups)
        yield from found if groups is None else (found[int(i)] for i in rng.permutation(len(found)))


def _epoch(order: Ids, batch: int, groups: Ids | None) -> list[Ids]:
    """Return the batches of more than one example of an order, those of one group after those of another."""
    each = [order] if groups is None else [order[groups[order] == group] for group in np.unique(groups)]
    parts = [one[at : at + batch] for one in each for at in range(0, len(one), batch)]
    return [part for part in parts if len(part) > 1]


@contextmanager
def _perturbed(weight: nn.Parameter, size: float) -> Iterator[None]:
    """Move a matrix by ``size`` along its gradient and back (FGM: Miyato et al., arXiv:1605.07725)."""
    if weight.grad is None:
        yield
        return
    norm = weight.grad.norm()
    kept = weight.data.clone()
    if norm > 0:
        weight.data.add_(weight.grad, alpha=float(size / norm))
    try:
        yield
    finally:
        weight.data.copy_(kept)
