"""Loops that exist twice: in NumPy for small work, and compiled by numba once that would have paid.

Compiling one loop costs about a second of CPU time in every process, since numba's cache on disk is a pickle and nothing
here reads pickles. A small run is finished sooner without it. Both forms return the same bits, so which one ran never shows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["EXACT_ROWS", "Compiled", "compiled", "pays"]

EXACT_ROWS = 200_000  # up to here sums of n^3 are whole numbers below 2^53, whatever order they are added in
_WORTH = 1.0  # CPU seconds spent in NumPy before a loop is compiled: about what compiling it costs
_SECONDS = 3e-8  # CPU seconds that NumPy takes for an item, of the slower loops


def pays(items: int) -> bool:
    """Whether NumPy would take longer over so many items than it takes to compile a loop."""
    return items * _SECONDS > _WORTH


class Compiled:
    """A function on arrays that runs as ``plain`` at first, and is compiled for one signature when it has run for a second.

    Attributes:
        function: the loop that numba compiles; it writes into its arguments.
        plain: the same on NumPy arrays, bit by bit.
        signature: numba's, of the arguments; empty where it follows from the first call.
    """

    def __init__(self, function: Callable[..., None], signature: str, plain: Callable[..., None]) -> None:
        self.function, self.signature, self.plain = function, signature, plain
        self.__doc__ = function.__doc__
        self._lock = threading.Lock()
        self._spent = 0.0
        self._ready: Callable[..., None] | None = None

    def __call__(self, *args: Any) -> None:
        """Run the loop on ``args``, whose first one has a row for every item."""
        if self._ready is None and self._spent < _WORTH and len(args[0]) <= EXACT_ROWS:
            started = time.thread_time()
            self.plain(*args)
            self._spent += time.thread_time() - started
        else:
            self.ready()(*args)

    def expect(self, items: int) -> None:
        """Say that so many items are to come: the loop is compiled at its next call where NumPy would take too long."""
        if pays(items):
            self._spent = _WORTH

    @property
    def due(self) -> bool:
        """Whether the next call compiles the loop."""
        return self._ready is None and self._spent >= _WORTH

    def ready(self) -> Callable[..., None]:
        """Return the compiled loop, which is compiled now where it has not been yet."""
        if self._ready is None:
            with self._lock:
                if self._ready is None:
                    from numba import njit

                    made = njit(nogil=True, error_model="numpy", cache=False)(self.function)
                    if self.signature:
                        made.compile(self.signature)
                        made.disable_compile()
                    self._ready = made
        return self._ready


def compiled(signature: str, plain: Callable[..., None]) -> Callable[[Callable[..., None]], Compiled]:
    """Decorate a loop on arrays whose NumPy form is ``plain``; ``signature`` is numba's, or empty to follow the arguments."""
    return lambda function: Compiled(function, f"void({signature})" if signature else "", plain)
