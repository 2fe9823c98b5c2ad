"""What encoders without attention share: configuration, embeddings, and the pass through the blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

__all__ = ["Config", "Embeddings", "Mixer"]


class Config(PreTrainedConfig):  # type: ignore[misc]
    """The shape of an encoder, under the names that transformers' BERT uses.

    Attributes:
        vocab_size: tokens in the vocabulary.
        hidden_size: width of a token's vector.
        num_hidden_layers: blocks.
        intermediate_size: width inside a block, where a block has one.
        max_position_embeddings: tokens of the longest input.
        hidden_dropout_prob: rate of dropout in training.
        pad_token_id: id of the padding token.
    """

    vocab_size: int = 8000
    hidden_size: int = 256
    num_hidden_layers: int = 8
    intermediate_size: int = 1024
    max_position_embeddings: int = 128
    hidden_dropout_prob: float = 0.1
    hidden_act: str = "gelu"
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0


class Embeddings(nn.Module):
    """Token ids (n, t) to vectors (n, t, d): word embeddings, normalised; with ``positions``, plus learned positions."""

    def __init__(self, config: Any, *, positions: bool) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = (
            nn.Embedding(config.max_position_embeddings, config.hidden_size) if positions else None
        )
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of tokens."""
        x = self.word_embeddings(ids)
        if self.position_embeddings is not None:
            x = x + self.position_embeddings.weight[: ids.shape[1]]
        found: Tensor = self.dropout(self.LayerNorm(x))
        return found


class Mixer(PreTrainedModel):  # type: ignore[misc]
    """An encoder of ``embeddings``, blocks ``layers``, and what `finish` does after the last.

    A block maps states (n, t, d) and what `view` makes of the mask to states. Padding is on the right, and no state of a
    token depends on it.
    """

    config_class = Config
    base_model_prefix = "encoder"
    embeddings: Any
    layers: nn.ModuleList

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the word embeddings."""
        found: nn.Embedding = self.embeddings.word_embeddings
        return found

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings."""
        self.embeddings.word_embeddings = value

    def view(self, mask: Tensor) -> Any:
        """Return what every block reads of the mask (n, t), 1.0 for tokens and 0.0 for padding."""
        return mask.unsqueeze(-1)

    def finish(self, states: Tensor) -> Tensor:
        """Return the last states of the model from those of the last block."""
        return states

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> Any:
        """Return the states (n, t, d) of tokens (n, t).

        Args:
            input_ids: ids of tokens, padded on the right.
            attention_mask: 1 for tokens, 0 for padding; None for rows without padding.
            token_type_ids: not read: there is one kind of text.
            output_hidden_states: whether to return those of the embeddings and of every block, too.
            return_dict: False for a tuple.

        Raises:
            ValueError: for padding on the left.
        """
        x = self.embeddings(input_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if not torch.compiler.is_exporting() and bool((mask[:, 1:] > mask[:, :-1]).any()):
            raise ValueError("padding must be on the right: these models count positions from the first column")
        view = self.view(mask.to(x.dtype))
        every = [x]
        for layer in self.layers:
            x = layer(x, view)
            every.append(x)
        every[-1] = last = self.finish(x)
        hidden = tuple(every) if output_hidden_states else None
        if not return_dict:
            return (last,) if hidden is None else (last, hidden)
        return BaseModelOutput(last_hidden_state=last, hidden_states=hidden)
