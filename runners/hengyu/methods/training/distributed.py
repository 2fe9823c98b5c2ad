"""Training in several processes, as torchrun starts them: each embeds its share of a batch's rows, and all see every vector.

The process of rank 0 runs the command; the others wait for trainings, take part in them, and write nothing. A loss is computed
from the vectors of the whole batch in every process, so in-batch negatives are those of all processes, and the number of processes
is no setting of the training: with dropout 0 it changes the result by rounding alone. Dropout and noise are drawn anew in
every process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hengyu.base import torchrun
from hengyu.base.errors import Degenerate, HengyuError
from hengyu.encoders import EncoderSpec
from hengyu.encoders.huggingface import HuggingFace
from hengyu.encoders.model_folder import ModelFolder
from hengyu.methods.training.data import TrainingData

__all__ = ["Job", "agreed", "gathered", "joined", "own_dice", "own_rows", "refuse_alone", "shared_job", "summed"]

_PATIENCE = timedelta(days=30)  # the others wait while rank 0 encodes and evaluates


@dataclass(frozen=True)
class Job:
    """A training, as the other processes open it; the model's folder is on the same machine."""

    path: Path
    spec: EncoderSpec
    identifier: str
    pooling: str
    step: str
    training_data: TrainingData

    @classmethod
    def of(cls, encoder: HuggingFace, pooling: str, step: str, training_data: TrainingData) -> Job:
        """Return the job of a training; raises `HengyuError` where there are fewer GPUs than processes."""
        device = torch.device(encoder.device)
        if device.type == "cuda" and torch.cuda.device_count() < torchrun.processes():
            raise HengyuError(
                f"torchrun started {torchrun.processes()} processes, and {torch.cuda.device_count()} GPUs are visible; give "
                "torchrun --nproc-per-node with that number, or hengyu --device cpu"
            )
        spec = replace(encoder.spec, device=device.type)
        return cls(encoder.folder.path, spec, encoder.id, pooling, step, training_data)

    def opened(self) -> Callable[[], None]:
        """Return what trains the model as this process opens it; raises `HengyuError` where it cannot be opened here."""
        from hengyu.methods.grammar import parse_entry

        device = f"cuda:{torchrun.local_rank()}" if self.spec.device == "cuda" else self.spec.device
        spec = replace(self.spec, device=device)
        encoder = HuggingFace(ModelFolder(self.path, spec, identifier=self.identifier))
        method = parse_entry(self.step).steps[0].make()
        return partial(method.tune, method.trainable(encoder, self.pooling), self.training_data, lambda done: None)

    def do(self) -> None:
        """Take part in the training; what makes it fail is said by rank 0, where it fails alike."""
        try:
            train = self.opened()
        except (HengyuError, ValueError) as e:
            refuse_alone(str(e))
            return
        if not refuse_alone(""):
            with suppress(ValueError, Degenerate, HengyuError):
                train()


def refuse_alone(problem: str) -> str:
    """Tell all processes what keeps this one from a training, "" for nothing; returns the first problem of any."""
    said: list[Any] = [None] * torchrun.processes()
    dist.all_gather_object(said, problem)
    return next((f"process {k} of torchrun: {one}" for k, one in enumerate(said) if one), "")


_broken = [False]  # whether a training has ended in one process alone, so that nothing more can be shared


@contextmanager
def joined() -> Iterator[bool]:
    """Join the processes that torchrun has started, and yield whether this one is to run the command.

    The others take part in its trainings until the command has ended.
    """
    torchrun.join()
    by_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= torchrun.processes()
    if by_gpu:
        torch.cuda.set_device(torchrun.local_rank())
    dist.init_process_group("cpu:gloo,cuda:nccl" if by_gpu else "gloo", timeout=_PATIENCE)
    _broken[0] = False
    try:
        if torchrun.rank():
            while (job := _sent(None)) is not None:
                job.do()
            yield False
            return
        try:
            yield True
        finally:
            if not _broken[0]:
                _sent(None)
    finally:
        if not _broken[0]:
            dist.destroy_process_group()
        torchrun.leave()


def _sent(job: Job | None) -> Job | None:
    """Send a job from rank 0 to the others; returns it. None ends them."""
    box: list[Any] = [job]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    found: Job | None = box[0]
    return found


@contextmanager
def shared_job(encoder: HuggingFace, pooling: str, step: str, training_data: TrainingData) -> Iterator[None]:
    """Let the other processes take part in a training that this one, of rank 0, does meanwhile.

    Raises `HengyuError` if another process cannot open the model, and if an earlier training has ended in this process alone, for
    want of memory for example.
    """
    if _broken[0]:
        raise HengyuError("an earlier training ended in one of torchrun's processes alone; run the same command again")
    _sent(Job.of(encoder, pooling, step, training_data))
    if problem := refuse_alone(""):
        raise HengyuError(problem)
    _broken[0] = True
    try:
        yield
    except (ValueError, Degenerate, HengyuError):
        _broken[0] = False
        raise
    _broken[0] = False


def own_rows(n: int) -> slice:
    """Return which of n rows this process embeds: shares differ by one row at most."""
    size, rank = torchrun.processes(), torchrun.rank()
    return slice(n * rank // size, n * (rank + 1) // size)


def gathered(own: Tensor, n: int) -> Tensor:
    """Return the vectors (n, d) of all rows, without gradients, given those of this process's rows."""
    size = torchrun.processes()
    most = -(-n // size)
    padded = own.new_zeros(most, own.shape[1])
    padded[: len(own)] = own.detach()
    every = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(every, padded)
    shares = [n * (r + 1) // size - n * r // size for r in range(size)]
    return torch.cat([part[:share] for part, share in zip(every, shares, strict=True)])


@contextmanager
def own_dice(device: torch.device, number: int) -> Iterator[None]:
    """Draw from a generator of this process's own, for the pass of a number; that which all share does not move meanwhile."""
    seed = (torch.initial_seed() * 1_000_003 + number) * torchrun.processes() + torchrun.rank()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed % 2**63)
        yield


@contextmanager
def summed(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Sum over all processes the gradients that are computed meanwhile; those that were there stay as they are."""
    before = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    yield
    if not parameters:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    dist.all_reduce(flat)
    for p, part, old in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), before, strict=True):
        found = part.view_as(p)
        p.grad = found.clone() if old is None else old + found


def agreed(value: float) -> float:
    """Return the value that rank 0 has, so that all processes decide alike."""
    box = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(box, src=0)
    return float(box)
