"""The trainings of encoders used by a run's entries, each once."""

from __future__ import annotations

import json
from typing import Any

from hengyu.storage.records import Run

__all__ = ["tunings"]

_WHERE = ("task", "encoder", "pooling", "fit_on", "seed")


def tunings(run: Run) -> list[dict[str, Any]]:
    """Return the report of each training with task, encoder, pooling, fit_on and seed; shared ones appear once."""
    items = [
        {**{key: fit.get(key) for key in _WHERE}, **one}
        for fit in run.header.get("fits", ())
        for one in fit.get("trained", ())
        if one.get("kind") == "tuner"
    ]
    return list({json.dumps(item, sort_keys=True): item for item in items}.values())
