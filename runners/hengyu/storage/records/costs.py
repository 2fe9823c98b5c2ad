"""What the indexes of a retrieval run cost, which differs from run to run and so stays out of the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from hengyu.base.json_files import find_json, write_json
from hengyu.storage.identity import digest

__all__ = ["damaged_costs", "note_costs", "read_costs"]


class _Costs(Struct):
    """costs.json."""

    costs: dict[str, dict[str, float]]
    sha256: str | None = None  # files from before there were digests have none

    @property
    def whole(self) -> bool:
        """Whether it is as it was written."""
        return self.sha256 in (None, digest(self.costs))


def read_costs(path: Path) -> dict[str, dict[str, float]]:
    """Return the costs by cell of a costs.json; what cannot be read, or is not as it was written, counts as nothing.

    It is measured anew by --force.
    """
    found = find_json(path, _Costs)
    return found.costs if found and found.whole else {}


def damaged_costs(folder: Path) -> list[Path]:
    """Return the costs.json of a run's folder if it is not as it was written."""
    path = folder / "costs.json"
    found = find_json(path, _Costs)
    return [path] if path.exists() and not (found and found.whole) else []


def note_costs(folder: Path, key: str, costs: Mapping[str, float]) -> None:
    """Write the rates, seconds and bytes of one cell (`hengyu.storage.records.cell_key`) into a run's costs.json.

    Those of cells found finished stay as they were; `hengyu.storage.records.load_run` joins them to the records.
    """
    path = folder / "costs.json"
    rounded = {name: float(f"{value:.6g}") for name, value in costs.items()}
    known = {**read_costs(path), key: rounded}
    write_json(path, {"costs": known, "sha256": digest(known)})
