"""Two sides compared pair by pair: two runs, or two entries, encoders or poolings of one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, did_you_mean, gather
from hengyu.evaluation.observed import seen_in
from hengyu.evaluation.paired_test import PairedChange, holm, stored_error
from hengyu.evaluation.run_metrics import Key, RunMetrics, headline, scores_of
from hengyu.numerics.resampling import interval, p_of_zero
from hengyu.storage.records import Run
from hengyu.storage.records.significance import NOT_SIGNIFICANT, verdict
from hengyu.tasks.interface.registry import find_task

__all__ = ["AXES", "Comparison", "Line", "compare"]

AXES = ("encoder", "pooling", "entry", "fit_on")
MEAN = "mean"
_NO_POOLING = "-"  # of rows without vectors
_SUITE = ("kind", "relevant", "aggregate")  # what both runs' suites must say alike
_TASK = (
    "n",
    "of",
    "sample_seed",
    "sha256",
    "card_sha256",
    "ceiling",
    "corpus",
    "queries",
    "relevant",
    "distractors_sha256",
)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """The main metric, like Spearman, of the first side minus that of the second, on one task or on the mean of all."""

    first: Key
    second: Key
    n: int
    values: tuple[float, float]
    low: float | None
    high: float | None
    p: float  # two-sided, of no difference, for this line alone; it decides
    test: str  # "paired" (same pairs, same resamples) or "stored" (the two intervals, as if of other pairs)
    verdict: str  # "better", "worse", "not significant", by the interval of this line, as on every page
    p_adjusted: float = 1.0  # by Holm's method, over all lines

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.values[0] - self.values[1]

    def shared(self, axis: str) -> str:
        """Return a name that both sides share, ``A | B`` where they do not."""
        one, two = getattr(self.first, axis), getattr(self.second, axis)
        return str(one) if one == two else f"{one} | {two}"


@dataclass(frozen=True)
class Comparison:
    """All lines of a comparison, and what is to be known beside them."""

    sides: tuple[str, str]
    metric: str  # what it is called
    level: float
    resamples: int
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def compare(first: Run, second: Run | None = None, chosen: Mapping[str, Sequence[str]] | None = None) -> Comparison:
    """Compare two runs, or two parts of one; raises `HengyuError` where their numbers cannot be held together.

    ``chosen`` is axis -> names, out of `AXES` and "task": one name keeps its rows, two names are the first and the second
    side. Within one run exactly one axis has two names, or more where one side has no vectors (a baseline, lexical search):
    its rows are compared with all that are kept of the other side.
    """
    picked = {axis: list(names) for axis, names in (chosen or {}).items() if names}
    axes = [axis for axis in AXES if len(picked.get(axis, ())) == 2]
    gather(
        f"--{axis.replace('_', '-')}: {len(names)} names are given; give two to compare them, or one to keep its rows"
        for axis, names in picked.items()
        if axis in AXES and len(names) > 2
    )
    a, b = (scores_of(run, (headline(first),)) for run in (first, second or first))
    if second is None and len(axes) != 1 and not any(_without_vectors(a, b, picked)):
        raise HengyuError(
            f"{first.id}: one run is compared along one axis; give a second RUN, or two names of one of "
            + ", ".join("--" + a.replace("_", "-") for a in AXES)
        )
    if second is not None and second.kind != first.kind:
        raise HengyuError(
            f"{second.path}: is of kind '{second.kind}', and {first.path} of kind '{first.kind}': their numbers measure different "
            "things; compare runs of one kind"
        )
    tasks = [t for t in a.tasks if t in b.tasks and (not picked.get("task") or t in picked["task"])]
    gather(_missing(a, b, picked))
    if not tasks:
        raise HengyuError(f"{b.source}: has no task of {a.source}; they share none of {', '.join(a.tasks)}")
    if second is not None:
        gather(_unlike(first, second, a, b, tasks))
    couples = _couples(a, b, tasks, picked)
    if not couples:
        raise HengyuError(f"{b.source}: the two sides share no row; 'hengyu export {first.id}' lists the rows")
    lines, notes = _lines(a, b, tasks, couples)
    adjusted = [p for p, _ in holm([line.p for line in lines], a.level)]
    judged = tuple(replace(line, p_adjusted=p) for line, p in zip(lines, adjusted, strict=True))
    sides = (first.id, (second or first).id)
    if axes:
        sides = tuple(f"{picked[axes[0]][i]} ({s})" if second else picked[axes[0]][i] for i, s in enumerate(sides))  # type: ignore[assignment]
    kind = find_task(first.kind)
    return Comparison(
        sides, kind.metric(kind.main).title, a.level, a.resamples, judged, (*_only(a, b), *_changed(a, b), *notes)
    )


def _missing(a: RunMetrics, b: RunMetrics, picked: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """Say which names no row has."""
    for axis, names in picked.items():
        sides = ((a, names[0]), (b, names[-1])) if axis in AXES else [(a, name) for name in names]
        for scores, name in dict.fromkeys((s.source, n) for s, n in sides):
            known = {getattr(k, axis) for s in (a, b) if s.source == scores for k in s.cells}
            if name not in known:
                yield f"{scores}: no row has the {axis} '{name}'{did_you_mean(name, known)}"


def _unlike(first: Run, second: Run, a: RunMetrics, b: RunMetrics, tasks: Sequence[str]) -> Iterable[str]:
    """Say in which fields the protocols of two runs differ."""
    pairs: list[tuple[str, Any, Any]] = [("protocol", a.protocol, b.protocol)]
    suites = first.header.get("suite", {}), second.header.get("suite", {})
    pairs += [(f"suite.{name}", *(s.get(name) for s in suites)) for name in _SUITE]
    for task in tasks:
        pairs += [(f"tasks[{task}].{name}", a.tasks[task].get(name), b.tasks[task].get(name)) for name in _TASK]
    splits = _splits(first), _splits(second)
    pairs += [(f"fit_splits of {k[0]}, fit_on {k[1]}", v, splits[1][k]) for k, v in splits[0].items() if k in splits[1]]
    for name, one, two in pairs:
        if one != two:
            yield (
                f"{b.source}: {name} is {two!r} where {a.source} has {one!r}; "
                "numbers of different protocols are not comparable; evaluate both the same way"
            )


def _splits(run: Run) -> dict[tuple[str, str], list[str]]:
    """Return what a fit_on word stood for at each task."""
    fits = run.header.get("fits", ())
    return {(f["task"], f["fit_on"]): list(f["fit_splits"]) for f in fits if "fit_splits" in f}


def _only(a: RunMetrics, b: RunMetrics) -> Iterable[str]:
    for one, other in ((a, b), (b, a)):
        alone = [t for t in one.tasks if t not in other.tasks]
        if alone:
            yield f"only in {one.source}, left out: {', '.join(alone)}"


def _changed(a: RunMetrics, b: RunMetrics) -> Iterable[str]:
    """Say what differs in encoders of the same name: what was compared may be just that."""
    for name in a.encoders.keys() & b.encoders.keys():
        fields = [k for k in a.encoders[name] if a.encoders[name].get(k) != b.encoders[name].get(k)]
        if fields:
            yield f"encoder {name} differs between the runs in: {', '.join(sorted(fields))}"


def _couples(
    a: RunMetrics, b: RunMetrics, tasks: Sequence[str], picked: Mapping[str, Sequence[str]]
) -> dict[tuple[str, ...], dict[str, tuple[Key, Key]]]:
    """Return the rows that stand on both sides, task by task.

    An entry that is fitted on nothing is compared with every fit_on of the other.
    """
    found: dict[tuple[str, ...], dict[str, tuple[Key, Key]]] = {}
    bare = _without_vectors(a, b, picked)
    for key, number in a.cells.items():
        if key.task not in tasks or number.value is None or not _kept(key, picked, 0, bare[0]):
            continue
        other = key._replace(**{axis: names[1] for axis, names in picked.items() if axis in AXES and len(names) == 2})
        ways = [other, *_unfitted(a, b, other)] if len(picked.get("entry", ())) == 2 else [other]
        if any(bare):
            ways = [
                k for k in b.cells if k.task == key.task and k.metric == key.metric and _kept(k, picked, -1, bare[1])
            ]
        for way in ways:
            there = b.cells.get(way)
            if there is not None and there.value is not None:
                found.setdefault((*key[1:5], *way[1:5]), {})[key.task] = (key, way)
    return found


def _without_vectors(a: RunMetrics, b: RunMetrics, picked: Mapping[str, Sequence[str]]) -> tuple[bool, bool]:
    """Return of two encoders which has no vectors: its rows have no pooling."""
    names = picked.get("encoder", ())
    if len(names) != 2:
        return False, False
    first, second = ([k for k in s.cells if k.encoder == name] for s, name in zip((a, b), names, strict=True))
    return tuple(bool(rows) and all(k.pooling == _NO_POOLING for k in rows) for rows in (first, second))  # type: ignore[return-value]


def _kept(key: Key, picked: Mapping[str, Sequence[str]], side: int, bare: bool) -> bool:
    """Return whether a row is of a side; one name of pooling, entry or fit_on is not meant for a side without vectors."""
    asked = {axis: picked[axis] for axis in AXES if picked.get(axis)}
    return all(
        getattr(key, axis) == names[side]
        for axis, names in asked.items()
        if len(names) == 2 or not bare or axis == "encoder"
    )


def _unfitted(a: RunMetrics, b: RunMetrics, other: Key) -> list[Key]:
    """Return the same row under the fit_on of the side that needs one, where the other needs none."""
    if other.fit_on != "none":
        bare = other._replace(fit_on="none")
        return [bare] if bare in b.cells and other not in b.cells else []
    if other in b.cells:
        return []
    return [k for k in b.cells if k._replace(fit_on="none") == other]


def _lines(
    a: RunMetrics, b: RunMetrics, tasks: Sequence[str], couples: Mapping[tuple[str, ...], Mapping[str, tuple[Key, Key]]]
) -> tuple[list[Line], list[str]]:
    drawn: dict[tuple[Key, Key], Floats] = {}
    notes: list[str] = []
    for task in tasks:
        here = [by[task] for by in couples.values() if task in by]
        more, amiss = _differences(a, b, task, here)
        drawn |= more
        notes += amiss
    lines: list[Line] = []
    for by in couples.values():
        lines += [_line(a, b, *pair, drawn.get(pair)) for pair in by.values()]
        if len(by) == len(tasks) > 1 and all(pair in drawn for pair in by.values()):
            lines.append(_mean(a, b, list(by.values()), drawn))
    order = {task: place for place, task in enumerate((*tasks, MEAN))}
    return sorted(lines, key=lambda line: order[line.first.task]), list(dict.fromkeys(notes))


def _differences(
    a: RunMetrics, b: RunMetrics, task: str, pairs: Sequence[tuple[Key, Key]]
) -> tuple[dict[tuple[Key, Key], Floats], list[str]]:
    """Return the replicates of each difference, first minus second, under the first side's resamples."""
    one, notes = seen_in(a, task)
    two, amiss = seen_in(b, task) if b.source != a.source else (one, [])
    notes = [*notes, *amiss]
    if one is None or two is None:
        return {}, notes
    if not one.truth.like(two.truth):
        return {}, [*notes, f"{task}: the two runs kept different labels or relevance"]
    before = one.replicates({k for k, _ in pairs if k in one.cells}, a.resamples, a.seed)
    after = two.replicates({k for _, k in pairs if k in two.cells}, a.resamples, a.seed)
    return {(k, o): before[k] - after[o] for k, o in pairs if k in before and o in after}, notes


