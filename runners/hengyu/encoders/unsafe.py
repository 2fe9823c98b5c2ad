"""Refuses what is never loaded from a folder: code without permission, pickles, and missing weights."""

from __future__ import annotations

from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.encoders.adapters import ADAPTER, refuse_adapter
from hengyu.encoders.files import join, weight_files
from hengyu.encoders.folder_view import FolderView
from hengyu.encoders.foreign import ACTIVATIONS, code_in
from hengyu.encoders.kinds import CROSS, LATE, SPARSE
from hengyu.encoders.layout import Part

__all__ = ["foreign", "refuse_unsafe"]

_PICKLED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
_NAMESPACES = ("sentence_transformers.", "pylate.models.")


def foreign(folder: FolderView) -> tuple[str, ...]:
    """What in the folder would run code, import by name or fetch other files."""
    # the library's modules for other kinds of model are never built: such a model is refused for its kind
    known = (*SPARSE, *LATE, *CROSS) if folder.other_kind else ()
    found = [
        part.type
        for part in folder.walk()
        if not (part.kind or (part.name in known and part.type.startswith(_NAMESPACES)))
    ]
    for part in folder.walk():
        if part.kind == "Dense":
            named = part.config.get("activation_function", "torch.nn.modules.activation.Tanh")
            if not isinstance(named, str) or named not in ACTIVATIONS:
                found.append(f"{join(part.inside, 'config.json')}: activation_function {str(named)[:80]}")
    for inside in (i for part in folder.walk() for i in part.files(folder.files) if i.endswith(".json")):
        name = inside.rsplit("/", 1)[-1]
        if "vocab" not in name and name != "tokenizer.json":
            found += code_in(folder.files.json(inside), inside)
    return tuple(dict.fromkeys(found))


def refuse_unsafe(folder: FolderView) -> None:
    """Refuse folders without safetensors weights, and the model's own code unless the user permits it."""
    if folder.foreign and not folder.spec.trust_remote_code:
        raise HengyuError(
            f"{folder.where}: runs its own code ({', '.join(folder.foreign)}), which is refused; read that code, then "
            "pass --trust-remote-code if you trust it"
        )
    if not folder.custom:
        for part in folder.walk():
            _refuse_pickled(folder, part)
    if not folder.static and not folder.adapter and folder.files.find(join(folder.first, "config.json")) is None:
        raise HengyuError(
            f"{folder.where}: has no config.json; give the folder that save_pretrained wrote, or a hub id"
        )
    refuse_adapter(folder)


def _refuse_pickled(folder: FolderView, part: Part) -> None:
    """Refuse a module whose weights are missing or not in a safetensors file."""
    if not part.has_weights:
        return
    place = folder.path / part.inside
    if part.kind == "Transformer":
        found = bool(weight_files(folder.files, part.inside))
        if folder.files.find(join(part.inside, ADAPTER)) is not None:
            found = folder.files.find(join(part.inside, "adapter_model.safetensors")) is not None
    else:
        name = "state.safetensors" if part.kind == "Step" else "model.safetensors"
        found = folder.files.find(join(part.inside, name)) is not None
    if found:
        return
    pickles = [n for n in folder.files.names(part.inside) if Path(n).suffix in _PICKLED]
    if pickles:
        raise HengyuError(
            f"{place}: has {pickles[0]} but no .safetensors weights, and pickled weights are never loaded; "
            "save the model again with save_pretrained(..., safe_serialization=True)"
        )
    if part is folder.pipeline[0] and part.kind == "Transformer":
        _refuse_checkpoints(folder)
        raise HengyuError(
            f"{folder.where}: has no weights (*.safetensors); give the folder that save_pretrained wrote, or a hub id, "
            "or convert them: AutoModel.from_pretrained(NAME).save_pretrained(DIR), the same for AutoTokenizer"
        )
    raise HengyuError(f"{place}: has no weights (model.safetensors) for {part.name}; get the model again")


def _refuse_checkpoints(folder: FolderView) -> None:
    """Name the last checkpoint if the folder is a Trainer's output folder."""
    steps = [
        int(name.removeprefix("checkpoint-"))
        for name in folder.files.names("")
        if name.removeprefix("checkpoint-").isdecimal() and name.startswith("checkpoint-")
    ]
    if steps:
        last = folder.path / f"checkpoint-{max(steps)}"
        raise HengyuError(
            f"{folder.where}: is a Trainer's output folder without weights of its own; give one of its checkpoints, the "
            f"last is '{last}'"
        )
