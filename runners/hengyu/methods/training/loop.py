"""The training loop: batches, gradients (plain, in chunks, adversarial, penalised), Adam, and evaluations of the model.

sentence-transformers' trainer is not used: it has other poolings (no first-last-mean, no prompt's mask), pads a whole
batch to its longest text (half as fast on short Chinese questions), and has no queue, predictor or perturbation. Tests
check that the losses equal that library's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hengyu.base.errors import Degenerate
from hengyu.base.progress import Tick
from hengyu.base.torchrun import processes
from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.curve import TrainingMonitor
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.gradients import backward, count_passes_anew, perturbed
from hengyu.methods.training.interface import Ids, Objective
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.regularizers import (
    clip_gradients,
    layer_weights,
    noisy_embeddings,
    noisy_weights,
    weissi,
)
from hengyu.methods.training.virtual_adversarial import add_virtual_gradients

__all__ = ["reproducible", "train"]

_FEWEST = 16  # examples
_LOOKS = 6  # evaluations, besides the one before the first step
_APART = 8  # minimum steps between evaluations: one takes as long as several steps
_EPOCH = 4  # evaluations an epoch, where they decide when a training ends
_SMALL = 30_000_000  # parameters: below this a second thread costs more than it gives


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
    if recipe.gradient_penalty and processes() > 1:
        raise ValueError(
            "gradient_penalty needs the whole batch in one process; start hengyu without torchrun, or use fgm"
        )
    if objective.size < _FEWEST:
        raise Degenerate(f"it is trained on {objective.size} examples; it needs at least {_FEWEST}")
    count_passes_anew()
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
                with perturbed(trainable.embeddings, recipe.fgm):
                    backward(trainable, objective, batch, recipe.chunk)
            if recipe.vat:
                add_virtual_gradients(
                    trainable,
                    objective,
                    batch,
                    parameters,
                    size=recipe.vat,
                    iterations=recipe.vat_iterations,
                    chunk=recipe.chunk,
                )
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
    if processes() == 1:
        return found["held_out_spearman"]
    from hengyu.methods.training.distributed import agreed

    return agreed(found["held_out_spearman"])


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
