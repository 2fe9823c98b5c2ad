"""Notes: oddities of usable pairs, and the distribution of their labels."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.card import Card
from hengyu.cards.checks import Checked
from hengyu.cards.rows import at_lines

__all__ = ["distribution", "pair_notes"]

_VALUES = 12  # up to so many different labels are counted one by one


def pair_notes(pairs: Checked, card: Card) -> list[str]:
    """Return sentences on repeated, swapped, contradictory and equal pairs, each with a count and the first lines.

    They do not prevent a score, so they are reported and not refused. A pair is contradictory if the same two sentences
    came with a different label before, in either order.
    """
    first: dict[tuple[str, str], float] = {}
    seen: set[tuple[str, str]] = set()
    again: list[int] = []
    swapped: list[int] = []
    against: list[int] = []
    equal: list[int] = []
    middle = sum(card.scale) / 2
    for number, a, b, label in zip(pairs.numbers, pairs.first, pairs.second, pairs.labels.tolist(), strict=True):
        if a == b and label < middle:
            equal.append(number)
        if (a, b) in seen:
            again.append(number)
        elif (b, a) in seen:
            swapped.append(number)
        seen.add((a, b))
        if first.setdefault((a, b) if a <= b else (b, a), label) != label:
            against.append(number)
    said = [
        (again, "repeat an earlier pair"),
        (swapped, "repeat an earlier pair in the other order"),
        (against, "contradict an earlier pair: the same two sentences with a different label"),
        (equal, "hold the same sentence twice and a low label"),
    ]
    return [
        f"{len(n)} pairs {what} ({at_lines(pairs.unit, n)})" if len(n) > 1 else _one(pairs, n, what)
        for n, what in said
        if n
    ]


def _one(pairs: Checked, numbers: list[int], what: str) -> str:
    verb, _, rest = what.partition(" ")
    return f"1 pair {verb}s {rest} ({at_lines(pairs.unit, numbers)})"


def distribution(labels: NDArray[np.float64]) -> str:
    """Describe the distribution of labels (n,): each with its count, or the quartiles if there are many."""
    found = Counter(labels.tolist())
    if len(found) <= _VALUES:
        return ", ".join(f"{label:g} ({count})" for label, count in sorted(found.items()))
    low, *quartiles, high = np.quantile(labels, [0, 0.25, 0.5, 0.75, 1])
    return f"{low:g} to {high:g} ({len(found)} different; quartiles {', '.join(f'{q:g}' for q in quartiles)})"
