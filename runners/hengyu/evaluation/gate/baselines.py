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

from hengyu.base.bounded import read_bytes, user_path
from hengyu.base.errors import HengyuError, Problems
from hengyu.base.json_files import check, read_json
from hengyu.base.paths import reports_dir, share
from hengyu.evaluation.paired import BLOCKS, DRAWS, keep_blocks
from hengyu.evaluation.run_metrics import Key, MetricValue, RunMetrics, scores_of
from hengyu.storage.identity import digest
from hengyu.storage.records import Run, find_run, load_run, write_bytes
from hengyu.storage.records.schemas import Baseline, BaselineCell

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

SCHEMA = 2  # of what is written; 1, with bootstrap replicates in place of block means, is read as well
_DIGITS = 6
_SAME = 5e-5  # half of the last digit that boards print: less is how machines differ, and no reason to touch a line
_UNIT = 2e-5  # of a kept replicate, which is stored as its distance from the value
_READ = (1, SCHEMA)
_MARKS = ("<<<<<<< ", ">>>>>>> ", "||||||| ")
_BETWEEN = "======="
_ROWS = {"tasks": ("task",), "encoders": ("encoder",), **dict.fromkeys(("cells", "blocks", "draws"), Key._fields)}
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

    Raises `HengyuError` for a run without a number: nothing can be compared with it.
    """
    scores = scores_of(run, metrics)
    blocks, about, notes = keep_blocks(scores)
    cells = {k: _rounded(v) for k, v in scores.cells.items() if v.value is not None}
    if not cells:
        raise HengyuError(f"{run.path}: has no number a baseline could keep; run the suite again")
    left = len(scores.cells) - len(cells)
    if left:
        notes.append(f"{left} cells without a number are left out")
    tasks = {name: {**of, **about.get(name, {"blocks": ""})} for name, of in scores.tasks.items()}
    kept = {k: _unpack(_pack(row, cells[k].value), cells[k].value) for k, row in blocks.items() if k in cells}
    return replace(scores, tasks=_ceilings(tasks), cells=cells, blocks=kept, folder=None), notes


def settle(old: RunMetrics, new: RunMetrics) -> RunMetrics:
    """Return the new numbers, but the old line of every cell that moved by less than boards print."""
    cells, blocks = dict(new.cells), dict(new.blocks)
    for key, now in new.cells.items():
        was = old.cells.get(key)
        same = old.tasks.get(key.task) == new.tasks[key.task] and (key in old.blocks) == (key in blocks)
        if was is not None and same and old.seed == new.seed and _near(was, now):
            cells[key] = was
            if key in blocks:
                blocks[key] = old.blocks[key]
    return replace(new, cells=cells, blocks=blocks)


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
    blocks = [{**k._asdict(), "blocks": _pack(v, scores.cells[k].value)} for k, v in sorted(scores.blocks.items())]
    lists = {
        "tasks": [dict(scores.tasks[t]) for t in sorted(scores.tasks)],
        "encoders": [dict(scores.encoders[e]) for e in sorted(scores.encoders)],
        "cells": cells,
        "blocks": blocks,
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
    lines = _refuse_merge_conflict(path)
    content = read_json(path, dict[str, Any], f"check the path and its permissions, or {remedy}", _READ)
    found = check(content, Baseline, path, remedy)
    _refuse_repeats(path, content, lines)
    # files of before there were digests have none; a digest under a changed name is refused as an unknown key
    if (sealed := content.pop("sha256", None)) not in (None, digest(content)):
        raise HengyuError(
            f"{path}: has changed since it was written (sha256 {sealed[:12]}...); take it back, or {remedy}"
        )
    cells = {_key(c): MetricValue(c.value, c.low, c.high) for c in found.cells}
    values = {k: v.value for k, v in cells.items()}
    try:
        blocks = {_key(b): _unpack(b.blocks, values[_key(b)]) for b in found.blocks}
        draws = {_key(d): _unpack_draws(d.draws, values[_key(d)]) for d in found.draws}
    except KeyError as e:
        raise HengyuError(f"{path}: not a baseline (it has blocks of {e.args[0]}, and no value); {remedy}") from None
    except ValueError as e:
        raise HengyuError(f"{path}: not a baseline ({e}); {remedy}") from None
    return RunMetrics(
        source=str(path),
        **{word: getattr(found, word) for word in _FIELDS},
        tasks={t["task"]: t for t in content["tasks"]},
        encoders={e["encoder"]: e for e in content["encoders"]},
        cells=cells,
        blocks=blocks,
        draws=draws,
    )


def _refuse_merge_conflict(path: Path) -> list[str]:
    """Return the lines of a file; raise `HengyuError` where Git left the marks of a merge conflict in it."""
    try:
        lines = read_bytes(path).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []  # `read_json` says what is wrong
    marked = [n for n, line in enumerate(lines, 1) if line.startswith(_MARKS) or line.rstrip("\r") == _BETWEEN]
    if any(lines[n - 1].startswith(_MARKS) for n in marked):
        where = ", ".join(map(str, marked[:6])) + (", ..." if len(marked) > 6 else "")
        raise HengyuError(
            f"{path}: has merge conflict markers (line {where}); take one side whole ('git checkout --ours' or '--theirs'), "
            "or make it again with 'hengyu baseline'"
        )
    return lines


def _refuse_repeats(path: Path, content: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Raise `HengyuError` for a task, an encoder or a cell that stands twice, as after a merge that kept both lines."""
    problems = Problems()
    for name, words in _ROWS.items():
        seen: set[tuple[str, ...]] = set()
        for row in content.get(name, ()):
            place = tuple(row[word] for word in words)
            if place in seen:
                at = [n for n, line in enumerate(lines, 1) if _same_row(line, place, words, name)]
                where = f" (lines {', '.join(map(str, at))})" if len(at) > 1 else ""
                problems.add(
                    f"{path}: '{name}' holds {' | '.join(place)} twice{where}; keep one of them, or make the baseline again "
                    "with 'hengyu baseline'"
                )
            seen.add(place)
    problems.finish()


def _same_row(line: str, place: tuple[str, ...], words: Sequence[str], name: str) -> bool:
    try:
        row = json.loads(line.strip().rstrip(","))
    except ValueError:
        return False
    if not isinstance(row, dict) or tuple(row.get(word) for word in words) != place:
        return False
    return {"cells": "value"}.get(name, name if name in ("blocks", "draws") else words[0]) in row


def _key(row: BaselineCell) -> Key:
    return Key(*(getattr(row, word) for word in Key._fields))


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
    """Return block means as base64 of their distances from the value, in half precision."""
    return base64.b64encode((row - (value or 0.0)).astype("<f2").tobytes()).decode("ascii")


def _unpack(text: str, value: float | None) -> NDArray[np.float64]:
    steps = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(np.float64)
    if not 0 < len(steps) <= BLOCKS or not np.isfinite(steps).all():
        raise ValueError(f"{len(steps)} block means, or one that is no number, where at most {BLOCKS} are kept")
    return (value or 0.0) + steps


def _unpack_draws(text: str, value: float | None) -> NDArray[np.float64]:
    steps = np.frombuffer(base64.b64decode(text, validate=True), dtype="<i2")
    if len(steps) != DRAWS:
        raise ValueError(f"{len(steps)} replicates where {DRAWS} are kept")
    return (value or 0.0) + _UNIT * steps.astype(np.float64)
