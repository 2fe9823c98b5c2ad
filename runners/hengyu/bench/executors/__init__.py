"""What schedules the units of a run: processes of this machine, this process alone, or a Ray cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hengyu.base.environment import cores, may_have_gpu
from hengyu.base.errors import HengyuError

if TYPE_CHECKING:
    from hengyu.bench.units import Executor

__all__ = ["open_executor"]

_COPIES = sys.platform.startswith("linux")  # a process can become two after it has loaded its libraries


@contextmanager
def open_executor(
    name: str, address: str = "", workers: int = 0, device: str = "", *, at_once: bool = False
) -> Iterator[Executor]:
    """Yield an executor by its name: "local", or "ray" (an address of "" starts a cluster of this machine).

    "local" works in ``workers`` processes, by default as many as there are cores; in this process alone where that is one, and
    where models run on a GPU (``device`` names one, or is "" and there is one). The processes are started when there is work for
    them, or ``at_once`` where that is certain. Raises `HengyuError` where Ray cannot be had.
    """
    if name == "ray":
        from hengyu.bench.executors.ray import Ray

        with Ray.on(address, workers) as executor:
            yield executor
        return
    if address:
        raise HengyuError("--address belongs to --executor ray; add that, or leave it out")
    asked = workers or _asked()
    number = asked or (1 if _on_a_gpu(device) else cores())
    if number == 1 or not _COPIES:
        from hengyu.bench.executors.local import Local

        yield Local()
        return
    from hengyu.bench.executors.processes import Processes

    with Processes.on(number, at_once=at_once) as processes:
        yield processes


def _asked() -> int:
    """Return what ``HENGYU_WORKERS`` says, 0 for nothing; raises `HengyuError`."""
    said = os.environ.get("HENGYU_WORKERS", "").strip()
    if said and not (said.isdecimal() and int(said)):
        raise HengyuError(f"HENGYU_WORKERS '{said}': must be a positive number of processes")
    return int(said or 0)


def _on_a_gpu(device: str) -> bool:
    """Return whether models run on a GPU, as far as can be told without loading PyTorch, which takes seconds."""
    if device:
        return device != "cpu"
    return sys.platform == "darwin" or may_have_gpu()
