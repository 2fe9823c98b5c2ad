"""mteb's own evaluation of one model on the five test sets against a whole suite of 1,000 cells on the same sentences.

Both encode with hengyu-mini in float32 on one thread, and both start with nothing stored; ratios are of seconds of the processor
in this run, which other work on the machine moves little. mteb's tasks are given the rows that Hengyu reads. Hengyu encodes the
valid splits as well, which thresholds are chosen on; every sentence once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from helpers.ratios import hold
from perf.test_encoding import TASKS
from threadpoolctl import threadpool_limits

from hengyu.base.progress import silent
from hengyu.base.threads import one_thread
from hengyu.bench.encode import encode_missing
from hengyu.bench.run import run
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.report.exports.mteb import mteb_task
from hengyu.storage.records import load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

pytestmark = pytest.mark.real
SUITE = """
tasks = ["ATEC:test", "BQ:test", "LCQMC:test", "PAWSX:test", "STS-B:test"]
poolings = ["cls", "mean", "first-last-mean", "last2-mean"]
baselines = []
entries = [
    "raw", "center", "standardize", "abtt(top=1)", "abtt(top=2)", "abtt(top=3)", "abtt(top=5)",
    { entry = "whitening", dims = [16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 255] },
    { entry = "whitening(gamma=0.5)", dims = [16, 32, 64, 96, 128, 160, 192, 224, 255] },
    { entry = "pca", dims = [8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256] },
    { entry = "truncate", dims = [16, 32, 64, 96, 128, 160, 192, 224] },
]
"""


def by_mteb(name: str, data: Path, model: Any) -> tuple[float, float]:
    """Return the seconds that ``mteb.evaluate`` takes of a task, and its main score."""
    import datasets
    import mteb

    pairs = load_pairs(load_cards()[name], "test", data)
    task = mteb.get_task(mteb_task(name)[0], eval_splits=["test"])
    columns = {"sentence1": list(pairs.first), "sentence2": list(pairs.second), "score": pairs.labels.tolist()}
    task.dataset = {"test": datasets.Dataset.from_dict(columns)}
    task.data_loaded = True
    started = time.process_time()
    found = mteb.evaluate(model, task, cache=None, show_progress_bar=False, encode_kwargs={"show_progress_bar": False})
    return time.process_time() - started, float(found.task_results[0].get_score(splits=["test"]))


def test_a_thousand_cells_against_one_by_mteb(senteval: Path, tmp_path: Path, benchmark: Any) -> None:
    pytest.importorskip("mteb")
    import torch
    from sentence_transformers import SentenceTransformer

    path = tmp_path / "fifty.toml"
    path.write_text(SUITE, encoding="utf-8")
    plan = make_plan(load_suite(path), data_dir=senteval)
    assert sum(len(e.dims) or 1 for e in plan.suite.entries) * len(plan.suite.poolings) * len(TASKS) == 1_000
    folder = open_encoder(EncoderSpec("hengyu-mini")).folder.path
    with one_thread(), threadpool_limits(limits=1):
        library = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
        library.encode(["热身"])
        theirs = {name: by_mteb(name, senteval, library) for name in TASKS}

        store = VectorStore(tmp_path / "store")
        encoder = open_encoder(EncoderSpec("hengyu-mini"))
        started = time.process_time()
        encode_missing(store, encoder, plan.texts, plan.suite.poolings, silent)
        encoding = time.process_time() - started

        def ours() -> tuple[float, Path]:
            started = time.process_time()
            outcome = run(plan, reports=tmp_path, store=store)
            return time.process_time() - started, outcome.folder

        grid, folder = benchmark.pedantic(ours, rounds=1, iterations=1)
    native = library[1].pooling_mode if hasattr(library[1], "pooling_mode") else "mean"
    pooling = native if isinstance(native, str) else "mean"
    values = {
        r.task.partition(":")[0]: r.value
        for r in load_run(folder).records
        if r.metric == "spearman" and r.on_board and r.row[1:3] == (pooling, "raw")
    }
    assert all(abs(values[name] - score) < 1e-4 for name, (_, score) in theirs.items())  # mteb finds the same numbers
    cell = sum(seconds for seconds, _ in theirs.values())
    benchmark.extra_info |= {
        "mteb, seconds": {n: round(s, 2) for n, (s, _) in theirs.items()},
        "encoding, seconds": encoding,
        "grid, seconds": grid,
    }
    hold(benchmark, "1,000 cells from stored vectors / one cell of mteb, processor time", grid / cell, at_most=0.5)
    hold(benchmark, "1,000 cells / encoding once, processor time", grid / encoding, at_most=0.3)
    hold(
        benchmark, "1,000 cells with encoding / one cell of mteb, processor time", (encoding + grid) / cell, at_most=2.2
    )
