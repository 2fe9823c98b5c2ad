"""Poolings: from the hidden states of one forward pass to sentence vectors, always without padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LAYERS", "last_states", "lacking", "pool", "pooler_states", "states"]

LAYERS = {"first-last-mean": (1, -1), "embedding-last-mean": (0, -1), "last2-mean": (-2, -1), "mean": (-1,)}
_BETWEEN = {
    name: wanted for name, wanted in LAYERS.items() if wanted != (-1,)
}  # poolings that read other layers than the last


def _get(output: Any, name: str) -> Any:
    """Return a field of a model's output of any type; None if it has no such field."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def last_states(output: Any) -> Tensor | None:
    """Return ``last_hidden_state`` (n, t, d) of a model's output, or the first tensor of a tuple; None without one."""
    found = output[0] if isinstance(output, tuple) and output else _get(output, "last_hidden_state")
    return found if getattr(found, "ndim", 0) == 3 else None


def pooler_states(output: Any) -> Tensor | None:
    """Return the pooler's output (n, d) of a model's output; None without one."""
    found = output[1] if isinstance(output, tuple) and len(output) > 1 else _get(output, "pooler_output")
    return found if getattr(found, "ndim", 0) == 2 else None


def states(output: Any, length: int) -> list[Tensor | None]:
    """Return the hidden states (n, t, d) of a pass over ``length`` tokens: the embedding layer's, then one per block.

    The last is ``last_hidden_state``, which some architectures compute by a final norm after the last block. In a model with
    a decoder they are the encoder's. A layer without a vector per token, as in Funnel, is None.
    """
    encoder = _get(output, "encoder_last_hidden_state")
    last = last_states(output) if encoder is None else encoder
    layers = _get(output, "hidden_states" if encoder is None else "encoder_hidden_states")
    found = [*layers[:-1], last] if layers else [last]
    return [x if x is not None and x.ndim == 3 and x.shape[1] == length else None for x in found]


def lacking(layers: Sequence[Tensor | None], poolings: Sequence[str], *, pooler: bool) -> dict[str, str]:
    """Return the poolings that cannot be computed from a model's states, with the reasons."""
    reasons = {}
    for name in poolings:
        if name == "pooler":
            if not pooler:
                reasons[name] = "the model's output has no pooler"
        elif layers[-1] is None:
            reasons[name] = "the model's output does not have one vector per token"
        elif name in _BETWEEN:
            if len(layers) < 3:
                reasons[name] = "the model's output has only the last hidden states"
            else:
                read = [layers[at] for at in _BETWEEN[name]]
                if any(x is None or x.shape[-1] != layers[-1].shape[-1] for x in read):
                    reasons[name] = "a layer that it reads does not have one vector of the same width per token"
    return reasons


def pool(
    hidden: Sequence[Tensor | None],
    mask: Tensor,
    poolings: Sequence[str],
    *,
    pooler: Tensor | None = None,
    positions: Tensor | None = None,
    weights: Tensor | None = None,
    span: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """Return the vectors (n, d) of each pooling.

    Args:
        hidden: the hidden states (n, t, d): the embedding layer's output, then one per block.
        mask: (n, t), 1 for tokens, including special ones as in the published protocols, and 0 for padding.
        poolings: some of `hengyu.encoders.POOLINGS`, without ``native``.
        pooler: the output (n, d) of the model's pooler, for ``pooler``.
        weights: (n, t), of the tokens in `LAYERS`, the poolings that are means; None for ``mask``.
        positions: (n,), the positions of the prompt's mask token, for ``mask``.
        span: start and end of the second copy of a text in every row, for ``echo``.

    ``last`` is the last token that is not padding, and ``weighted-mean`` gives the i-th token the weight i, like
    sentence-transformers' ``lasttoken`` and ``weightedmean`` (SGPT, arXiv 2202.08904). ``echo`` is the mean over the second
    copy of a repeated text (arXiv 2402.15449).

    Raises:
        ValueError: for an unknown pooling, or one whose input is missing.
    """
    import torch

    means: dict[int, Tensor] = {}
    last = hidden[-1]

    def mean(layer: int) -> Tensor:
        layer %= len(hidden)
        if layer not in means:
            found = hidden[layer]
            if found is None:
                raise ValueError(f"layer {layer} does not have one vector per token")
            weight = (mask if weights is None else weights).unsqueeze(-1).to(found.dtype)
            means[layer] = (found * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return means[layer]

    out: dict[str, Tensor] = {}
    for name in poolings:
        if name == "pooler" and pooler is not None:
            out[name] = pooler
        elif last is None:
            raise ValueError(f"pooling '{name}' is not available here")
        elif name == "cls":
            # the first token that is not padding: models that pad on the left do not start at 0
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
            raise ValueError(f"pooling '{name}' is not available here")
    return out
