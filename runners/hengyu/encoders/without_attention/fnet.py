"""FNet: an unparametrised Fourier transform over tokens and features in place of attention (arXiv 2105.03824)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from hengyu.encoders.without_attention.base import Config, Embeddings, Mixer

__all__ = ["FNet", "FNetConfig", "waves"]


class FNetConfig(Config):
    """The shape of an FNet."""

    model_type = "hengyu-fnet"


def waves(mask: Tensor) -> Tensor:
    """Return cosines and sines (n, t, 2t) of the Fourier transform over the tokens of each row of a mask (n, t), 0 for padding.

    A row of m tokens has a transform of length m, so that padding does not change it.
    """
    count = mask.sum(1).long().clamp(min=1)[:, None, None]
    place = torch.arange(mask.shape[1], device=mask.device)
    # whole turns are left out before the division, so that the angle is exact to a float's precision
    turns = (place[:, None] * place[None, :])[None] % count
    angle = turns.to(torch.float32) * (2 * math.pi) / count
    inside = (mask[:, :, None] * mask[:, None, :]).to(torch.float32)
    return torch.cat([angle.cos() * inside, angle.sin() * inside], dim=2)


class Block(nn.Module):
    """One block: the real part of the transform, and a feed-forward layer, each added to its input and normalised."""

    def __init__(self, config: FNetConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.mixed_norm = nn.LayerNorm(width, eps=eps)
        self.widen = nn.Linear(width, config.intermediate_size)
        self.act = ACT2FN[config.hidden_act]
        self.narrow = nn.Linear(config.intermediate_size, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, over: Tensor) -> Tensor:
        """Return the states (n, t, d) after the block; ``over`` are the `waves` of the mask."""
        with torch.autocast(x.device.type, enabled=False):  # there is no transform in bfloat16
            features = torch.fft.fft(x.float(), dim=-1)
            mixed = torch.matmul(over, torch.cat([features.real, features.imag], dim=1))
        y = self.mixed_norm(x + mixed.to(x.dtype))
        found: Tensor = self.norm(y + self.dropout(self.narrow(self.act(self.widen(y)))))
        return found


class _Projected(Embeddings):
    """Embeddings with a linear layer after the norm, as in the paper's code."""

    def __init__(self, config: FNetConfig) -> None:
        super().__init__(config, positions=True)
        self.projection = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of tokens."""
        x = self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]]  # type: ignore[union-attr]
        # in mixed precision the states stay float32, like those of the other architectures
        found: Tensor = self.dropout(self.projection(self.LayerNorm(x))).to(x.dtype)
        return found


class FNet(Mixer):
    """Fourier blocks; without padding the states are those of transformers' FNet with the same weights.

    That class has no mask: there a text's states depend on how far it is padded.
    """

    config_class = FNetConfig

    def __init__(self, config: FNetConfig) -> None:
        super().__init__(config)
        self.embeddings = _Projected(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def view(self, mask: Tensor) -> Any:
        """Return the transform over the tokens of each row."""
        return waves(mask)
