"""Where a run's encoders and data lay: kept beside its numbers, so that a row can be fitted again later."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hengyu.base.bounded import read_bytes, user_path
from hengyu.cards.data import Pairs
from hengyu.encoders import Encoder
from hengyu.suites.plan import Plan

__all__ = ["sources", "splits_read"]

_OF_THE_FILE = ("task", "card", "split", "source", "sha256", "dropped", "notes")  # of a split: not what was read of it


def sources(plan: Plan, encoders: list[Encoder]) -> dict[str, Any]:
    """Return sources.json: how each encoder was asked for, the folders of data and cards; it differs between machines."""
    return {
        "suite": {"name": plan.suite.path.name, "sha256": _sum(plan.suite.path)},
        "encoders": {e.id: asdict(e.spec) | {"model": _absolute(e.spec.model)} for e in encoders},
        "data": str(plan.data_dir.absolute()) if plan.data_dir else "",
        "datasets": [str(folder.absolute()) for folder in plan.datasets],
        **(
            {"distractors": [str(path.absolute()) for path in plan.suite.distractors]} if plan.suite.distractors else {}
        ),
    }


def splits_read(plan: Plan) -> list[dict[str, Any]]:
    """Return every split that a plan has read, and its distractors: rows, the sha256 of the file, that of what was read of it."""
    pairs: dict[str, Pairs] = {}
    for task in (*plan.tasks, *plan.thresholds.values(), *(p for fit in plan.fits.values() for p in fit.parts)):
        pairs.setdefault(task.name, task.pairs)
    for held in plan.held.values():
        pairs.setdefault(held.task, held)
    read = [
        {"task": name, "rows": len(p.labels), "file_sha256": p.sha256, "sha256": p.digest}
        for name, p in sorted(pairs.items())
    ]
    own = {task.name for task in plan.tasks if task.pairs.card.distractors}
    others = {f"distractors of {name}" if name in own else "distractors": d for name, d in plan.distractors.items()}
    return read + [
        {"task": name, "rows": len(d.texts), "file_sha256": "", "sha256": d.digest} for name, d in others.items()
    ]


def _sum(path: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError:
        return ""


def _absolute(model: str) -> str:
    path = user_path(model)
    return str(path.absolute()) if path.exists() else model
