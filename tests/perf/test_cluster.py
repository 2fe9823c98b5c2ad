"""What a hundred workers would take of the process that gives out the work, simulated in one process.

Every unit, its setting and its report pass through bytes, as Ray carries them, and are counted; a hundred units are in flight at
once. What is measured is what the driver itself costs: seconds for each unit, and bytes that pass through it. The vectors go
between the workers and the store and never through the driver.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from helpers.ratios import hold
from helpers.words import sentences

from hengyu.bench.context import EncodeContext
from hengyu.bench.executors.remote import absorb, open_context, perform, setting_of
from hengyu.bench.notes import UnitLog
from hengyu.bench.run import run
from hengyu.bench.units import OrdinaryUnit, WorkUnit, heaviest_first, next_free
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

WORKERS, TASKS, PAIRS = 100, 40, 400
CARD = """
name = "t{0}"
labels = {{ scale = [0, 5], kind = "graded" }}
header = false
[splits.test]
file = "t{0}.tsv"
"""
SUITE = """
tasks = {0}
baselines = []
resamples = 20
entries = ["raw", "whitening", "pca(dim=16)"]
encoders = ["hengyu-static"]
"""


@dataclass
class Counting:
    """Does what the Ray executor does with a hundred workers, one unit at a time, and counts what would be sent."""

    workers: int = WORKERS
    remote: bool = True
    settings: int = 0  # bytes, for all workers
    units: list[int] = field(default_factory=list)  # bytes of each
    reports: list[int] = field(default_factory=list)
    working: float = 0.0  # seconds of the units themselves
    _contexts: dict[str, EncodeContext] = field(default_factory=dict)

    def run(self, units: Sequence[WorkUnit[Any, Any]], context: EncodeContext, log: UnitLog) -> Iterator[Any]:
        waiting, flying = heaviest_first(units), list[int]()
        setting = setting_of(context, 1) if units else None
        packed = pickle.dumps(setting)
        if setting is not None and setting.key not in self._contexts:
            self.settings += self.workers * len(packed)  # each fetches it once
            self._contexts[setting.key] = open_context(pickle.loads(packed))  # noqa: S301 - our own bytes
        while waiting or flying:
            while len(flying) < self.workers and (at := next_free(units, waiting, flying)) is not None:
                waiting.remove(at)
                flying.append(at)
            at = flying.pop(0)
            sent = pickle.dumps(units[at])
            started = time.process_time()
            assert setting is not None
            report = perform(self._contexts[setting.key], pickle.loads(sent))  # noqa: S301 - our own bytes
            self.working += time.process_time() - started
            back = pickle.dumps(report)
            self.units.append(len(sent))
            self.reports.append(len(back))
            yield at, absorb(pickle.loads(back), context.progress, log)  # noqa: S301 - our own bytes


@dataclass(frozen=True)
class Nothing(OrdinaryUnit):
    """A unit that there are many of."""

    weight: int
    trains: bool = False

    def __call__(self, context: Any, log: UnitLog) -> None:
        """Do nothing."""


def test_a_hundred_workers_take_little_of_the_driver(tmp_path: Path, benchmark: Any) -> None:
    (cards := tmp_path / "cards").mkdir()
    for number in range(TASKS):
        rows = sentences(np.random.default_rng(number), PAIRS)
        (cards / f"t{number}.tsv").write_text("".join(f"{a}\t{b}\t{y}\n" for a, b, y in rows), encoding="utf-8")
        (cards / f"t{number}.toml").write_text(CARD.format(number), encoding="utf-8")
    suite = tmp_path / "many.toml"
    suite.write_text(SUITE.format([f"t{i}:test" for i in range(TASKS)]).replace("'", '"'), encoding="utf-8")
    executor = Counting()

    def whole() -> float:
        started = time.process_time()
        plan = make_plan(load_suite(suite), datasets=[cards])
        planned = time.process_time() - started
        outcome = run(plan, reports=tmp_path, store=VectorStore(tmp_path / "store"), executor=executor)
        assert not outcome.failures and outcome.observed == 3 * TASKS
        return planned

    planned = benchmark.pedantic(whole, rounds=1, iterations=1)
    stored = sum(p.stat().st_size for p in (tmp_path / "store").rglob("*.npy"))
    sent, back = sum(executor.units), sum(executor.reports)
    count = len(executor.units)

    # the order of many units, which is all that grows with them beside what is sent
    many = [Nothing(int(w)) for w in np.random.default_rng(0).integers(1, 1000, 10_000)]
    started = time.process_time()
    waiting, flying = heaviest_first(many), list[int]()
    while waiting or flying:
        while len(flying) < WORKERS and (at := next_free(many, waiting, flying)) is not None:
            waiting.remove(at)
            flying.append(at)
        flying.pop(0)
    ordering = (time.process_time() - started) / len(many)

    benchmark.extra_info |= {
        "workers": WORKERS, "units": count, "bytes a unit": sent / count, "bytes a report": back / count,
        "bytes of settings for all workers": executor.settings, "bytes stored": stored, "seconds of planning": planned,
        "seconds of ordering a unit": ordering, "seconds of the units": executor.working,
    }  # fmt: skip
    hold(benchmark, "bytes through the driver / bytes stored", (sent + back) / stored, at_most=0.2)
    hold(benchmark, "milliseconds of ordering a unit among 10,000", 1e3 * ordering, at_most=1.0)
