"""What the indexes of a retrieval run cost, which differs from run to run and so stays out of the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hengyu.document import parse, write_json

__all__ = ["note_costs", "read_costs"]


def read_costs(path: Path) -> dict[str, dict[str, float]]:
    """Return the costs by cell of a costs.json; what cannot be read counts as nothing, and is measured anew by --force."""
    try:
        return {
            str(key): {str(name): float(value) for name, value in costs.items() if type(value) in (int, float)}
            for key, costs in parse(path.read_bytes())["costs"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}


def note_costs(folder: Path, key: str, costs: Mapping[str, float]) -> None:
    """Write the rates, seconds and bytes of one cell (`hengyu.records.cell_key`) into a run's costs.json.

    Those of cells found finished stay as they were; `hengyu.records.load_run` joins them to the records.
    """
    path = folder / "costs.json"
    rounded = {name: float(f"{value:.6g}") for name, value in costs.items()}
    write_json(path, {"costs": {**read_costs(path), key: rounded}})
