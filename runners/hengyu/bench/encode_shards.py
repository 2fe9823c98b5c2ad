"""Encoding cut into shards of whole batches: a vector's last bits depend on the batch it was in, and so on no shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.memory import give_back_memory
from hengyu.base.progress import Progress, silent
from hengyu.bench.context import EncodeContext
from hengyu.bench.encode import Vectors, costs_of, encode_missing, open_spaces, refuse_unknown
from hengyu.bench.notes import UnitLog
from hengyu.bench.units import Executor, OrdinaryUnit
from hengyu.encoders import Encoder
from hengyu.storage.vectors import VectorSpace, text_keys

__all__ = ["Batches", "Encode", "encode_all", "encode_block", "shards"]

Ids = NDArray[np.int64]
_MOST = 8192  # texts of a shard: what a worker that dies loses, and what one holds
_MUCH = 100_000  # characters that take longer than a process takes to start, whatever the model
_ROUNDS = 8  # shards for each worker, so that they end at about the same time


@dataclass(frozen=True)
class Batches(OrdinaryUnit):
    """Unit: the batches that an encoder would go through, as the numbers of their texts; nothing is encoded."""

    encoder: int
    poolings: tuple[str, ...]
    texts: tuple[str, ...] | None = None  # by default those of the context that the side has
    side: str = ""
    weight: int = 1
    trains: bool = True  # how large a batch is depends on the device
    sole: bool = True

    def __call__(self, context: EncodeContext, log: UnitLog) -> list[Ids]:
        """Ask for every batch, and refuse it."""
        found: list[Ids] = []

        def note(batch: Ids) -> bool:
            found.append(batch)
            return False

        texts = self.texts if self.texts is not None else context.select(context.numbers(self.side))
        for _ in context.encoders[self.encoder].encodes(self.side).stream(texts, self.poolings, note):
            pass
        return found


@dataclass(frozen=True)
class Carried:
    """Texts that no context holds, since their file is large, and what each space lacks: no worker reads all that is stored."""

    texts: tuple[str, ...]
    missing: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Encode(OrdinaryUnit):
    """Unit: texts that make whole batches, in the order of the batches; an encoder makes the same batches of them."""

    encoder: int
    poolings: tuple[str, ...]
    texts: Ids  # numbers of the context's texts
    weight: int
    carried: Carried | None = None
    side: str = ""
    trains: bool = True
    long: bool = False

    def __call__(self, context: EncodeContext, log: UnitLog) -> tuple[float, float]:
        """Encode those that the store lacks; returns the tokens read and the [UNK] among them."""
        encoder = context.encoders[self.encoder].encodes(self.side)
        for other in (one for e in context.encoders for one in (e.encoder, e.asking)):
            if other is not None and other is not encoder:
                other.release()
        if self.carried:
            texts, missing = list(self.carried.texts), self.carried.missing
            spaces = open_spaces(context.store, encoder, self.poolings, write_only=True)
        else:
            texts, missing = list(context.select(self.texts)), None
            spaces = context.spaces(self.encoder, self.poolings, self.side)
        found = encode_missing(
            context.store, encoder, texts, self.poolings, silent, spaces=spaces, missing=missing, whole=False
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


def encode_all(
    executor: Executor, context: EncodeContext, number: int, poolings: tuple[str, ...], log: UnitLog
) -> Vectors:
    """Encode the texts of a context that the store lacks, with the encoder of a number; returns access to all.

    Where queries are encoded otherwise than documents, each side's texts are encoded for that side alone.
    Raises `HengyuError` when the model's vocabulary turns more than half of the tokens into [UNK].
    """
    sides = context.encoders[number].sides
    first, *rest = [_encode_side(executor, context, number, poolings, side, log) for side in sides]
    for asking in rest:
        first = replace(
            first,
            encoded=first.encoded + asking.encoded,
            tokens=first.tokens + asking.tokens,
            unknown=first.unknown + asking.unknown,
            asking=asking,
        )
    return first


def _encode_side(
    executor: Executor, context: EncodeContext, number: int, poolings: tuple[str, ...], side: str, log: UnitLog
) -> Vectors:
    """Encode what the store lacks of the texts of a side; what is returned is asked for by the numbers of all texts."""
    ids, encoder = context.numbers(side), context.encoders[number].encodes(side)
    texts, spaces = context.select(ids), context.spaces(number, poolings, side)
    if not executor.remote or encoder.hosted:  # workers need no key, and share no rate limit
        found = encode_missing(context.store, encoder, texts, poolings, context.progress, spaces=spaces)
        if found.encoded:
            encoder.release()
            give_back_memory()
    else:
        found = _Sharded(executor, context, number, poolings, log, side=side).encode(texts, spaces, context.progress)
    return found if ids is None else replace(found, keys=context.keys)


def encode_block(
    executor: Executor,
    context: EncodeContext,
    texts: Sequence[str],
    spaces: Mapping[str, VectorSpace],
    log: UnitLog,
) -> Vectors:
    """Encode with the one encoder of a context texts that it does not hold, quietly; ``spaces`` are those of `open_spaces`."""
    (prepared,) = context.encoders
    if not executor.remote or prepared.encoder.hosted:
        return encode_missing(context.store, prepared.encoder, texts, prepared.poolings, silent, spaces=spaces)
    return _Sharded(executor, context, 0, prepared.poolings, log, carried=True).encode(texts, spaces, silent)


@dataclass(frozen=True)
class _Sharded:
    """Encodes in shards what spaces lack; texts that the context does not hold are ``carried`` by the units."""

    executor: Executor
    context: EncodeContext
    number: int
    poolings: tuple[str, ...]
    log: UnitLog
    carried: bool = False
    side: str = ""

    def encode(self, texts: Sequence[str], spaces: Mapping[str, VectorSpace], progress: Progress) -> Vectors:
        """Encode the texts that any of the spaces lacks."""
        prepared, numbers = self.context.encoders[self.number], self.context.numbers(self.side)
        found = Vectors(spaces, text_keys(texts), 0)
        missing = {name: space.find(found.keys) < 0 for name, space in spaces.items()}
        wanted = np.logical_or.reduce(list(missing.values()))
        total = int(wanted.sum())
        if not total:
            return found
        cost = costs_of(texts, prepared.identity)
        asked = Batches(self.number, self.poolings, tuple(texts) if self.carried else None, self.side)
        ((_, batches),) = self.executor.run([asked], self.context, self.log)
        most = cost[wanted].sum() / (_ROUNDS * self.executor.workers)
        much = bool(cost[wanted].sum() > _MUCH)

        def unit(ids: Ids) -> Encode:
            own = {name: lacks[ids] for name, lacks in missing.items()}
            some = Carried(tuple(texts[int(i)] for i in ids), own) if self.carried else None
            places = ids if numbers is None else numbers[ids]
            return Encode(self.number, self.poolings, places, int(cost[ids].sum()), some, self.side, long=much)

        units = list(map(unit, shards(batches, wanted, cost, most)))
        done, judged = 0, _Judged(prepared.encoder, len(units))
        title = f"encoding {total} texts with {prepared.encoder.id} in {len(units)} shards, characters"
        with progress.stage(title, sum(u.weight for u in units)) as tick:
            for at, (read, unknown) in self.executor.run(units, self.context, self.log):
                judged.take(at, len(units[at].texts), read, unknown)
                done += units[at].weight
                tick(done)
        for space in spaces.values():
            space.refresh()
            lost = int((space.find(found.keys) < 0).sum())
            if lost:
                raise HengyuError(
                    f"{self.context.store.root}: {lost} of {total} texts that the workers encoded are not here; let all "
                    "machines share the folder, or give a --store that all reach"
                )
        return replace(found, encoded=total)
