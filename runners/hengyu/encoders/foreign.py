"""Finds what in a model's configuration would run code, import by name, or fetch other files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hengyu.encoders.files import TOKENIZER, is_plain

__all__ = ["ACTIVATIONS", "LIBRARY", "code_in"]

LIBRARY = re.compile(r"sentence_transformers(\.[A-Za-z_]\w*)+\Z")
_TORCH = "torch.nn.modules."
ACTIVATIONS = frozenset(
    f"{_TORCH}{place}"
    for place in (
        "linear.Identity",
        *(
            f"activation.{name}"
            for name in (
                "ELU",
                "GELU",
                "Hardsigmoid",
                "Hardswish",
                "Hardtanh",
                "LeakyReLU",
                "LogSigmoid",
                "Mish",
                "PReLU",
                "ReLU",
                "ReLU6",
                "SELU",
                "SiLU",
                "Sigmoid",
                "Softplus",
                "Softsign",
                "Tanh",
                "Tanhshrink",
            )
        ),
    )
)
"""The activation functions allowed in a dense layer: classes of torch.nn without arguments."""

_TOKENIZER_CLASS = re.compile(r"\w*(Tokenizer|TokenizerFast|Backend)\Z")
_PROCESSOR_CLASS = re.compile(r"\w*(Processor|Tokenizer|TokenizerFast|Backend)\Z")
_PEFT_IMPORTS = ("corda_config", "eva_config", "lora_ga_config", "megatron_config", "loftq_config", "arrow_config")
_ARGUMENTS = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
_NO_ARGUMENTS = frozenset(  # of from_pretrained: they name files elsewhere, or files to unpickle
    {
        "adapter_kwargs",
        "adapter_name",
        "cache_dir",
        "code_revision",
        "config",
        "device_map",
        "gguf_file",
        "key_mapping",
        "mistral_format",
        "offload_folder",
        "output_loading_info",
        "pretrained_model_name_or_path",
        "quantization_config",
        "revision",
        "state_dict",
        "subfolder",
        "token",
        "tokenizer_type",
        "use_safetensors",
        "variant",
        "weights_only",
    }
)
_ATTENTION = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")


def code_in(content: Any, name: str) -> list[str]:
    """Return what in a configuration file, at any depth, would run code, import by name, or fetch other files."""
    found: list[str] = []
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        if not isinstance(item, dict):
            continue
        stack += item.values()
        for key, value in item.items():
            if _runs(key, value):
                found.append(f"{name}: {key}" if key == "auto_map" else f"{name}: {key} {_short(value)}")
    return list(dict.fromkeys(found))


def _runs(key: str, value: Any) -> bool:
    """Whether a key with this value makes a library run, import or fetch something that the folder chooses."""
    if value is None or value is False or value in ("", [], {}):
        return False
    if key in ("auto_map", "init_inputs", "use_pretrained_backbone"):
        return True
    if key == "auto_mapping":  # of an adapter: the class of its base model
        library = value.get("parent_library") if isinstance(value, dict) else value
        return not (isinstance(library, str) and re.fullmatch(r"transformers(\.\w+)*", library))
    if key in _PEFT_IMPORTS:
        return True
    if key == "megatron_core":
        return bool(value != "megatron.core")
    if key in _ATTENTION:
        return "/" in str(value)
    if key in ("activation_fn", "activation_function"):
        return not isinstance(value, str) or ("." in value and value not in ACTIVATIONS)
    if key == "tokenizer_class":
        return not (isinstance(value, str) and (_TOKENIZER_CLASS.match(value) or LIBRARY.match(value)))
    if key == "processor_class":
        return not (isinstance(value, str) and _PROCESSOR_CLASS.match(value))
    if key == "transformers_weights":
        return not (
            isinstance(value, str) and is_plain(value) and value.endswith((".safetensors", ".safetensors.index.json"))
        )
    if key == "tokenizer_name_or_path":
        return True
    if key in _ARGUMENTS:
        return not isinstance(value, dict) or bool(set(value) & _NO_ARGUMENTS)
    if key == "fast_tokenizer_files":
        return not (isinstance(value, list) and all(isinstance(v, str) and TOKENIZER.match(v) for v in value))
    if key.endswith("_file") and isinstance(value, str):  # a file that a tokenizer would read elsewhere
        return key not in ("special_tokens_map_file", "tokenizer_file") and not is_plain(value) and _exists(value)
    return False


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"
