"""The methods: one file a step, found by its file name; its class's dataclass fields are its parameters.

``linear_flow.py`` is the method ``linear-flow`` and holds the dataclass named in its ``METHOD``. Adding a method adds a
file and edits no list.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hengyu.sample import Sample

__all__ = ["Floats", "MomentTransform", "SampleTransform", "Transform", "find_method", "method_names"]

Floats = NDArray[np.floating[Any]]


@runtime_checkable
class Transform(Protocol):
    """Vectors to vectors, row by row, so that nothing leaks between the rows of a batch.

    A class whose fitted objects map x to x W + b says ``affine = True``, so that `hengyu take` can write it as a dense layer.
    """

    def fit(self, x: Floats) -> Self:
        """Learn from the rows of x (n, d)."""

    def __call__(self, x: Floats) -> Floats:
        """Map the rows of x (n, d) to (n, k)."""


@runtime_checkable
class MomentTransform(Transform, Protocol):
    """A transform that needs only count, mean and covariance, so that one pass over the rows serves many of them."""

    def fit_moments(self, moments: Any) -> Self:
        """Learn from a `hengyu.moments.Moments`."""


@runtime_checkable
class SampleTransform(Transform, Protocol):
    """A transform that is trained on batches of rows, which it reads as it needs them; what it learned can be kept."""

    version: int  # raise it when the same rows would give another state than before
    report: dict[str, Any]  # what the fit found, JSON; the same for the same rows and seed

    def fit_sample(self, sample: Sample) -> Self:
        """Learn from a `hengyu.sample.Sample`."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was learned as arrays."""

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Take up a state and a report again; the same mapping as after the fit."""


@cache
def method_names() -> tuple[str, ...]:
    """Return the names of all methods, sorted: the file names of this package, with - for _."""
    return tuple(sorted(m.name.replace("_", "-") for m in iter_modules(__path__)))


@cache
def find_method(name: str) -> type[Any]:
    """Return the class of a method by its name; raises ImportError for a name that has no file."""
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    method: type[Any] = module.METHOD
    return method
