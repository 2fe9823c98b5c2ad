"""Poolings: from the hidden states of one forward pass to sentence vectors, padding never counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LAYERS", "pool"]

LAYERS = {"first-last-mean": (1, -1), "embedding-last-mean": (0, -1), "last2-mean": (-2, -1), "mean": (-1,)}


def pool(
    hidden: Sequence[Tensor],
    mask: Tensor,
    poolings: Sequence[str],
    *,
    pooler: Tensor | None = None,
    positions: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the vectors (n, d) of each pooling.

    Args:
        hidden: the hidden states (n, t, d): the embedding layer's output, then one of every block.
        mask: (n, t), 1 for a token and 0 for padding; special tokens count, as in the published protocols.
        poolings: of `hengyu.encoders.POOLINGS`, without ``native``.
        pooler: the output (n, d) of the model's pooler, for ``pooler``.
        positions: (n,), where the mask token of the prompt stands, for ``mask``.

    Raises:
        ValueError: for a pooling that is unknown, or whose input is not there.
    """
    means: dict[int, Tensor] = {}
    weight = mask.unsqueeze(-1).to(hidden[-1].dtype)
    total = weight.sum(1).clamp(min=1e-9)

    def mean(layer: int) -> Tensor:
        layer %= len(hidden)
        if layer not in means:
            means[layer] = (hidden[layer] * weight).sum(1) / total
        return means[layer]

    out: dict[str, Tensor] = {}
    for name in poolings:
        if name == "cls":
            # the first token that is no padding: models that pad on the left do not start at 0
            out[name] = hidden[-1][range(len(mask)), mask.argmax(1)]
        elif name == "pooler" and pooler is not None:
            out[name] = pooler
        elif name == "mask" and positions is not None:
            out[name] = hidden[-1][range(len(mask)), positions]
        elif name in LAYERS:
            layers = [mean(layer) for layer in LAYERS[name]]
            out[name] = layers[0] if len(layers) == 1 else (layers[0] + layers[1]) / 2
        else:
            raise ValueError(f"pooling '{name}' cannot be had here")
    return out
