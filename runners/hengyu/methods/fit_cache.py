"""Stored fits: a flow is trained once for an encoder, a pooling and the sentences it is fitted on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Unreachable
from hengyu.methods.fitted import SampleTransform
from hengyu.methods.step import Step
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample
from hengyu.storage.fits import FitStore
from hengyu.storage.identity import fit_key

__all__ = ["FitCache"]


@dataclass
class FitCache:
    """The fits of one encoder and pooling: loaded from the store, or computed and stored.

    Attributes:
        store: where states are stored; None stores none.
        vectors: the key of the vectors (`hengyu.storage.identity.vectors_key`).
        rows: fit_on word -> the digest of its texts and their counts.
        seconds: step -> duration of a fit computed now, not of loaded ones.
        moments: fit_on word -> the moments of its rows before any step, if known.
    """

    store: FitStore | None = None
    vectors: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)

    def fit(self, method: SampleTransform, step: Step, before: Sequence[Step], word: str, sample: Sample) -> None:
        """Give a step's method its fitted state; ``before`` are the steps that its rows have passed."""
        cache_key = fit_key(
            vectors=self.vectors, rows=self.rows.get(word, ""), before=[s.key for s in before], step=step.key
        )
        found = None
        if self.store is not None:
            try:
                found = self.store.recall(cache_key)
            except Unreachable:
                raise
            except HengyuError as e:
                self.progress.say(f"warning: {e}; fitting it again")
        if found is not None:
            method.restore(found[0], found[1]["report"])
            return
        started = time.perf_counter()
        self.progress.say(f"fitting {step}{' after ' if before else ''}{' > '.join(map(str, before))} on {word}")
        method.fit_sample(sample)
        self.seconds[str(step)] = time.perf_counter() - started
        if self.store is not None:
            try:
                self.store.keep(cache_key, method.state(), {"report": method.report})
            except Unreachable:
                raise
            except HengyuError as e:  # the fit can still be used
                self.progress.say(f"warning: {e}; this run uses the fit, the next one computes it again")
