"""Baselines: the numbers of one run as a small committed file, one cell a line, so that a diff can be read."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import user_path
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import check, read_document
from hengyu.base.paths import reports_dir, share
from hengyu.evaluation.paired import DRAWS, draw
from hengyu.evaluation.run_metrics import Key, MetricValue, RunMetrics, scores_of
from hengyu.storage.identity import digest
from hengyu.storage.records import Run, find_run, load_run, write_bytes
from hengyu.storage.records.schemas import BASELINE

__all__ = [
    "NoBaseline",
    "baseline_of",
    "baseline_path",
    "changes",
    "find_scores",
    "read_baseline",
    "settle",
    "write_baseline",
]

SCHEMA = 1
_DIGITS = 6
_SAME = 5e-5  # half of the last digit that boards print: less is how machines differ, and no reason to touch a line
_UNIT = 2e-5  # of a kept replicate, which is stored as its distance from the value
_FIELDS = ("suite", "run", "hengyu", "protocol", "seed", "resamples", "level")


class NoBaseline(HengyuError):
    """There is no baseline to compare with: neither a file nor a run."""


def baseline_path(suite: str) -> Path:
    """Return where the baseline of a suite stands: under the reports folder, else as shipped."""
    own = reports_dir() / "baselines" / f"{suite}.json"
    shipped = share("reports", "baselines", f"{suite}.json")
    return shipped if shipped.is_file() and not own.is_file() else own


def find_scores(word: str, metrics: Sequence[str] | None = None) -> RunMetrics:
    """Return what a baseline file, a suite with a baseline, or a run holds; raises `NoBaseline` when there is neither."""
    path = user_path(word)
    if path.suffix == ".json" or path.is_file():
        if not path.exists() and not path.is_symlink():
            raise NoBaseline(f"{path}: no such baseline; 'hengyu baseline latest --out {path}' makes one")
        return read_baseline(path)
    named = path.parent == Path() and baseline_path(word).is_file() and not (path / "run.json").is_file()
    if named:
        return read_baseline(baseline_path(word))
    try:
        folder = find_run(word)
    except HengyuError as e:
        raise NoBaseline(*(f"no baseline: {p}" for p in e.problems)) from None
    return scores_of(load_run(folder), metrics)


def baseline_of(run: Run, metrics: Sequence[str] | None = None) -> tuple[RunMetrics, list[str]]:
    """Return what a baseline keeps of a run, rounded as in the file, and notes on what it leaves out.

    Raises `HengyuError` for a run without a number: nothing can be held against it.
    """
    scores = scores_of(run, metrics)
    draws, digests, notes = draw(scores)
    cells = {k: _rounded(v) for k, v in scores.cells.items() if v.value is not None}
    if not cells:
        raise HengyuError(f"{run.path}: has no number a baseline could keep; run the suite again")
    left = len(scores.cells) - len(cells)
    if left:
        notes.append(f"{left} cells without a number are left out")
    tasks = {name: {**about, "draws": digests.get(name, "")} for name, about in scores.tasks.items()}
    packed = {k: _pack(row, cells[k].value) for k, row in draws.items() if k in cells}
    kept = {k: _unpack(text, cells[k].value) for k, text in packed.items() if text}
    return replace(scores, tasks=_ceilings(tasks), cells=cells, draws=kept, folder=None), notes


def settle(old: RunMetrics, new: RunMetrics) -> RunMetrics:
    """Return the new numbers, but the old line of every cell that moved by less than boards print."""
    cells, draws = dict(new.cells), dict(new.draws)
    for key, now in new.cells.items():
        was = old.cells.get(key)
        same = old.tasks.get(key.task) == new.tasks[key.task] and (key in old.draws) == (key in draws)
        if was is not None and same and old.seed == new.seed and _near(was, now):
            cells[key] = was
            if key in draws:
                draws[key] = old.draws[key]
    return replace(new, cells=cells, draws=draws)


def changes(old: RunMetrics, new: RunMetrics) -> list[str]:
    """Return what a new baseline changes, a line each; nothing for the same one."""
    out = [f"{w}: {a} -> {b}" for w in _FIELDS if (a := getattr(old, w)) != (b := getattr(new, w))]
    for kind, before, after in (("task", old.tasks, new.tasks), ("encoder", old.encoders, new.encoders)):
        for name in sorted(before.keys() | after.keys()):
            a, b = before.get(name), after.get(name)
            if a is None or b is None:
                out.append(f"{kind} {name}: {'new' if a is None else 'gone'}")
            else:
                out += [
                    f"{kind} {name}: {k} {a.get(k)} -> {b.get(k)}" for k in sorted({*a, *b}) if a.get(k) != b.get(k)
                ]
    moved: list[tuple[float, str]] = []
    for key in sorted(old.cells.keys() | new.cells.keys()):
        x, y = old.cells.get(key), new.cells.get(key)
        if x is None or y is None:
            out.append(f"{key}: {'new' if x is None else 'gone'}, {_points(y or x)}")
        elif x != y:
            step = (y.value or 0.0) - (x.value or 0.0)
            moved.append((step, f"{key}: {_points(x)} -> {_points(y)} ({100 * step:+.2f})"))
    return out + [line for _, line in sorted(moved)]


def write_baseline(path: Path, scores: RunMetrics) -> None:
    """Write a baseline: sorted, one cell a line, what makes it paired apart at its end."""
    head = [f" {_json(word)}: {_json(getattr(scores, word))}" for word in _FIELDS]
    cells = [
        {**key._asdict(), "value": v.value, "low": v.low, "high": v.high} for key, v in sorted(scores.cells.items())
    ]
    packed = {k: _pack(row, scores.cells[k].value) for k, row in sorted(scores.draws.items())}
    draws = [{**key._asdict(), "draws": text} for key, text in packed.items()]
    lists = {
        "tasks": [dict(scores.tasks[t]) for t in sorted(scores.tasks)],
        "encoders": [dict(scores.encoders[e]) for e in sorted(scores.encoders)],
        "cells": cells,
        "draws": draws,
    }
    content = {"schema": SCHEMA, **{word: getattr(scores, word) for word in _FIELDS}, **lists}
    parts = [f" {_json('schema')}: {SCHEMA}", f" {_json('sha256')}: {_json(digest(content))}", *head]
    for name, rows in lists.items():
        lines = ",\n".join(f"  {_json(row)}" for row in rows)
        parts.append(f" {_json(name)}: [\n{lines}\n ]" if rows else f" {_json(name)}: []")
    write_bytes(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode("utf-8"))


def read_baseline(path: Path) -> RunMetrics:
    """Read a baseline; raises `HengyuError` for a file that is none, of another schema, or changed since it was written."""
    remedy = "make it anew with 'hengyu baseline'"
    content = read_document(path, f"check the path and its permissions, or {remedy}")
    if type(content.get("schema")) is not int or content["schema"] != SCHEMA:
        found = str(content.get("schema"))[:40]
        raise HengyuError(f"{path}: baseline schema {found} where this version reads {SCHEMA}; {remedy}")
    check(content, BASELINE, path, remedy)
    # files of before there were digests have none; a digest under a changed name is refused as an unknown key
    if (sealed := content.pop("sha256", None)) not in (None, digest(content)):
        raise HengyuError(
            f"{path}: has changed since it was written (sha256 {sealed[:12]}...); take it back, or {remedy}"
        )
    try:
        cells = {_key(c): MetricValue(_number(c["value"]), _end(c["low"]), _end(c["high"])) for c in content["cells"]}
        values = {k: v.value for k, v in cells.items()}
        return RunMetrics(
            source=str(path),
            **{w: kind(content[w]) for w, kind in zip(_FIELDS, (str, str, str, int, int, int, float), strict=True)},
            tasks={str(t["task"]): t for t in content["tasks"]},
            encoders={str(e["encoder"]): e for e in content["encoders"]},
            cells=cells,
            draws={_key(d): _unpack(str(d["draws"]), values[_key(d)]) for d in content["draws"]},
        )
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise HengyuError(f"{path}: not a baseline ({type(e).__name__}: {e}); {remedy}") from None


def _key(row: Mapping[str, Any]) -> Key:
    return Key(*(str(row[word]) for word in Key._fields))


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"a value is {value!r}")
    number = float(value)  # type: ignore[arg-type]
    if not -1.0 <= number <= 1.0:
        raise ValueError(f"a value is {number}")
    return number


def _end(value: object) -> float | None:
    return None if value is None else _number(value)


def _rounded(number: MetricValue) -> MetricValue:
    def short(x: float | None) -> float | None:
        return None if x is None else round(x, _DIGITS) + 0.0

    return MetricValue(short(number.value), short(number.low), short(number.high))


def _ceilings(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {k: round(v, _DIGITS) if k == "ceiling" and v is not None else v for k, v in about.items()}
        for name, about in tasks.items()
    }


def _near(a: MetricValue, b: MetricValue) -> bool:
    ends = [(a.value, b.value), (a.low, b.low), (a.high, b.high)]
    return all(x == y or (x is not None and y is not None and abs(x - y) <= _SAME) for x, y in ends)


def _points(number: MetricValue | None) -> str:
    return "-" if number is None or number.value is None else f"{100 * number.value:.2f}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _pack(row: NDArray[np.float64], value: float | None) -> str:
    """Return replicates as base64 of 16-bit steps from the value; "" where they lie too far off for that."""
    steps = np.rint((row - (value or 0.0)) / _UNIT)
    if np.abs(steps).max(initial=0) > np.iinfo(np.int16).max:
        return ""
    return base64.b64encode(steps.astype("<i2").tobytes()).decode("ascii")


def _unpack(text: str, value: float | None) -> NDArray[np.float64]:
    steps = np.frombuffer(base64.b64decode(text, validate=True), dtype="<i2")
    if len(steps) != DRAWS:
        raise ValueError(f"{len(steps)} replicates where {DRAWS} are kept")
    return (value or 0.0) + _UNIT * steps.astype(np.float64)
