"""What schedules the units of a run: this process, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hengyu.base.errors import HengyuError

if TYPE_CHECKING:
    from hengyu.bench.units import Executor

__all__ = ["open_executor"]


@contextmanager
def open_executor(name: str, address: str = "", workers: int = 0) -> Iterator[Executor]:
    """Yield an executor by its name: "local", or "ray" (an address of "" starts a cluster of this machine)."""
    if name == "ray":
        from hengyu.bench.executors.ray import Ray

        with Ray.on(address, workers) as executor:
            yield executor
    elif address or workers:
        raise HengyuError("--address and --workers belong to --executor ray; add that, or leave them out")
    else:
        from hengyu.bench.executors.local import Local

        yield Local()