def _line(a: RunMetrics, b: RunMetrics, one: Key, two: Key, drawn: Floats | None) -> Line:
    first, second = a.cells[one], b.cells[two]
    values = (float(first.value or 0.0), float(second.value or 0.0))
    n = int(a.tasks[one.task]["n"])
    if drawn is not None:
        return _paired(one, two, n, values, drawn, a.level)
    errors = stored_error(first, a.level), stored_error(second, b.level)
    if errors[0] is None or errors[1] is None:
        return Line(one, two, n, values, None, None, 1.0, "none", NOT_SIGNIFICANT)
    change = PairedChange(values[0] - values[1], float(np.hypot(errors[0], errors[1])))
    low, high = change.interval(a.level)
    return Line(one, two, n, values, low, high, change.p, "stored", verdict(low, high, n))


def _paired(one: Key, two: Key, n: int, values: tuple[float, float], drawn: Floats, level: float) -> Line:
    low, high = interval(drawn, level)
    p = p_of_zero(drawn, values[0] - values[1])
    return Line(one, two, n, values, low, high, p, "paired", verdict(low, high, n))


def _mean(
    a: RunMetrics, b: RunMetrics, pairs: Sequence[tuple[Key, Key]], drawn: Mapping[tuple[Key, Key], Floats]
) -> Line:
    """Return the line of the plain mean over the tasks, whose resamples are independent of each other."""
    mean = np.mean([drawn[pair] for pair in pairs], axis=0)
    sides = ((a, [p[0] for p in pairs]), (b, [p[1] for p in pairs]))
    values = tuple(float(np.mean([s.cells[k].value for k in keys])) for s, keys in sides)
    one, two = (pair._replace(task=MEAN) for pair in pairs[0])
    n = sum(int(a.tasks[p[0].task]["n"]) for p in pairs)
    return _paired(one, two, n, (values[0], values[1]), mean, a.level)
