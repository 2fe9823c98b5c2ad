"""What a retrieval run kept of its relevance, so that numbers can be derived from its observations without the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hengyu.base.bounded import refuse_special
from hengyu.cards.relevance import Relevance
from hengyu.storage.records import write_bytes

__all__ = ["load_relevance", "save_relevance"]

_FILE = "relevance.safetensors"
_KEPT = ("own", "partners", "grades", "starts", "groups")
_SIZE = "size"


def save_relevance(run: Path, relevance: Mapping[str, Relevance]) -> None:
    """Write the relevance of a run's tasks beside its observations; which texts they are is left to the data."""
    from safetensors.numpy import save

    tensors = {f"{task} {name}": getattr(r, name) for task, r in relevance.items() for name in _KEPT}
    tensors |= {f"{task} {_SIZE}": np.array([len(r.corpus)], np.int64) for task, r in relevance.items()}
    write_bytes(run / _FILE, save({name: np.ascontiguousarray(x) for name, x in tensors.items()}))


def load_relevance(run: Path, task: str) -> Relevance | None:
    """Return the relevance of a task, its texts numbered by row; None where a run kept none, or its file cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        refuse_special(run / _FILE)
        with safe_open(run / _FILE, framework="numpy") as file:
            found = {name: file.get_tensor(f"{task} {name}") for name in (*_KEPT, _SIZE)}
        rows = int(found.pop(_SIZE)[0])
        return Relevance(np.arange(rows), np.arange(len(found["own"])), **found)
    except (SafetensorError, OSError, ValueError, IndexError):
        return None
