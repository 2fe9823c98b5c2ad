"""Commands that torchrun starts in several processes: one of them runs the command, the others take part in its trainings."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from hengyu.base import torchrun
from hengyu.base.errors import HengyuError

__all__ = ["by_one_process", "refuse_in_torchrun"]


def by_one_process(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command that the first of torchrun's processes runs, while the others take part in its trainings.

    Raises `HengyuError` for work in further processes, which take no part in them.
    """

    @wraps(function)
    def changed(**given: Any) -> None:
        size = torchrun.started()
        if size == 1:
            function(**given)
            return
        if given["executor"] != "local" or given["workers"] > 1:
            raise HengyuError(
                f"torchrun has started {size} processes, which train together; leave --executor and --workers out"
            )
        from hengyu.methods.training.distributed import joined

        with joined() as leads:
            if leads:
                function(**{**given, "workers": 1})

    return changed


def refuse_in_torchrun(name: str) -> None:
    """Raise `HengyuError` for a command that each of torchrun's processes would run on its own."""
    if name != "run" and torchrun.started() > 1:
        raise HengyuError(f"hengyu {name} works in one process; start it without torchrun, which is for hengyu run")
