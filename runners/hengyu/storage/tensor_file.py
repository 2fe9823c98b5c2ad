"""Arrays on disk with a description and a checksum: one safetensors file, named by its cache key, written atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import refuse_special
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import parse, write_bytes
from hengyu.storage.identity import name_of

__all__ = ["Tensors", "read_metadata", "load_sealed", "read_sealed", "save_sealed", "sealed_path"]

Tensors = Mapping[str, NDArray[Any]]


def sealed_path(folder: Path, cache_key: Mapping[str, Any]) -> Path:
    """Return the file of a cache key: its name is the hash of every key and value."""
    return folder / f"{name_of(cache_key, 24)}.safetensors"


def save_sealed(folder: Path, cache_key: Mapping[str, Any], tensors: Tensors, about: Mapping[str, Any]) -> Path:
    """Write arrays with a description; returns the file. Raises `HengyuError` if it cannot be written."""
    from safetensors.numpy import save

    whole = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    head = {"meaning": dict(cache_key), **about}
    head["sha256"] = _digest(whole, head)
    content = save(whole, metadata={"hengyu": json.dumps(head, sort_keys=True, allow_nan=False)})
    path = sealed_path(folder, cache_key)
    write_bytes(path, content)
    return path


def load_sealed(folder: Path, cache_key: Mapping[str, Any]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """Read (arrays, about) of a cache key; None if there is no such file; raises `HengyuError` if its bytes changed."""
    path = sealed_path(folder, cache_key)
    try:
        return read_sealed(path, cache_key) if path.is_file() else None
    except HengyuError:
        if path.exists():
            raise
        return None  # it was deleted while being read


def read_sealed(
    path: Path, cache_key: Mapping[str, Any] | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read (arrays, about) of a file; raises `HengyuError` if it has changed or has another cache key."""
    from safetensors import SafetensorError, safe_open

    try:
        refuse_special(path)
        with safe_open(path, framework="np") as file:
            about = _head(file)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        intact = about.pop("sha256") == _digest(tensors, about) and sealed_path(path.parent, about["meaning"]) == path
        intact = intact and (cache_key is None or about["meaning"] == dict(cache_key))
    except PermissionError as e:
        raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); check its permissions") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        intact = False
    if not intact:
        raise HengyuError(f"{path}: has changed since it was written; delete it, the next run recreates it")
    return tensors, about


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Return a file's description (cache key and the rest) without reading or checking arrays; None if there is none."""
    from safetensors import SafetensorError, safe_open

    try:
        refuse_special(path)
        with safe_open(path, framework="np") as file:
            return _head(file)
    except (SafetensorError, OSError, KeyError, ValueError):
        return None


def _head(file: Any) -> dict[str, Any]:
    """Return what an open file says of itself; raises KeyError or ValueError where it says nothing."""
    return parse((file.metadata() or {})["hengyu"].encode(), dict[str, Any])


def _digest(tensors: Tensors, head: Mapping[str, Any]) -> str:
    total = hashlib.sha256(json.dumps(head, sort_keys=True, allow_nan=False).encode())
    for key in sorted(tensors):
        total.update(f"{key}{tensors[key].shape}{tensors[key].dtype}".encode())
        total.update(np.ascontiguousarray(tensors[key]).tobytes())
    return total.hexdigest()
