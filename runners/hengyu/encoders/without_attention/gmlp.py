"""gMLP: multilayer perceptrons in which a learned matrix over positions gates every token (Liu et al., arXiv 2105.08050)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization
from transformers.activations import ACT2FN

from hengyu.encoders.without_attention.base import Config, Embeddings, Mixer

__all__ = ["GMLP", "GMLPConfig", "SpatialGate"]


class GMLPConfig(Config):
    """The shape of a gMLP; ``intermediate_size`` is the width before a block's gate, which halves it."""

    model_type = "hengyu-gmlp"


class SpatialGate(nn.Module):
    """`u * (W norm(v) + b)` for the two halves u, v (n, t, e) of its input; W (t, t) and b (t,) belong to positions.

    W begins near 0 and b at 1, so that a block begins as a perceptron of single tokens. Padding adds nothing to the product.
    """

    def __init__(self, width: int, length: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.weight = nn.Parameter(torch.empty(length, length))
        self.bias = nn.Parameter(torch.empty(length))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the gated half (n, t, e) of x (n, t, 2e); the mask is (n, t, 1)."""
        u, v = x.chunk(2, dim=-1)
        size = x.shape[1]
        mixed = torch.matmul(self.weight[:size, :size], self.norm(v) * mask)
        return u * (mixed + self.bias[:size, None])


class Block(nn.Module):
    """One block: a norm, a wider layer, the gate, a layer back to the width of the states, and the sum with its input."""

    def __init__(self, config: GMLPConfig) -> None:
        super().__init__()
        width, wide = config.hidden_size, config.intermediate_size
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.widen = nn.Linear(width, wide)
        self.act = ACT2FN[config.hidden_act]
        self.gate = SpatialGate(wide // 2, config.max_position_embeddings, config.layer_norm_eps)
        self.narrow = nn.Linear(wide // 2, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the states (n, t, d) after the block; the mask is (n, t, 1)."""
        found: Tensor = x + self.dropout(self.narrow(self.gate(self.act(self.widen(self.norm(x))), mask)))
        return found


class GMLP(Mixer):
    """Blocks of gated perceptrons and a last norm; the gates know positions, so there are no position embeddings."""

    config_class = GMLPConfig

    def __init__(self, config: GMLPConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config, positions=False)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        super()._init_weights(module)
        if isinstance(module, SpatialGate):
            initialization.normal_(module.weight, mean=0.0, std=1e-3)
            initialization.ones_(module.bias)

    def finish(self, states: Tensor) -> Tensor:
        """Return the normalised states."""
        found: Tensor = self.norm(states)
        return found
