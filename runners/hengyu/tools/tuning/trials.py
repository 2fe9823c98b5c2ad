"""The table of a search's trials: written after each of them, read back when the search goes on."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import read_json, write_bytes, write_json

__all__ = ["Table", "Trial", "counted"]

_FILE = "trials.json"
_SHEET = "trials.csv"
_SCHEMA = 1
_REMEDY = "delete its folder to search anew"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: ``1 trial``, ``2 trials``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


class Trial(Struct, frozen=True, forbid_unknown_fields=True):
    """One training with some settings.

    Attributes:
        number: from 0, which is the entry's own settings.
        seed: of the training.
        state: "complete"; "pruned", if it was ended early for its held-out curve or for the budget; or "failed".
        entry: with the settings, as a suite has it.
        values: the settings.
        score: mean Spearman on the valid splits; None unless it is complete.
        curve: place in the training -> held-out Spearman, by which trials are pruned.
        seconds: what it took.
        reason: why it has no score.
    """

    number: int
    seed: int
    state: Literal["complete", "pruned", "failed"]
    entry: str
    values: dict[str, int | float | bool | str]
    score: float | None
    curve: dict[str, float]
    seconds: float
    reason: str = ""


class _Content(Struct, forbid_unknown_fields=True):
    schema: int
    key: str
    about: dict[str, Any]
    trials: list[Trial]


@dataclass
class Table:
    """The trials of one search, in the folder ``root``.

    Attributes:
        key: the digest of everything that a trial's score depends on besides its settings.
        about: what the search is of, for readers.
    """

    root: Path
    key: str
    about: Mapping[str, Any]
    trials: list[Trial] = field(default_factory=list)

    @classmethod
    def open(cls, root: Path, key: str, about: Mapping[str, Any]) -> Table:
        """Return the table in a folder, an empty one if there is none yet; raises `HengyuError` for a damaged one."""
        path = root / _FILE
        if not path.exists():
            return cls(root, key, about)
        found = read_json(path, _Content, _REMEDY, (_SCHEMA,))
        if found.key != key or [t.number for t in found.trials] != list(range(len(found.trials))):
            raise HengyuError(f"{path}: is of another search, or lacks trials; {_REMEDY}")
        return cls(root, key, about, found.trials)

    def add(self, trial: Trial) -> None:
        """Add a trial and write the table, as JSON and as CSV."""
        self.trials.append(trial)
        rows = [{name: getattr(t, name) for name in t.__struct_fields__} for t in self.trials]
        write_json(self.root / _FILE, {"schema": _SCHEMA, "key": self.key, "about": dict(self.about), "trials": rows})
        write_bytes(self.root / _SHEET, self._sheet().encode("utf-8"))

    def _sheet(self) -> str:
        """Return the trials as CSV, a column for each setting."""
        names = list(dict.fromkeys(name for t in self.trials for name in t.values))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial", "seed", "state", "score", "seconds", *names, "entry", "reason"])
        for t in self.trials:
            score = "" if t.score is None else t.score
            writer.writerow(
                [t.number, t.seed, t.state, score, t.seconds, *(t.values.get(n, "") for n in names), t.entry, t.reason]
            )
        return text.getvalue()

    @property
    def seconds(self) -> float:
        """What all trials took."""
        return sum(t.seconds for t in self.trials)

    @property
    def best(self) -> Trial | None:
        """The trial with the highest score, the first of several; None without a complete one."""
        done = [t for t in self.trials if t.score is not None]
        return max(done, key=lambda t: (t.score or 0.0, -t.number)) if done else None
