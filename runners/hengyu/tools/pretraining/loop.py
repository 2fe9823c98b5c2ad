"""The training loop: a step depends only on weights, optimizer and its number, so a resumed training gives the same result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress
from hengyu.encoders.mixed_precision import autocast
from hengyu.methods.training.unsharing import unshare
from hengyu.tools.pretraining.architectures import body_of, head_of, make
from hengyu.tools.pretraining.batches import Masked, batches, held_batches, hide, rectangle, seed_of
from hengyu.tools.pretraining.checkpoint import resume, save_checkpoint, step_of
from hengyu.tools.pretraining.legs import next_leg
from hengyu.tools.pretraining.precision import faster
from hengyu.tools.pretraining.recipe import Pretraining
from hengyu.tools.pretraining.vocabulary import Tokens

__all__ = ["Trained", "make_model", "reproducible", "train"]

_EVERY = 60.0  # seconds between checkpoints
_LOOKS = 10  # evaluations of the held-out loss
_BATCH, _DROPOUT, _HELD, _WEIGHTS = 2, 3, 4, 5  # purposes of seeds


@dataclass
class Trained:
    """Progress and training log; the same for the same weights, except ``seconds``."""

    step: int = 0
    tokens: int = 0  # that passed the model, without padding
    seconds: float = 0.0
    total: float = 0.0  # sum of the losses since the last evaluation
    losses: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)  # {"step", "loss" (mean since the last), "held_out"}
    legs: list[dict[str, Any]] = field(default_factory=list)  # {"step" it began after, "dtype", "threads", "device"}


def make_model(recipe: Pretraining, size: int, device: str = "cpu") -> Any:
    """Return a model with random weights for ``size`` tokens, with the prediction head and without a pooler.

    Raises RuntimeError or AssertionError for a missing device.
    """
    torch.manual_seed(seed_of(recipe.seed, _WEIGHTS))
    return make(recipe, size, device)


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Fix the threads, so that sums keep their order, and restore threads and random state afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _optimizer(model: Any, recipe: Pretraining) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True)


def _loss(model: Any, batch: Masked, dtype: str, reduction: str = "mean") -> Tensor:
    with autocast(batch.shown.device.type, dtype):
        hidden = body_of(model)(batch.shown, attention_mask=batch.kept).last_hidden_state[batch.chosen]
        logits = head_of(model)(hidden)
    return torch.nn.functional.cross_entropy(logits.float(), batch.gold, reduction=reduction)


class _Loop:
    def __init__(self, model: Any, tokens: Tokens, held: Tokens, recipe: Pretraining) -> None:
        self.model, self.tokens, self.held, self.recipe = model, tokens, held, recipe
        self.device = next(model.parameters()).device
        self.size = int(model.config.vocab_size)

    def masked(self, width: int, rows: Any, step: int) -> Masked:
        seed = seed_of(self.recipe.seed, _BATCH, step)
        return hide(rectangle(self.tokens, rows, width), self.recipe.mask, self.size, seed).to(self.device)

    def measure(self) -> tuple[str, dict[str, float]]:
        """Return the faster dtype; weights and optimizer are not changed."""
        batch = self.masked(*next(batches(self.tokens.lengths, self.recipe)), 0)
        self.model.train()

        def once(dtype: str) -> None:
            _loss(self.model, batch, dtype).backward()  # type: ignore[no-untyped-call]
            self.model.zero_grad(set_to_none=True)

        return faster(once)

    def held_out(self, dtype: str) -> float | None:
        """Return the mean loss over held-out lines, always with the same masks; None without held-out lines."""
        total, count = 0.0, 0
        self.model.eval()
        with torch.no_grad():
            for number, (width, rows) in enumerate(held_batches(self.held.lengths, self.recipe)):
                seed = seed_of(self.recipe.seed, _HELD, number)
                batch = hide(rectangle(self.held, rows, width), self.recipe.mask, self.size, seed).to(self.device)
                predicted = int((batch.gold >= 0).sum())
                if predicted:
                    total += float(_loss(self.model, batch, dtype, "sum"))
                    count += predicted
        self.model.train()
        return total / count if count else None


def train(
    model: Any,
    tokens: Tokens,
    held: Tokens,
    recipe: Pretraining,
    checkpoint: Path,
    *,
    dtype: str = "",
    threads: int = 1,
    progress: Progress,
) -> Trained:
    """Train the model in place, continuing from a checkpoint if there is one; returns the training log.

    ``dtype`` is "float32", "bfloat16", or "" for the checkpoint's, else the faster one. Call it within `reproducible`. Raises
    `HengyuError` for a damaged checkpoint, and if the loss becomes NaN or infinite.
    """
    loop = _Loop(model, tokens, held, recipe)
    apart = recipe.unshare_after
    if 0 <= apart < step_of(checkpoint):
        unshare(model)
    optimizer = _optimizer(model, recipe)
    trained = resume(checkpoint, model, optimizer, Trained())
    if trained.step:
        progress.say(f"continuing after step {trained.step} of {recipe.steps}")
    leg = next_leg(
        trained, dtype=dtype, threads=threads, device=loop.device.type, measure=loop.measure, progress=progress
    )
    looks = {round(recipe.steps * k / _LOOKS) for k in range(1, _LOOKS + 1)}
    model.train()
    began, before, saved = time.perf_counter(), trained.seconds, time.monotonic()
    with progress.stage("pretrain", recipe.steps - trained.step) as tick:
        first = trained.step
        for width, rows in batches(tokens.lengths, recipe, first):
            if trained.step >= recipe.steps:
                break
            step = trained.step + 1
            if trained.step == apart:
                unshare(model, optimizer)
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step)
            batch = loop.masked(width, rows, step)
            torch.manual_seed(seed_of(recipe.seed, _DROPOUT, step))
            loss = _loss(model, batch, leg["dtype"])
            if not np.isfinite(value := float(loss.detach())):
                raise HengyuError(f"the loss became NaN or infinite at step {step} of {recipe.steps}; lower --lr")
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            trained.step = step
            trained.tokens += int(tokens.lengths[rows].sum())
            trained.total += value
            trained.losses += 1
            if step in looks:
                _look(loop, trained, leg["dtype"], progress)
            trained.seconds = before + time.perf_counter() - began
            if time.monotonic() - saved >= _EVERY or step == recipe.steps:
                save_checkpoint(checkpoint, model, optimizer, asdict(trained))
                saved = time.monotonic()
            tick(step - first)
    if trained.step == apart:
        unshare(model)
    model.eval()
    return trained


def _look(loop: _Loop, trained: Trained, dtype: str, progress: Progress) -> None:
    """Record the mean loss since the last evaluation and the held-out loss."""
    mean = trained.total / trained.losses
    held = loop.held_out(dtype)
    trained.total, trained.losses = 0.0, 0
    trained.curve.append(
        {"step": trained.step, "loss": round(mean, 5), "held_out": None if held is None else round(held, 5)}
    )
    beside = "" if held is None else f", held-out {held:.3f}"
    progress.say(f"step {trained.step} of {loop.recipe.steps}: loss {mean:.3f}{beside}")
