"""Batches of similar length and their masks; each depends only on seed and step, so none is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hengyu.tools.pretraining.recipe import Pretraining
from hengyu.tools.pretraining.vocabulary import MASK, PAD, SPECIAL, Tokens

__all__ = ["Masked", "batches", "held_batches", "hide", "rectangle", "seed_of"]

_CHUNK = 65536  # lines sorted into buckets at once
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Masked:
    """A batch (n, t) with masked tokens, and the original tokens at the chosen positions."""

    shown: Tensor  # (n, t)
    kept: Tensor  # (n, t), 1 for tokens, 0 for padding
    chosen: Tensor  # (n, t), bool
    gold: Tensor  # (positions chosen,), -100 if there is nothing to predict

    def to(self, device: torch.device) -> Masked:
        """Return the batch on a device."""
        return Masked(*(t.to(device) for t in (self.shown, self.kept, self.chosen, self.gold)))


def seed_of(*parts: int) -> int:
    """Return a torch seed that depends on all the numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def batches(lengths: Ids, recipe: Pretraining, start: int = 0) -> Iterator[tuple[int, Ids]]:
    """Yield width and line numbers of each batch endlessly, starting with batch ``start``.

    Every epoch has a new order. Lines that do not fill a batch wait for the next lines of their bucket; none is skipped.
    """
    return islice(_batches(lengths, recipe), start, None)


def _batches(lengths: Ids, recipe: Pretraining) -> Iterator[tuple[int, Ids]]:
    rng = np.random.default_rng([recipe.seed, 1])
    of = np.searchsorted(recipe.buckets, lengths)
    waiting: list[Ids] = [np.empty(0, np.int64) for _ in recipe.buckets]
    while True:
        order = rng.permutation(len(lengths))
        for at in range(0, len(order), _CHUNK):
            part = order[at : at + _CHUNK]
            ready: list[tuple[int, Ids]] = []
            for number, width in enumerate(recipe.buckets):
                rows = np.concatenate([waiting[number], part[of[part] == number]])
                size = max(1, recipe.positions // width)
                whole = len(rows) // size * size
                ready += [(width, rows[i : i + size]) for i in range(0, whole, size)]
                waiting[number] = rows[whole:]
            yield from (ready[i] for i in rng.permutation(len(ready)))


def held_batches(lengths: Ids, recipe: Pretraining) -> Iterator[tuple[int, Ids]]:
    """Yield every line once, in batches of similar length."""
    of = np.searchsorted(recipe.buckets, lengths)
    for number, width in enumerate(recipe.buckets):
        rows = np.flatnonzero(of == number)
        size = max(1, recipe.positions // width)
        yield from ((width, rows[i : i + size]) for i in range(0, len(rows), size))


def rectangle(tokens: Tokens, rows: Sequence[int] | Ids, width: int) -> Tensor:
    """Return lines as ids (n, width), padded on the right."""
    out = np.full((len(rows), width), PAD, np.int64)
    for at, number in enumerate(rows):
        row = tokens.row(int(number))
        out[at, : len(row)] = row
    return torch.from_numpy(out)


def hide(x: Tensor, share: float, size: int, seed: int) -> Masked:
    """Choose a share of all positions of x (n, t), never padding or special tokens, and mask them.

    Of the chosen 80 % become [MASK], 10 % a random one of ``size`` tokens, 10 % stay (Devlin et al., arXiv:1810.04805).
    The number of positions depends only on the shape; if fewer can be chosen, the rest is not predicted.
    """
    dice = torch.Generator().manual_seed(seed)
    score = torch.rand(x.shape, generator=dice).masked_fill_(x < len(SPECIAL), -1).flatten()
    chosen = torch.zeros(x.numel(), dtype=torch.bool)
    chosen[score.topk(max(1, int(share * x.numel()))).indices] = True
    chosen = chosen.view(x.shape)
    gold = torch.where(x[chosen] >= len(SPECIAL), x[chosen], -100)
    fate, shown = torch.rand(x.shape, generator=dice), x.clone()
    real = chosen & (x >= len(SPECIAL))
    shown[real & (fate < 0.8)] = MASK
    swap = real & (fate >= 0.9)
    shown[swap] = torch.randint(len(SPECIAL), size, (int(swap.sum()),), generator=dice)
    return Masked(shown, (x != PAD).long(), chosen, gold)
