"""Poolings: from the hidden states of one forward pass to sentence vectors, padding never counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LAYERS", "last_states", "lacking", "pool", "pooler_states", "states"]

LAYERS = {"first-last-mean": (1, -1), "embedding-last-mean": (0, -1), "last2-mean": (-2, -1), "mean": (-1,)}
_BETWEEN = {name: wanted for name, wanted in LAYERS.items() if wanted != (-1,)}  # those that read other layers, too


def _get(output: Any, name: str) -> Any:
    """Return a field of a model's output, however it is kept; None where it has no such field."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def last_states(output: Any) -> Tensor | None:
    """Return ``last_hidden_state`` (n, t, d) of what a model gave, or the first tensor of a tuple; None without one."""
    found = output[0] if isinstance(output, tuple) and output else _get(output, "last_hidden_state")
    return found if getattr(found, "ndim", 0) == 3 else None


def pooler_states(output: Any) -> Tensor | None:
    """Return the pooler's output (n, d) of what a model gave; None without one."""
    found = output[1] if isinstance(output, tuple) and len(output) > 1 else _get(output, "pooler_output")
    return found if getattr(found, "ndim", 0) == 2 else None


def states(output: Any, length: int) -> list[Tensor | None]:
    """Return the hidden states (n, t, d) of a pass over ``length`` tokens: the embedding layer's, then one of every block.

    The last is ``last_hidden_state``, which in some architectures is not the last block's output but that after a final norm.
    Of a model with a decoder they are the encoder's. A layer that has no vector for each token, as in Funnel, is None.
    """
    encoder = _get(output, "encoder_last_hidden_state")
    last = last_states(output) if encoder is None else encoder
    layers = _get(output, "hidden_states" if encoder is None else "encoder_hidden_states")
    found = [*layers[:-1], last] if layers else [last]
    return [x if x is not None and x.ndim == 3 and x.shape[1] == length else None for x in found]


def lacking(layers: Sequence[Tensor | None], poolings: Sequence[str], *, pooler: bool) -> dict[str, str]:
    """Return which of the poolings cannot be read off the states that a model gave, each with the reason."""
    reasons = {}
    for name in poolings:
        if name == "pooler":
            if not pooler:
                reasons[name] = "the model's output has no pooler"
        elif layers[-1] is None:
            reasons[name] = "the model's output has no vector for each token"
        elif name in _BETWEEN:
            if len(layers) < 3:
                reasons[name] = "the model's output has no hidden states, only the last ones"
            else:
                read = [layers[at] for at in _BETWEEN[name]]
                if any(x is None or x.shape[-1] != layers[-1].shape[-1] for x in read):
                    reasons[name] = "a layer that it reads has no vector of the same width for each token"
    return reasons


def pool(
    hidden: Sequence[Tensor | None],
    mask: Tensor,
    poolings: Sequence[str],
    *,
    pooler: Tensor | None = None,
    positions: Tensor | None = None,
    span: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """Return the vectors (n, d) of each pooling.

    Args:
        hidden: the hidden states (n, t, d): the embedding layer's output, then one of every block.
        mask: (n, t), 1 for a token and 0 for padding; special tokens count, as in the published protocols.
        poolings: of `hengyu.encoders.POOLINGS`, without ``native``.
        pooler: the output (n, d) of the model's pooler, for ``pooler``.
        positions: (n,), where the mask token of the prompt stands, for ``mask``.
        span: where the second copy of a text starts and ends in every row, for ``echo``.

    ``last`` is the last token that is no padding, and ``weighted-mean`` weighs the i-th of them with i, as
    sentence-transformers' ``lasttoken`` and ``weightedmean`` do (SGPT, arXiv 2202.08904). ``echo`` is the mean of the second
    copy of a text that stands twice (arXiv 2402.15449).

    Raises:
        ValueError: for a pooling that is unknown, or whose input is not there.
    """
    import torch

    means: dict[int, Tensor] = {}
    last = hidden[-1]

    def mean(layer: int) -> Tensor:
        layer %= len(hidden)
        if layer not in means:
            found = hidden[layer]
            if found is None:
                raise ValueError(f"layer {layer} has no vector for each token")
            weight = mask.unsqueeze(-1).to(found.dtype)
            means[layer] = (found * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return means[layer]

    out: dict[str, Tensor] = {}
    for name in poolings:
        if name == "pooler" and pooler is not None:
            out[name] = pooler
        elif last is None:
            raise ValueError(f"pooling '{name}' cannot be had here")
        elif name == "cls":
            # the first token that is no padding: models that pad on the left do not start at 0
            out[name] = last[range(len(mask)), mask.argmax(1)]
        elif name == "last":
            out[name] = last[range(len(mask)), mask.shape[1] - 1 - mask.flip(1).argmax(1)]
        elif name == "weighted-mean":
            place = torch.arange(1, mask.shape[1] + 1, device=mask.device) - mask.argmax(1, keepdim=True)
            weight = (place * mask).unsqueeze(-1).float()
            out[name] = ((last * weight).sum(1) / weight.sum(1).clamp(min=1e-9)).to(last.dtype)
        elif name == "mask" and positions is not None:
            out[name] = last[range(len(mask)), positions]
        elif name == "echo" and span is not None:
            out[name] = last[:, span[0] : span[1]].mean(1)
        elif name in LAYERS:
            layers = [mean(layer) for layer in LAYERS[name]]
            out[name] = layers[0] if len(layers) == 1 else (layers[0] + layers[1]) / 2
        else:
            raise ValueError(f"pooling '{name}' cannot be had here")
    return out
