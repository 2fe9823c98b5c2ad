"""The loops of the bootstrap, compiled where the work is large enough (`hengyu.numerics.compiled`).

A block holds `LANES` resamples. Its weights are a matrix (n, LANES) of bytes, how often each pair was drawn, so that
the weights of one pair fill one cache line and every inner loop runs over the resamples of a block as vector
instructions. With integer weights the rank of an item among the weighted items is exactly that in the resampled data:
with C the weight below a tie group and G its own, its mid-rank, doubled and centred, is 2 C + G - n.
"""

from __future__ import annotations

import os
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics import bootstrap_numpy as plain
from hengyu.numerics.compiled import compiled

__all__ = [
    "CUTS",
    "LANES",
    "ap_sums",
    "cores",
    "draw",
    "label_sides",
    "rank_products",
    "rank_sums",
    "settle",
    "sums",
]

LANES = 64

U8: TypeAlias = NDArray[np.uint8]
U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]
I32: TypeAlias = NDArray[np.int32]
I64: TypeAlias = NDArray[np.int64]
F64: TypeAlias = NDArray[np.float64]

# The Poisson(1) distribution function at 0, 1, ..., 11 in units of 2^-32.
_MASS = np.exp(-1.0) / np.cumprod(np.r_[1.0, np.arange(1.0, 12.0)])
CUTS: U32 = np.rint(np.cumsum(_MASS) * 2.0**32).astype(np.uint32)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@compiled("u4[:,::1], u4[::1], u1[:,::1], i4[::1], u1[::1]", plain.draw)
def draw(raw: U32, cuts: U32, weights: U8, total: I32, top: U8) -> None:
    """Turn uniform 32-bit numbers (m, LANES) into Poisson(1) weights, adding to total and raising top (LANES,)."""
    for i in range(weights.shape[0]):
        for b in range(LANES):
            weights[i, b] = 0
        for j in range(cuts.shape[0]):
            cut = cuts[j]
            for b in range(LANES):
                weights[i, b] += raw[i, b] >= cut
        for b in range(LANES):
            total[b] += weights[i, b]
            top[b] = max(top[b], weights[i, b])


