"""The clouds of a run, clouds.json: how the vectors that each entry leaves lie in space, derived from its observations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import check, fill, read_document, write_json
from hengyu.numerics.cloud_sample import BINS, SAMPLE
from hengyu.storage.records.checksums import break_seal
from hengyu.storage.records.observations import Observation
from hengyu.storage.records.schemas import CLOUDS

__all__ = ["CloudOf", "load_clouds", "save_clouds"]

_FILE = "clouds.json"
_SCHEMA = 1
_LARGEST = 1 << 31
_AGAIN = "run the suite again"


@dataclass(frozen=True)
class CloudOf:
    """The cloud of one cell, as `hengyu.numerics.cloud.Cloud` has it; of several seeds that of the first.

    Without numbers where it could not be described: ``problem`` says why. ``spectrum`` and ``angles`` are shares; the
    angles are the bins from number ``angles_from`` on of `hengyu.numerics.cloud_sample.BINS`.
    """

    task: str
    encoder: str
    pooling: str
    entry: str
    fit_on: str
    dim: int
    n: int = 0
    mean_norm: float | None = None
    anisotropy: float | None = None
    effective_rank: float | None = None
    concentration: float | None = None
    uniformity: float | None = None
    alignment: float | None = None
    hubness: float | None = None
    angle_mean: float | None = None
    angle_sd: float | None = None
    angles_from: int = 0
    problem: str = ""
    angles: tuple[float, ...] = ()
    spectrum: tuple[float, ...] = ()

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """Task, encoder, pooling, entry, fit_on."""
        return (self.task, self.encoder, self.pooling, self.entry, self.fit_on)

    def directions(self, share: float) -> int | None:
        """Return the power of two of principal directions that hold a share of the variance, ``dim`` if it takes all."""
        if not self.spectrum:
            return None
        return next((2**p for p, held in enumerate(self.spectrum) if held >= share), self.dim)


def save_clouds(folder: Path, seen: Iterable[Observation], seed: int) -> None:
    """Write clouds.json of a run: the same bytes for the same run."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for o in seen:
        for entry in o.entries:
            cloud = (o.clouds or {}).get(entry)
            if cloud is None:
                continue
            about = {name: o.meaning[name] for name in ("task", "encoder", "pooling")}
            place = {**about, "entry": entry, "fit_on": o.meaning["fit_on"]}
            rows.setdefault(tuple(place.values()), {**place, **cloud})
    break_seal(folder)
    write_json(folder / _FILE, {"schema": _SCHEMA, "sample": {**SAMPLE, "seed": seed}, "clouds": list(rows.values())})


def load_clouds(folder: Path) -> tuple[CloudOf, ...]:
    """Read a run's clouds; none for a run of before they were kept. Raises `HengyuError` for a file that is none."""
    path = folder / _FILE
    if not path.is_file():
        return ()
    content = read_document(path, _AGAIN)
    check(content, CLOUDS, path, _AGAIN)
    try:
        return tuple(_read(row) for row in content["clouds"])
    except TypeError as e:
        raise HengyuError(f"{path}: not a list of clouds ({e}); {_AGAIN}") from None


def _read(row: Any) -> CloudOf:
    if not isinstance(row, dict):
        raise TypeError(f"{str(row)[:40]!r} stands where an object must")
    lists: Any = {name: _shares(name, row.get(name, [])) for name in ("angles", "spectrum")}
    found = replace(fill(CloudOf, {k: v for k, v in row.items() if k not in lists}), **lists)
    if not 0 <= found.dim < _LARGEST:
        raise TypeError(f"'dim' is {str(found.dim)[:40]}")
    if not 0 <= found.angles_from <= BINS - len(found.angles):
        raise TypeError(f"'angles' go beyond {BINS} bins")
    return found


def _shares(name: str, values: Any) -> tuple[float, ...]:
    """Return shares of one as they are; raises TypeError where they are none."""
    if not isinstance(values, list) or not all(type(v) in (int, float) and -1e-9 <= v <= 1 + 1e-6 for v in values):
        raise TypeError(f"'{name}' is {str(values)[:40]!r}")
    return tuple(map(float, values))
