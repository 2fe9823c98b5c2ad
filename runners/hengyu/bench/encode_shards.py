"""Encoding cut into shards of whole batches: a vector's last bits depend on the batch it was in, and so on no shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.memory import give_back_memory
from hengyu.base.progress import Progress, silent
from hengyu.bench.encode import Vectors, costs_of, encode_missing, open_spaces, refuse_unknown
from hengyu.bench.units import Executor, WorkerContext
from hengyu.encoders import Encoder
from hengyu.storage.vectors import VectorSpace, text_keys

__all__ = ["Batches", "Encode", "encode_all", "encode_block", "shards"]

Ids = NDArray[np.int64]
Texts = Ids | tuple[str, ...]  # numbers of the plan's texts; or texts that no plan holds, which travel with their unit
_MOST = 8192  # texts of a shard: what a worker that dies loses, and what one holds
_ROUNDS = 8  # shards for each worker, so that they end at about the same time


@dataclass(frozen=True)
class Batches:
    """Unit: the batches that an encoder would go through, as the numbers of their texts; nothing is encoded."""

    job: int
    texts: tuple[str, ...] | None = None  # by default those of the plan that the side has
    side: str = ""
    weight: int = 1
    trains: bool = True  # how large a batch is depends on the device

    def __call__(self, site: WorkerContext) -> list[Ids]:
        """Ask for every batch, and refuse it."""
        found: list[Ids] = []

        def note(batch: Ids) -> bool:
            found.append(batch)
            return False

        job = site.jobs[self.job]
        ids = _numbers(site, self.side)
        texts = self.texts if self.texts is not None else site.plan.texts if ids is None else site.plan.select(ids)
        for _ in job.encodes(self.side).stream(texts, job.poolings, note):
            pass
        return found


@dataclass(frozen=True)
class Carried:
    """Texts that no plan holds, since their file is large, and what each space lacks: no worker reads all that is stored."""

    texts: tuple[str, ...]
    missing: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Encode:
    """Unit: texts that make whole batches, in the order of the batches; an encoder makes the same batches of them."""

    job: int
    texts: Ids  # numbers of the plan's texts
    weight: int
    carried: Carried | None = None
    side: str = ""
    trains: bool = True

    def __call__(self, site: WorkerContext) -> tuple[float, float]:
        """Encode those that the store lacks; returns the tokens read and the [UNK] among them."""
        job = site.jobs[self.job]
        encoder = job.encodes(self.side)
        for other in (one for j in site.jobs for one in (j.encoder, j.asking)):
            if other is not None and other is not encoder:
                other.release()
        if self.carried:
            texts, missing = list(self.carried.texts), self.carried.missing
            spaces = open_spaces(site.store, encoder, job.poolings, blind=True)
        else:
            texts, missing = site.plan.select(self.texts), None
            spaces = site.spaces(self.job, self.side)
        found = encode_missing(
            site.store, encoder, texts, job.poolings, silent, spaces=spaces, missing=missing, whole=False
        )
        if len(texts) > _MOST // 4:
            give_back_memory()
        return found.tokens, found.unknown


def shards(batches: Sequence[Ids], wanted: NDArray[np.bool_], cost: Ids, most: float) -> list[Ids]:
    """Return the texts of the batches that hold a wanted one, in shards that cost about ``most`` at most, a batch at least."""
    found: list[Ids] = []
    some: list[Ids] = []
    for batch in batches:
        if not wanted[batch].any():
            continue
        held = [*some, batch]
        if some and (sum(cost[b].sum() for b in held) > most or sum(map(len, held)) > _MOST):
            found.append(np.concatenate(some))
            some = []
        some.append(batch)
    return [*found, np.concatenate(some)] if some else found


class _Judged:
    """Refuses an encoder that cannot read the texts as soon as shards say so, whatever the order they are done in."""

    def __init__(self, encoder: Encoder, shards: int) -> None:
        self.encoder, self.shards = encoder, shards
        self.found: dict[int, tuple[int, float, float]] = {}
        self.next = self.texts = 0
        self.tokens = self.unknown = 0.0

    def take(self, at: int, texts: int, tokens: float, unknown: float) -> None:
        """Take what a shard gave, and judge by the first ones in their order."""
        self.found[at] = (texts, tokens, unknown)
        while self.next in self.found:
            more, read, lost = self.found.pop(self.next)
            self.texts, self.tokens, self.unknown = self.texts + more, self.tokens + read, self.unknown + lost
            self.next += 1
            if self.texts >= _MOST or self.next == self.shards:
                refuse_unknown(self.encoder, self.tokens, self.unknown)


def encode_all(executor: Executor, site: WorkerContext, number: int) -> Vectors:
    """Encode the texts of the plan that the store lacks, with the encoder of a number; returns access to all.

    Where queries are encoded otherwise than documents, each side's texts are encoded for that side alone.
    Raises `HengyuError` when the model's vocabulary turns more than half of the tokens into [UNK].
    """
    first, *rest = [_encode_side(executor, site, number, side) for side in site.jobs[number].sides]
    for asking in rest:
        first = replace(
            first,
            encoded=first.encoded + asking.encoded,
            tokens=first.tokens + asking.tokens,
            unknown=first.unknown + asking.unknown,
            asking=asking,
        )
    return first


def _numbers(site: WorkerContext, side: str) -> Ids | None:
    """Return the numbers of the texts of a side, None for all texts."""
    return site.plan.texts_of(side) if side else None


def _encode_side(executor: Executor, site: WorkerContext, number: int, side: str) -> Vectors:
    """Encode what the store lacks of the texts of a side; what is returned is asked for by the numbers of the plan."""
    job, progress, ids = site.jobs[number], site.ledger.progress, _numbers(site, side)
    encoder, texts = job.encodes(side), site.plan.texts if ids is None else site.plan.select(ids)
    if not executor.away or encoder.hosted:  # workers need no key, and share no rate limit
        found = encode_missing(site.store, encoder, texts, job.poolings, progress)
    else:
        spaces = open_spaces(site.store, encoder, job.poolings)
        found = _encode(executor, site, number, texts, spaces, progress, carried=False, side=side)
    return found if ids is None else replace(found, keys=text_keys(site.plan.texts))


def encode_block(
    executor: Executor, site: WorkerContext, number: int, texts: Sequence[str], spaces: Mapping[str, VectorSpace]
) -> Vectors:
    """Encode as `encode_all` texts that no plan holds, quietly; ``spaces`` are those that `open_spaces` gave."""
    job = site.jobs[number]
    if not executor.away or job.encoder.hosted:
        return encode_missing(site.store, job.encoder, texts, job.poolings, silent, spaces=spaces)
    return _encode(executor, site, number, texts, spaces, silent, carried=True)


def _encode(
    executor: Executor,
    site: WorkerContext,
    number: int,
    texts: Sequence[str],
    spaces: Mapping[str, VectorSpace],
    progress: Progress,
    *,
    carried: bool,
    side: str = "",
) -> Vectors:
    """Encode what the spaces lack in shards; texts that the plan does not hold are ``carried`` by the units."""
    job, numbers = site.jobs[number], _numbers(site, side)
    found = Vectors(spaces, text_keys(texts), 0)
    missing = {name: space.find(found.keys) < 0 for name, space in spaces.items()}
    wanted = np.logical_or.reduce(list(missing.values()))
    total = int(wanted.sum())
    if not total:
        return found
    cost = costs_of(texts, job.identity)
    ((_, batches),) = executor.run([Batches(number, tuple(texts) if carried else None, side)], site)
    most = cost[wanted].sum() / (_ROUNDS * executor.workers)

    def unit(ids: Ids) -> Encode:
        own = {name: lacks[ids] for name, lacks in missing.items()}
        some = Carried(tuple(texts[int(i)] for i in ids), own) if carried else None
        return Encode(number, ids if numbers is None else numbers[ids], int(cost[ids].sum()), some, side)

    units = list(map(unit, shards(batches, wanted, cost, most)))
    done, judged = 0, _Judged(job.encoder, len(units))
    title = f"encoding {total} texts with {job.encoder.id} in {len(units)} shards, characters"
    with progress.stage(title, sum(u.weight for u in units)) as tick:
        for at, (read, unknown) in executor.run(units, site):
            judged.take(at, len(units[at].texts), read, unknown)
            done += units[at].weight
            tick(done)
    for space in spaces.values():
        space.refresh()
        lost = int((space.find(found.keys) < 0).sum())
        if lost:
            raise HengyuError(
                f"{site.store.root}: {lost} of {total} texts that the workers encoded are not here; let all machines share "
                "the folder, or give a --store that all reach"
            )
    return replace(found, encoded=total)
