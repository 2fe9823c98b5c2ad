"""The numbers of a run by cell, with all they depend on: what a gate compares, whether read from a run or a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hengyu.metrics import spearman
from hengyu.observations import damaged_in, kept_in, load_labels
from hengyu.records import Run

__all__ = ["ENCODER_KEYS", "METRIC", "TASK_KEYS", "Key", "Number", "Scores", "scores_of", "similarities"]

METRIC = "spearman"
TASK_KEYS = ("task", "n", "card_sha256", "sha256", "ceiling")
ENCODER_KEYS = (
    *("encoder", "kind", "fingerprint", "tokens", "protocol"),
    *("max_length", "dtype", "backend", "prompt", "pre_tokenizer"),
)
_SAME = 1e-9  # a kept observation gives its stored number again to within this


class Key(NamedTuple):
    """What names one number of a run."""

    task: str
    encoder: str
    pooling: str
    entry: str
    fit_on: str
    metric: str = METRIC

    def __str__(self) -> str:
        parts = self[:5] if self.metric == METRIC else self
        return " | ".join(parts)


@dataclass(frozen=True)
class Number:
    """A score in [-1, 1] with its interval, or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Scores:
    """The numbers of one run; means over tasks and points of sweeps are left out."""

    source: str  # the file or folder they were read from
    suite: str
    run: str
    hengyu: str  # version
    protocol: int
    seed: int
    resamples: int
    level: float
    tasks: Mapping[str, Mapping[str, Any]]
    encoders: Mapping[str, Mapping[str, Any]]
    cells: Mapping[Key, Number]
    folder: Path | None = None  # of the run, where its observations are
    draws: Mapping[Key, NDArray[np.float64]] = field(default_factory=dict)  # (64,): see `hengyu.paired`


def scores_of(run: Run, metrics: Sequence[str] = (METRIC,)) -> Scores:
    """Return the numbers of a finished run."""
    suite = run.header.get("suite", {})
    tasks = {t["task"]: {k: t[k] for k in TASK_KEYS if k in t} for t in run.header.get("tasks", ())}
    encoders = {e["encoder"]: {k: e[k] for k in ENCODER_KEYS if k in e} for e in run.header.get("encoders", ())}
    cells = {
        Key(r.task, *r.row, r.metric): Number(r.value, r.low, r.high, r.status, r.reason)
        for r in run.records
        if r.task in tasks and r.metric in metrics and r.on_board
    }
    return Scores(
        source=str(run.path),
        suite=str(suite.get("name", "")),
        run=run.id,
        hengyu=str(run.header.get("hengyu", "")),
        # runs from before the header said so were all of protocol 1
        protocol=int(run.header.get("protocol", 1)),
        seed=int(suite.get("seed", 0)),
        resamples=int(suite.get("resamples", 1000)),
        level=float(suite.get("level", 0.95)),
        tasks=tasks,
        encoders=encoders,
        cells=cells,
        folder=run.path,
    )


def similarities(
    scores: Scores, task: str
) -> tuple[NDArray[np.float64] | None, dict[Key, list[NDArray[np.float64]]], list[str]]:
    """Return the labels (n,) of a run's task, the similarities of its Spearman cells, and notes on what is amiss.

    A cell has one vector (n,) of similarities, or one for each seed of a row whose number is a mean over several.
    Observations that do not give the stored number again are left out: they are of another run, or damaged.
    """
    if scores.folder is None:
        return None, {}, []
    labels = load_labels(scores.folder).get(task)
    wanted = [k for k, v in scores.cells.items() if k.task == task and k.metric == METRIC and v.value is not None]
    if labels is None:
        return None, {}, [f"{scores.folder}: keeps no labels of {task}; weigh the suite again to compare pair by pair"]
    kept = kept_in(scores.folder)
    found: dict[Key, list[NDArray[np.float64]]] = {}
    missing = 0
    for key in wanted:
        read = [place.read() for place in kept.get(key[:5], ())]
        seen = [x for x in read if x is not None and x.shape == labels.shape]
        value = scores.cells[key].value
        if seen and value is not None and _gives(seen, labels, value):
            found[key] = seen
        else:
            missing += 1
    notes = []
    if missing:
        notes += [
            f"{path}: has changed since it was written; the suite makes it again" for path in damaged_in(scores.folder)
        ]
        notes.append(
            f"{scores.folder}: {missing} of {len(wanted)} cells of {task} have no observation that gives their number; "
            "weigh the suite again with --force"
        )
    return labels, found, notes


def _gives(seen: Sequence[NDArray[np.float64]], labels: NDArray[np.float64], value: float) -> bool:
    try:
        return abs(float(np.mean([spearman(x, labels) for x in seen])) - value) < _SAME
    except ValueError:
        return False
