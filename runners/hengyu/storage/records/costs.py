"""What the indexes of a retrieval run cost, which differs from run to run and so stays out of the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hengyu.base.bounded import read_bytes
from hengyu.base.json_files import parse, write_json
from hengyu.storage.identity import digest

__all__ = ["damaged_costs", "note_costs", "read_costs"]


def read_costs(path: Path) -> dict[str, dict[str, float]]:
    """Return the costs by cell of a costs.json; what cannot be read, or is not as it was written, counts as nothing.

    It is measured anew by --force.
    """
    try:
        content = parse(read_bytes(path))
        if not _whole(content):
            return {}
        return {
            str(key): {str(name): float(value) for name, value in costs.items() if type(value) in (int, float)}
            for key, costs in content["costs"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}


def damaged_costs(folder: Path) -> list[Path]:
    """Return the costs.json of a run's folder if it is not as it was written."""
    path = folder / "costs.json"
    try:
        content = parse(read_bytes(path))
        return [] if _whole(content) else [path]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [path]


def _whole(content: Mapping[str, Any]) -> bool:
    """Tell whether costs are as they were written; files from before there were digests say nothing of it."""
    own = digest(content["costs"])
    return bool(content.get("sha256", own) == own)


def note_costs(folder: Path, key: str, costs: Mapping[str, float]) -> None:
    """Write the rates, seconds and bytes of one cell (`hengyu.storage.records.cell_key`) into a run's costs.json.

    Those of cells found finished stay as they were; `hengyu.storage.records.load_run` joins them to the records.
    """
    path = folder / "costs.json"
    rounded = {name: float(f"{value:.6g}") for name, value in costs.items()}
    known = {**read_costs(path), key: rounded}
    write_json(path, {"costs": known, "sha256": digest(known)})
