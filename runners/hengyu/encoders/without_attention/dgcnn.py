"""DGCNN: dilated gated convolutions with residual gates (Su, kexue.fm 5409 and 6906)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hengyu.encoders.without_attention.base import Config, Embeddings, Mixer

__all__ = ["DGCNN", "DGCNNConfig", "GatedConvolution"]

_RATES = (1, 2, 4, 8, 16)


class DGCNNConfig(Config):
    """The shape of a DGCNN; ``kernel_size`` is the width of its convolutions, in tokens."""

    model_type = "hengyu-dgcnn"

    kernel_size: int = 3


class GatedConvolution(nn.Module):
    """One block: `x (1 - s) + a s`, where a and s are convolutions of x over tokens ``rate`` apart, s through a sigmoid.

    The gate decides by how much a token's vector (d) is replaced, so that the block needs no norm. Dropout is on the gate, as
    in the author's code. Padding is 0 for the convolution, like what lies beyond the ends of a text.
    """

    def __init__(self, width: int, kernel: int, rate: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 2 * width, kernel, dilation=rate, padding="same")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the states (n, t, d) after the block; the mask is (n, t, 1)."""
        new, gate = self.conv((x * mask).transpose(1, 2)).transpose(1, 2).chunk(2, dim=-1)
        open_ = torch.sigmoid(self.dropout(gate))
        found: Tensor = (x * (1 - open_) + new * open_) * mask
        return found


class DGCNN(Mixer):
    """Gated convolutions whose rates are 1, 2, 4, 8, 16, and 1 from then on.

    Near tokens meet first, then far ones, and near ones again. A token sees 31 tokens to each side after five blocks; there are no
    position embeddings.
    """

    config_class = DGCNNConfig

    def __init__(self, config: DGCNNConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config, positions=False)
        self.layers = nn.ModuleList(
            GatedConvolution(
                config.hidden_size,
                config.kernel_size,
                _RATES[at] if at < len(_RATES) else 1,
                config.hidden_dropout_prob,
            )
            for at in range(config.num_hidden_layers)
        )
        self.post_init()
