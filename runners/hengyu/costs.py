"""What the indexes of a retrieval run cost, which differs from run to run and so stays out of the records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hengyu.records import write_json

__all__ = ["note_costs"]


def note_costs(folder: Path, key: str, costs: Mapping[str, float]) -> None:
    """Write the rates, seconds and bytes of one cell (`hengyu.records.cell_key`) into a run's costs.json.

    Those of cells found finished stay as they were; `hengyu.records.load_run` joins them to the records.
    """
    path = folder / "costs.json"
    kept: dict[str, Mapping[str, float]] = {}
    try:
        kept = dict(json.loads(path.read_bytes())["costs"])
    except (OSError, ValueError, KeyError, TypeError):
        kept = {}
    kept[key] = {name: float(f"{value:.6g}") for name, value in costs.items()}
    write_json(path, {"costs": kept})
