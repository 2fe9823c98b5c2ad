"""The observations of a run on disk: found again in its own folder, taken over from the runs beside it, sent to its mirror."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hengyu.base.bounded import DATA, read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import read_seconds
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Mirror
from hengyu.bench.notes import UnitLog, timing_key
from hengyu.storage.records import write_bytes
from hengyu.storage.records.costs import read_costs
from hengyu.storage.records.observations import Observation, load_observation, save_observation
from hengyu.storage.tensor_file import sealed_path

__all__ = ["ObservationStore"]


@dataclass(frozen=True)
class ObservationStore:
    """The observations of a run.

    Attributes:
        run: the run's folder.
        mirror: the folder elsewhere that it stands for.
        force: whether everything is observed again.
        costs: whether every observation of the run has costs (`hengyu.storage.records.costs`).
    """

    run: Path
    mirror: Mirror | None = None
    force: bool = False
    progress: Progress = silent
    costs: bool = False

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.run / "observations"

    def find(self, key: Mapping[str, Any], log: UnitLog) -> Observation | None:
        """Return a finished observation as `load` does, also one that a run beside this one has made."""
        if not (self.force or sealed_path(self.folder, key).is_file()):
            self._take_over(key, log)
        return self.load(key)

    def load(self, key: Mapping[str, Any]) -> Observation | None:
        """Return a finished observation; one that is damaged is reported and made again, and one that lacks its clouds too."""
        if self.force:
            return None
        try:
            found = load_observation(self.folder, key)
        except HengyuError as e:
            self.progress.say(f"warning: {e}; made again now")
            return None
        if found is not None and found.clouds is None and key["clouds"] is not None:
            return None
        return found

    def read_back(self, seen: Iterable[Observation]) -> list[Observation]:
        """Return observations with their arrays, which are read from disk where there are any.

        Raises `HengyuError` for one that has changed, or is gone, since it was made.
        """
        return [self._whole(one) for one in seen]

    def _whole(self, seen: Observation) -> Observation:
        if seen.status != "ok":
            return seen
        found = load_observation(self.folder, seen.cache_key)
        if found is None:
            raise HengyuError(
                f"{sealed_path(self.folder, seen.cache_key)}: was deleted while the run went on; run it again"
            )
        return found

    def save(self, observation: Observation, log: UnitLog, started: float) -> Observation:
        """Write an observation to its file, and note its seconds since ``started`` (`time.perf_counter`)."""
        save_observation(self.folder, observation)
        seconds = (time.perf_counter() - started) / max(len(observation.dims), 1)
        for entry in observation.entries:
            log.note_seconds(timing_key(observation.cache_key, entry), seconds)
        return observation

    def adopt(self, observation: Observation) -> None:
        """See that a new observation is kept: here, if another process made it, and where the run's mirror is."""
        if observation.status != "ok":
            return
        path = sealed_path(self.folder, observation.cache_key)
        if not path.is_file():
            save_observation(self.folder, observation)
        self._send(path)

    def _send(self, path: Path) -> None:
        if self.mirror is not None:
            self.mirror.send(self.run, [f"{path.parent.name}/{path.name}"])

    @cached_property
    def _elsewhere(self) -> dict[str, Path]:
        """The observations of the runs beside this one, by the names of their files."""
        every = sorted(self.run.parent.glob(f"*/{self.folder.name}/*.safetensors"))
        return {path.name: path for path in every}

    def _take_over(self, key: Mapping[str, Any], log: UnitLog) -> None:
        """Copy what another run beside this one has observed under the same key, with its seconds and costs.

        A change of one method's code makes a new run, and the cells of the others are the same as before.
        """
        target = sealed_path(self.folder, key)
        source = self._elsewhere.get(target.name)
        if source is None:
            return
        try:
            seen = load_observation(source.parent, key)
            content = read_bytes(source, DATA)
        except (HengyuError, OSError):
            return  # it is observed here
        if seen is None:
            return
        other = source.parent.parent
        cells = [timing_key(key, entry) for entry in seen.entries]
        costs = read_costs(other / "costs.json") if self.costs else {}
        if self.costs and not all(cell in costs for cell in cells):
            return
        write_bytes(target, content)
        seconds = read_seconds(other / "timings.json")
        for cell in cells:
            if cell in seconds:
                log.note_seconds(cell, seconds[cell])
            if cell in costs:
                log.note_costs(cell, costs[cell])
        self._send(target)
