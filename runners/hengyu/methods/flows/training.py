"""Training a flow by exact likelihood, with early stopping on held-out rows; deterministic given the seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hengyu.methods.flows.glow import Glow
from hengyu.numerics.sample import Sample

__all__ = ["Schedule", "Trace", "bits_per_dim", "hold_out", "train"]

Ids = NDArray[np.int64]

_START = 2048  # rows of the first batch, which initialises the actnorms
_HELD = 4096  # held-out rows at most
_CHECKS = 30  # evaluations of the held-out likelihood
_PATIENCE = 3  # evaluations without improvement before the learning rate falls
_FALL = 0.3
_FALLS = 3  # then training stops
_BETTER = 1e-4  # bits per dimension


@dataclass(frozen=True)
class Schedule:
    """Adam with a warm-up and a linear decay to 0 over ``steps`` batches of ``batch`` rows."""

    steps: int
    batch: int
    lr: float
    seed: int

    @property
    def every(self) -> int:
        """Steps between two evaluations of the held-out likelihood."""
        return max(1, self.steps // _CHECKS)


@dataclass
class Trace:
    """The training log: bits per dimension of the training batches and of the held-out rows at each evaluation."""

    step: list[int] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    best_step: int = 0
    best: float = math.inf
    stopped: str = "all steps done"

    def report(self) -> dict[str, Any]:
        """Return the log as JSON."""
        return {
            "step": self.step,
            "train_bits": [round(b, 5) for b in self.train],
            "held_out_bits": [round(b, 5) for b in self.held_out],
            "best_step": self.best_step,
            "stopped": self.stopped,
        }


def hold_out(sample: Sample, seed: int, share: float = 0.1) -> tuple[Ids, Ids]:
    """Return the numbers of the training and the held-out rows; repetitions of a row stay on one side."""
    order = np.random.default_rng([seed, 1]).permutation(len(sample))
    held = max(1, round(share * len(sample)))
    return np.sort(order[held:]), np.sort(order[: min(held, _HELD)])


def bits_per_dim(z: Tensor, log_det: Tensor) -> Tensor:
    """Return -log2 p(x) / d (n,) of rows mapped to z (n, d) with log|det J| (n,), under a standard normal prior."""
    d = z.shape[1]
    log_p = -0.5 * (z.double() ** 2).sum(dim=1) - 0.5 * d * math.log(2 * math.pi) + log_det
    return -log_p / (d * math.log(2.0))


def train(net: Glow, sample: Sample, train_ids: Ids, held_ids: Ids, columns: Ids, schedule: Schedule) -> Trace:
    """Train a flow in place on ``columns`` of a sample's rows and leave it at its best held-out likelihood.

    When that likelihood stalls, training returns to the best state with a lower learning rate, and stops after the third
    time. Raises FloatingPointError if the likelihood becomes NaN or infinite.
    """
    rng = np.random.default_rng([schedule.seed, 2])

    def rows(ids: Ids) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(sample.rows(ids)[:, columns], dtype=np.float32))

    batches = _batches(train_ids, sample.counts[train_ids], schedule.batch, rng)
    with torch.no_grad():
        first = rng.choice(train_ids, min(_START, len(train_ids)), replace=False)
        net(rows(first))
    held = rows(np.repeat(held_ids, sample.counts[held_ids])[:_HELD])
    trace = Trace()
    best = _copy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=schedule.lr, fused=True)
    factor, worse, falls, loss_sum, seen = 1.0, 0, 0, 0.0, 0
    warm = max(1, schedule.steps // 30)
    for step in range(1, schedule.steps + 1):
        z, log_det = net(rows(next(batches)))
        loss = bits_per_dim(z, log_det).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr * factor * min(1.0, step / warm) * (1.0 - (step - 1) / schedule.steps)
        optimizer.step()
        loss_sum, seen = loss_sum + float(loss.detach()), seen + 1
        if step % schedule.every and step < schedule.steps:
            continue
        with torch.no_grad():
            now = float(bits_per_dim(*net(held)).mean())
        trace.step.append(step)
        trace.train.append(loss_sum / seen)
        trace.held_out.append(now)
        loss_sum, seen = 0.0, 0
        if not math.isfinite(now) and not math.isfinite(trace.best):
            raise FloatingPointError(f"the likelihood is {now} after {step} steps; lower lr")
        if now < trace.best - _BETTER:
            trace.best, trace.best_step, worse = now, step, 0
            best = _copy(net)
            continue
        worse += 1
        if worse >= _PATIENCE:
            falls += 1
            net.load_state_dict(best)
            if falls >= _FALLS:
                trace.stopped = "the held-out likelihood no longer improves"
                break
            worse, factor = 0, factor * _FALL
            optimizer = torch.optim.Adam(net.parameters(), lr=schedule.lr * factor, fused=True)
    net.load_state_dict(best)
    return trace


def _copy(net: Glow) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items()}


def _batches(ids: Ids, counts: Ids, batch: int, rng: np.random.Generator) -> Iterator[Ids]:
    """Yield batches of row numbers endlessly: every pass has every row as often as it occurs, in a new order."""
    rows = np.repeat(ids, counts)
    size = min(batch, len(rows))
    while True:
        rng.shuffle(rows)
        for start in range(0, len(rows) - size + 1, size):
            yield rows[start : start + size]
