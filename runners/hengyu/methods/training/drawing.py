"""How the matrices of new layers begin: normal or orthogonal, of the same size."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hengyu.methods.training.choices import INITS

__all__ = ["draw", "redraw"]


@torch.no_grad()
def draw(weight: Tensor, how: str) -> None:
    """Draw a matrix (m, n), of n inputs and m outputs, anew; a convolution's inputs are all that its kernel covers.

    "normal": entries of mean 0 and variance 1/n. "orthogonal": sqrt(max(1, m / n)) times a matrix with orthonormal columns or
    rows, whose entries have the same mean square. The larger a normal matrix, the nearer it is to an orthogonal one (Su,
    kexue.fm 7180).

    Raises:
        ValueError: for another word.
    """
    out, inputs = weight.shape[0], weight[0].numel()
    if how == "normal":
        nn.init.normal_(weight, std=1 / math.sqrt(inputs))
    elif how == "orthogonal":
        nn.init.orthogonal_(weight, gain=math.sqrt(max(1.0, out / inputs)))
    else:
        raise ValueError(f"{how} is not one of {', '.join(INITS)}")


def redraw(modules: Iterable[nn.Module], how: str) -> int:
    """Draw the matrices of linear layers and convolutions in modules anew, and return their number.

    One that is tied to a table of embeddings stays as it is.
    """
    every = [part for module in modules for part in module.modules()]
    tied = {id(part.weight) for part in every if isinstance(part, nn.Embedding)}
    chosen = [p for p in every if isinstance(p, nn.Linear | nn.Conv1d) and id(p.weight) not in tied]
    for part in chosen:
        draw(part.weight, how)
    return len(chosen)
