"""Differences between transformers architectures: the class to load, the number of positions, the attention."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from importlib import import_module
from inspect import Parameter, signature
from itertools import pairwise
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError

__all__ = [
    "ATTENTION",
    "accepted",
    "decodes",
    "default_pooling",
    "load_transformer",
    "longest_input",
    "open_attention",
    "positions",
]

ATTENTION = ("", "bidirectional")
"""The attention of an encoder: "" as trained, "bidirectional" for a causal model that attends in both directions."""

UNLIMITED = 1_000_000
"""The longest input, in tokens, of a model without a limit; tokenizers say 1e30."""

_ENCODERS = {
    "t5": ("transformers", "T5EncoderModel"),
    "mt5": ("transformers", "MT5EncoderModel"),
    "umt5": ("transformers", "UMT5EncoderModel"),
    "longt5": ("transformers", "LongT5EncoderModel"),
    "switch_transformers": ("transformers", "SwitchTransformersEncoderModel"),
    "prophetnet": ("transformers", "ProphetNetEncoder"),
    "blenderbot": ("transformers.models.blenderbot.modeling_blenderbot", "BlenderbotEncoder"),
    "blenderbot-small": ("transformers.models.blenderbot_small.modeling_blenderbot_small", "BlenderbotSmallEncoder"),
    "m2m_100": ("transformers.models.m2m_100.modeling_m2m_100", "M2M100Encoder"),
    "pegasus": ("transformers.models.pegasus.modeling_pegasus", "PegasusEncoder"),
    "pegasus_x": ("transformers.models.pegasus_x.modeling_pegasus_x", "PegasusXEncoder"),
    "marian": ("transformers.models.marian.modeling_marian", "MarianEncoder"),
    "t5gemma": ("transformers", "T5GemmaEncoderModel"),
}
"""Model types that as a whole need a decoder's input -> the class of their encoder, as in sentence-transformers.

For some types that class finds its weights only in a folder of the encoder alone; in a folder of the whole model
sentence-transformers leaves them random. There the whole model is loaded and its encoder used.
"""

_COUNTED_FROM_PADDING = {
    "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet",
    "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
"""Model types whose positions start after the id of the padding token, like RoBERTa's."""

_CALLED = {
    **dict.fromkeys(
        ("codegen", "ctrl", "gpt-sw3", "gpt2", "gpt_bigcode", "gptj", "imagegpt", "openai-gpt"), "n_positions"
    ),
    **dict.fromkeys(("bailing_hybrid", "kimi_linear"), "model_max_length"),
    **dict.fromkeys(("dbrx", "mpt"), "max_seq_len"),
    "led": "max_encoder_position_embeddings",
    "rwkv": "context_length",
}
"""Model types -> their name for ``max_position_embeddings``."""

_FIXED_TABLES = {"codegen", "ctrl", "gptj", "hengyu-gmlp", "led", "mpt"}
"""Model types whose position table is computed at construction, or has a special name."""

_TRIED = 8  # tokens

_TABLE = re.compile(
    r"(?:^|\.)(?:position_embeddings?|embed_positions|positions_embed|wpe|word_position_embeddings)\.weight$"
)


def positions(config: Mapping[str, Any], weights: Collection[str]) -> tuple[int | None, bool]:
    """Return the number of positions in a configuration, and whether it is a hard limit.

    Args:
        config: the contents of config.json.
        weights: the names of the model's weights, which include a learned position table.
    """
    kind = config.get("model_type")
    found = config.get(_CALLED.get(str(kind), ""), config.get("max_position_embeddings"))
    if type(found) is not int or found <= 0:  # -1 means "no limit" in XLNet and DeBERTa
        return None, False
    fixed = kind in _FIXED_TABLES or any(map(_TABLE.search, weights))
    if fixed and kind in _COUNTED_FROM_PADDING:
        padding = config.get("pad_token_id")
        found -= (padding if type(padding) is int else 1) + 1
    return found, fixed


def longest_input(
    config: Mapping[str, Any], tokenizer: Mapping[str, Any], sentence: Mapping[str, Any], weights: Collection[str]
) -> tuple[int, int]:
    """Return the default and the largest possible input length of a model, in tokens.

    The default is that of sentence-transformers: ``max_seq_length``, else the tokenizer's limit, at most the positions of
    the configuration, but never more than the position table has, where the library would fail.

    Args:
        config: the contents of config.json.
        tokenizer: the contents of tokenizer_config.json.
        sentence: the contents of sentence_bert_config.json.
        weights: the names of the model's weights.
    """
    there, fixed = positions(config, weights)
    asked = sentence.get("processor_kwargs") or sentence.get("tokenizer_args")
    asked = asked.get("model_max_length") if isinstance(asked, dict) else None
    own = asked if _length(asked) else sentence.get("max_seq_length")
    limits = [n for n in (tokenizer.get("model_max_length"), there, UNLIMITED) if n is not None and _length(n)]
    default = int(min(limits))  # for LED and MPT, which the library does not limit, the size of their table
    found = int(own) if own is not None and _length(own) else default
    if fixed and there is not None:
        return min(found, there), there
    return min(found, UNLIMITED), max(found, default)


