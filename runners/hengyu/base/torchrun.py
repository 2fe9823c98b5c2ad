"""The processes that torchrun starts: how many there are, which of them this one is, and whether they train together."""

from __future__ import annotations

import os

from hengyu.base.errors import HengyuError

__all__ = ["join", "leave", "local_rank", "processes", "rank", "started"]

_together = [1]  # how many processes train together; one, unless they have joined


def started() -> int:
    """Return how many processes torchrun has started; 1 without it.

    Raises `HengyuError` where they are on several machines: the trained model lies in a folder of one.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1
    size, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if size != here:
        raise HengyuError(
            f"torchrun started {size} processes on several machines, and a training is of one; give torchrun --nnodes 1"
        )
    return size


def rank() -> int:
    """Return the number of this process among them; 0 is the one that does everything but training alone."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Return its number on this machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def processes() -> int:
    """Return how many processes train together: those of torchrun, once they have joined."""
    return _together[0]


def join() -> None:
    """Note that the processes train together from now on."""
    _together[0] = started()


def leave() -> None:
    """Note that they no longer do."""
    _together[0] = 1
