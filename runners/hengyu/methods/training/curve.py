"""Figures of a model during training, for observation only: alignment, uniformity, rank, held-out Spearman."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.model import TrainableEncoder
from hengyu.numerics.metrics import spearman

__all__ = ["TrainingMonitor", "alignment", "effective_rank", "uniformity", "watching"]

_PROBE = 300  # sentences, and held-out pairs, at most
_JUDGED = 1000  # held-out pairs at most, where they decide when a training ends
_FEWEST = 128
_ALIKE = 0.8  # share of the label scale from which pairs count as having the same meaning
WorkUnit = NDArray[np.floating[Any]]
Watch = Callable[[float, dict[str, float]], None]

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Call ``watch`` after every evaluation of a model in training: with the share of its steps, 0..1, and the figures.

    What it raises ends the training.
    """
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def alignment(x: WorkUnit, y: WorkUnit) -> float:
    """Return the mean squared distance of rows x (n, d) and y (n, d) of length 1 (Wang and Isola, arXiv:2005.10242)."""
    return float(((x.astype(np.float64) - y) ** 2).sum(axis=1).mean())


def uniformity(x: WorkUnit) -> float:
    """Return the log of the mean of exp(-2 |a - b|²) over distinct rows a, b of x (n, d) of length 1; 0 if all rows are equal."""
    from scipy.spatial.distance import pdist

    return float(np.log(np.exp(-2 * pdist(x.astype(np.float64), "sqeuclidean")).mean()))


def effective_rank(x: WorkUnit) -> float:
    """Return the exponential of the entropy of the eigenvalues of x'x (Roy and Vetterli, 2007), x (n, d) of length 1.

    Not centred, unlike a fit's: it is 1 if all rows are the same vector.
    """
    shares = np.linalg.svd(x, compute_uv=False) ** 2
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@dataclass
class TrainingMonitor:
    """Evaluates the model now and then, always on the same sentences and pairs."""

    trainable: TrainableEncoder
    training_data: TrainingData
    seed: int
    total: int  # steps of the training
    trained: int = 0  # sentences, or pairs; a short training is looked at on fewer than they are
    judged: bool = False  # whether the held-out score decides when the training ends
    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 3])
        size = min(_PROBE, max(_FEWEST, self.trained // 4)) if self.trained else _PROBE
        probe = rng.permutation(len(self.training_data.counts))[:size]
        self._probe = self.trainable.tokens([self.training_data.texts[int(i)] for i in probe])
        held = self.training_data.held
        self.pairs = held.some(_JUDGED if self.judged else size) if held is not None else None
        if self.pairs is not None:
            texts = [self.training_data.texts[int(i)] for part in (self.pairs.first, self.pairs.second) for i in part]
            self.held = self.trainable.tokens(texts)  # the first sentences of the pairs, then the second

    def figures(self) -> dict[str, float]:
        """Return the figures of the model as it is."""
        found: dict[str, float] = {}
        x = _unit(self.trainable.vectors(self._probe))
        found["uniformity"] = uniformity(x)
        found["effective_rank"] = effective_rank(x)
        if self.pairs is not None:
            y = _unit(self.trainable.vectors(self.held))
            a, b = y[: len(self.pairs)], y[len(self.pairs) :]
            alike = self.pairs.unit >= _ALIKE
            if alike.any():
                found["alignment"] = alignment(a[alike], b[alike])
            with suppress(Degenerate):
                found["held_out_spearman"] = spearman((a * b).sum(axis=1), self.pairs.labels)
        return found

    def look(self, step: int, losses: list[float]) -> dict[str, float]:
        """Evaluate the model after a step, and return the figures; ``losses`` are those since the last evaluation."""
        found = self.figures()
        self.step.append(step)
        self.loss.append(float(np.mean(losses)) if losses else 0.0)
        for key, value in found.items():
            self.values.setdefault(key, []).append(round(value, 5))
        if (watch := _watch.get()) is not None:
            watch(step / self.total, found)
        return found

    def report(self) -> dict[str, Any]:
        """Return the curves as JSON; losses are means between two evaluations, so there is one less of them."""
        return {"step": self.step, "loss": [round(v, 5) for v in self.loss[1:]], **self.values}


def _unit(x: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = x.astype(np.float64)
    unit: NDArray[np.float64] = wide / np.linalg.norm(wide, axis=1, keepdims=True).clip(min=1e-12)
    return unit
