"""A random part of a task's pairs, stratified by label: the same for the same pairs and seed, and part of a larger one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.data import Pairs, SampleOf

__all__ = ["as_read", "sample_pairs", "stratified_order"]

Ids = NDArray[np.int64]
_STRATA = 10  # of labels that take more values


def stratified_order(labels: NDArray[np.float64], seed: int, key: str = "") -> Ids:
    """Return the pairs (n,) in a random order whose every beginning has the labels in about their shares.

    Labels (n,) that take up to ten values are a stratum each, others ten of about equal size. A stratum's pairs are shuffled
    and spread evenly, from a random start: of k of n pairs a stratum of m has k m / n, rounded up or down. This is systematic
    sampling within strata (Cochran, Sampling Techniques, chapters 5 and 8).
    """
    made = int.from_bytes(hashlib.sha256(f"pairs {key} {seed}".encode()).digest()[:8], "little")
    rng = np.random.Generator(np.random.PCG64(made))
    values, stratum = np.unique(labels, return_inverse=True)
    if len(values) > _STRATA:
        cuts = np.quantile(labels, np.arange(1, _STRATA) / _STRATA)
        stratum = np.searchsorted(cuts, labels, side="right")
    place = np.empty(len(labels))
    for number in np.unique(stratum):
        own = rng.permutation(np.flatnonzero(stratum == number))
        place[own] = (np.arange(len(own)) + rng.random()) / len(own)
    return np.argsort(place, kind="stable").astype(np.int64)


def sample_pairs(pairs: Pairs, n: int, seed: int) -> Pairs:
    """Return the first ``n`` pairs in their `stratified_order`, as they stand in the file; all of them where there are no more."""
    total = len(pairs.labels)
    if n >= total:
        return pairs
    chosen = np.sort(stratified_order(pairs.labels, seed, pairs.task)[:n])
    return replace(
        pairs,
        first=tuple(pairs.first[i] for i in chosen),
        second=tuple(pairs.second[i] for i in chosen),
        labels=pairs.labels[chosen],
        ratings=None if pairs.ratings is None else pairs.ratings[chosen],
        sample=SampleOf(total, seed),
    )


def as_read(pairs: Pairs, head: Mapping[str, Any]) -> Pairs:
    """Return the pairs of a split as a run has read them: those of its sample, where its header says that it took one."""
    of, seed, n = head.get("of"), head.get("sample_seed"), head.get("n")
    known = isinstance(of, int) and isinstance(seed, int) and isinstance(n, int)
    return sample_pairs(pairs, n, seed) if known and of == len(pairs.labels) else pairs  # type: ignore[arg-type]
