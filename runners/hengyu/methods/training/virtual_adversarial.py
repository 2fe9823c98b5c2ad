"""Virtual adversarial training: the embeddings are moved to where the model's own predictions change most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from hengyu.methods.training.gradients import Dice, backward, fixed_vectors
from hengyu.methods.training.interface import Ids, Objective, ObjectiveWrapper, Rows
from hengyu.methods.training.joint import BinaryCrossEntropyLoss
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.rdrop import RDropLoss, in_batch_logits
from hengyu.methods.training.supervised import SoftmaxLoss

__all__ = ["DivergenceLoss", "add_virtual_gradients", "predictions", "worst_direction"]

Slope = Callable[[Tensor], Tensor | None]
_SCALE = 20.0  # of the cosines, as in the losses


def predictions(objective: Objective, vectors: Tensor, n: int) -> Tensor:
    """Return what a model predicts of a batch of n examples, as log-probabilities (n, k), given the vectors of its rows.

    It is the distribution over the labels where the objective has a classifier, or is a cross-encoder's. Otherwise it is that of
    each first sentence over the other sentences of the batch, the softmax of 20 times the cosines, as in R-Drop.
    """
    core: object = objective
    while isinstance(core, ObjectiveWrapper):
        vectors = vectors.chunk(2)[0] if isinstance(core, RDropLoss) else vectors
        core = core.inner
    if isinstance(core, SoftmaxLoss | BinaryCrossEntropyLoss):
        return log_softmax(core.logits(vectors), dim=1)
    logits = in_batch_logits(vectors, n, _SCALE)
    return log_softmax(logits, dim=1)


class DivergenceLoss(ObjectiveWrapper):
    """KL(p, q): p are given predictions (n, k) for a batch, as log-probabilities, and q the model's; the mean over the rows."""

    def __init__(self, inner: Objective, given: Tensor) -> None:
        super().__init__(inner)
        self.given = given

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the divergence."""
        return kl_div(predictions(self.inner, vectors, len(batch)), self.given, reduction="batchmean", log_target=True)


def add_virtual_gradients(
    trainable: TrainableEncoder,
    objective: Objective,
    batch: Ids,
    parameters: Sequence[nn.Parameter],
    *,
    size: float,
    iterations: int,
    chunk: int = 0,
) -> float:
    """Add the gradients of a virtual adversarial loss to those of the parameters; returns that loss.

    The loss is the divergence between the predictions for a batch and those with the matrix of word embeddings moved by ``size``
    in the `worst_direction`; the former have no gradient (Miyato et al., arXiv:1704.03976; kexue.fm 7466). All passes have the
    same dropout and noise, so that the move alone makes the difference.

    Args:
        trainable: the model.
        objective: whose batches and classifier are meant; its loss is not used, so no labels are.
        batch: the numbers of its examples.
        parameters: all that are trained.
        size: the Frobenius norm of the move.
        iterations: of the search for the direction.
        chunk: rows that pass the model at once; 0 for all.
    """
    dice = Dice(trainable.device)
    dice.note()
    rows = objective.rows(batch)
    with torch.no_grad():
        given = predictions(objective, fixed_vectors(trainable, rows, chunk), len(batch))
    divergence = DivergenceLoss(objective, given)
    weight = trainable.embeddings
    start = _random_rows(weight, rows)
    after = Dice(trainable.device)
    after.note()
    kept, asked = weight.data.clone(), weight.requires_grad
    weight.requires_grad_()
    try:
        gradients = [p.grad for p in (*parameters, weight)]

        def slope(direction: Tensor) -> Tensor | None:
            for p in (*parameters, weight):
                p.grad = None
            weight.data.copy_(kept + size * direction)
            dice.replay()
            backward(trainable, divergence, batch, chunk)
            return weight.grad

        direction = worst_direction(start, slope, iterations)
        for p, gradient in zip((*parameters, weight), gradients, strict=True):
            p.grad = gradient
        weight.data.copy_(kept + size * direction)
        dice.replay()
        return backward(trainable, divergence, batch, chunk)
    finally:
        weight.data.copy_(kept)
        if not asked:
            weight.grad = None
        weight.requires_grad_(asked)
        after.replay()


def worst_direction(start: Tensor, slope: Slope, iterations: int) -> Tensor:
    """Return the direction, of norm 1, in which a divergence grows fastest, by the power method.

    A divergence is 0 and flat where nothing is moved, so its gradient after a small move is the Hessian times the move. Repeated,
    the direction turns to the eigenvector of the largest eigenvalue (arXiv:1704.03976, 3.2).

    Args:
        start: the first direction, at random.
        slope: gives the gradient of the divergence after a move in a direction of norm 1; None, or 0, keeps the direction.
        iterations: how often.
    """
    direction: Tensor = start / start.norm()
    for _ in range(iterations):
        found = slope(direction)
        norm = 0.0 if found is None else float(found.norm())
        if found is None or not norm > 0:
            break
        direction = found / norm
    return direction


def _random_rows(weight: Tensor, rows: Rows) -> Tensor:
    """Return a matrix (V, d) of Gaussian noise in the rows of the tokens that occur, and 0 in the others."""
    tokens = torch.tensor(sorted({t for row in rows for t in row}), device=weight.device)
    found = torch.zeros_like(weight)
    found[tokens] = torch.randn(len(tokens), weight.shape[1], device=weight.device)
    return found
