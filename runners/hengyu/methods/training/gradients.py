"""The gradients of a batch: in one pass, in chunks, and with the word embeddings moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hengyu.base.torchrun import processes
from hengyu.methods.training.interface import Ids, Objective, Rows
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.regularizers import gradient_penalty, twice_differentiable

__all__ = ["Dice", "backward", "count_passes_anew", "embedded", "fixed_vectors", "perturbed"]


_passes = [0]  # done by several processes together, each with random numbers of its own


@dataclass
class Dice:
    """The state of the random number generators, so that a pass can be repeated with the same dropout."""

    device: torch.device
    states: list[Tensor] = field(default_factory=list)
    passes: int = 0

    def note(self) -> None:
        """Save the state."""
        self.states, self.passes = [torch.get_rng_state()], _passes[0]
        if self.device.type == "cuda":
            self.states.append(torch.cuda.get_rng_state(self.device))

    def replay(self) -> None:
        """Restore the state."""
        torch.set_rng_state(self.states[0])
        if len(self.states) > 1:
            torch.cuda.set_rng_state(self.states[1], self.device)
        _passes[0] = self.passes


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
    if processes() > 1:
        return _backward_together(trainable, objective, batch, rows, chunk)
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
            dice.append(Dice(trainable.device))
            dice[-1].note()
            vectors.append(trainable.embed(part))
    whole = torch.cat(vectors).requires_grad_()
    loss = objective.loss(whole, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert whole.grad is not None
    after = Dice(trainable.device)
    after.note()
    for part, die, gradient in zip(parts, dice, torch.split(whole.grad, chunk), strict=True):
        die.replay()
        trainable.embed(part).backward(gradient)  # type: ignore[no-untyped-call]
    after.replay()
    return float(loss.detach())


def _backward_together(trainable: TrainableEncoder, objective: Objective, batch: Ids, rows: Rows, chunk: int) -> float:
    """Do the same in several processes, each with its share of the rows."""
    from hengyu.methods.training.distributed import gathered, own_dice, own_rows, summed

    at = own_rows(len(rows))
    own = rows[at]
    parts = [own[k : k + (chunk or len(own))] for k in range(0, len(own), chunk or len(own) or 1)]
    common = Dice(trainable.device)
    dice, vectors = [], []
    with own_dice(trainable.device, _next_pass()), torch.set_grad_enabled(not chunk):
        for part in parts:
            dice.append(Dice(trainable.device))
            dice[-1].note()
            vectors.append(trainable.embed(part))
    joined = torch.cat([torch.zeros(0, trainable.width, device=trainable.device), *(v.detach() for v in vectors)])
    whole = gathered(joined, len(rows)).requires_grad_()
    loss = objective.loss(whole, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    common.note()
    assert whole.grad is not None
    gradients = torch.split(whole.grad[at], [len(part) for part in parts]) if parts else ()
    with summed([p for p in trainable.encoding_parameters() if p.requires_grad]):
        for part, die, found, gradient in zip(parts, dice, vectors, gradients, strict=True):
            if chunk:
                die.replay()
                found = trainable.embed(part)
            found.backward(gradient)  # type: ignore[no-untyped-call]
    common.replay()
    return float(loss.detach())


def count_passes_anew() -> None:
    """Count the passes of several processes from 0, so that a training does not depend on those before it."""
    _passes[0] = 0


def _next_pass() -> int:
    """Return the number of a pass of several processes."""
    _passes[0] += 1
    return _passes[0]


def fixed_vectors(trainable: TrainableEncoder, rows: Rows, chunk: int) -> Tensor:
    """Return the vectors that `backward` computes of rows, in the same state of the generators, without gradients."""
    with torch.no_grad():
        if processes() == 1:
            return embedded(trainable, rows, chunk)
        from hengyu.methods.training.distributed import gathered, own_dice, own_rows

        own = rows[own_rows(len(rows))]
        with own_dice(trainable.device, _next_pass()):
            found = embedded(trainable, own, chunk) if own else torch.zeros(0, trainable.width, device=trainable.device)
        return gathered(found, len(rows))


@contextmanager
def perturbed(weight: nn.Parameter, size: float) -> Iterator[None]:
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
