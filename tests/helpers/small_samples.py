"""How often the gate's test calls chance a fall, at every number of independent groups, and what it detects.

Nothing got worse in any of the designs: the difference of the two versions is 0 in the population. Run as a program it
prints the tables of docs/gate.md:

    PYTHONPATH=runners:tests python tests/helpers/small_samples.py 4000
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import numpy as np

from helpers import simulated as made
from hengyu.base.errors import Degenerate
from hengyu.evaluation.blocks import block_means
from hengyu.evaluation.paired_test import PairedChange
from hengyu.numerics.influence import spearman_contributions

SIZES = (2, 3, 5, 8, 12, 20, 50, 200, 1000)
PROMISED = 0.005  # one-sided: (1 - level) / 2 at the gate's level of 99 %
ALPHA = 0.01
TOLERANCE = 0.005
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def change(differences: np.ndarray, bound: float = 0.0, groups: np.ndarray | None = None) -> PairedChange:
    """Return the change of a mean whose contributions differ by so much (n,), as the gate makes it."""
    groups = np.arange(len(differences)) if groups is None else groups
    blocks = block_means(differences, groups)
    count = int(groups.max()) + 1
    error = float(blocks.std(ddof=1)) / len(blocks) ** 0.5
    bound *= len(blocks) / len(differences)
    return PairedChange(float(blocks.mean()), error, len(blocks) - 1.0, "paired", count, blocks, bound)


def is_red(found: PairedChange) -> bool:
    """Tell whether the gate would be red: the fall is beyond the tolerance and significant."""
    return -found.size > TOLERANCE and found.p <= ALPHA


def _beta(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.beta(0.3, 0.9, n), rng.beta(0.3, 0.9, n)


def _binary(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 2, n).astype(float), rng.integers(0, 2, n).astype(float)


def _mostly_tied(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    before = (rng.random(n) < 0.5).astype(float)
    return before, np.where(rng.random(n) < 0.1, (rng.random(n) < 0.5).astype(float), before)


def _skewed(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    before = np.full(n, 0.5)
    return before, before + np.minimum(0.1 * (rng.exponential(size=n) - 1.0), 0.5)


def _rare(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """One query in twenty gains 0.95, all others lose 0.05: most small samples show losses only."""
    before = np.full(n, 0.05)
    return before, np.where(rng.random(n) < 0.05, 1.0, 0.0)


QUERIES: Mapping[str, Draw] = {
    "independent, skewed scores": _beta,
    "hit or miss": _binary,
    "90 % of queries tied": _mostly_tied,
    "many small losses, few gains": _skewed,
    "one gain in twenty": _rare,
}


def queries_red(rng: np.random.Generator, n: int, draw: Draw) -> bool:
    """Draw one pair of retrieval runs and judge it."""
    before, now = draw(rng, n)
    return is_red(change(now - before, 1.0))


PAIRS: Mapping[str, tuple[str | tuple[float, ...], float, int]] = {  # labels, shared part of the noise, rounding
    "graded labels": ("graded 0..5", 0.9, 9),
    "graded labels, unrelated scores": ("graded 0..5", 0.0, 9),
    "18 % positive": ("binary 18 % positive", 0.9, 9),
    "5 % positive": ((0.95, 0.05), 0.9, 9),
    "tied scores": ("binary balanced", 0.9, 0),
}


def pairs_red(rng: np.random.Generator, n: int, design: tuple[str | tuple[float, ...], float, int]) -> bool:
    """Draw one pair of STS runs whose Spearman is the same in the population, and judge it."""
    name, shared, digits = design
    z, labels = made.labelled(rng, n, made.DESIGNS[name] if isinstance(name, str) else name)
    scores = (x.round(digits) for x in made.versions(rng, z, (0.6, 0.6), shared))
    try:
        before, now = (spearman_contributions(x, labels) for x in scores)
    except Degenerate:
        return False
    return is_red(change(now - before))


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(replays: int) -> None:
    """Print the shares of red gates in percent, as Markdown tables."""
    for title, designs, red in (("queries", QUERIES, queries_red), ("pairs", PAIRS, pairs_red)):
        say(f"| {title} | " + " | ".join(f"n = {n:,}" for n in SIZES) + " |")
        say("|---|" + "--:|" * len(SIZES))
        for name, design in designs.items():
            rng = np.random.default_rng(made.SEED)
            shares = [sum(red(rng, n, design) for _ in range(replays)) / replays for n in SIZES]  # type: ignore[operator]
            say(f"| {name} | " + " | ".join(f"{100 * s:.2f}" for s in shares) + " |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
