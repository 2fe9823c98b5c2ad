"""One encoder's part of a run: what it can give, and what it has given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.bench.encode import Vectors
from hengyu.encoders import (
    POOLINGS,
    Chunk,
    Encoder,
    EncoderFailed,
    EncoderSpec,
    LocalEncoder,
    Unavailable,
)
from hengyu.encoders import Vectors as Rows
from hengyu.methods.training.cache import TRAINEE
from hengyu.storage.identity import array_digest, made_by, observation_key, vectors_key
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.plan import FitData, Plan
from hengyu.tasks.interface.data import TaskData

__all__ = [
    "EncodedEncoder",
    "PreparedEncoder",
    "absent_encoder",
    "data_key",
    "prepare_encoder",
    "observed_key",
    "refuse_same_names",
]


@dataclass(frozen=True)
class PreparedEncoder:
    """One encoder's part of a run, before anything is encoded.

    In a retrieval suite ``encoder`` encodes the documents, and the queries too unless ``asking`` is there.
    """

    encoder: Encoder
    identity: Mapping[str, Any]
    poolings: tuple[str, ...]  # those it gives
    unavailable: Mapping[str, str]  # pooling -> why not
    failed: Mapping[str, str] = field(default_factory=dict)  # pooling -> what went wrong
    asking: Encoder | None = None  # encodes the queries, where their prompt or route is another than the documents'
    sided: bool = False  # whether its texts are queries or documents

    @classmethod
    def of(cls, encoder: Encoder, poolings: Sequence[str], *, sided: bool = False) -> Self:
        """Return what an encoder can do of the poolings that are asked for.

        One that has native vectors alone is evaluated by those, whatever poolings are asked for.
        """
        asking: Encoder | None = None
        if sided:
            encoder, asking = (encoder.side(side) for side in ("document", "query"))
            if asking.identity() == encoder.identity():
                asking = None
        given = encoder.poolings
        if asking:
            given = {p: reason or asking.poolings[p] for p, reason in given.items()}
        asked = ("native",) if [p for p, reason in given.items() if not reason] == ["native"] else poolings
        wanted = [p for p in asked if not given[p]]
        unavailable = {p: given[p] for p in asked if given[p]}
        if encoder.native_is in wanted and "native" in wanted:
            wanted.remove("native")
            unavailable["native"] = f"the vectors of '{encoder.native_is}' are the native ones; its rows show both"
        return cls(encoder, encoder.identity(), tuple(wanted), unavailable, asking=asking, sided=sided)

    @cached_property
    def _keys(self) -> dict[str, dict[str, Any]]:
        return {}

    def key(self, pooling: str) -> dict[str, Any]:
        """Return the key of its vectors under a pooling (`hengyu.storage.identity.vectors_key`), of both sides if they differ."""
        if pooling not in self._keys:
            key = vectors_key(self.encoder, pooling, self.identity)
            self._keys[pooling] = {"document": key, "query": vectors_key(self.asking, pooling)} if self.asking else key
        return self._keys[pooling]

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that are encoded each by itself: one of all texts, called "", or documents and queries."""
        return ("document", "query") if self.asking else ("",)

    def encodes(self, side: str) -> Encoder:
        """Return what encodes the texts of a side."""
        return self.asking if side == "query" and self.asking else self.encoder

    def fitted_on(self, fit: FitData) -> FitData:
        """Return the rows that a method is fitted on, as this encoder has vectors for them."""
        return fit.by_side if self.asking else fit

    @property
    def problems(self) -> list[str]:
        """What went wrong, one sentence for each reason."""
        of: dict[str, list[str]] = {}
        for pooling, reason in self.failed.items():
            of.setdefault(reason, []).append(pooling)
        who = f"encoder '{self.encoder.id}'"
        return [r if r.startswith("encoder ") else f"{who}, {', '.join(names)}: {r}" for r, names in of.items()]

    def without(self, error: HengyuError) -> Self:
        """Return it without the poolings that cannot be had, all of them unless the error names some, and with the reason."""
        if isinstance(error, Unavailable):
            gone, broken = error.reasons, error.broken
        else:
            gone, broken = dict.fromkeys(self.poolings, " ".join(error.problems)), True
        rest = tuple(p for p in self.poolings if p not in gone)
        if broken:
            return replace(self, poolings=rest, failed={**self.failed, **gone})
        return replace(self, poolings=rest, unavailable={**self.unavailable, **gone})


