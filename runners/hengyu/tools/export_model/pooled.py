"""A pooling as modules of sentence-transformers, which load without Hengyu."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders.huggingface import HuggingFace
from hengyu.encoders.long_texts import TRUNCATE
from hengyu.encoders.pooling import LAYERS
from hengyu.tools.export_model.template import put_template

__all__ = ["pooled", "refuse_unsayable"]


def pooled(encoder: HuggingFace, pooling: str) -> list[Any]:
    """Return the modules for a pooling's vectors: the transformer, in float32, and the modules after it.

    A mean of several layers is a weighted mean of all of them (`WeightedLayerPooling`) before a mean over the tokens. The
    pooler is a dense layer with tanh on the first token. The vector at the prompt's mask token is a mean over tokens in
    which all others have weight 0 (`WordWeights`; texts must not contain that token). A mean whose tokens have weights has that
    module too. A template is in the tokenizer.

    Raises:
        HengyuError: for a pooling, dtype, prompt or pre-tokenizer that such modules cannot represent.
    """
    import torch

    refuse_unsayable(encoder, pooling)
    library = encoder.library(torch.float32)
    if library.max_seq_length is not None:
        library.max_seq_length = encoder.folder.max_length
    if encoder.folder.prompt_has_suffix:
        put_template(encoder, library[0])
    if pooling == "native":
        return list(library)
    tail = _tail(library[0], encoder.id, pooling)
    weights = encoder.folder.word_weights
    if weights is not None and pooling in LAYERS:
        from hengyu.tools.export_model.library import WordWeights

        words = encoder.tokenizer.words(len(weights))
        tail.insert(-1, WordWeights(words, dict(zip(words, weights, strict=True)), 1.0))
    return [library[0], *tail]


def refuse_unsayable(encoder: HuggingFace, pooling: str) -> None:
    """Raise `HengyuError` for a pooling, dtype or pre-tokenizer that the library's modules cannot represent."""
    who, spec = f"encoder '{encoder.id}'", encoder.spec
    if spec.dtype != "float32":
        raise HengyuError(f"{who}: was evaluated in {spec.dtype}, but folders are float32; evaluate it in float32")
    if pooling == "echo":
        raise HengyuError(
            f"{who}: the pooling echo reads every text twice, which a sentence-transformers folder cannot do; choose a row of "
            "another pooling"
        )
    if encoder.folder.long != TRUNCATE:
        raise HengyuError(
            f"{who}: was evaluated with long = '{encoder.folder.long}', but sentence-transformers can only truncate; choose "
            "another row"
        )
    if spec.attention:
        raise HengyuError(
            f"{who}: was evaluated with attention = '{spec.attention}', which a sentence-transformers folder cannot do; choose "
            "a row of an encoder without it"
        )
    if spec.pre_tokenizer:
        raise HengyuError(
            f"{who}: {spec.pre_tokenizer} splits texts into words first, which a sentence-transformers folder cannot "
            "do; choose a row of an encoder without pre_tokenizer"
        )


def _tail(body: Any, who: str, pooling: str) -> list[Any]:
    import torch

    from hengyu.tools.export_model.library import Dense, Pooling, WeightedLayerPooling, WordWeights

    model = body.auto_model
    width = int(model.config.hidden_size)
    if pooling == "cls":
        return [Pooling(width, "cls")]
    if pooling == "mean":
        return [Pooling(width, "mean")]
    if pooling == "last":
        return [Pooling(width, "lasttoken")]
    if pooling == "weighted-mean":
        return [Pooling(width, "weightedmean")]
    if pooling == "mask":
        words = sorted(body.tokenizer.get_vocab().items(), key=itemgetter(1))
        return [WordWeights([w for w, _ in words], {body.tokenizer.mask_token: 1.0}, 0.0), Pooling(width, "mean")]
    if pooling == "pooler":
        layer = getattr(getattr(model, "pooler", None), "dense", None)
        if layer is None or not isinstance(getattr(model.pooler, "activation", None), torch.nn.Tanh):
            raise HengyuError(
                f"encoder '{who}': its pooler is not a dense layer with tanh; choose a row with another pooling"
            )
        weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
        dense = Dense(width, len(weight), activation_function=torch.nn.Tanh(), init_weight=weight, init_bias=bias)
        return [Pooling(width, "cls"), dense]
    blocks = int(model.config.num_hidden_layers)
    share = torch.zeros(blocks + 1)
    for layer in LAYERS[pooling]:
        share[layer] += 1.0 / len(LAYERS[pooling])
    model.config.output_hidden_states = True
    layers = WeightedLayerPooling(width, blocks, layer_start=0, layer_weights=torch.nn.Parameter(share))
    return [layers, Pooling(width, "mean")]
