"""What a run has seen so far: observations made and found again, failures, seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hengyu.base.bounded import DATA, read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import read_seconds
from hengyu.base.progress import Progress, Tick
from hengyu.base.remote import Mirror
from hengyu.methods.fit_cache import FitCache
from hengyu.storage.fits import FitStore
from hengyu.storage.identity import cell
from hengyu.storage.records import cell_key, write_bytes
from hengyu.storage.records.costs import note_costs, read_costs
from hengyu.storage.records.observations import Observation, load_observation, save_observation
from hengyu.storage.tensor_file import sealed_path
from hengyu.storage.timings import Clock
from hengyu.suites.plan import Plan

__all__ = ["RunLog"]


@dataclass
class RunLog:
    """What a run has seen so far.

    Attributes:
        away: in a process that does units for the one that runs the suite: what belongs into files of the whole run
            (seconds, costs) is only collected.
        mirror: the folder elsewhere that the run's own one stands for.
    """

    plan: Plan
    folder: Path
    progress: Progress
    force: bool
    clock: Clock
    fits: FitStore | None = None
    ticking: Tick = field(default=lambda done: None)
    done: int = 0
    seen: list[Observation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    observed: int = 0
    kept: int = 0
    away: bool = False
    mirror: Mirror | None = None
    costs: dict[str, Mapping[str, float]] = field(default_factory=dict)
    _beside: dict[str, Path] | None = None  # observations of other runs, by the names of their files
    _suited: frozenset[str] = frozenset()  # entries that some vectors were wide enough for

    @property
    def observations(self) -> Path:
        """The folder of the run's observations."""
        return self.folder / "observations"

    def load(self, meaning: dict[str, Any]) -> Observation | None:
        """Return a finished observation; a damaged one is told of and made again, one of before clouds were seen is too."""
        if self.force:
            return None
        if not (self.away or sealed_path(self.observations, meaning).is_file()):
            self._take_over(meaning)
        try:
            found = load_observation(self.observations, meaning)
        except HengyuError as e:
            self.progress.say(f"warning: {e}; made again now")
            return None
        if found is not None and found.clouds is None and self.plan.glimpse(meaning.get("seed_of_draw")):
            return None
        self.kept += found is not None
        return found

    def _take_over(self, meaning: dict[str, Any]) -> None:
        """Copy what another run beside this one has observed under the same key, with its seconds and costs.

        A change of one method's code makes a new run, and the cells of the others are the same as before.
        """
        target = sealed_path(self.observations, meaning)
        if self._beside is None:
            every = sorted(self.folder.parent.glob(f"*/{target.parent.name}/*{target.suffix}"))
            self._beside = {path.name: path for path in every}
        source = self._beside.get(target.name)
        if source is None:
            return
        try:
            seen = load_observation(source.parent, meaning)
            content = read_bytes(source, DATA)
        except (HengyuError, OSError):
            return  # it is observed here
        if seen is None:
            return
        run = source.parent.parent
        keys = [_cell_key(meaning, entry) for entry in seen.entries]
        measures = self.plan.suite.task_kind.costs
        costs = read_costs(run / "costs.json") if measures else {}
        if measures and not all(key in costs for key in keys):
            return
        write_bytes(target, content)
        seconds = read_seconds(run / "timings.json")
        for key in keys:
            if key in seconds:
                self.clock.note(key, seconds[key])
            if key in costs:
                self.note_costs(key, costs[key])
        if self.mirror is not None:
            self.mirror.send(self.folder, [f"{target.parent.name}/{target.name}"])

    def keep(self, observation: Observation, started: float) -> Observation:
        """Save an observation and note its seconds."""
        save_observation(self.observations, observation)
        seconds = (time.perf_counter() - started) / max(len(observation.dims), 1)
        for entry in observation.entries:
            self.clock.note(_cell_key(observation.meaning, entry), seconds)
        return observation

    def adopt(self, observation: Observation) -> None:
        """See that a new observation is kept: here, if another process made it, and where the run's mirror is."""
        if observation.status != "ok":
            return
        path = sealed_path(self.observations, observation.meaning)
        if not path.is_file():
            save_observation(self.observations, observation)
        if self.mirror is not None:
            self.mirror.send(self.folder, [f"{path.parent.name}/{path.name}"])

    def tick(self, cells: int) -> None:
        """Say that so many more cells are done."""
        self.done += cells
        self.ticking(self.done)

    def note_fits(self, meaning: Mapping[str, Any], fits: FitCache) -> None:
        """Note the seconds of the fits made since the last time."""
        for step, seconds in fits.seconds.items():
            words = (meaning["task"], meaning["encoder"], meaning["pooling"], step, meaning["fit_on"])
            self.clock.note(cell("fit", *words), seconds)
        fits.seconds.clear()

    def note_costs(self, key: str, costs: Mapping[str, float]) -> None:
        """Note what the index of one cell cost."""
        if self.away:
            self.costs[key] = costs
        else:
            note_costs(self.folder, key, costs)

    def expect(self, seen: Iterable[Observation]) -> None:
        """Note which entries some of the run's vectors are wide enough for, of all that will be entered."""
        self._suited = frozenset(name for one in seen if one.status != "unavailable" for name in one.entries)

    def enter(self, seen: Observation) -> None:
        """Enter what was seen of a cell, and what failed of it, as one of the run's observations.

        An entry that wants more columns than an encoder has does not apply to it; one that applies to no vectors of the run
        is a mistake, unless the suite's entries were written for other encoders than those that are weighed.
        """
        applies = self._suited if "widths" not in self.plan.suite.partial else seen.too_wide.keys()
        wide = [
            Observation(seen.meaning, (name,), status="unavailable" if name in applies else "failed", reason=reason)
            for name, reason in seen.too_wide.items()
        ]
        for one in (*([seen] if seen.entries else []), *wide):
            self.seen.append(one)
            if one.status == "failed":
                m = one.meaning
                where = f"{self.plan.suite.path}: entry '{m['entry']}'"
                self.failures.append(f"{where} failed for {m['encoder']}, {m['pooling']}: {one.reason}")

    def add_all(self, encoder: str, pooling: str, status: str, reason: str) -> None:
        """Note the same for every task; one row, not one an entry."""
        for task in self.plan.tasks:
            about = {"task": task.name, "encoder": encoder, "pooling": pooling, "entry": "raw", "fit_on": "none"}
            self.seen.append(Observation(about, ("raw",), status=status, reason=reason))


def _cell_key(meaning: Mapping[str, Any], entry: str) -> str:
    """Return the key in timings.json and costs.json of an entry of an observation."""
    row = (meaning["encoder"], meaning["pooling"], entry, meaning["fit_on"])
    return cell_key(meaning["task"], row, meaning.get("seed_of_draw"))