@dataclass(frozen=True)
class EncodedEncoder:
    """One encoder's part of a run, after its texts have been encoded.

    Attributes:
        prepared: with the poolings that it has given, and the reasons of those that it has not.
        vectors: None where it has given none.
        coverage: task -> the shares of [UNK] and of truncated texts.
        dim: the width of its vectors.
    """

    prepared: PreparedEncoder
    vectors: Vectors | None = None
    coverage: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dim: int | None = None

    @classmethod
    def of(cls, prepared: PreparedEncoder, vectors: Vectors, tasks: Sequence[TaskData]) -> Self:
        """Return it with what it read of the texts of tasks, of queries as they were encoded."""
        coverage = {
            t.name: vectors.coverage(t.searched, t.asked)
            if vectors.asking is not None and len(t.asked)
            else vectors.coverage(t.ids)
            for t in tasks
        }
        return cls(prepared, vectors, coverage, vectors.spaces[prepared.poolings[-1]].dim)

    @property
    def encoder(self) -> Encoder:
        """What encoded the documents, or all texts."""
        return self.prepared.encoder


class Absent(LocalEncoder):
    """What stands for an encoder that could not be opened."""

    revision = ""
    native_is = ""

    def __init__(self, spec: EncoderSpec, reason: str) -> None:
        self.spec = spec
        self.id = spec.display_name
        self.reason = reason

    @property
    def poolings(self) -> Mapping[str, str]:
        """No pooling, with the reason."""
        return dict.fromkeys(POOLINGS, self.reason)

    def side(self, side: str) -> Absent:
        """Return this one."""
        return self

    def identity(self) -> dict[str, Any]:
        """What was asked for; there are no vectors."""
        return {"max_length": 0, "dtype": self.spec.dtype, "prompt": self.spec.prompt, "fingerprint": "", "tokens": ""}

    def read(self, texts: Sequence[str]) -> tuple[float, float]:
        """Raise `EncoderFailed`."""
        raise EncoderFailed(self.reason)

    def stream(
        self, texts: Sequence[str], poolings: Sequence[str], wanted: Callable[[NDArray[np.int64]], bool]
    ) -> Iterator[Chunk]:
        """Raise `EncoderFailed`."""
        raise EncoderFailed(self.reason)

    def encode(self, texts: Sequence[str], poolings: Sequence[str]) -> dict[str, Rows]:
        """Raise `EncoderFailed`."""
        raise EncoderFailed(self.reason)

    def release(self) -> None:
        """Nothing is held."""


def absent_encoder(spec: EncoderSpec, poolings: Sequence[str], reason: str) -> PreparedEncoder:
    """Return what stands for an encoder that cannot be opened: rows that give the reason."""
    absent = Absent(spec, reason)
    return PreparedEncoder(absent, absent.identity(), (), {}, dict.fromkeys(poolings, reason))


def prepare_encoder(plan: Plan, encoder: Encoder) -> PreparedEncoder:
    """Return what an encoder can do of what the suite asks for."""
    return PreparedEncoder.of(encoder, plan.suite.poolings, sided=plan.suite.task_kind.sided)


def data_key(plan: Plan, task: TaskData) -> dict[str, str]:
    """Return the digests of what was read of a task: texts, labels, and what the suite makes of them."""
    beside = plan.thresholds.get(task.name)
    return {
        "task": task.pairs.digest,
        "thresholds": beside.pairs.digest if beside else "",
        "truth": plan.truths[task.name].digest,
    }


def observed_key(
    plan: Plan,
    prepared: PreparedEncoder,
    pooling: str,
    task: TaskData,
    spec: SuiteEntry,
    seed: int | None,
    made: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the key of what is observed of an entry under one of its seeds; ``made`` is the code that observes."""
    word = plan.fit_word(spec)
    fit, held = plan.fits.get((task.name, word)), plan.held.get(task.name)
    fit = prepared.fitted_on(fit) if fit else None
    entry = spec.entry if seed is None else spec.entry.with_seed(seed)
    fitted: dict[str, Any] = {"rows": fit.digest if fit else ""}
    if fit and entry.tuners:
        held = fit.held_out(task, held)  # so that tasks that share a training know it
        fitted["lesson"] = [p.pairs.digest for p in fit.parts]
        fitted["distinct"] = fit.distinct
        if fit.rows:
            fitted["shares"] = array_digest(*fit.rows)
        fitted["held"] = held.digest if held else ""
        fitted["trained"] = made_by(TRAINEE, alone=("hengyu.methods.training.cache",))
    return observation_key(
        about={
            "kind": plan.suite.kind,
            "task": task.name,
            "encoder": prepared.encoder.id,
            "pooling": pooling,
            "entry": str(spec.entry),
            "dims": spec.dims if spec.dims == "all" else list(spec.dims),
            "seed_of_draw": seed,
            "fit_on": word,
            "fit_splits": list(fit.splits) if fit else [],
        },
        data=data_key(plan, task),
        vectors=prepared.key(pooling),
        steps=[step.key for step in entry.every_step],
        fitted=fitted,
        clouds=plan.suite.seed if plan.cloud_sample(entry, seed) else None,
        made=made,
    )


def refuse_same_names(names: Sequence[str]) -> None:
    """Raise `HengyuError` when two encoders would share a row of the board."""
    for name in names:
        if names.count(name) > 1:
            raise HengyuError(
                f"two encoders are called '{name}'; give one a name of its own (name = \"...\" in the suite)"
            )
