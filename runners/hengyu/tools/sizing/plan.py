"""The rows of a retrieval run at another size: what each would take, and whether that is within limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.methods.grammar import Entry, parse_entry
from hengyu.numerics.curves import LEAST, Extrapolated, extrapolate, extrapolate_line
from hengyu.storage.records import Record, Run
from hengyu.storage.records.clouds import CloudOf, load_clouds
from hengyu.tasks.interface.registry import find_task
from hengyu.tools.sizing.curves import Measured, Shape, measure

__all__ = ["CANNOT_TELL", "FITS", "FITS_NOT", "NOT_MEASURED", "Limits", "SizedRow", "Sizing", "size_rows"]

FITS, FITS_NOT, CANNOT_TELL, NOT_MEASURED = "fits", "does not fit", "cannot tell", "not measured"
_COSTS = ("index-bytes", "qps", "build-seconds")
_MEAN = "mean"
_SEARCH = (
    0.0,
    1.25,
)  # a search compares at most all vectors; beyond the caches it may slow down by more than their number
_BUILD = 0.0, 1.5
_QUIET = 0.9  # share of a core above which nothing else disturbs what is measured
_FLOOR, _DISTURBED = (
    0.2,
    float(np.log(2)),
)  # relative errors of times that repeat: alone, and beside work that takes caches


@dataclass(frozen=True)
class Limits:
    """What is asked for: documents, bytes, queries a second on one thread; None for no limit."""

    n: int
    memory: float | None = None
    qps: float | None = None


@dataclass(frozen=True)
class SizedRow:
    """One row of a run at the size that is asked for.

    Attributes:
        score: the record of the main metric, measured among the documents of the run.
        bytes: of the index; None where that is not known.
        qps: queries a second, each a call of its own, on one thread.
        build_seconds: seconds to build the index, on one thread.
        largest: the largest size that was measured; 0 for none.
        verdict: `FITS`, `FITS_NOT`, `CANNOT_TELL` where the range holds a limit, or `NOT_MEASURED`.
        reason: why nothing is known.
        share: of a core that the measurement had; 1 for what was read from runs.
    """

    score: Record
    bytes: Extrapolated | None = None
    qps: Extrapolated | None = None
    build_seconds: Extrapolated | None = None
    largest: int = 0
    verdict: str = NOT_MEASURED
    reason: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class Sizing:
    """All rows, by the main metric, best first; how many documents that was measured among; what the metric is called."""

    rows: tuple[SizedRow, ...]
    documents: int
    metric: str
    limits: Limits

    @property
    def disturbed(self) -> float:
        """The smallest share of a core that a measurement had, where that is too little to trust; else 1."""
        least = min((row.share for row in self.rows if row.largest), default=1.0)
        return least if least < _QUIET else 1.0

    @property
    def best(self) -> SizedRow | None:
        """The best row that fits."""
        return next((row for row in self.rows if row.verdict == FITS), None)


def size_rows(
    runs: Sequence[Run], limits: Limits, *, seconds: float = 5.0, largest: int = 1 << 20, progress: Progress = silent
) -> Sizing:
    """Return the rows of the first run at a size: indexes are measured here, lexical search and fusions are read from all runs.

    Lexical search and fusions cost what their texts make them cost, so their curve needs at least three runs of the same suite with
    corpora of different sizes. Raises `HengyuError` for runs without rows of a search.
    """
    first = runs[0]
    for run in runs:
        if not find_task(run.kind).index:
            raise HengyuError(
                f"{run.path}: is of kind '{run.kind}', whose methods search nothing; give a retrieval run"
            )
    main = find_task(first.kind).main
    found = [r for r in first.records if r.metric == main and r.on_board and r.value is not None and r.status == "ok"]
    tasks = list(dict.fromkeys(r.task for r in found))
    if not tasks:
        raise HengyuError(f"{first.path}: no row has a number; run the suite again")
    task = _MEAN if _MEAN in tasks else tasks[0]
    rows = sorted((r for r in found if r.task == task), key=lambda r: -(r.value or 0.0))
    documents = max((int(t.get("corpus") or 0) for t in first.header.get("tasks", ())), default=0)
    clouds = {cloud.place[1:]: cloud for cloud in reversed(load_clouds(first.path))}
    measured: dict[tuple[str, Shape], Measured | str] = {}
    sized: list[SizedRow] = []
    with progress.stage("measuring indexes", len(rows)) as tick:
        for row in rows:
            entry = parse_entry(row.entry)
            if entry.steps[-1].joined or entry.lexical:
                sized.append(_from_runs(row, runs, limits))
            else:
                shape = _shape(row, first, clouds.get(row.row))
                key = _index_of(entry), shape
                if key not in measured:
                    try:
                        measured[key] = measure(entry, shape, seconds=seconds, largest=largest, seed=row.seed)
                    except ValueError as e:
                        measured[key] = str(e)
                sized.append(_from_curve(row, measured[key], limits))
            tick(1)
    return Sizing(tuple(sized), documents, find_task(first.kind).metric(main).title, limits)


def _index_of(entry: Entry) -> str:
    """Return the steps that search, as text."""
    searching = 2 if len(entry.steps) > 1 and entry.steps[-2].method.searches else 1
    return " > ".join(map(str, entry.steps[-searching:]))


def _shape(row: Record, run: Run, cloud: CloudOf | None) -> Shape:
    """Return how the vectors of a row lie in space, as far as its run kept that."""
    dim = row.dim or next((r.dim for r in run.records if r.row == row.row and r.dim), None)
    if cloud is not None and not cloud.problem and cloud.dim > 0:
        return Shape(
            dim or cloud.dim, cloud.mean_norm or 0.0, cloud.spectrum if cloud.dim == (dim or cloud.dim) else ()
        )
    if not dim:
        raise HengyuError(f"{run.path}: does not say how wide the vectors of '{row.entry}' are; run the suite again")
    return Shape(dim)


def _from_curve(row: Record, curve: Measured | str, limits: Limits) -> SizedRow:
    if isinstance(curve, str) or len(curve.sizes) < LEAST:
        reason = curve if isinstance(curve, str) else "too few sizes could be measured in the time; give more --seconds"
        return SizedRow(row, reason=reason)
    x, n = curve.sizes, limits.n
    floor = _FLOOR if curve.share >= _QUIET else _DISTURBED
    query = extrapolate(x, curve.query_seconds, n, _SEARCH, floor)
    build = extrapolate(x, curve.build_seconds, n, _BUILD, floor)
    return replace(_judged(row, extrapolate_line(x, curve.bytes, n), query, build, x[-1], limits), share=curve.share)


def _from_runs(row: Record, runs: Sequence[Run], limits: Limits) -> SizedRow:
    points = dict(sorted(_points(row, runs)))
    if len(points) < LEAST:
        return SizedRow(
            row,
            reason=f"its cost depends on the texts: give {LEAST} runs with corpora of different sizes (hengyu run --distractors)",
        )
    x = list(points)
    size, rate, build = ([point[name] for point in points.values()] for name in _COSTS)
    found = extrapolate(x, [1 / r for r in rate], limits.n, _SEARCH), extrapolate(x, build, limits.n, _BUILD)
    return _judged(row, extrapolate(x, size, limits.n), *found, x[-1], limits)


def _points(row: Record, runs: Sequence[Run]) -> Iterator[tuple[int, Mapping[str, float]]]:
    """Yield the size of a corpus and what a row cost in it, run by run and task by task."""
    for run in runs:
        corpus = {str(t.get("task")): int(t.get("corpus") or 0) for t in run.header.get("tasks", ())}
        for task, n in corpus.items():
            costs = {
                r.metric: r.value
                for r in run.records
                if r.task == task and r.row == row.row and r.metric in _COSTS and r.value and r.on_board
            }
            if n and set(costs) == set(_COSTS):
                yield n, {name: float(value) for name, value in costs.items() if value}


def _judged(
    row: Record, size: Extrapolated, query: Extrapolated, build: Extrapolated, largest: int, limits: Limits
) -> SizedRow:
    rate = Extrapolated(1 / query.value, 1 / query.high, 1 / query.low, query.law)
    surely, perhaps = [], []
    if limits.memory is not None:
        surely.append(size.high <= limits.memory)
        perhaps.append(size.low <= limits.memory)
    if limits.qps is not None:
        surely.append(rate.low >= limits.qps)
        perhaps.append(rate.high >= limits.qps)
    verdict = FITS if all(surely) else CANNOT_TELL if all(perhaps) else FITS_NOT
    return SizedRow(row, size, rate, build, largest, verdict=verdict)
