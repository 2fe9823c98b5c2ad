"""The loops of `hengyu.numerics.bootstrap` in NumPy, for small work: same arguments, same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ap_sums", "draw", "label_sides", "rank_products", "rank_sums", "settle", "sums"]

Array = NDArray[Any]

_CUBES = np.arange(256, dtype=np.int64) ** 3


def draw(raw: Array, cuts: Array, weights: Array, total: Array, top: Array) -> None:
    """Turn uniform 32-bit numbers (m, LANES) into Poisson(1) weights, adding to total and raising top (LANES,)."""
    weights[:] = 0
    for cut in cuts:
        weights += raw >= cut
    total += weights.sum(axis=0, dtype=np.int32)
    np.maximum(top, weights.max(axis=0), out=top)


def settle(weights: Array, total: Array, top: Array, state: Array) -> None:
    """Add or take single draws until every resample has n of them; all resamples take their next step together."""
    n = len(weights)
    lanes = np.flatnonzero(total != n)
    seeds = state.copy()
    while lanes.size:
        seeds[lanes] += np.uint64(0x9E3779B97F4A7C15)
        z = seeds[lanes]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        place = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        grows = total[lanes] < n
        tops = top[lanes].astype(np.float64)
        cell = place * n * tops
        taken = np.minimum((cell / np.maximum(tops, 1.0)).astype(np.int64), n - 1)
        at = np.where(grows, (place * n).astype(np.int64), taken)
        here = weights[at, lanes]
        adds = grows & (here < 255)
        takes = ~grows & (cell - at * tops < here)
        weights[at[adds], lanes[adds]] += 1
        weights[at[takes], lanes[takes]] -= 1
        total[lanes] += adds.astype(np.int32) - takes
        top[lanes] = np.maximum(top[lanes], np.where(adds, here + 1, 0).astype(np.uint8))
        lanes = lanes[total[lanes] != n]


def label_sides(weights: Array, classes: Array, counts: Array, ranks: Array, cubes: Array, singles: Array) -> None:
    """Fill what all entries of a task share: class weights and centred ranks (k, LANES), sums of G^3 and of w^3."""
    order = np.argsort(classes, kind="stable")
    present, starts = np.unique(classes[order], return_index=True)
    counts[present] += np.add.reduceat(weights[order], starts, axis=0, dtype=np.int32)
    singles += _CUBES[weights].sum(axis=0)
    below = np.cumsum(counts, axis=0, dtype=np.int32) - counts
    ranks[:] = 2 * below + counts - len(weights)
    g = counts.astype(np.float64)
    cubes += (g * g * g).sum(axis=0)


def _groups(weights: Array, order: Array, ends: Array, cubes: Array, ties: Array) -> tuple[Array, Array]:
    """Return the sorted weights and 2 C + G of every item, each (n, LANES); cubes and ties get those of tied groups."""
    w = weights[order].astype(np.int64)
    high = np.cumsum(w, axis=0)[ends - 1]
    low = np.concatenate([np.zeros_like(high[:1]), high[:-1]])
    sizes = np.diff(ends, prepend=0)
    group = np.repeat(np.arange(len(ends)), sizes)
    tied = sizes > 1
    if tied.any():
        g = (high - low)[tied].astype(np.float64)
        cubes += (g * g * g).sum(axis=0)
        ties += (w[tied[group]] ** 3).sum(axis=0)
    return w, (low + high)[group]


def rank_sums(
    weights: Array,
    order: Array,
    ends: Array,
    classes: Array,
    skip: int,
    rows: int,
    out: Array,
    cubes: Array,
    ties: Array,
) -> None:
    """Add w (2 C + G) over the items of each class to out (k, LANES), leaving out the class skip."""
    w, ranks = _groups(weights, order, ends, cubes, ties)
    for c in range(len(out)):
        if c != skip:
            items = np.flatnonzero(classes == c)
            out[c] += (w[items] * ranks[items]).sum(axis=0)


def rank_products(
    weights: Array, order: Array, ends: Array, classes: Array, ranks: Array, out: Array, cubes: Array, ties: Array
) -> None:
    """Add w (2 C + G - n) times the rank of the item's class (k, LANES) to out (LANES,)."""
    w, own = _groups(weights, order, ends, cubes, ties)
    out += (w * (own - len(weights)) * ranks[classes]).sum(axis=0)


def ap_sums(weights: Array, order: Array, ends: Array, classes: Array, out: Array) -> None:
    """Add (positives of the tie group) * precision down to it over the groups, the highest scores first, to out."""
    w = weights[order].astype(np.int64)
    positive = classes == 1
    starts = np.concatenate([[0], ends[:-1]])
    found = np.add.reduceat(positive.astype(np.int64), starts) > 0
    mine = np.add.reduceat(np.where(positive[:, None], w, 0), starts, axis=0)[::-1]
    every = np.add.reduceat(w, starts, axis=0)[::-1]
    hits, above = np.cumsum(mine, axis=0), np.maximum(np.cumsum(every, axis=0), 1)
    kept = found[::-1]
    terms = mine[kept].astype(np.float64) * hits[kept].astype(np.float64) / above[kept].astype(np.float64)
    for term in terms:  # one after the other, as the compiled loop adds them
        out += term


def sums(weights: Array, columns: Array, out: Array) -> None:
    """Add the weighted sums of columns (n, m) to out (m, LANES)."""
    wide = weights.astype(np.float64)
    for column, total in zip(columns.T, out, strict=True):
        rows = np.flatnonzero(column != 0.0)
        total += np.add.accumulate(column[rows, None] * wide[rows], axis=0)[-1] if rows.size else 0.0
