"""The base classes of transforms that learn from rows: from their moments, or batch by batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

from numpy.typing import NDArray

from hengyu.methods.base import Floats, Transform
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample

__all__ = ["MomentTransform", "SampleTransform"]


class MomentTransform(Transform):
    """A transform that needs only count, mean and covariance, so one pass over the rows serves many of them.

    Attributes:
        summary: figures of the rows it was fitted on, for one that did without their moments; else {}.
    """

    summary: Mapping[str, Any] = {}

    @abstractmethod
    def fit_moments(self, moments: Moments) -> Self:
        """Learn from the moments of the rows."""

    def fit_rows(self, sample: Sample, moments: Callable[[], Moments]) -> Self:
        """Learn from rows whose moments are at hand; one that wants more than them reads the sample."""
        return self.fit_moments(moments())

    def fit(self, x: Floats) -> Self:
        """Learn from the rows of x (n, d)."""
        sample = Sample.of(x)
        return self.fit_rows(sample, lambda: Moments.of(sample))


class SampleTransform(Transform):
    """A transform that is trained on batches of rows, read on demand; its state can be stored.

    Attributes:
        report: figures of the fit, as JSON; the same for the same rows and seed.
    """

    report: dict[str, Any]

    @abstractmethod
    def fit_sample(self, sample: Sample) -> Self:
        """Learn from a sample of rows."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Return the learned state as arrays."""

    @abstractmethod
    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Restore a stored state and report; the mapping is then the same as after the fit."""

    def fit(self, x: Floats) -> Self:
        """Learn from the rows of x (n, d)."""
        return self.fit_sample(Sample.of(x))
