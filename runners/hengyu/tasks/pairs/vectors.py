"""Semantic textual similarity: from vectors through an entry's steps to the similarity of every pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate, WrongSize
from hengyu.methods.base import Floats, Similarity, Transform
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import Dims, Entry
from hengyu.methods.pipeline import FittedPipeline, PipelineFitter
from hengyu.methods.step import Step
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.numerics.metrics import spearman_many
from hengyu.numerics.sample import Sample
from hengyu.numerics.similarity import cosines_by_dim

__all__ = ["StsResult", "StsVectors", "board_dims"]

Ids = NDArray[np.int64]
_BLOCK = 2048  # rows that stay in the processor's cache


@dataclass
class StsVectors:
    """The vectors of one task under one encoder and pooling.

    Attributes:
        x: the distinct sentences (m, d).
        first, second: row numbers (n,) of each pair.
        samples: fit_on word -> the sentences a method is fitted on.
        labels: (n,), needed for sweeps.
        other: vectors (m2, d) and pairs of the split that decision thresholds are chosen on.
        fits: recalls what methods that are trained have learned before.
        tuned: what the trainings of the encoder saw, where the vectors are those of a tuned one.
        same: (n,), which pairs mean the same (`hengyu.numerics.cloud.means_same`), for what is seen of the cloud of vectors.
    """

    x: Floats
    first: Ids
    second: Ids
    samples: Mapping[str, Sample]
    labels: NDArray[np.float64]
    other: tuple[Floats, Ids, Ids] | None = None
    fits: FitCache = field(default_factory=FitCache)
    tuned: Sequence[Mapping[str, Any]] = ()
    same: NDArray[np.bool_] | None = None
    _fitting: PipelineFitter = field(init=False)
    _spare: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._fitting = PipelineFitter(self.samples, self.fits)

    def observe(
        self, entry: Entry, dims: Dims, fit_on: str, seed: int | None = None, cloud_sample: CloudSample | None = None
    ) -> StsResult:
        """Run an entry and return what was seen; raises ValueError, `Degenerate` or `WrongSize` when it cannot be.

        With a ``cloud_sample`` the clouds of vectors are looked at too, of entries by the cosine.
        Entries that differ in ``dim`` alone share the fit, the transform and one cumulative pass; entries fitted on the
        same rows share count, mean, covariance and eigendecomposition. Of several dims those that the vectors have are
        observed. ``seed`` is what the steps draw by where the entry leaves that open.
        """
        listed = list(dims) if dims != "all" else []
        asked = listed or ([entry.dim] if entry.dim else [])
        run = entry.with_dim(None) if entry.nested else entry
        x, other, chain, width = self._through(run if seed is None else run.with_seed(seed), fit_on, asked)
        if not x.shape[1]:
            raise Degenerate("no dimension is left of the vectors")
        cuts = board_dims(x.shape[1]) if dims == "all" else [c for c in asked if c <= width]
        wanted = [min(cut, x.shape[1]) for cut in cuts] or [x.shape[1]]
        distinct = sorted(set(wanted))
        places = [distinct.index(w) for w in wanted]
        sweep: dict[str, NDArray[np.float64]] = {}
        compare = partial(cosines_by_dim, dims=distinct)
        if entry.similarity is not None:
            compare = partial(_similarities, self._similarities(entry.similarity, chain, distinct, x.shape[1]))
        if dims == "all" and entry.similarity is None:
            every = cosines_by_dim(x, self.first, self.second, range(1, x.shape[1] + 1))
            similarity = every[np.asarray(distinct) - 1]
            value, error = spearman_many(every, self.labels)
            sweep = {"dim": np.arange(1.0, x.shape[1] + 1), "value": value, "error": error}
        else:
            similarity = compare(x, self.first, self.second)
        beside = compare(*other)[places] if other else np.zeros((0, 0))
        names = [str(entry.with_dim(c)) if c < x.shape[1] or dims != "all" else str(entry) for c in cuts] or [
            str(entry)
        ]
        wide = {
            str(entry.with_dim(c)): f"dim={c} is larger than the {width} the vectors have" for c in listed if c > width
        }
        clouds = self._clouds(x, distinct, similarity, cloud_sample) if cloud_sample else None
        seen = None if clouds is None else {name: clouds[at] for name, at in zip(names, places, strict=True)}
        return StsResult(tuple(names), tuple(wanted), similarity[places], beside, sweep, chain.report, wide, seen)

    def _similarities(
        self, step: Step, chain: FittedPipeline, dims: Sequence[int], width: int
    ) -> list[tuple[int, Similarity]]:
        """Return a similarity for each of the dims, fitted on what the chain's steps leave of its rows, cut to that dim."""
        return [(dim, chain.similarity(step, None if dim == width else partial(_cut, dim=dim))) for dim in dims]

    def _clouds(
        self, x: Floats, dims: Sequence[int], similarity: NDArray[np.float64], cloud_sample: CloudSample
    ) -> list[dict[str, Any]]:
        """Look at the cloud of the vectors x (m, k) at each of the dims; ``similarity`` (K, n) is that of every pair."""
        aligned: list[float | None] = [None] * len(dims)
        if self.same is not None and self.same.any():
            aligned = [float((2 - 2 * row[self.same]).mean()) for row in similarity]
        return cloud_sample.of(x[cloud_sample.rows(*x.shape)], dims, aligned)

    def mapped(self, entry: Entry, fit_on: str, seed: int | None = None) -> Floats:
        """Return the vectors (m, k) as an entry leaves them; they are valid until the next entry is run."""
        return self._through(entry if seed is None else entry.with_seed(seed), fit_on, [])[0]

    def _through(
        self, entry: Entry, fit_on: str, dims: Sequence[int]
    ) -> tuple[Floats, tuple[Floats, Ids, Ids] | None, FittedPipeline, int]:
        """Fit and apply the steps one after the other, the last at the largest of ``dims`` that it can have.

        Returns the vectors, those of the threshold split, the steps as they were fitted, and the width before the last step.
        """
        x, width = self.x, self.x.shape[1]
        other = self.other[0] if self.other else None
        chain = self._fitting.chain(fit_on)
        if self.tuned:
            chain.describe()
            chain.report["trained"] = [dict(t) for t in self.tuned]
        for number, step in enumerate(entry.steps):
            if step in entry.tuners:
                continue  # the vectors are already those of the tuned encoder
            width = x.shape[1]
            if dims and number == len(entry.steps) - 1:
                if min(dims) > width:
                    asked, verb = ", ".join(map(str, dims)), "are" if len(dims) > 1 else "is"
                    raise WrongSize(f"dim={asked} {verb} larger than the {width} the vectors have")
                step = entry.with_dim(max(d for d in dims if d <= width)).steps[-1]
            method = chain.add(step)
            x = self._apply(method, x, f"x{number % 2}")
            other = None if other is None else self._apply(method, other, f"other{number % 2}")
        beside = None if other is None or self.other is None else (other, self.other[1], self.other[2])
        return x, beside, chain, width

    def _apply(self, method: Transform, x: Floats, place: str) -> Floats:
        """Apply a fitted method block by block, into memory that is used again for every entry.

        Fresh arrays of this size cost more in page faults than the arithmetic that fills them.
        """
        if not method.needs_fit:
            return method(x)
        first = method(x[:1])
        width = first.shape[1]
        kind = np.dtype(np.int8 if first.dtype == np.int8 else np.float64)
        spare = self._spare.get(place)
        if spare is None or spare.nbytes < len(x) * width * kind.itemsize:
            spare = self._spare[place] = np.empty(len(x) * max(width * kind.itemsize // 8 + 1, x.shape[1]))
        out = spare.view(kind)[: len(x) * width].reshape(len(x), width)
        for start in range(0, len(x), _BLOCK):
            out[start : start + _BLOCK] = method(x[start : start + _BLOCK])
        return out


@dataclass(frozen=True)
class StsResult:
    """What an entry showed: names and dims (K,), similarities (K, n), those of the threshold split, a sweep, the fit.

    ``too_wide`` are the names of the dims asked for that the vectors do not have, with the reason; ``clouds`` are what a
    cloud sample shows of the vectors, by name.
    """

    entries: tuple[str, ...]
    dims: tuple[int, ...]
    similarity: NDArray[np.float64]
    threshold_similarity: NDArray[np.float64]
    sweep: Mapping[str, NDArray[np.float64]]
    fit: Mapping[str, Any]
    too_wide: Mapping[str, str] = field(default_factory=dict)
    clouds: Mapping[str, Any] | None = None


def _similarities(each: Sequence[tuple[int, Similarity]], x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
    """Return the similarity (K, n) of pairs of rows of x (m, d) at each of K dimensions."""
    return np.stack([similarity.pairs(_cut(x, dim), first, second) for dim, similarity in each])


def _cut(x: Floats, dim: int) -> Floats:
    return x[:, :dim]


def board_dims(width: int) -> list[int]:
    """Return the dimensions of a sweep that get a row of their own: the powers of two from 16 up, and the full width."""
    return [d for d in (2**p for p in range(4, 20)) if d < width] + [width]


def restrict(ids: Sequence[Ids]) -> tuple[Ids, list[Ids]]:
    """Return the distinct numbers among several arrays as they first appear, and each array as places among them."""
    distinct, at, inverse = np.unique(np.concatenate(ids), return_index=True, return_inverse=True)
    order = np.argsort(at)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return distinct[order], np.split(place[inverse], np.cumsum([len(i) for i in ids])[:-1])