def default_pooling(config: Mapping[str, Any]) -> str:
    """Return the pooling that sentence-transformers chooses from config.json for a folder without modules."""
    named = config.get("architectures")
    causal = isinstance(named, list) and bool(named) and str(named[0]).endswith("ForCausalLM")
    return "last" if causal and config.get("is_causal", True) else "mean"


def decodes(config: Mapping[str, Any]) -> bool:
    """Whether a model's last states are a decoder's, from which its ``native`` vectors are read."""
    return config.get("is_encoder_decoder") is True and config.get("model_type") not in _ENCODERS


def _length(value: object) -> bool:
    return type(value) in (int, float) and value > 0  # type: ignore[operator]


def load_transformer(folder: Path, *, dtype: Any, trust_remote_code: bool) -> tuple[Any, Any]:
    """Return the transformer in a folder and its loading report; of most encoder-decoders only the encoder.

    Raises whatever transformers raises if it cannot be loaded.
    """
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    make: Any = transformers.AutoModel
    remote = "AutoModel" in (getattr(config, "auto_map", None) or {})
    if config.model_type in _ENCODERS and not remote:
        module, name = _ENCODERS[config.model_type]
        make = getattr(import_module(module), name)
        if config.model_type == "t5gemma":
            config.is_encoder_decoder = False
    more = {"trust_remote_code": trust_remote_code} if make is transformers.AutoModel else {}
    if hasattr(config, "use_cache"):
        config.use_cache = False
    given = {
        "config": config,
        "dtype": dtype,
        "use_safetensors": True,
        "local_files_only": True,
        "output_loading_info": True,
    }
    model, report = make.from_pretrained(folder, **given, **more)
    if make is not transformers.AutoModel and report["missing_keys"]:
        whole, of_whole = transformers.AutoModel.from_pretrained(folder, **given)
        if not of_whole["missing_keys"]:
            return whole.get_encoder(), of_whole
    return model, report


def accepted(model: Any, features: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features that a model's forward pass accepts."""
    known = signature(getattr(model, "forward", model)).parameters
    if any(p.kind is Parameter.VAR_KEYWORD for p in known.values()):
        return dict(features)
    return {name: value for name, value in features.items() if name in known}


def _both_ways(model: Any, ids: Any) -> bool:
    """Whether the first token attends to the second in every block; not so in recurrences and causal convolutions."""
    import torch

    with torch.enable_grad():
        layers = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
        for before, after in pairwise(layers):
            (slope,) = torch.autograd.grad(after[0, 0].float().square().sum(), before, retain_graph=True)
            if not slope[0, 1].any():
                return False
    return True


def open_attention(model: Any, where: str) -> None:
    """Let a causal transformer attend to all tokens of a text; raises `HengyuError` if that is not certain to work.

    transformers builds a bidirectional mask for a model whose configuration has ``is_causal = False``. Whether the attention
    obeys is tested: the states must equal those under an explicit all-ones mask, must differ from those before, and in every
    block a token must attend to the next one.
    """
    import torch

    def states(mask: Any) -> Any:
        return model(input_ids=ids, attention_mask=mask).last_hidden_state.float()

    try:
        size = int(model.get_input_embeddings().num_embeddings)
        ids = torch.arange(_TRIED, device=model.device).remainder(size)[None]
        with torch.inference_mode():
            before = states(torch.ones_like(ids))
            model.config.is_causal = False
            for part in model.modules():
                if getattr(part, "is_causal", None) is True:
                    part.is_causal = False
            after = states(torch.ones_like(ids))
            full = states(torch.zeros((1, 1, _TRIED, _TRIED), dtype=model.dtype, device=model.device))
        least = float(full.abs().max())
        obeys = bool((after - full).abs().max() <= 1e-3 * least)
        differs = bool((after - before).abs().max() > 1e-6 * least)
        obeys = obeys and not model.config.is_encoder_decoder and _both_ways(model, ids)
    except Exception:  # whatever a model raises that does not accept such a mask
        obeys = differs = False
    if not (obeys and differs):
        raise HengyuError(
            f"{where}: attention = 'bidirectional' does not fit the architecture '{model.config.model_type}': "
            f"{'it is bidirectional already' if obeys else 'its attention cannot be made bidirectional'}; remove attention"
        )
