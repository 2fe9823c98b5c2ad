"""The clouds of a run, clouds.json: how the vectors that each entry leaves lie in space, derived from its observations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from hengyu.base.json_files import read_json, write_json
from hengyu.numerics.cloud_sample import BINS, SAMPLE
from hengyu.storage.records.checksums import break_seal
from hengyu.storage.records.observations import Observation
from hengyu.storage.records.schemas import Count

__all__ = ["CloudOf", "load_clouds", "save_clouds"]

_FILE = "clouds.json"
_SCHEMA = 1
_AGAIN = "run the suite again"

Share = Annotated[float, Meta(ge=-1e-9, le=1 + 1e-6)]  # of one, as sums of floats have it


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
    dim: Annotated[int, Meta(ge=0, lt=1 << 31)]
    n: Count = 0
    mean_norm: float | None = None
    anisotropy: float | None = None
    effective_rank: float | None = None
    concentration: float | None = None
    uniformity: float | None = None
    alignment: float | None = None
    hubness: float | None = None
    angle_mean: float | None = None
    angle_sd: float | None = None
    angles_from: Count = 0
    problem: str = ""
    angles: tuple[Share, ...] = ()
    spectrum: tuple[Share, ...] = ()

    def __post_init__(self) -> None:
        if self.angles_from + len(self.angles) > BINS:
            raise ValueError(f"its angles go beyond {BINS} bins")

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """Task, encoder, pooling, entry, fit_on."""
        return (self.task, self.encoder, self.pooling, self.entry, self.fit_on)

    def directions(self, share: float) -> int | None:
        """Return the power of two of principal directions that hold a share of the variance, ``dim`` if it takes all."""
        if not self.spectrum:
            return None
        return next((2**p for p, held in enumerate(self.spectrum) if held >= share), self.dim)


class _Clouds(Struct):
    """clouds.json."""

    sample: dict[str, int]
    clouds: tuple[CloudOf, ...]


def save_clouds(folder: Path, seen: Iterable[Observation], seed: int) -> None:
    """Write clouds.json of a run: the same bytes for the same run."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for o in seen:
        for entry in o.entries:
            cloud = (o.clouds or {}).get(entry)
            if cloud is None:
                continue
            about = {name: o.cache_key[name] for name in ("task", "encoder", "pooling")}
            place = {**about, "entry": entry, "fit_on": o.cache_key["fit_on"]}
            rows.setdefault(tuple(place.values()), {**place, **cloud})
    break_seal(folder)
    write_json(folder / _FILE, {"schema": _SCHEMA, "sample": {**SAMPLE, "seed": seed}, "clouds": list(rows.values())})


def load_clouds(folder: Path) -> tuple[CloudOf, ...]:
    """Read a run's clouds; none for a run of before they were kept. Raises `HengyuError` for a file that is none."""
    path = folder / _FILE
    if not path.is_file():
        return ()
    return read_json(path, _Clouds, _AGAIN, (_SCHEMA,)).clouds
