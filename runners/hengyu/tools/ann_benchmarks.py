"""A row of a retrieval run as a dataset of ann-benchmarks: the vectors that its index searches, the queries, the true neighbours.

https://github.com/erikbern/ann-benchmarks reads HDF5 files with the datasets ``train`` (n, d), ``test`` (Q, d), ``neighbors`` and
``distances`` (Q, k), and the attributes ``distance``, ``point_type``, ``dimension`` and ``type`` (its ``datasets.py``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.bench.encode import Vectors, encode_some
from hengyu.bench.prepared_encoder import PreparedEncoder, prepare_encoder
from hengyu.bench.task_inputs import TaskInputs
from hengyu.cards.data import unlike
from hengyu.encoders import BUILT_IN, EncoderSpec, find_encoder
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import parse_entry
from hengyu.methods.search.cost import threads
from hengyu.methods.search.exact import exact_search
from hengyu.numerics.sample import Sample
from hengyu.storage.fits import FitStore
from hengyu.storage.records import Run
from hengyu.storage.records.sources import Sources, read_sources
from hengyu.storage.vectors import VectorStore
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.plan import Plan
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import Suite
from hengyu.tasks.interface.registry import find_task
from hengyu.tasks.search.vectors import RetrievalVectors
from hengyu.tools.export_model.row import Row, named_row

__all__ = ["Written", "write_ann_benchmarks"]

_NEIGHBOURS = 100  # as in the datasets of ann-benchmarks
_BLOCK = 16384  # rows that are held at a time
_USUAL = "flat"


@dataclass(frozen=True)
class Written:
    """What a file holds."""

    row: Row
    task: str
    train: int
    test: int
    dim: int
    neighbours: int


def write_ann_benchmarks(
    run: Run,
    words: str,
    out: Path,
    *,
    task: str = "",
    store: VectorStore | None = None,
    fits: FitStore | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> Written:
    """Write the vectors that a row's index searches, its queries, and the exact neighbours of these.

    ``words`` are parts of the row, separated by bars, as for ``hengyu export-model``; "" is ``flat``, the vectors as the encoder
    gives them. Vectors have length 1, and the distance is angular, 1 - cosine. A query that is a document itself finds
    itself first, as in ann-benchmarks, which leaves nothing out.

    Raises:
        HengyuError: without h5py, for a row without vectors, and where encoder or data differ from those of the run.
    """
    if find_spec("h5py") is None:
        raise HengyuError("--format ann-benchmarks writes HDF5, which needs h5py; run: pip install 'hengyu[ann]'")
    if not find_task(run.kind).index:
        raise HengyuError(f"{run.path}: is of kind '{run.kind}', which searches nothing; give a retrieval run")
    row = _row(run, words)
    plan, prepared = _planned(run, row, _task(run, task), offline)
    searched = _open(plan, prepared, row[1], store or VectorStore.default(), fits, progress)
    entry = parse_entry(row[2])
    if entry.similarity is not None:
        raise HengyuError(
            f"row '{' | '.join(row)}': datasets of angles hold what is searched by the cosine; choose such a row"
        )
    rows, queries = searched.searched(entry, plan.fit_word(plan.suite.entries[0]), plan.suite.seed)
    k = min(_NEIGHBOURS, len(rows))
    with threads(1):
        exact = exact_search(rows, queries, np.full(len(queries), -1), k, _BLOCK)
    _write(out, rows, queries, exact.ids, 1 - exact.scores)
    return Written(row, plan.tasks[0].name, len(rows), len(queries), queries.shape[1], k)


def _row(run: Run, words: str) -> Row:
    """Return the row that words name, of those with vectors of their own."""
    kind = find_task(run.kind)
    every = (r for r in run.records if r.metric == kind.main and r.on_board and r.dim is not None)
    found = list(dict.fromkeys(r.row for r in every if r.value is not None))
    if not found:
        raise HengyuError(f"{run.path}: no row has vectors of its own; run a suite with an encoder")
    return named_row(found, words or _USUAL)


def _task(run: Run, wanted: str) -> str:
    tasks = [str(t["task"]) for t in run.header["tasks"]]
    if wanted not in (tasks if wanted else tasks[:1] and [""]) or (not wanted and len(tasks) > 1):
        raise HengyuError(f"--task: choose one of the run's tasks: {', '.join(tasks)}")
    return wanted or tasks[0]


def _planned(run: Run, row: Row, task: str, offline: bool) -> tuple[Plan, PreparedEncoder]:
    """Read again what a row was evaluated on; raises `HengyuError` where that is not what the run read."""
    known = read_sources(run.path, "run the suite again")
    spec = _spec(run, row[0], known)
    about = run.header["suite"]
    suite = Suite(
        *(str(about["name"]), run.path, (task,), (SuiteEntry(parse_entry(row[2])),)),
        encoders=(spec,),
        poolings=(row[1],),
        baselines=(),
        fit_on=row[3] if row[3] != "none" else "target",
        seed=int(about.get("seed", 0)),
        kind=run.kind,
        relevant=about.get("relevant"),
        distractors=tuple(Path(p) for p in known.distractors),
    )
    plan = make_plan(
        suite, data_dir=Path(known.data) if known.data else None, datasets=[Path(p) for p in known.datasets]
    )
    (found,) = plan.tasks
    head = next(t for t in run.header["tasks"] if t["task"] == task)
    if problem := unlike(found.pairs, head, run.id):
        raise HengyuError(f"{problem}; run the suite again")
    if plan.truths[task].about.get("distractors_sha256") != head.get("distractors_sha256"):
        raise HengyuError(f"{task}: the distractors are not those that run {run.id} read; run the suite again")
    prepared = prepare_encoder(plan, find_encoder(spec, offline=offline))
    made = next(e for e in run.header["encoders"] if e["encoder"] == row[0])
    for key, value in prepared.identity.items():
        if made.get(key) != value:
            raise HengyuError(
                f"encoder '{spec.model}': its {key} is {value}, but {made.get(key)} in run {run.id}; run the suite again"
            )
    return plan, prepared


def _spec(run: Run, name: str, known: Sources) -> EncoderSpec:
    given = known.encoders.get(name, {})
    if not given and name not in BUILT_IN:
        raise HengyuError(f"run {run.id} does not say where the encoder '{name}' is; run the suite again")
    settings: dict[str, Any] = {f.name: given[f.name] for f in fields(EncoderSpec) if f.name in given} or {
        "model": name
    }
    # permissions are never taken from a run's own files
    return EncoderSpec(
        **(settings | {"name": name, "trust_remote_code": False, "allow_api": False, "key_over_http": False})
    )


def _open(
    plan: Plan,
    prepared: PreparedEncoder,
    pooling: str,
    store: VectorStore,
    fits: FitStore | None,
    progress: Progress,
) -> RetrievalVectors:
    """Encode what the store lacks, and return the task as it is searched."""

    def encode(side: str, ids: NDArray[np.int64]) -> Vectors:
        return encode_some(store, prepared.encodes(side), plan.texts, ids, pooling, progress)

    if prepared.asking:
        read = replace(encode("document", plan.texts_of("document")), asking=encode("query", plan.texts_of("query")))
    else:
        read = encode("", np.arange(len(plan.texts)))
    (task,) = plan.tasks
    fitted = {word: prepared.fitted_on(fit) for (_, word), fit in plan.fits.items()}
    recalled = FitCache(fits, prepared.key(pooling), {word: fit.digest for word, fit in fitted.items()}, progress)
    inputs = TaskInputs(task, plan.truths[task.name], None, recalled, (), read, pooling, fitted, plan.texts)
    opened = plan.suite.task_kind.open(inputs)
    if not isinstance(opened, RetrievalVectors):
        raise HengyuError(f"a task of kind '{plan.suite.kind}' has no vectors that are searched as a whole")
    return opened


def _write(
    out: Path, rows: Sample, queries: NDArray[np.float32], ids: NDArray[np.int64], distances: NDArray[np.float64]
) -> None:
    import h5py

    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(part, "w") as file:
            about = {"type": "dense", "distance": "angular", "dimension": queries.shape[1], "point_type": "float"}
            file.attrs.update(about)
            train = file.create_dataset("train", (len(rows), queries.shape[1]), np.float32)
            start = 0
            for block, _ in rows.blocks(_BLOCK):
                train[start : start + len(block)] = block
                start += len(block)
            file.create_dataset("test", data=queries.astype(np.float32))
            file.create_dataset("neighbors", data=ids.astype(np.int32))
            file.create_dataset("distances", data=distances.astype(np.float32))
        part.replace(out)
    except OSError as e:
        raise HengyuError(f"{out}: cannot be written ({e.strerror or e}); check the path and free space") from None
    finally:
        part.unlink(missing_ok=True)
