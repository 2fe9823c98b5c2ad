"""The checkpoint of a pretraining: weights and optimizer in one safetensors file, written atomically."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import nn

from hengyu.base.errors import HengyuError, first_line
from hengyu.base.json_files import parse, write_bytes

__all__ = ["CHECKPOINT", "load_checkpoint", "resume", "save_checkpoint", "step_of"]

CHECKPOINT = "checkpoint.safetensors"


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Log = TypeVar("Log", bound=_Dataclass)
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write weights, AdamW's moments, and a JSON state."""
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach().cpu().contiguous()
        for key in _MOMENTS:
            value = optimizer.state[parameter].get(key)
            if value is not None:
                tensors[f"{key}.{name}"] = value.detach().cpu().contiguous()
    text = json.dumps(state, sort_keys=True, allow_nan=False)
    write_bytes(path, save(tensors, metadata={"state": text, "sha256": _sum(text, tensors)}))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore weights and moments in place and return the state; raises `HengyuError` for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if about["sha256"] != _sum(about["state"], tensors):
            raise ValueError("its bytes have changed since it was written")
        state = parse(about["state"].encode(), dict[str, Any])
        for name, parameter in model.named_parameters():
            value = tensors[f"model.{name}"]
            if value.shape != parameter.shape:
                raise ValueError(f"'{name}' has the shape {tuple(value.shape)}")
            with torch.no_grad():
                parameter.copy_(value)
            optimizer.state[parameter] = {
                key: tensors[f"{key}.{name}"].to(parameter.device) for key in _MOMENTS if f"{key}.{name}" in tensors
            }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as e:
        raise HengyuError(
            f"{path}: cannot be read ({first_line(e)}); delete the folder {path.parent} and start again"
        ) from None
    return state


def resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, new: Log) -> Log:
    """Restore weights and moments in place and return the training log, which is ``new`` where there is no checkpoint.

    Raises:
        HengyuError: for a damaged file, or one that has the state of another kind of training.
    """
    if not path.is_file():
        return new
    state = load_checkpoint(path, model, optimizer)
    if {k: type(v) for k, v in state.items()} != {k: type(v) for k, v in asdict(new).items()}:
        raise HengyuError(f"{path}: does not record its progress; delete the folder {path.parent} and start again")
    return replace(new, **state)


def step_of(path: Path) -> int:
    """Return the step after which a checkpoint was written, 0 without a readable one: `resume` says what is wrong with it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            step = parse((file.metadata() or {})["state"].encode(), dict[str, Any]).get("step")
    except (SafetensorError, OSError, ValueError, KeyError):
        return 0
    return step if isinstance(step, int) else 0


def _sum(state: str, tensors: dict[str, torch.Tensor]) -> str:
    total = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        total.update(f"\0{name}\0".encode())
        total.update(tensors[name].numpy().tobytes())
    return total.hexdigest()
