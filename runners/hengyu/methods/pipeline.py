"""Fits the steps of an entry in order: each learns from rows that have passed the steps before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hengyu.methods.base import Floats, Similarity, Transform
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.fitted import MomentTransform, SampleTransform
from hengyu.methods.step import Step
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample

__all__ = ["FittedPipeline", "PipelineFitter", "fit_report"]


@dataclass
class PipelineFitter:
    """The samples that methods are fitted on; entries at the same rows share count, mean and covariance.

    Attributes:
        samples: fit_on word -> the vectors of its sentences.
        fits: loads the fits of trained methods, or stores them.
    """

    samples: Mapping[str, Sample]
    fits: FitCache = field(default_factory=FitCache)
    _moments: dict[tuple[str, tuple[Step, ...]], Moments] = field(default_factory=dict)

    def chain(self, word: str) -> FittedPipeline:
        """Begin an entry that is fitted on the sentences of a fit_on word; without sentences nothing is fitted."""
        return FittedPipeline(self, word, self.samples.get(word))

    def moments(self, word: str, before: tuple[Step, ...], sample: Sample) -> Moments:
        """Return the moments of a word's sentences after the steps ``before``."""
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
        sample: the rows after the steps so far; None if there are none.
        before: the steps so far.
        report: figures of the fits, as JSON; {} before the first fit.
    """

    fitting: PipelineFitter
    word: str
    sample: Sample | None
    before: tuple[Step, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> None:
        """Report on the current rows if there is no report yet."""
        if self.sample is not None and not self.report:
            self.report = fit_report(self.fitting.moments(self.word, self.before, self.sample))

    def add(self, step: Step) -> Transform:
        """Fit the next step and return its method; raises ValueError or `Degenerate` if it cannot be fitted."""
        method: Transform = step.make()
        if method.needs_fit:
            sample = self._rows(step)
            if isinstance(method, MomentTransform):
                method.fit_rows(sample, lambda: self.fitting.moments(self.word, self.before, sample))
                self.report = self.report or dict(method.summary)
            self.describe()
            if isinstance(method, SampleTransform):
                self.fitting.fits.fit(method, step, self.before, self.word, sample)
                self.report.setdefault("trained", []).append({"name": str(step), **method.report})
            elif not isinstance(method, MomentTransform):
                method.fit(np.concatenate([np.repeat(x, n, axis=0) for x, n in sample.blocks()]))
        self.sample = None if self.sample is None else self.sample.then(method)
        self.before += (step,)
        return method

    def similarity(self, step: Step, cut: Callable[[Floats], Floats] | None = None) -> Similarity:
        """Return a similarity, fitted where it learns on the current rows, or on what ``cut`` leaves of them; raises ValueError."""
        found: Similarity = step.make()
        if found.needs_fit:
            rows = self._rows(step)
            self.describe()
            found.fit(rows if cut is None else rows.then(cut))
        return found

    def _rows(self, step: Step) -> Sample:
        """Return what a step is fitted on; raises ValueError if there is nothing."""
        if self.sample is None:
            raise ValueError(f"{step} must be fitted, but there is nothing to fit it on")
        return self.sample


def fit_report(moments: Moments) -> dict[str, Any]:
    """Return figures of the rows that a method is fitted on."""
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
