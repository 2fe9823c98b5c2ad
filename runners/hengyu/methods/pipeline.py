"""Fitting the steps of entries one after the other: each learns from its rows as the steps before it leave them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hengyu.methods.base import Transform
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.fitted import MomentTransform, SampleTransform
from hengyu.methods.step import Step
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample

__all__ = ["FittedPipeline", "PipelineFitter", "fit_report"]


@dataclass
class PipelineFitter:
    """What methods are fitted on; entries that have come to the same rows share count, mean and covariance.

    Attributes:
        samples: fit_on word -> the sentences a method is fitted on.
        fits: recalls what methods that are trained have learned before.
    """

    samples: Mapping[str, Sample]
    fits: FitCache = field(default_factory=FitCache)
    _moments: dict[tuple[str, tuple[Step, ...]], Moments] = field(default_factory=dict)

    def chain(self, word: str) -> FittedPipeline:
        """Begin an entry that is fitted on the sentences of a fit_on word; a word without any fits nothing."""
        return FittedPipeline(self, word, self.samples.get(word))

    def moments(self, word: str, before: tuple[Step, ...], sample: Sample) -> Moments:
        """Return the moments of a word's sentences as the steps ``before`` leave them."""
        if not before and word in self.fits.moments:
            return self.fits.moments[word]
        key = (word, before)
        if key not in self._moments:
            self._moments[key] = Moments.of(sample)
        return self._moments[key]


@dataclass
class FittedPipeline:
    """The steps of one entry so far.

    Attributes:
        sample: the rows, as the steps so far leave them; None where there are none.
        before: the steps so far.
        report: what the fits found, JSON; {} while nothing was fitted.
    """

    fitting: PipelineFitter
    word: str
    sample: Sample | None
    before: tuple[Step, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> None:
        """Report the rows as they are now, where nothing was reported yet."""
        if self.sample is not None and not self.report:
            self.report = fit_report(self.fitting.moments(self.word, self.before, self.sample))

    def add(self, step: Step) -> Transform:
        """Fit the next step and return its method; raises ValueError or `Degenerate` when it cannot be fitted."""
        method: Transform = step.make()
        if method.needs_fit:
            if self.sample is None:
                raise ValueError(f"{step} must be fitted, and there is nothing to fit it on")
            self.describe()
            if isinstance(method, MomentTransform):
                method.fit_moments(self.fitting.moments(self.word, self.before, self.sample))
            elif isinstance(method, SampleTransform):
                self.fitting.fits.fit(method, step, self.before, self.word, self.sample)
                self.report.setdefault("trained", []).append({"name": str(step), **method.report})
            else:
                method.fit(np.concatenate([np.repeat(x, n, axis=0) for x, n in self.sample.blocks()]))
        self.sample = None if self.sample is None else self.sample.then(method)
        self.before += (step,)
        return method


def fit_report(moments: Moments) -> dict[str, Any]:
    """Return what is worth knowing about the rows a method was fitted on."""
    spectrum = moments.spectrum
    condition = spectrum.condition()
    return {
        "n": int(moments.count),
        "dim": len(spectrum.values),
        "rank": spectrum.rank(),
        "effective_rank": round(spectrum.effective_rank, 3),
        "condition": None if condition is None else float(f"{condition:.4g}"),
        "spectrum": spectrum.outline(),
    }
