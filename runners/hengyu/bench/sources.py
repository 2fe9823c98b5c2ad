"""Where a run's encoders and data lay: kept beside its numbers, so that a row can be fitted again later."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hengyu.base.bounded import user_path
from hengyu.encoders import Encoder
from hengyu.suites.plan import Plan

__all__ = ["sources"]


def sources(plan: Plan, encoders: list[Encoder]) -> dict[str, Any]:
    """Return sources.json: how each encoder was asked for, the folders of data and cards; it differs between machines."""
    return {
        "encoders": {e.id: asdict(e.spec) | {"model": _absolute(e.spec.model)} for e in encoders},
        "data": str(plan.data_dir.absolute()) if plan.data_dir else "",
        "datasets": [str(folder.absolute()) for folder in plan.datasets],
    }


def _absolute(model: str) -> str:
    path = user_path(model)
    return str(path.absolute()) if path.exists() else model