@compiled("u1[:,::1], i4[::1], u1[::1], u8[::1]", plain.settle)
def settle(weights: U8, total: I32, top: U8, state: U64) -> None:
    """Add or remove single draws until every resample has n of them; state (LANES,) seeds a SplitMix64 per resample.

    Poisson counts given their sum T are T draws; n - T further draws, or T - n of them taken away at random, make
    exactly n draws (a multinomial sample). A weight is never raised beyond 255 (chance below 1e-400 for n > 255).
    """
    n = weights.shape[0]
    for b in range(LANES):
        seed = state[b]
        while total[b] != n:
            seed += np.uint64(0x9E3779B97F4A7C15)
            z = (seed ^ (seed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            place = np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
            if total[b] < n:
                i = int(place * n)
                if weights[i, b] < 255:
                    weights[i, b] += 1
                    total[b] += 1
                    top[b] = max(top[b], weights[i, b])
            else:
                # A uniform cell of the n x top grid: it falls within an item's weight in proportion to that weight.
                cell = place * n * top[b]
                i = min(int(cell / top[b]), n - 1)
                if cell - i * np.float64(top[b]) < weights[i, b]:
                    weights[i, b] -= 1
                    total[b] -= 1


@compiled("u1[:,::1], i4[::1], i4[:,::1], i4[:,::1], f8[::1], i8[::1]", plain.label_sides)
def label_sides(weights: U8, classes: I32, counts: I32, ranks: I32, cubes: F64, singles: I64) -> None:
    """Fill in what all methods on a task share: class weights and centred ranks (k, LANES), sums of G^3 and of w^3."""
    n = weights.shape[0]
    cubed = np.zeros(LANES, np.int32)
    for s in range(0, n, 64):  # 64 * 255^3 < 2^31
        for i in range(s, min(s + 64, n)):
            c = classes[i]
            for b in range(LANES):
                w = np.int32(weights[i, b])
                counts[c, b] += w
                cubed[b] += w * w * w
        for b in range(LANES):
            singles[b] += cubed[b]
            cubed[b] = 0
    below = np.zeros(LANES, np.int32)
    for c in range(counts.shape[0]):
        for b in range(LANES):
            g = np.float64(counts[c, b])
            ranks[c, b] = 2 * below[b] + counts[c, b] - n
            below[b] += counts[c, b]
            cubes[b] += g * g * g


@compiled("u1[:,::1], i4[::1], i4[::1], i4[::1], i4, i4, i8[:,::1], f8[::1], i8[::1]", plain.rank_sums)
def rank_sums(
    weights: U8, order: I32, ends: I32, classes: I32, skip: int, rows: int, out: I64, cubes: F64, ties: I64
) -> None:
    """Add w (2 C + G) over the items of each class to out (k, LANES), leaving out the class skip.

    order (n,) sorts the scores, ends (groups,) ends the tie groups, classes (n,) is in sorted order. cubes gets the
    sum of G^3 and ties that of w^3 over the tied groups only. With (rows * max w)^2 < 2^31, within a stretch of rows
    C is counted from its start in 32 bits, and 2 C_start sum(w) is added in 64 bits at its end. Use it for tie groups of at
    most rows items, and for few classes: a stretch ends with a pass over all of them.
    """
    start = np.zeros(LANES, np.int64)
    below, group = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    cubed = np.zeros(LANES, np.uint32)
    part, mass = np.zeros(out.shape, np.int32), np.zeros(out.shape, np.int32)
    s = filled = 0
    for g in range(ends.shape[0] + 1):
        size = ends[g] - s if g < ends.shape[0] else rows
        if filled + size > rows or g == ends.shape[0]:
            for c in range(out.shape[0]):
                for b in range(LANES):
                    out[c, b] += part[c, b] + 2 * start[b] * mass[c, b]
                    part[c, b] = 0
                    mass[c, b] = 0
            for b in range(LANES):
                start[b] += below[b]
                ties[b] += cubed[b]
                below[b] = 0
                cubed[b] = 0
            filled = 0
        if g == ends.shape[0]:
            break
        if size == 1:
            i, c = order[s], classes[s]
            if c == skip:
                for b in range(LANES):
                    below[b] += weights[i, b]
            else:
                for b in range(LANES):
                    w = np.int32(weights[i, b])
                    part[c, b] += w * (2 * below[b] + w)
                    mass[c, b] += w
                    below[b] += w
            filled += 1
            s += 1
            continue
        for b in range(LANES):
            group[b] = 0
        for k in range(s, s + size):
            i = order[k]
            for b in range(LANES):
                v = np.uint32(weights[i, b])
                group[b] += v
                cubed[b] += v * v * v
        for k in range(s, s + size):
            i, c = order[k], classes[k]
            if c != skip:
                for b in range(LANES):
                    w = np.int32(weights[i, b])
                    part[c, b] += w * (2 * below[b] + group[b])
                    mass[c, b] += w
        for b in range(LANES):
            x = np.float64(group[b])
            cubes[b] += x * x * x
            below[b] += group[b]
        filled += size
        s += size


@compiled("u1[:,::1], i4[::1], i4[::1], i4[::1], i4[:,::1], f8[::1], f8[::1], i8[::1]", plain.rank_products)
def rank_products(
    weights: U8, order: I32, ends: I32, classes: I32, ranks: I32, out: F64, cubes: F64, ties: I64
) -> None:
    """Add w (2 C + G - n) times the rank of the item's class (k, LANES) to out (LANES,): `rank_sums` for the rest.

    Integers in float64: exact up to n = 250,000, where n^3 / 3 approaches 2^53, and rounded beyond.
    """
    n = weights.shape[0]
    below, group = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    s = 0
    for g in range(ends.shape[0]):
        e = ends[g]
        for b in range(LANES):
            group[b] = 0
        for k in range(s, e):
            i = order[k]
            for b in range(LANES):
                group[b] += weights[i, b]
        for k in range(s, e):
            i, c = order[k], classes[k]
            for b in range(LANES):
                u = np.int32(2 * below[b] + group[b] - n)
                out[b] += np.float64(weights[i, b]) * np.float64(u) * np.float64(ranks[c, b])
        for b in range(LANES):
            below[b] += group[b]
        if e - s > 1:
            for b in range(LANES):
                x = np.float64(group[b])
                cubes[b] += x * x * x
            for k in range(s, e):
                i = order[k]
                for b in range(LANES):
                    w = np.int64(weights[i, b])
                    ties[b] += w * w * w
        s = e


@compiled("u1[:,::1], i4[::1], i4[::1], i4[::1], f8[::1]", plain.ap_sums)
def ap_sums(weights: U8, order: I32, ends: I32, classes: I32, out: F64) -> None:
    """Add (positives of the tie group) * (precision down to it), summed over the groups from the highest score, to out."""
    above, hits, group = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    for g in range(ends.shape[0] - 1, -1, -1):
        s = ends[g - 1] if g > 0 else 0
        found = False
        for k in range(s, ends[g]):
            i = order[k]
            for b in range(LANES):
                above[b] += weights[i, b]
            if classes[k] == 1:
                found = True
                for b in range(LANES):
                    group[b] += weights[i, b]
        if found:
            for b in range(LANES):
                hits[b] += group[b]
                out[b] += np.float64(group[b]) * np.float64(hits[b]) / np.float64(max(above[b], np.int32(1)))
                group[b] = 0


@compiled("u1[:,::1], f8[:,::1], f8[:,::1]", plain.sums)
def sums(weights: U8, columns: F64, out: F64) -> None:
    """Add the weighted sums of columns (n, m) to out (m, LANES)."""
    row = np.zeros(LANES)
    for i in range(weights.shape[0]):
        for b in range(LANES):
            row[b] = np.float64(weights[i, b])
        for j in range(columns.shape[1]):
            value = columns[i, j]
            if value != 0.0:
                for b in range(LANES):
                    out[j, b] += value * row[b]
