"""The training loop of a student: a step depends only on weights, optimizer and its number, so it can go on after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress
from hengyu.methods.training.losses import embed_distill, relational
from hengyu.tools.distillation.recipe import Distillation
from hengyu.tools.pretraining.batches import batches
from hengyu.tools.pretraining.checkpoint import resume, save_checkpoint
from hengyu.tools.pretraining.legs import next_leg
from hengyu.tools.pretraining.precision import faster

__all__ = ["Student", "Trained", "encode_lines", "loss_of", "train"]

_EVERY = 60.0  # seconds between checkpoints
_LOOKS = 20  # evaluations of the held-out cosine
_ROWS = 8192  # tokens or texts encoded at once

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]
Targets = NDArray[np.float16]


class Student(Protocol):
    """A model in training, with the lines it is trained on."""

    dtype: torch.dtype  # of the matrix products

    @property
    def lengths(self) -> Ids:
        """The tokens or n-grams of each line (n,)."""

    def __call__(self, rows: Ids) -> Tensor:
        """Return the vectors (n, d) of lines, which for a BERT have equal length."""


@dataclass
class Trained:
    """Progress and training log; the same for the same weights, except ``seconds``."""

    step: int = 0
    texts: int = 0  # that passed the model
    seconds: float = 0.0
    total: float = 0.0  # sum of the cosines since the last evaluation
    losses: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    legs: list[dict[str, Any]] = field(default_factory=list)  # conditions of training, and the step they started at


@dataclass(frozen=True)
class _Plan:
    """How lines become batches: of one exact length for a BERT, of any for a static student."""

    buckets: tuple[int, ...]
    positions: int
    seed: int

    @classmethod
    def of(cls, recipe: Distillation) -> _Plan:
        if recipe.student == "static":
            return cls((1,), recipe.texts, recipe.seed)
        return cls(tuple(range(1, recipe.length + 1)), recipe.positions, recipe.seed)

    def lengths(self, student: Student) -> Ids:
        """Return the lengths that count."""
        return np.ones_like(student.lengths) if len(self.buckets) == 1 else student.lengths


def loss_of(found: Tensor, targets: Tensor, recipe: Distillation) -> tuple[Tensor, Tensor]:
    """Return the loss of vectors (n, d) with the targets (n, d), which have length 1, and their mean cosine.

    The second term compares the cosines between all texts of the batch (Park et al., arXiv 1904.05068).
    """
    cosine = 1 - embed_distill(found, targets)
    # the library's squared error is that of an element, this one that of a vector
    loss = 1 - cosine if recipe.loss == "cosine" else found.shape[1] * embed_distill(found, targets, "mse")
    if recipe.similarity and len(found) > 1:
        loss = loss + recipe.similarity * relational(found, targets)
    return loss, cosine


@torch.no_grad()
def encode_lines(student: Any, rows: Ids, *, before: bool = False) -> Vectors:
    """Return the vectors (n, d) of lines by their numbers; ``before`` gives those before the dense layer."""
    lengths = student.lengths[rows]
    make = student.means if before else student
    out: Vectors | None = None
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        size = max(1, _ROWS // max(1, int(length)))
        for at in range(0, len(same), size):
            some = same[at : at + size]
            found = make(rows[some]).float().cpu().numpy()
            if out is None:
                out = np.zeros((len(rows), found.shape[1]), np.float32)
            out[some] = found
    assert out is not None
    return out


def train(
    student: Any,
    targets: Targets,
    held: Ids,
    recipe: Distillation,
    checkpoint: Path,
    *,
    dtype: str = "",
    threads: int = 1,
    progress: Progress,
) -> Trained:
    """Train a student in place, continuing from a checkpoint if there is one; returns the training log.

    Args:
        student: a `Student` that is also a torch module.
        targets: those of all lines (n, d), of length 1.
        held: the lines that are held out.
        recipe: the parameters.
        checkpoint: the file to write.
        dtype: "float32", "bfloat16", or "" for the checkpoint's, else the faster one.
        threads: as set by `hengyu.tools.pretraining.loop.reproducible`.
        progress: what it says.

    Raises:
        HengyuError: for a damaged checkpoint, too few lines, and if the loss becomes NaN or infinite.
    """
    device = next(student.parameters()).device
    optimizer = _optimizer(student, recipe)
    trained = resume(checkpoint, student, optimizer, Trained())
    if trained.step:
        progress.say(f"continuing after step {trained.step} of {recipe.steps}")
    usable = _usable(student, held, recipe)
    plan = _Plan.of(recipe)
    lengths = plan.lengths(student)[usable]

    def drawn(start: int) -> Iterator[Ids]:
        for _, rows in batches(lengths, plan, start):  # type: ignore[arg-type]
            yield usable[rows]

    def loss(rows: Ids) -> tuple[Tensor, Tensor]:
        return loss_of(student(rows), torch.from_numpy(targets[rows].astype(np.float32)).to(device), recipe)

    leg = next_leg(
        trained,
        dtype=dtype,
        threads=threads,
        device=device.type,
        measure=lambda: _measure(student, lambda: loss(next(drawn(0)))[0]),
        progress=progress,
    )
    student.dtype = getattr(torch, leg["dtype"])
    looks = {round(recipe.steps * k / _LOOKS) for k in range(1, _LOOKS + 1)}
    began, before, saved = time.perf_counter(), trained.seconds, time.monotonic()
    with progress.stage("distil", recipe.steps - trained.step) as tick:
        first = trained.step
        for rows in drawn(first):
            if trained.step >= recipe.steps:
                break
            step = trained.step + 1
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step)
            value, cosine = loss(rows)
            if not np.isfinite(float(value.detach())):
                raise HengyuError(f"the loss became NaN or infinite at step {step} of {recipe.steps}; lower --lr")
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(student.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            trained.step = step
            trained.texts += len(rows)
            trained.total += float(cosine.detach())
            trained.losses += 1
            if step in looks:
                _look(student, targets, held, trained, recipe, progress)
            trained.seconds = before + time.perf_counter() - began
            if time.monotonic() - saved >= _EVERY or step == recipe.steps:
                save_checkpoint(checkpoint, student, optimizer, asdict(trained))
                saved = time.monotonic()
            tick(step - first)
    return trained


def _usable(student: Student, held: Ids, recipe: Distillation) -> Ids:
    """Return the lines to train on; raises `HengyuError` if there are too few."""
    keep = student.lengths > 0
    keep[held] = False
    if recipe.student == "bert" and recipe.most:
        keep &= student.lengths <= recipe.most
    found = np.flatnonzero(keep)
    if len(found) < 32:
        raise HengyuError(f"{len(found)} lines to train on, but at least 32 are needed; give a larger corpus")
    return found


def _optimizer(student: torch.nn.Module, recipe: Distillation) -> torch.optim.Optimizer:
    decays = recipe.student == "bert"
    groups = [
        {"params": [p for p in student.parameters() if p.ndim > 1], "weight_decay": recipe.decay if decays else 0.0},
        {"params": [p for p in student.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.lr, betas=recipe.betas, fused=True)


def _measure(student: Any, once: Callable[[], Tensor]) -> tuple[str, dict[str, float]]:
    """Return the faster dtype and the seconds of a step in each; a static student, which multiplies no matrices, tries none."""
    if not hasattr(student, "means"):
        return "float32", {}

    def timed(name: str) -> None:
        student.dtype = getattr(torch, name)
        once().backward()  # type: ignore[no-untyped-call]
        student.zero_grad(set_to_none=True)

    return faster(timed)


def _look(
    student: Any, targets: Targets, held: Ids, trained: Trained, recipe: Distillation, progress: Progress
) -> None:
    """Record the mean cosine since the last evaluation and that of the held-out lines."""
    mean = trained.total / trained.losses
    trained.total, trained.losses = 0.0, 0
    far = None
    if len(held):
        found = encode_lines(student, held)
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
        far = round(float((found * targets[held]).sum(axis=1, dtype=np.float64).mean()), 5)
    trained.curve.append({"step": trained.step, "cosine": round(mean, 5), "held_out": far})
    beside = "" if far is None else f", held-out {far:.3f}"
    progress.say(f"step {trained.step} of {recipe.steps}: cosine to the teacher {mean:.3f}{beside}")
