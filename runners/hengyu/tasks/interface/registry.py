"""Finds kinds of task by their names: a file each in tasks/, and those of installed packages.

Nothing that a suite says is loaded as code: its ``kind`` is looked up among these names.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.methods.external import load_point
from hengyu.tasks.interface.base import Task

__all__ = ["GROUP", "find_task", "score_names", "task_names"]

GROUP = "hengyu.tasks"
"""The entry-point group of packages that offer kinds of task: ``my-kind = "my_package.my_kind:MyKind"``."""

_PACKAGE = "hengyu.tasks"
_ATTRIBUTES = ("name", "metrics", "main", "compared", "averaged")


@cache
def _modules() -> dict[str, str]:
    """Return the module of every kind of this package by the kind's name: the file's name, with - for _."""
    root = Path(__file__).parents[1]
    return {path.stem.replace("_", "-"): f"{_PACKAGE}.{path.stem}" for path in sorted(root.glob("[!_]*.py"))}


def task_names() -> tuple[str, ...]:
    """Return the names of all kinds, those of this package first."""
    return tuple(dict.fromkeys((*sorted(_modules(), reverse=True), *sorted(_points()))))


def find_task(name: str) -> Task:
    """Return a kind by its name; raises `HengyuError` for a name that no kind has."""
    if name in _modules():
        return _own(name)
    if name in _points():
        return _installed(name)
    raise HengyuError(
        f"kind of task '{name}': is unknown{did_you_mean(name, task_names())}; install the package that offers it"
    )


def score_names() -> tuple[str, ...]:
    """Return the names of the scores of all kinds, costs left out."""
    kinds = map(find_task, task_names())
    return tuple(dict.fromkeys(m.name for kind in kinds for m in kind.metrics if m.unit == "score"))


@cache
def _own(name: str) -> Task:
    kind: type[Task] = import_module(_modules()[name]).TASK
    return kind()


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _installed(name: str) -> Task:
    return _checked(load_point(_points()[name]), name, f"entry point '{name}' of {GROUP}")


def _checked(found: Any, name: str, where: str) -> Task:
    """Return a kind of a class if it is a complete one; raises `HengyuError` that says what is missing."""
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise HengyuError(f"{where}: must be a class derived from hengyu.tasks.Task; correct that package")
    missing = [*(a for a in _ATTRIBUTES if not hasattr(found, a)), *sorted(getattr(found, "__abstractmethods__", ()))]
    if missing:
        raise HengyuError(f"{where}: {found.__name__} lacks {', '.join(missing)}; define them")
    if found.name != name or found.main not in found.titles():
        raise HengyuError(f"{where}: name must be '{name}', and main one of its metrics; correct that package")
    return found()
