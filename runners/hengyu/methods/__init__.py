"""The methods: one file a step, found by its file name; its class's dataclass fields are its parameters.

``linear_flow.py`` is the method ``linear-flow`` and holds the dataclass named in its ``METHOD``. Adding a method adds a
file and edits no list.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.sample import Sample

if TYPE_CHECKING:
    from hengyu.base.progress import Tick
    from hengyu.methods.training.data import TrainingData
    from hengyu.methods.training.model import TrainableEncoder

__all__ = [
    "Floats",
    "MomentTransform",
    "SampleTransform",
    "Transform",
    "Tuner",
    "find_method",
    "home_of",
    "is_tuner",
    "method_names",
]

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
        """Learn from a `hengyu.numerics.moments.Moments`."""


@runtime_checkable
class SampleTransform(Transform, Protocol):
    """A transform that is trained on batches of rows, which it reads as it needs them; what it learned can be kept."""

    version: int  # part of the cache key, beside the code itself
    report: dict[str, Any]  # what the fit found, JSON; the same for the same rows and seed

    def fit_sample(self, sample: Sample) -> Self:
        """Learn from a `hengyu.numerics.sample.Sample`."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was learned as arrays."""

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Take up a state and a report again; the same mapping as after the fit."""


@runtime_checkable
class Tuner(Protocol):
    """Encoder to encoder: trains a model for one pooling on sentences; stands at the head of an entry."""

    version: int  # part of the cache key, beside the code itself
    labelled: bool  # whether it learns from labels, which must not be those it is weighed on
    report: dict[str, Any]  # what the training saw, JSON; the same for the same sentences and seed

    def parameters(self) -> dict[str, Any]:
        """Return every parameter by name."""

    def steps(self, lesson: TrainingData) -> int:
        """Return how many steps it takes on a lesson."""

    def tune(self, trainee: TrainableEncoder, lesson: TrainingData, tick: Tick) -> None:
        """Train in place; raises ValueError or `Degenerate` when the lesson or the model cannot be trained with."""


@cache
def method_names() -> tuple[str, ...]:
    """Return the names of all methods, sorted: the file names of this package, with - for _."""
    return tuple(sorted(m.name.replace("_", "-") for m in iter_modules(__path__)))


@cache
def find_method(name: str) -> type[Any]:
    """Return the class of a method by its name; raises ImportError for a name that has no file."""
    method: type[Any] = import_module(home_of(name)).METHOD
    return method


def home_of(name: str) -> str:
    """Return the name of the module that a method is found in."""
    return f"{__name__}.{name.replace('-', '_')}"


def is_tuner(name: str) -> bool:
    """Tell whether a method trains an encoder, rather than mapping the vectors of one."""
    return hasattr(find_method(name), "tune")
