"""Checks of the values in a model's configuration files that Hengyu reads itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders.files import shown

__all__ = ["check_length", "check_sizes", "default_prompt_of", "prompts_of", "side_prompt", "truncate_dim_of"]

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "num_labels")
_LONGEST = 1e40  # tokenizers without a limit give 1e30


def check_length(value: Any, where: Path, key: str) -> None:
    """Raise `HengyuError` for an invalid longest input, in tokens."""
    kinds = (int, float) if key == "model_max_length" else (int,)
    if value is not None and (type(value) not in kinds or not 0 < value < _LONGEST):
        raise HengyuError(
            f"{where}: {key} {shown(value)} must be a number of tokens above 0; correct it, or get the model again"
        )


def check_sizes(config: Mapping[str, Any], where: Path) -> None:
    """Raise `HengyuError` for invalid sizes of a transformer; some architectures list one per stage."""
    for key in _SIZES:
        value = config.get(key)
        if value is not None and not isinstance(value, list) and (type(value) is not int or value < 0):
            raise HengyuError(f"{where}: key '{key}' must be a whole number, not {shown(value)}; get the model again")


def prompts_of(settings: Mapping[str, Any], where: Path) -> dict[str, str]:
    """Return the prompts by name; raises `HengyuError` for anything but texts."""
    found = settings.get("prompts")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(v is None or isinstance(v, str) for v in found.values()):
        raise HengyuError(f"{where}: key 'prompts' must map names to texts; correct it, or get the model again")
    return {name: text or "" for name, text in found.items()}


def default_prompt_of(settings: Mapping[str, Any], prompts: Mapping[str, str], where: Path) -> str:
    """Return the name of the default prompt, "" for none; raises `HengyuError` if there is no such prompt."""
    default = settings.get("default_prompt_name")
    if default is None or default == "":
        return ""
    if not isinstance(default, str) or default not in {*prompts, "query", "document"}:
        raise HengyuError(
            f"{where}: key 'default_prompt_name' must name one of its prompts, not {shown(default)}; correct it, or get the "
            "model again"
        )
    return default


def side_prompt(prompts: Mapping[str, str], side: str) -> str:
    """Return a folder's prompt for queries or documents, "" for none.

    Like ``encode_query`` and ``encode_document`` of sentence-transformers, it is the prompt named ``query`` or ``document``,
    and never the default one. The library gives every model a prompt of either name, empty if the folder has none, so
    prompts named ``passage`` or ``corpus`` are not used.
    """
    return prompts.get(side, "")


def truncate_dim_of(settings: Mapping[str, Any], where: Path) -> int:
    """Return how many columns are kept, 0 for all; raises `HengyuError` for an invalid number."""
    kept = settings.get("truncate_dim")
    if kept is None:
        return 0
    if type(kept) is not int or kept < 1:
        raise HengyuError(
            f"{where}: key 'truncate_dim' must be a number of columns above 0, not {shown(kept)}; correct it, or get the "
            "model again"
        )
    return kept
