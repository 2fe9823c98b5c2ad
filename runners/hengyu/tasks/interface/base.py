"""The interface of a kind of task: one class a kind, in a file of its own in tasks/, or in a package outside.

A kind says what a suite of it may hold, how an entry is observed, what the observations are judged by, and how the numbers
are shown. What a kind declares are class attributes with defaults here, so nobody has to ask whether an attribute exists.
Adding a kind means adding a file that names its class in ``TASK``, or an entry point of the group ``hengyu.tasks``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hengyu.encoders import BASELINES
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import Dims, Entry
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.numerics.sample import Sample
from hengyu.storage.records.observations import Observation
from hengyu.tasks.interface.data import TaskData
from hengyu.tasks.interface.truth import Truth

__all__ = ["Average", "Inputs", "Metric", "Task"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """A number of a row, and what a reader is told of it.

    Attributes:
        name: as records have it.
        title: what boards and tables call it.
        about: a sentence for a reader who meets it for the first time.
        unit: "score" (shown x 100), "rate" (a second), "bytes" or "seconds".
        brief: whether a terminal shows it too, and not the page alone.
        higher_is_better: whether more of it is better.
    """

    name: str
    title: str
    about: str = ""
    unit: Literal["score", "rate", "bytes", "seconds"] = "score"
    brief: bool = True
    higher_is_better: bool = True


@dataclass(frozen=True)
class Average:
    """A mean over columns of a board: over the splits of a card, or over tasks.

    Attributes:
        name: the column's, like "mean" or "LCQMC:avg".
        parts: the columns it is taken of.
        weighted: whether each counts by its items, or all alike.
        split: what the records name as their split.
        draws: whether the mean under each seed is recorded too.
    """

    name: str
    parts: tuple[str, ...]
    weighted: bool = False
    split: str = ""
    draws: bool = False


class Inputs(ABC):
    """What a kind may read of one task under one encoder and pooling.

    Attributes:
        task: the task's texts, as numbers.
        truth: what it is judged by.
        thresholds: the split that decision thresholds are chosen on; None without one.
        fits: recalls what methods have learned before.
        trained: what the trainings of the encoder saw, where the vectors are those of a tuned one.
    """

    task: TaskData
    truth: Truth
    thresholds: TaskData | None
    fits: FitCache
    trained: Sequence[Mapping[str, Any]]

    @abstractmethod
    def read(self, ids: Ids) -> NDArray[np.float32]:
        """Return the vectors (n, d) of texts by their numbers (n,)."""

    @abstractmethod
    def texts(self, ids: Ids) -> list[str]:
        """Return texts by their numbers (n,)."""

    @abstractmethod
    def rows(self, ids: Ids, side: str = "document") -> Sample:
        """Return the vectors of texts, read block by block; ``side`` is "query" for texts that ask."""

    @abstractmethod
    def samples(self, ids: Ids | None = None, x: NDArray[np.float32] | None = None) -> Mapping[str, Sample]:
        """Return what methods are fitted on, by the fit_on word; the vectors ``x`` of ``ids`` are not read again."""


class Task(ABC):
    """A kind of task.

    Attributes:
        name: the word of a suite's key ``kind``.
        metrics: all numbers that its runs have, in the order of a page.
        main: the metric that rows are ordered by; higher is better.
        compared: the metrics that a baseline holds, and that two runs are compared in pair by pair.
        averaged: the metrics that have means over tasks.
        sizes: numbers of an observation's ``index`` that become records without an interval.
        swept: the metric of a sweep over all dimensions (`Observation.sweep`); "" where there is none.
        reference: the entry that every other one is compared with.
        index: whether entries end in an index.
        tuners: whether an entry may train the encoder.
        scored: whether an entry may score pairs together and leave no vectors (`hengyu.methods.base.Method.joint`).
        baselines: what every suite evaluates beside its encoders unless it names its own: names of `hengyu.encoders.BASELINES`,
            or of a kind whose entries end in an `index`, entries of lexical search, which need no encoder.
        refused: keys of a suite that it may not have -> what is said to who writes them.
        collections: whether a task may be one of documents, queries and judgements, and not of labelled pairs.
        decides: whether metrics of binary labels need a threshold, which the valid split of a card is asked for.
        bounded: whether ties of the labels bound the main metric, as they do Spearman (`TaskData.ceiling`).
        sided: whether queries are encoded by their own prompt or route, apart from documents.
        distracts: whether a suite may add documents that are relevant to nothing (`Truth.among`).
        sampled: whether a run may take a random part of the pairs (`hengyu.cards.sampling`): each counts by itself.
        costs: whether observing an entry measures what differs from run to run (costs.json).
        noise: half the width of the interval of a difference between two methods, usually, times the square root of n.
        standings: whether rows are tested against the best of their column.
        keeps: what `save` keeps of a task, in a word.
        layout: how its runs are shown (`hengyu.report.layout`): as a "board", whose columns are tasks, one metric at a time, or
            as a "search", a table a task whose columns are what is found and what that costs.
        published_main: the metric that mteb calls the main score, where that is not `main`.
        traded: metrics of a "search" that are marked where no other row has more of both that and `main`.
        observed_by: modules whose code makes the observations, which count in their keys with all that they import. A class
            that does not say counts with its own module; one that says () has its parents observe.
        handed_by: modules that only hand data over to `observed_by`, which count by themselves.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    main: ClassVar[str]
    compared: ClassVar[tuple[str, ...]]
    averaged: ClassVar[tuple[str, ...]]
    sizes: ClassVar[tuple[str, ...]] = ()
    swept: ClassVar[str] = ""
    reference: ClassVar[str] = "raw"
    index: ClassVar[bool] = False
    tuners: ClassVar[bool] = True
    scored: ClassVar[bool] = False
    baselines: ClassVar[tuple[str, ...]] = BASELINES
    refused: ClassVar[Mapping[str, str]] = {}
    collections: ClassVar[bool] = False
    decides: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    sided: ClassVar[bool] = False
    distracts: ClassVar[bool] = False
    sampled: ClassVar[bool] = False
    costs: ClassVar[bool] = False
    noise: ClassVar[float] = 0.5  # of means over queries
    standings: ClassVar[bool] = True
    keeps: ClassVar[str] = "labels"
    layout: ClassVar[Literal["board", "search"]] = "board"
    published_main: ClassVar[str] = ""
    traded: ClassVar[tuple[str, ...]] = ()
    observed_by: ClassVar[tuple[str, ...]]
    handed_by: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def truth(self, task: TaskData, thresholds: TaskData | None, relevant: float | None) -> Truth:
        """Return what the observations of a task are judged by; raises `HengyuError` for one that cannot be.

        ``thresholds`` is the split that a kind which `decides` chooses thresholds on; ``relevant`` is the suite's key.
        """

    @abstractmethod
    def open(self, inputs: Inputs) -> Any:
        """Read what the entries of a task work on; `observe` is given what this returns."""

    @abstractmethod
    def observe(
        self, vectors: Any, entry: Entry, dims: Dims, cache_key: Mapping[str, Any], cloud_sample: CloudSample | None
    ) -> tuple[Observation, Mapping[str, float]]:
        """Run an entry, and return what was seen and what it cost ({} for kinds without `costs`).

        ``cache_key`` is the observation's, which holds ``fit_on`` and ``seed_of_draw``. With a ``cloud_sample`` the clouds of
        vectors are described too. Raises ValueError, `Degenerate` or `WrongSize` where the entry cannot be run.
        """

    @abstractmethod
    def save(self, run: Path, tasks: Sequence[TaskData], truths: Mapping[str, Truth]) -> None:
        """Keep in a run's folder what `load` needs."""

    @abstractmethod
    def load(self, run: Path, task: str) -> Truth | None:
        """Return what a run's folder kept of a task, for a comparison in the `compared` metrics; None where it kept nothing."""

    def averages(self, tasks: Sequence[TaskData], aggregate: str) -> list[Average]:
        """Return the means of the boards of a run: the plain mean over its tasks, unless told otherwise.

        ``aggregate`` is the suite's key.
        """
        return [Average("mean", tuple(t.name for t in tasks))]

    def bytes_per_vector(self, entry: Entry, dim: int | None, values: Mapping[str, float]) -> int | None:
        """Return the bytes that a vector takes as an entry leaves it at a dimension; None where that is not known."""
        return None if dim is None else entry.bytes_per_vector(dim)

    @classmethod
    def metric(cls, name: str) -> Metric:
        """Return one of its metrics by name; one that it does not know is called by its name."""
        return next((m for m in cls.metrics if m.name == name), Metric(name, name))

    @classmethod
    def titles(cls) -> dict[str, str]:
        """Return what its metrics are called, by name."""
        return {m.name: m.title for m in cls.metrics}

    @classmethod
    def observing_code(cls) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the modules that make observations: those that count with all they import, and those that count alone."""
        whole: dict[str, None] = {}
        alone: dict[str, None] = {}
        for one in _kinds_of(cls):
            whole |= dict.fromkeys(vars(one).get("observed_by", (one.__module__,)))
            alone |= dict.fromkeys(vars(one).get("handed_by", ()))
        return tuple(whole), tuple(alone)

    @classmethod
    def deriving_code(cls) -> tuple[str, ...]:
        """Return the modules that its numbers are derived by."""
        return tuple(dict.fromkeys(one.__module__ for one in (*_kinds_of(cls), Task)))


def _kinds_of(cls: type[Task]) -> list[type[Task]]:
    return [one for one in cls.__mro__ if issubclass(one, Task) and one is not Task]
