"""Values in a model's configuration files that Hengyu reads itself: each is of its kind, or one sentence says why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders.files import shown

__all__ = ["check_length", "check_sizes", "default_prompt_of", "prompts_of", "side_prompt", "truncate_dim_of"]

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "num_labels")
_LONGEST = 1e40  # tokenizers without a limit say 1e30


def check_length(value: Any, where: Path, key: str) -> None:
    """Raise `HengyuError` for a longest input, in tokens, that is none."""
    kinds = (int, float) if key == "model_max_length" else (int,)
    if value is not None and (type(value) not in kinds or not 0 < value < _LONGEST):
        raise HengyuError(
            f"{where}: {key} {shown(value)} must be a number of tokens above 0; correct it, or get the model again"
        )


def check_sizes(config: Mapping[str, Any], where: Path) -> None:
    """Raise `HengyuError` for sizes of a transformer that are none; some architectures list one for each stage."""
    for key in _SIZES:
        value = config.get(key)
        if value is not None and not isinstance(value, list) and (type(value) is not int or value < 0):
            raise HengyuError(f"{where}: key '{key}' must be a whole number, not {shown(value)}; get the model again")


def prompts_of(settings: Mapping[str, Any], where: Path) -> dict[str, str]:
    """Return the prompts by their names; raises `HengyuError` for anything but texts."""
    found = settings.get("prompts")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(v is None or isinstance(v, str) for v in found.values()):
        raise HengyuError(f"{where}: key 'prompts' must map names to texts; correct it, or get the model again")
    return {name: text or "" for name, text in found.items()}


def default_prompt_of(settings: Mapping[str, Any], prompts: Mapping[str, str], where: Path) -> str:
    """Return the name of the default prompt, "" for none; raises `HengyuError` for one that names no prompt."""
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
    """Return the prompt that a folder puts before queries or documents, "" for none.

    It is what ``encode_query`` and ``encode_document`` of sentence-transformers take: the prompt called ``query`` or
    ``document``, and never the default one. The library gives every model a prompt of either name, an empty one where the
    folder has none, so that prompts called ``passage`` or ``corpus`` are not reached.
    """
    return prompts.get(side, "")


def truncate_dim_of(settings: Mapping[str, Any], where: Path) -> int:
    """Return how many columns are kept, 0 for all; raises `HengyuError` for anything but a number of them."""
    kept = settings.get("truncate_dim")
    if kept is None:
        return 0
    if type(kept) is not int or kept < 1:
        raise HengyuError(
            f"{where}: key 'truncate_dim' must be a number of columns above 0, not {shown(kept)}; correct it, or get the "
            "model again"
        )
    return kept
