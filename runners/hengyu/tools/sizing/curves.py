"""What an index costs at several sizes, measured on random vectors that lie in space like those of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.grammar import Entry
from hengyu.methods.search.cost import queries_each_second, threads

__all__ = ["Measured", "Shape", "draw", "measure"]

_SMALLEST, _LARGEST = 2048, 1 << 20  # vectors
_BEND = 32768
_QUERIES = 64
_NEIGHBOURS = 100  # as in a run


@dataclass(frozen=True)
class Shape:
    """How the vectors that an index searches lie in space, as a run keeps it of its sample.

    Attributes:
        dim: columns.
        mean_norm: length of the mean of the vectors of length 1.
        spectrum: share of the variance that the first 1, 2, 4, ... principal directions hold; () for equal shares.
    """

    dim: int
    mean_norm: float = 0.0
    spectrum: tuple[float, ...] = ()

    @property
    def variances(self) -> NDArray[np.float64]:
        """The variance (d,) of each direction, of sum 1; within the steps of the spectrum it is spread evenly."""
        if not self.spectrum:
            return np.full(self.dim, 1 / self.dim)
        ends = np.minimum(2 ** np.arange(len(self.spectrum)), self.dim)
        held = np.interp(np.arange(1, self.dim + 1), ends, self.spectrum)
        shares = np.maximum(np.diff(held, prepend=0.0), 0.0)
        even: NDArray[np.float64] = shares / shares.sum()
        return even


@dataclass(frozen=True)
class Measured:
    """What an index cost at ascending sizes (m,), in seconds of the processor."""

    sizes: tuple[int, ...]
    bytes: tuple[float, ...]
    query_seconds: tuple[float, ...]  # one query, on one thread
    build_seconds: tuple[float, ...]  # on one thread
    share: float = 1.0  # of a core that this process had meanwhile


def draw(shape: Shape, n: int, seed: int) -> NDArray[np.float32]:
    """Return n random vectors (n, d) of length 1 of a shape: normal in every direction, around a mean."""
    rng = np.random.default_rng((seed, shape.dim))
    x = rng.standard_normal((n, shape.dim), np.float32)
    far = min(max(shape.mean_norm, 0.0), 0.999999)
    x *= np.sqrt((1 - far**2) * shape.variances).astype(np.float32)
    x += np.float32(far / np.sqrt(shape.dim))
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-30))
    return x


def measure(entry: Entry, shape: Shape, *, seconds: float, largest: int = _LARGEST, seed: int = 0) -> Measured:
    """Build the index of an entry at 2,048 vectors, twice as many, and so on, for about so many CPU seconds, and ask it.

    Seconds of the processor are those of a quiet machine, but for caches and memory that other work takes.

    An index that learns from a part of its vectors begins where it learns from no more of them, up to 32,768, so that its
    curve has no bend. The steps before the index are left out: ``shape`` is what they leave. Sizes that the index cannot hold
    are left out. Raises ValueError with the index's own reason where no size is left.
    """
    steps = entry.with_seed(seed).steps
    rescored = len(steps) > 1 and steps[-2].method.searches
    for step in steps:
        if step.method.searches:
            step.make().warm()
    queries = draw(shape, _QUERIES, seed + 1)
    sizes: list[int] = []
    found: list[tuple[float, float, float]] = []
    reason: ValueError | None = None
    rows = max((getattr(step.make(), "training_rows", 0) for step in steps if step.method.searches), default=0)
    left, n = seconds, _SMALLEST
    wall, clock = time.perf_counter(), time.process_time()
    while n < min(rows, _BEND, largest // 8):
        n *= 2
    while n <= largest:
        begun = time.process_time()
        x = draw(shape, n, seed)
        index = steps[-1].make()
        if rescored:
            index = index.over(steps[-2].make())
        with threads(1):
            started = time.process_time()
            try:
                index.build(x)
            except ValueError as e:
                reason, n = e, 2 * n
                continue
            built = time.process_time() - started
        rate = queries_each_second(index, queries, min(_NEIGHBOURS, n), time.process_time)
        sizes.append(n)
        found.append((float(index.size()), 1 / rate, max(built, 1e-6)))
        taken = time.process_time() - begun
        left -= taken
        if 3 * taken > left and len(sizes) >= 4:
            break
        n *= 2
    if not sizes:
        raise reason or ValueError("no size could be measured")
    share = (time.process_time() - clock) / max(time.perf_counter() - wall, 1e-9)
    size, query, build = zip(*found, strict=True)
    return Measured(tuple(sizes), size, query, build, min(1.0, share))
