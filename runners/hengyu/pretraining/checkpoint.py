"""A stopped pretraining on disk: weights and optimizer in one safetensors file, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from hengyu.document import parse, write_bytes
from hengyu.errors import HengyuError, first_line

__all__ = ["CHECKPOINT", "load_checkpoint", "save_checkpoint"]

CHECKPOINT = "checkpoint.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write weights, AdamW's moments, and a state of plain JSON."""
    import json

    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach().cpu().contiguous()
        for key in _MOMENTS:
            value = optimizer.state[parameter].get(key)
            if value is not None:
                tensors[f"{key}.{name}"] = value.detach().cpu().contiguous()
    write_bytes(path, save(tensors, metadata={"state": json.dumps(state, sort_keys=True, allow_nan=False)}))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Give weights and moments back in place and return the state; raises `HengyuError` for a damaged file."""
    from safetensors import SafetensorError, safe_open

    remedy = f"delete the folder {path.parent} and start again"
    try:
        with safe_open(str(path), "pt") as file:
            state = parse((file.metadata() or {})["state"].encode())
            if not isinstance(state, dict):
                raise ValueError("its state is no object")
            here = set(file.keys())
            for name, parameter in model.named_parameters():
                value = file.get_tensor(f"model.{name}")
                if value.shape != parameter.shape:
                    raise ValueError(f"'{name}' has the shape {tuple(value.shape)}")
                with torch.no_grad():
                    parameter.copy_(value)
                moments = {key: file.get_tensor(f"{key}.{name}") for key in _MOMENTS if f"{key}.{name}" in here}
                optimizer.state[parameter] = {key: m.to(parameter.device) for key, m in moments.items()}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as e:
        raise HengyuError(f"{path}: cannot be read ({first_line(e)}); {remedy}") from None
    return state
