"""The cost of an index: build time, queries per second and memory, on one thread and once on all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hengyu.base.memory import give_back_memory, status
from hengyu.methods.base import Ids

__all__ = ["COSTS", "Peak", "queries_each_second", "queries_once", "queries_per_second", "threads"]

COSTS = ("qps", "qps-batch", "qps-batch-threads", "build-seconds", "peak-memory")

_SECONDS = 0.1  # duration of a measurement
_SINGLE, _FEWEST = 500, 20  # queries that are sent one by one at most, and at least


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Limit the threads of faiss, BLAS and OpenMP; None for their defaults."""
    import faiss
    from threadpoolctl import threadpool_limits

    before = faiss.omp_get_max_threads()
    with threadpool_limits(limits=number):
        faiss.omp_set_num_threads(number or before)
        try:
            yield
        finally:
            faiss.omp_set_num_threads(before)


class _Searched(Protocol):
    """What can be asked for the neighbours of queries."""

    def search(self, q: Any, k: int) -> tuple[Ids, NDArray[np.float32]]: ...


def queries_per_second(index: _Searched, queries: Any, k: int) -> tuple[Ids, dict[str, float]]:
    """Search k neighbours of all queries (Q,), of which slices can be taken; return the results (Q, k) and the rates of `COSTS`.

    ``qps`` sends one query per call, as in `queries_each_second`; ``qps-batch`` all in one call, ``qps-batch-threads`` the same on
    all threads. A rate is the best of several rounds within a tenth of a second, or that of one round that takes longer.
    """
    single = queries_each_second(index, queries, k)
    with threads(1):
        found: list[Ids] = []
        batch = _rate(lambda: found.append(index.search(queries, k)[0]), len(queries))
    with threads(None):
        every = _rate(lambda: index.search(queries, k), len(queries))
    return found[0], {"qps": single, "qps-batch": batch, "qps-batch-threads": every}


def queries_once(index: _Searched, queries: Any, k: int) -> tuple[Ids, dict[str, float]]:
    """Search like `queries_per_second`, each query once and in a call of its own; the only rate is ``qps``."""
    with threads(1):
        start = time.perf_counter()
        found = [index.search(queries[i : i + 1], k)[0] for i in range(len(queries))]
        rate = len(queries) / max(time.perf_counter() - start, 1e-9)
    return np.concatenate(found), {"qps": rate}


def queries_each_second(
    index: _Searched, queries: Any, k: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return how many queries are answered a second of a clock where each is a call of its own, on one thread.

    There are 500 of them at most, fewer of a slow index: as many as it answers in a tenth of a second, but 20 at least.
    """

    def ask(some: Any) -> None:
        for i in range(len(some)):
            index.search(some[i : i + 1], k)

    with threads(1):
        index.search(queries[:2], k)  # compiles and maps what the first use needs
        few = queries[:_FEWEST]
        rate = _once(lambda: ask(few), len(few), clock)
        some = queries[: min(_SINGLE, max(_FEWEST, int(rate * _SECONDS)))]
        return _rate(lambda: ask(some), len(some), clock)


def _once(job: Callable[[], object], units: int, clock: Callable[[], float]) -> float:
    start = clock()
    job()
    return units / max(clock() - start, 1e-9)


def _rate(job: Callable[[], object], units: int, clock: Callable[[], float] = time.perf_counter) -> float:
    best = np.inf
    begun = clock()
    while True:
        start = clock()
        job()
        end = clock()
        best = min(best, end - start)
        if end - begun >= _SECONDS:
            return units / max(best, 1e-9)


class Peak:
    """Peak memory of a block of work beyond the memory at its start, in bytes; None if the system does not tell.

    Linux keeps a peak of the resident memory, which a process may reset.
    """

    def __init__(self) -> None:
        give_back_memory()  # memory freed by earlier work would hide the growth
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            self._start: int | None = None
        else:
            self._start = status("VmRSS")

    def bytes(self) -> int | None:
        """Return the peak since the object was made."""
        top = status("VmHWM")
        return None if self._start is None or top is None else max(0, top - self._start)
