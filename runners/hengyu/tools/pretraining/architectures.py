"""The models that can be pretrained: body and prediction head, how their weights begin, and ALBERT's blocks copied apart."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from hengyu.encoders.without_attention import make_known
from hengyu.tools.pretraining.recipe import Pretraining
from hengyu.tools.pretraining.vocabulary import PAD

__all__ = ["begin", "body_of", "head_of", "make", "unshare"]


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
    begin(model, recipe.init)
    return model.to(device)


def begin(model: nn.Module, how: str) -> None:
    """Draw the matrices of linear layers and convolutions anew, for an ``init`` of the recipe other than "bert".

    A matrix (m, n), n inputs to m outputs, has entries of mean 0 and variance 1/n: "normal", or sqrt(max(1, m / n)) times a
    matrix with orthonormal columns or rows, "orthogonal" (Su, kexue.fm 7180: the first is nearly the second if both are large).
    A prediction layer that is tied to the word embeddings stays as it is.
    """
    if how == "bert":
        return
    tied = {id(p) for part in model.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
    for part in model.modules():
        if isinstance(part, nn.Linear | nn.Conv1d) and id(part.weight) not in tied:
            _draw(part.weight, how)


@torch.no_grad()
def _draw(weight: Tensor, how: str) -> None:
    out, inputs = weight.shape[0], weight[0].numel()
    if how == "normal":
        nn.init.normal_(weight, std=1 / math.sqrt(inputs))
    else:
        nn.init.orthogonal_(weight, gain=math.sqrt(max(1.0, out / inputs)))


def unshare(model: Any, optimizer: torch.optim.Optimizer | None) -> None:
    """Give every block of an ALBERT its own copy of the weights that all share; nothing is computed differently by that.

    With an optimizer its moments are copied too. The shared weights had the sum of the gradients of all L blocks, so the copies
    get 1/L of the mean and 1/L^2 of the mean square: the direction in which the shared weights went.
    """
    config, stack = model.config, body_of(model).encoder.albert_layer_groups
    if config.num_hidden_groups == config.num_hidden_layers:
        return
    shared, count = stack[0], config.num_hidden_layers
    old = dict(shared.named_parameters())
    for _ in range(count - 1):
        stack.append(copy.deepcopy(shared))
    config.num_hidden_groups = count
    if optimizer is None:
        return
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for number, block in enumerate(stack):
        for name, parameter in block.named_parameters():
            source, group = old[name], group_of[id(old[name])]
            if number:
                group["params"].append(parameter)
                optimizer.state[parameter] = {k: v.clone() for k, v in optimizer.state[source].items()}
    for block in stack:
        for parameter in block.parameters():
            for key, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
                if key in optimizer.state[parameter]:
                    optimizer.state[parameter][key] /= count**power


