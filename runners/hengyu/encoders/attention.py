"""Attention pooling: a mean of the token states whose weights follow from one learned query.

A folder's modules.json names the class as ``hengyu.encoders.attention.TokenAttention``, before a mean: sentence-transformers loads
such a folder with ``trust_remote_code=True`` where Hengyu is installed, and Hengyu loads it without any flag.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor, nn

from hengyu.base.bounded import open_regular
from hengyu.base.errors import HengyuError, first_line
from hengyu.base.json_files import write_bytes

__all__ = ["WEIGHTS", "TokenAttention"]

WEIGHTS = "model.safetensors"


class TokenAttention(Module):  # type: ignore[misc]
    """Weights of tokens for the mean after it: the softmax, over the tokens of a text, of the products of query and states.

    Args:
        query: (d,); zeros give every token the same weight.
        rate: the query is so many times the trained parameter, so that Adam moves it so many times as fast.
    """

    config_keys: list[str] = []

    def __init__(self, query: Tensor, rate: float = 1.0) -> None:
        super().__init__()
        self.scaled = nn.Parameter(query / rate)
        self.rate = rate

    @property
    def query(self) -> Tensor:
        """The query (d,)."""
        return self.rate * self.scaled

    def weights(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return the weights (n, t) of the tokens of states (n, t, d), 0 where the mask (n, t) is 0; those of a text sum to 1."""
        products = (states * self.query.to(states.dtype)).sum(-1).float()
        return torch.softmax(products.masked_fill(mask == 0, -torch.inf), dim=-1)

    # --- as a module of sentence-transformers ---

    def forward(self, features: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Multiply the states by their weights; the mean after it divides by the weights' sum."""
        states = features["token_embeddings"]
        weights = self.weights(states, features["attention_mask"])
        features["token_embeddings"] = states * weights.unsqueeze(-1).to(states.dtype)
        features["token_weights_sum"] = weights.sum(-1)
        return features

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write model.safetensors."""
        from safetensors.torch import save

        write_bytes(Path(output_path) / WEIGHTS, save({"query": self.query.detach().cpu().contiguous()}))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> TokenAttention:
        """Read a folder that `save` wrote; raises `HengyuError` for any other content."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = Path(model_name_or_path) / subfolder / WEIGHTS
        try:
            with open_regular(path) as file:
                query = load(file.read())["query"]
            if query.ndim != 1 or query.dtype != torch.float32 or not torch.isfinite(query).all():
                raise ValueError("its query is not a finite vector")
        except (SafetensorError, OSError, ValueError, KeyError) as e:
            raise HengyuError(
                f"{path}: not the query of an attention pooling ({type(e).__name__}: {first_line(e)}); get the model again"
            ) from None
        return cls(query)
