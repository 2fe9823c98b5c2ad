"""Runs with observations and labels on disk, whose records are the numbers that these give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hengyu.numerics.metrics import spearman
from hengyu.numerics.resampling import Resamples, interval
from hengyu.storage.records import Record, Run, load_run, save_records, write_json
from hengyu.storage.records.observations import Observation, save_labels, save_observation

Row = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on
RESAMPLES = 400


def write(
    root: Path,
    name: str,
    labels: Mapping[str, np.ndarray],
    seen: Mapping[Row, Mapping[str, np.ndarray]],
    *,
    keep: bool = True,
    **suite: object,
) -> Run:
    """Write and read back a run: labels by task, similarities by row and task; several seeds as rows of a matrix."""
    folder = root / "records" / name
    records = []
    for row, by_task in seen.items():
        for task, x in by_task.items():
            y = labels[task]
            draws = np.atleast_2d(x)
            for seed, one in enumerate(draws):
                cache_key = {"task": task, **dict(zip(("encoder", "pooling", "entry", "fit_on"), row, strict=True))}
                if len(draws) > 1:
                    cache_key["seed_of_draw"] = seed
                if keep:
                    save_observation(folder / "observations", Observation(cache_key, (row[2],), (8,), one[None]))
            drawn = Resamples(y, RESAMPLES, seed=3, key=task).run(list(draws))["spearman"].mean(axis=0)
            records.append(_record(task, row, float(np.mean([spearman(d, y) for d in draws])), interval(drawn), len(y)))
    if keep:
        save_labels(folder, labels)
    save_records(folder, records)
    tasks = [
        {"task": t, "n": len(y), "sha256": f"data {len(y)}", "card_sha256": "card", "ceiling": 1.0, "labels": "binary"}
        for t, y in labels.items()
    ]
    header = {
        "schema": 1,
        "protocol": 1,
        "run": name,
        "hengyu": "0",
        "suite": {"name": "made", "seed": 3, "resamples": RESAMPLES, "level": 0.95, "aggregate": "", **suite},
        "tasks": tasks,
        "encoders": [{"encoder": e, "fingerprint": f"{e} of {name}"} for e in dict.fromkeys(r[0] for r in seen)],
        "fits": [],
    }
    write_json(folder / "run.json", header)
    return load_run(folder)


def _record(task: str, row: Row, value: float, span: tuple[float, float], n: int) -> Record:
    card, _, split = task.partition(":")
    numbers = {"value": value, "low": span[0], "high": span[1], "delta": None, "delta_low": None, "delta_high": None}
    return Record(
        **{"suite": "made", "task": task, "card": card, "split": split, "encoder": row[0], "pooling": row[1]},
        **{"entry": row[2], "dim": 8, "metric": "spearman", "interval": "bootstrap", "n": n, "ceiling": None},
        **{"fit_on": row[3], "seed": 3, "status": "ok", "reason": "", **numbers},
    )
