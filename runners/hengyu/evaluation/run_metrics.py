"""The numbers of a run by cell, with all they depend on: what a gate compares, whether read from a run or a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hengyu.storage.records import Run
from hengyu.tasks.interface.registry import find_task

__all__ = [
    "ENCODER_KEYS",
    "METRIC",
    "TASK_KEYS",
    "Key",
    "MetricValue",
    "RunMetrics",
    "headline",
    "metrics_of",
    "scores_of",
]

METRIC = "spearman"
TASK_KEYS = (
    *("task", "n", "of", "sample_seed", "card_sha256", "sha256", "ceiling"),
    *("corpus", "queries", "relevant", "groups", "distractors", "distractors_sha256"),
)
ENCODER_KEYS = (
    *("encoder", "kind", "fingerprint", "tokens", "protocol"),
    *("max_length", "dtype", "backend", "prompt", "query_prompt", "pre_tokenizer", "attention", "long"),
)


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
class MetricValue:
    """A score in [-1, 1] with its interval, or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class RunMetrics:
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
    cells: Mapping[Key, MetricValue]
    folder: Path | None = None  # of the run, where its observations are
    draws: Mapping[Key, NDArray[np.float64]] = field(default_factory=dict)  # (64,), of baselines of schema 1
    blocks: Mapping[Key, NDArray[np.float64]] = field(default_factory=dict)  # see `hengyu.evaluation.paired`
    kind: str = "sts"  # of the run's suite; a baseline's cells say it by their metrics


def headline(run: Run) -> str:
    """Return the metric that a run's rows are ordered by."""
    return find_task(run.kind).main


def metrics_of(run: Run) -> tuple[str, ...]:
    """Return the metrics that are compared with a baseline: Spearman, or the quality of what was found; never costs."""
    return find_task(run.kind).compared


def scores_of(run: Run, metrics: Sequence[str] | None = None) -> RunMetrics:
    """Return the numbers of a finished run, of `metrics_of` unless others are named."""
    suite = run.header.get("suite", {})
    metrics = metrics_of(run) if metrics is None else metrics
    tasks = {t["task"]: {k: t[k] for k in TASK_KEYS if k in t} for t in run.header.get("tasks", ())}
    encoders = {e["encoder"]: {k: e[k] for k in ENCODER_KEYS if k in e} for e in run.header.get("encoders", ())}
    # what follows from the labels alone has not been evaluated
    labels = {e["encoder"] for e in run.header.get("encoders", ()) if e.get("kind") == "raters"}
    cells = {
        Key(r.task, *r.row, r.metric): MetricValue(r.value, r.low, r.high, r.status, r.reason)
        for r in run.records
        if r.task in tasks and r.metric in metrics and r.on_board and r.encoder not in labels
    }
    return RunMetrics(
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
        kind=run.kind,
        folder=run.path,
    )
