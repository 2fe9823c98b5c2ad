"""What units note beside their results, which differs from run to run: seconds, costs, how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hengyu.methods.fit_cache import FitCache
from hengyu.storage.identity import cell
from hengyu.storage.records import cell_key

__all__ = ["Notes", "UnitLog", "note_fits", "timing_key"]


class UnitLog(Protocol):
    """Takes what a unit notes beside its result: that which differs from run to run."""

    def note_seconds(self, key: str, seconds: float) -> None:
        """Note what a cell, a fit or a training took."""

    def note_costs(self, key: str, costs: Mapping[str, float]) -> None:
        """Note what the index of one cell cost."""

    def tick(self, cells: int) -> None:
        """Say that so many more cells are done."""


@dataclass(frozen=True)
class Notes:
    """What units have noted, kept in memory."""

    seconds: dict[str, float] = field(default_factory=dict)
    costs: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def note_seconds(self, key: str, seconds: float) -> None:
        """Keep what something took."""
        self.seconds[key] = seconds

    def note_costs(self, key: str, costs: Mapping[str, float]) -> None:
        """Keep what the index of one cell cost."""
        self.costs[key] = costs

    def tick(self, cells: int) -> None:
        """Nobody looks."""


def note_fits(log: UnitLog, key: Mapping[str, Any], fits: FitCache) -> None:
    """Note the seconds of the fits made since the last time; ``key`` is that of the observation they were made for."""
    for step, seconds in fits.seconds.items():
        log.note_seconds(cell("fit", key["task"], key["encoder"], key["pooling"], step, key["fit_on"]), seconds)
    fits.seconds.clear()


def timing_key(key: Mapping[str, Any], entry: str) -> str:
    """Return the key in timings.json and costs.json of an entry of an observation."""
    row = (key["encoder"], key["pooling"], entry, key["fit_on"])
    return cell_key(key["task"], row, key.get("seed_of_draw"))
