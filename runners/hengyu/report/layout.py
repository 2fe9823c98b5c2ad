"""Which of the two layouts a run is shown in: its kind of task says so, and nothing else asks for the kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from hengyu.storage.records import Run
from hengyu.tasks.interface.registry import find_task

__all__ = ["by_layout"]

T = TypeVar("T")


def by_layout(run: Run, ways: Mapping[str, T]) -> T:
    """Return what shows a run, out of one way for each layout (`hengyu.tasks.Task.layout`): "board" and "search"."""
    return ways[find_task(run.kind).layout]
