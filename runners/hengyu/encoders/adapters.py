"""Models that are a LoRA adapter on a base model: where the base is, and which adapters are supported."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any, cast

from hengyu.base.errors import HengyuError
from hengyu.encoders.files import join, weight_files
from hengyu.encoders.folder_view import FolderView
from hengyu.encoders.hub import find_folder

__all__ = ["ADAPTER", "base_of", "refuse_adapter"]

ADAPTER = "adapter_config.json"


def base_of(folder: FolderView) -> Any:
    """The folder of an adapter's base model; None if the base's weights are in this folder."""
    beside = folder.files.find(join(folder.first, "config.json")) is not None and weight_files(
        folder.files, folder.first
    )
    if not folder.adapter or beside:
        return None
    where = folder.transformer / ADAPTER
    named = folder.json(join(folder.first, ADAPTER)).get("base_model_name_or_path")
    if not isinstance(named, str) or not named or "\0" in named:
        raise HengyuError(f"{where}: names no base model, and there is none next to it; get the model again")
    spec = replace(
        folder.spec, model=named, name="", revision="", prompt="", max_length=0, backend="torch", pre_tokenizer=""
    )
    try:
        place, revision = find_folder(spec, offline=folder.offline)
        plain = not any(
            (place / name).exists() for name in (ADAPTER, "modules.json")
        )  # otherwise it might be its own base
        base = cast(Any, type(folder))(place, spec, identifier=named, revision=revision) if plain else None
    except HengyuError as e:
        raise HengyuError(
            f"{folder.where}: is only an adapter, and its base model '{named}' cannot be used: {e}"
        ) from None
    if base is None:
        raise HengyuError(
            f"{folder.where}: is an adapter, but its base model '{named}' is not a plain transformers folder; merge them: "
            "model.merge_and_unload().save_pretrained(DIR)"
        )
    return base


def refuse_adapter(folder: FolderView) -> None:
    """Refuse an unsupported adapter."""
    for part in folder.walk():
        inside = join(part.inside, ADAPTER)
        if part.kind == "Transformer" and part is not folder.pipeline[0] and folder.files.find(inside) is not None:
            raise HengyuError(
                f"{folder.path / inside}: only the first module may have an adapter; merge it into its base: "
                "model.merge_and_unload().save_pretrained(DIR)"
            )
    if not folder.adapter:
        return
    if folder.adapter != "LORA":
        raise HengyuError(
            f"{folder.where}: adapters of type {folder.adapter} are not supported, only LORA; merge it into its base: "
            "model.merge_and_unload().save_pretrained(DIR)"
        )
    if find_spec("peft") is None:
        raise HengyuError(f"{folder.where}: has a LoRA adapter, which needs peft; run: pip install 'hengyu[peft]'")
    if folder.spec.backend != "torch":
        raise HengyuError(
            f"{folder.where}: has an adapter, which backend {folder.spec.backend} cannot run; remove backend, or merge "
            "it into its base: model.merge_and_unload().save_pretrained(DIR)"
        )
    _ = folder.base
