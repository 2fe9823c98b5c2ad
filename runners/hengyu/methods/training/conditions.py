"""Conditional layer normalisation: scale and shift of every norm of a model in training follow from an embedding of a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hengyu.methods.training.interface import Objective, ObjectiveWrapper
from hengyu.methods.training.model import TrainableEncoder

__all__ = ["ConditionalLoss", "Conditions", "add_conditions", "fold_conditions", "norms"]

Ids = NDArray[np.int64]
_KEYS = ("weight", "bias")


@dataclass
class _Choice:
    """The number of the condition that holds; None for the mean of all. Copies of a model share it."""

    number: int | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class Conditions(nn.Module):
    """The embeddings (n, size) of n conditions, drawn from a normal distribution, and the one that holds now."""

    def __init__(self, n: int, size: int, std: float) -> None:
        super().__init__()
        self.table = nn.Parameter(std * torch.randn(n, size))
        self.choice = _Choice()

    def now(self) -> Tensor:
        """Return the embedding (size,) that holds."""
        return self.table.mean(0) if self.choice.number is None else self.table[self.choice.number]


class _Shifted(nn.Module):
    """A weight (d,) plus a linear map, at first 0, of the condition that holds."""

    def __init__(self, conditions: Conditions, width: int) -> None:
        super().__init__()
        self.conditions = conditions
        # no nn.Linear: what looks for the model's linear layers must not find it
        self.map = nn.Parameter(torch.zeros(width, conditions.table.shape[1]))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the shifted weight."""
        return weight + (self.map * self.conditions.now()).sum(1)  # a sum stays float32 under autocast


def norms(trainable: TrainableEncoder) -> dict[str, nn.Module]:
    """Return the normalisation layers of the opened model by name, without those of an unused pooler."""
    return {
        name: part
        for name, part in trainable.model.named_modules()
        if type(part).__name__.endswith("Norm")
        and getattr(getattr(part, "weight", None), "ndim", 0) == 1
        and (trainable.read == "pooler" or "pooler" not in name)
    }


def add_conditions(trainable: TrainableEncoder, n: int, *, size: int, std: float) -> Conditions:
    """Let scale and shift of every norm of the opened model depend on n conditions; until it is trained nothing changes.

    Args:
        trainable: with an opened model.
        n: the number of conditions.
        size: the width of their embeddings.
        std: the standard deviation of the embeddings' first values.

    Raises:
        ValueError: if the model has no norms.
    """
    found = norms(trainable)
    if not found:
        raise ValueError("the model has no LayerNorm or RMSNorm, so nothing can depend on a condition")
    conditions = Conditions(n, size, std).to(trainable.device)
    for part in found.values():
        for key in _KEYS:
            weight = getattr(part, key, None)
            if weight is not None:
                shifted = _Shifted(conditions, len(weight)).to(trainable.device)
                parametrize.register_parametrization(part, key, shifted)
    return conditions


def fold_conditions(
    trainable: TrainableEncoder, conditions: Conditions, numbers: Sequence[int | None]
) -> list[dict[str, Tensor]]:
    """Take the conditions out of the model; returns the norms' weights by name under each of some, None for their mean."""
    found: list[dict[str, Tensor]] = []
    shifted = [
        (name, part, key)
        for name, part in trainable.model.named_modules()
        for key in _KEYS
        if parametrize.is_parametrized(part, key)
    ]
    for number in numbers:
        conditions.choice.number = number
        found.append({f"{name}.{key}": getattr(part, key).detach().clone() for name, part, key in shifted})
    for _, part, key in shifted:
        parametrize.remove_parametrizations(part, key, leave_parametrized=False)
    return found


class ConditionalLoss(ObjectiveWrapper):
    """An objective whose batches, each of one card, pass the model under the condition of that card.

    Args:
        inner: the objective.
        groups: (size,) the number of the card of each of its examples.
        conditions: those of the model.
        watched: the condition between the steps, when the model is evaluated; None for the mean of all.
    """

    def __init__(self, inner: Objective, groups: Ids, conditions: Conditions, watched: int | None) -> None:
        super().__init__(inner)
        self.cards, self.conditions, self.watched = groups, conditions, watched
        conditions.choice.number = watched

    def rows(self, batch: Ids) -> Sequence[Sequence[int]]:
        """Return the rows of the objective inside; the condition of their card holds from now on."""
        self.conditions.choice.number = int(self.cards[batch[0]])
        return self.inner.rows(batch)

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the loss of the objective inside."""
        return self.inner.loss(vectors, batch)

    def after(self, batch: Ids) -> None:
        """Update the objective inside after a step, under the batch's condition."""
        self.inner.after(batch)
        self.conditions.choice.number = self.watched
