"""The models that can be pretrained: each an encoder and a prediction head, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hengyu.encoders.without_attention import make_known
from hengyu.methods.training.drawing import redraw
from hengyu.tools.pretraining.recipe import Pretraining
from hengyu.tools.pretraining.vocabulary import PAD

__all__ = ["body_of", "head_of", "make"]


class _WithHead(nn.Module):
    """A model of ours under BERT's prediction head, which is tied to the word embeddings."""

    def __init__(self, body: Any) -> None:
        from transformers.models.bert.modeling_bert import BertOnlyMLMHead

        super().__init__()
        self.base_model = body
        self.cls = BertOnlyMLMHead(body.config)
        for part in self.cls.modules():
            body._init_weights(part)
        self.cls.predictions.decoder.weight = body.get_input_embeddings().weight

    @property
    def config(self) -> Any:
        """The body's configuration."""
        return self.base_model.config


def body_of(model: Any) -> Any:
    """Return the encoder of a model with a prediction head."""
    return model.base_model


def head_of(model: Any) -> Any:
    """Return the prediction head: states (n, d) to logits (n, size)."""
    return model.predictions if hasattr(model, "predictions") else model.cls


def make(recipe: Pretraining, size: int, device: str) -> Any:
    """Return a model with a prediction head for ``size`` tokens and without a pooler; its weights come from torch's generator.

    Raises RuntimeError or AssertionError for a missing device.
    """
    import transformers

    shape = {
        "vocab_size": size,
        "hidden_size": recipe.width,
        "num_hidden_layers": recipe.layers,
        "intermediate_size": 4 * recipe.width,
        "max_position_embeddings": recipe.length,
        "pad_token_id": PAD,
        "hidden_dropout_prob": recipe.dropout,
    }
    attentive = {"num_attention_heads": recipe.heads, "attention_probs_dropout_prob": recipe.dropout}
    # on a CPU with short sentences the backward pass of plain products is faster than torch's fused attention
    attention = "eager" if torch.device(device).type == "cpu" else None
    if recipe.arch == "bert":
        config: Any = transformers.BertConfig(**shape, **attentive)
        model = transformers.BertForMaskedLM._from_config(config, attn_implementation=attention)
    elif recipe.arch == "albert":
        config = transformers.AlbertConfig(
            **shape, **attentive, embedding_size=recipe.width, num_hidden_groups=1, hidden_act="gelu"
        )
        model = transformers.AlbertForMaskedLM._from_config(config, attn_implementation=attention)
    else:
        kind = f"hengyu-{recipe.arch}"
        make_known({"model_type": kind})
        model = _WithHead(transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **shape)))
    if recipe.init != "bert":
        redraw([model], recipe.init)
    return model.to(device)
