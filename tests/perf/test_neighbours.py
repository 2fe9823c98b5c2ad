"""Encoding in processes of one thread each beside busy neighbours, which the test makes itself."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from hengyu.bench.encode_file import archive
from hengyu.bench.executors import processes
from hengyu.bench.executors.local import Local
from hengyu.bench.executors.processes import Processes
from hengyu.bench.units import Executor
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.encoders import EncoderSpec, find_encoder
from hengyu.storage.vectors import VectorStore

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


def processor_seconds(pool: Processes) -> float:
    """CPU seconds of the processes at work."""
    times = [psutil.Process(worker.pid).cpu_times() for worker in pool._pool]
    return sum(t.user + t.system for t in times)
