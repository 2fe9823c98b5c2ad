"""Labels that are means of known raters: what these agree on, how far a model can get, and what one of them would reach."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.agreement import Agreement, Estimate, agreement, most_agreed, resampled_means
from hengyu.numerics.bootstrap import LANES
from hengyu.numerics.resampling import Resamples
from hengyu.storage.identity import array_digest
from hengyu.tasks.interface.truth import Measured
from hengyu.tasks.pairs.metric import find_metric
from hengyu.tasks.pairs.truth import PairLabels, PairScores

__all__ = ["AGREED", "RatedPairs"]

Floats = NDArray[np.float64]
AGREED = "spearman-agreed"
"""The metric: Spearman of the pairs on which raters agree most."""
_TWO_WAY = ("spearman", "pearson", AGREED)


@dataclass(frozen=True)
class RatedPairs(PairLabels):
    """Labels of pairs with the scores of every rater.

    Intervals of human raters resample raters too, as others would have rated otherwise. Models of one family, as raters, are
    no sample of anything, and only pairs are resampled.

    Attributes:
        ratings: (n, R).
        named: whether a column is one and the same rater throughout.
        human: whether raters are people.
    """

    ratings: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    named: bool = False
    human: bool = True

    @property
    def digest(self) -> str:
        """The digest of what the raters said."""
        return array_digest(self.ratings)

    @cached_property
    def agreement(self) -> Agreement | None:
        """How well the raters agree; None where that has no value."""
        try:
            return agreement(self.ratings, named=self.named, key=self.task)
        except Degenerate:
            return None

    @property
    def about(self) -> dict[str, Any]:
        """What the raters agree on."""
        kind = "human" if self.human else "model"
        raters: dict[str, Any] = {"kind": kind, "count": self.ratings.shape[1], "agreed": int(self._agreed.sum())}
        if self.agreement:
            for name in ("one", "halves", "reliability", "ceiling"):
                found: Estimate = getattr(self.agreement, name)
                raters[name] = [found.value, found.low, found.high]
        return {"raters": raters}

    def label_rows(self) -> Mapping[str, Mapping[str, Estimate]]:
        """Return the row of one rater, judged by the mean of the others."""
        name = "one human" if self.human else "one rater (model)"
        return {name: {"spearman": self.agreement.one}} if self.agreement else {}

    @cached_property
    def _agreed(self) -> NDArray[np.bool_]:
        return most_agreed(self.ratings)

    @property
    def _part(self) -> PairLabels:
        """The pairs on which raters agree most; not kept, as truths travel to workers and its groups cannot be pickled."""
        return PairLabels(f"{self.task} agreed", self.labels[self._agreed], lambda: self.groups[self._agreed])

    def value(self, scores: PairScores, metric: str) -> float:
        """Return the value of a metric; raises `Degenerate`."""
        if metric == AGREED:
            return self._part.value(PairScores(scores.similarity[self._agreed]), "spearman")
        return super().value(scores, metric)

    def measure(self, scores: PairScores) -> Measured:
        """Return the values of all metrics."""
        found = PairLabels.measure(replace(self, metrics=tuple(m for m in self.metrics if m != AGREED)), scores)
        return Measured({**found.values, AGREED: self.value(scores, AGREED)}, found.thresholds)

    def replicates(
        self,
        scores: Sequence[PairScores],
        metrics: Sequence[str],
        resamples: int,
        seed: int,
        thresholds: Sequence[Mapping[str, float]] = (),
    ) -> dict[str, Floats]:
        """Return the replicates (entries, resamples) of metrics; those of human raters resample pairs and raters."""
        found = super().replicates(scores, [m for m in metrics if m != AGREED], resamples, seed, thresholds)
        if AGREED in metrics:
            part = [PairScores(x.similarity[self._agreed]) for x in scores]
            found[AGREED] = self._part.replicates(part, ["spearman"], resamples, seed)["spearman"]
        if self.human:
            for metric in (m for m in metrics if m in _TWO_WAY):
                found[metric] = self._by_raters(scores, metric, found[metric], seed)
        return found

    def interval(self, metric: str, value: float, drawn: Floats, level: float) -> dict[str, Any]:
        """Return the interval of a metric."""
        return super().interval("spearman" if metric == AGREED else metric, value, drawn, level)

    def _by_raters(self, scores: Sequence[PairScores], metric: str, fixed: Floats, seed: int) -> Floats:
        """Return replicates (entries, resamples) of the same resamples of pairs, each with other raters.

        Ratings that are drawn with replacement are noisier than the raters' own mean, which lowers every correlation alike;
        that is taken out again, so that the replicates (entries, resamples) with the ``fixed`` labels keep their mean.
        """
        kept = self._agreed if metric == AGREED else np.ones(self.n, np.bool_)
        own = self._part if metric == AGREED else self
        of, ratings = find_metric("spearman" if metric == AGREED else metric), self.ratings[kept]
        drawn: Resamples = own.resamples(fixed.shape[1], seed)
        key = int.from_bytes(hashlib.sha256(own.task.encode()).digest()[:8], "big")
        out = np.full(fixed.shape, np.nan)
        weights = np.zeros((0, 0), np.uint8)
        for b in range(fixed.shape[1]):
            if b % LANES == 0:
                weights = drawn.weights(b // LANES)
            labels = resampled_means(ratings, self.named, np.random.default_rng([seed, key, b]))
            rows = np.repeat(np.arange(len(labels)), weights[:, b % LANES])
            for e, one in enumerate(scores):
                try:
                    out[e, b] = of.value(one.similarity[kept][rows], labels[rows])
                except Degenerate:
                    continue
        both = np.isfinite(out) & np.isfinite(fixed)
        shift = np.array(
            [float((f[ok] - o[ok]).mean()) if ok.any() else 0.0 for f, o, ok in zip(fixed, out, both, strict=True)]
        )
        return np.asarray(out + shift[:, None])
