"""Encoding in processes of one thread each beside busy neighbours, which the test makes itself."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from helpers.ratios import hold
from threadpoolctl import threadpool_limits

from hengyu.bench.encode_file import archive
from hengyu.bench.executors import processes
from hengyu.bench.executors.local import Local
from hengyu.bench.executors.processes import Processes
from hengyu.bench.run import run
from hengyu.bench.units import Executor
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.encoders import EncoderSpec, find_encoder
from hengyu.numerics.resampling import Resamples
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")

_BUSY = "import numpy as np\nx = np.random.rand(600, 600)\nwhile True: x @ x"
_TEXTS = 6000


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Other processes that multiply matrices, each on one thread, all the time."""
    one = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY], env=one) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A file of sentences of our own set."""
    card = load_cards()["hengyu-sts"]
    pairs = [load_pairs(card, split) for split in card.splits]
    every = list(dict.fromkeys(t for p in pairs for t in (*p.first, *p.second)))[:_TEXTS]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(every), encoding="utf-8")
    return path


def spent() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def seconds(path: Path, root: Path, executor: Executor) -> float:
    """Encode the file into an empty store, the model being loaded already."""
    encoder = find_encoder(EncoderSpec("hengyu-mini"), offline=True)
    started = time.perf_counter()
    archive(path, encoder, ["mean"], VectorStore(root), executor=executor)
    return time.perf_counter() - started


def test_neighbours_cost_their_share_and_no_more(
    texts: Path, tmp_path: Path, benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes: at least 1.7 times as fast as one thread, in at most 1.2 times its CPU seconds.

    Beside one or two neighbours they are at least 0.9 times as fast as one thread beside the same, and as it is alone 0.8.
    """
    import torch

    monkeypatch.setattr(processes, "_PROMPT", -1.0)
    monkeypatch.setattr(processes, "_SHORT", -1.0)
    torch.set_num_threads(1)
    ratios: dict[str, list[float]] = {}
    with Processes.on(2) as pool:
        for name, executor in (("pool", pool), ("alone", Local())):
            seconds(texts, tmp_path / f"warm-{name}", executor)
        for turn in range(3):
            quiet = seconds(texts, tmp_path / f"quiet-{turn}", Local())
            for number in (0, 1, 2):
                with neighbours(number):
                    both = seconds(texts, tmp_path / f"both-{number}-{turn}", pool)
                    one = seconds(texts, tmp_path / f"one-{number}-{turn}", Local()) if number else quiet
                ratios.setdefault(f"{number} neighbours, to one thread beside them", []).append(one / both)
                ratios.setdefault(f"{number} neighbours, to one thread alone", []).append(quiet / both)
    found = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    benchmark.extra_info.update(found)
    benchmark.pedantic(lambda: None)
    assert found["0 neighbours, to one thread alone"] >= 1.7, found
    for number in (1, 2):
        assert found[f"{number} neighbours, to one thread beside them"] >= 0.9, found
        assert found[f"{number} neighbours, to one thread alone"] >= 0.8, found


def test_two_processes_take_little_more_processor_time_than_one(
    texts: Path, tmp_path: Path, benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    torch.set_num_threads(1)
    seconds(texts, tmp_path / "warm", Local())
    before = spent()
    seconds(texts, tmp_path / "alone", Local())
    alone = spent() - before
    monkeypatch.setattr(processes, "_PROMPT", -1.0)
    monkeypatch.setattr(processes, "_SHORT", -1.0)
    with Processes.on(2) as pool:
        seconds(texts, tmp_path / "loading", pool)
        before = processor_seconds(pool) + spent()
        seconds(texts, tmp_path / "both", pool)
        both = processor_seconds(pool) + spent() - before
    benchmark.extra_info["ratio"] = both / alone
    benchmark.pedantic(lambda: None)
    assert both <= 1.2 * alone, (both, alone)


SUITE = """
tasks = ["hengyu-sts:test", "hengyu-sts:valid"]
encoders = ["hengyu-mini"]
poolings = ["mean"]
baselines = []
resamples = 20
entries = ["raw", "{entry}"]
"""
WORK = {
    "flow": "flow(steps=60)",
    "tuner": "simcse(lr=3e-4, dropout=0.05, delete=0.3, batch=16, sentences=64)",
}


@pytest.mark.parametrize("kind", [*WORK, "bootstrap"])
def test_the_same_holds_for_what_is_trained_and_for_intervals(
    kind: str, tmp_path: Path, benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows and tuners in two processes, the bootstrap in two threads: beside a neighbour at least as fast as one, less a tenth."""
    import torch

    monkeypatch.setattr(processes, "_PROMPT", -1.0)
    monkeypatch.setattr(processes, "_SHORT", -1.0)
    torch.set_num_threads(1)
    store = VectorStore(tmp_path / "store")
    turns = iter(range(100))

    def trained(executor: Executor) -> float:
        root = tmp_path / str(next(turns))
        started = time.perf_counter()
        outcome = run(plan, reports=root, store=store, tuned=TunedStore(root / "tuned"), executor=executor)
        assert not outcome.failures
        return time.perf_counter() - started

    def resampled(threads: int) -> float:
        started = time.perf_counter()
        Resamples(labels, 2000, threads=threads).run(scores)
        return time.perf_counter() - started

    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(limits=1))
        if kind == "bootstrap":
            rng = np.random.default_rng(0)
            labels, scores = rng.integers(0, 6, 20_000), rng.normal(size=(8, 20_000))
            two, one = partial(resampled, 2), partial(resampled, 1)
        else:
            (suite := tmp_path / "suite.toml").write_text(SUITE.format(entry=WORK[kind]), encoding="utf-8")
            plan = make_plan(load_suite(suite))
            two, one = partial(trained, stack.enter_context(Processes.on(2))), partial(trained, Local())
        two(), one()
        ratios: dict[int, list[float]] = {0: [], 1: []}
        for _ in range(3):
            for number, found in ratios.items():
                with neighbours(number):
                    found.append(one() / two())
    quiet, beside = (statistics.median(found) for found in ratios.values())
    benchmark.extra_info.update({"quiet": quiet, "beside a neighbour": beside})
    benchmark.pedantic(lambda: None)
    hold(benchmark, f"{kind}: one / two beside a neighbour", beside, at_least=0.9)
    hold(benchmark, f"{kind}: one / two, quiet", quiet, at_least=1.2)


def processor_seconds(pool: Processes) -> float:
    """CPU seconds of the processes at work."""
    times = [psutil.Process(worker.pid).cpu_times() for worker in pool._pool]
    return sum(t.user + t.system for t in times)
