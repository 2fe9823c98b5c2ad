"""mteb's results as rows of a board: numbers that others measured, beside ours."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import parse
from hengyu.evaluation.run_metrics import METRIC, headline
from hengyu.report.exports.mteb import NAMES, OUR_SPLITS, TASKS, our_card
from hengyu.storage.records import Record, Run, save_records, write_bytes, write_json
from hengyu.tasks.ranking import MAIN

__all__ = ["Reference", "read_results", "with_references"]

_LONGEST_NAME = 300  # characters of a model's name
_SCORES = ("cosine_spearman", "spearman", "main_score")


@dataclass(frozen=True)
class Reference:
    """One Spearman (nDCG@10 of a retrieval task) of one model, as an mteb result file has it."""

    model: str
    revision: str
    task: str  # ours: "STS-B:test"
    value: float
    pearson: float | None
    path: Path
    metric: str = METRIC


def read_results(folder: Path) -> list[Reference]:
    """Read every result file of STS and retrieval tasks below a folder; raises one `HengyuError` for all that are damaged.

    Result files of other kinds of tasks, which hold neither Spearman nor nDCG@10, are passed over.
    """
    found: list[Reference] = []
    problems: list[str] = []
    files = sorted(p for p in folder.rglob("*.json") if p.name != "model_meta.json")
    for path in files:
        try:
            # of the numbers that are not finite only those count that a board would show
            content = parse(read_bytes(path), finite=False)
            if isinstance(content, dict) and "task_name" in content and isinstance(content.get("scores"), dict):
                found += _references(path, content)
        except OSError as e:
            problems.append(f"{path}: cannot be read ({e.strerror or e}); get it again or move it away")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as e:
            reason = e if type(e) is ValueError else f"{type(e).__name__}: {e}"
            problems.append(f"{path}: is no result file of mteb ({reason}); get it again or move it away")
    if problems:
        raise HengyuError(*problems)
    if not found:
        raise HengyuError(
            f"{folder}: holds no result of an STS or retrieval task of mteb; give the folder that mteb wrote"
        )
    return found


def _references(path: Path, content: dict[str, Any]) -> Iterable[Reference]:
    model, revision = _model(path)
    name = content["task_name"]
    if not isinstance(name, str):
        raise ValueError("task_name must be text")
    card = our_card(name)
    subset = TASKS.get(card, (name, "default"))[1]
    for split, parts in content["scores"].items():
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise ValueError(f"scores.{split} must be a list of objects")
        for part in parts:
            key = next((k for k in (NAMES[MAIN], *_SCORES) if k in part), "")
            if part.get("hf_subset") != subset or not key or (key == "main_score" and "cos_sim" not in part):
                continue
            value = float(part[key])
            if not (math.isfinite(value) and -1 <= value <= 1):
                raise ValueError(f"{key} of {split} is {value}, not within -1..1")
            pearson = part.get("cosine_pearson", part.get("pearson"))
            searched = key == NAMES[MAIN]
            task = f"{card}:{split if searched else OUR_SPLITS.get(split, split)}"
            extra = float(pearson) if pearson is not None and not searched else None
            if extra is not None and not math.isfinite(extra):
                raise ValueError(f"the Pearson correlation of {split} is {extra}")
            yield Reference(model, revision, task, value, extra, path, MAIN if searched else METRIC)


def _model(path: Path) -> tuple[str, str]:
    """Return a result's model and revision: of model_meta.json beside it, else of the folders it stands in."""
    beside = path.parent / "model_meta.json"
    try:
        meta = parse(read_bytes(beside), finite=False)
    except FileNotFoundError:
        return path.parent.parent.name.replace("__", "/"), path.parent.name
    except (OSError, ValueError) as e:
        raise ValueError(f"{beside.name} beside it: {getattr(e, 'strerror', None) or e}") from None
    name = meta.get("name") if isinstance(meta, dict) else None
    revision = meta.get("revision") or "" if isinstance(meta, dict) else ""
    if not isinstance(name, str) or not name.strip() or not isinstance(revision, str):
        raise ValueError(f"{beside.name} beside it: name and revision must be text")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"{beside.name} beside it: the name has {len(name)} characters, more than {_LONGEST_NAME}")
    return name, revision


def with_references(run: Run, references: Iterable[Reference], reports: Path) -> tuple[Path, int]:
    """Write a run that also has the references as rows, and return its folder and how many numbers it took.

    A reference counts where the run has its task. It has no interval and no difference: only its number is known. Its mean
    over tasks is there when it has all of them.
    """
    tasks = {str(t["task"]): t for t in run.header["tasks"]}
    names = {e["encoder"] for e in run.header["encoders"]}
    main = headline(run)
    taken = list({(r.model, r.task): r for r in references if r.task in tasks and r.metric == main}.values())
    if not taken:
        raise HengyuError(f"run {run.id} has none of the tasks of these results; its tasks are {', '.join(tasks)}")
    by_model: dict[str, list[Reference]] = {}
    for r in taken:
        by_model.setdefault(r.model, []).append(r)
    records = list(run.records)
    encoders = list(run.header["encoders"])
    for model, found in sorted(by_model.items()):
        name = f"{model} (mteb)"
        while name in names:
            name += "'"
        names.add(name)
        records += _records(run, name, found, tasks)
        encoders.append({"encoder": name, "kind": "reference", "baseline": False, "revision": found[0].revision})
    content = sorted((r.model, r.revision, r.task, r.value) for r in taken)
    own = f"{run.id}-mteb-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]}"
    folder = reports / "records" / own
    save_records(folder, records, run.differences)
    for name in ("environment.json", "sources.json", "timings.json"):
        if (run.path / name).is_file():
            write_bytes(folder / name, read_bytes(run.path / name))
    write_json(folder / "run.json", {**run.header, "run": own, "encoders": encoders})
    return folder, len(taken)


def _records(run: Run, name: str, found: list[Reference], tasks: dict[str, Any]) -> list[Record]:
    values = {r.task: r.value for r in found}
    main = headline(run)
    blank = Record(
        suite=str(run.header["suite"]["name"]),
        task="",
        card="",
        split="",
        encoder=name,
        pooling="native",
        entry="raw" if main == METRIC else "flat",  # mteb searches exactly
        dim=None,
        metric=main,
        value=None,
        low=None,
        high=None,
        interval="",
        n=0,
        ceiling=None,
        delta=None,
        delta_low=None,
        delta_high=None,
        fit_on="none",
        seed=int(run.header["suite"]["seed"]),
        status="ok",
        reason="",
    )
    out: list[Record] = []
    for r in found:
        card, _, split = r.task.partition(":")
        about = tasks[r.task]
        one = replace(blank, task=r.task, card=card, split=split, n=int(about.get("queries", about["n"])))
        out.append(replace(one, value=r.value, ceiling=about["ceiling"]))
        if about["ceiling"] is not None:
            out.append(replace(one, metric="ceiling-share", value=r.value / about["ceiling"]))
        if r.pearson is not None:
            out.append(replace(one, metric="pearson", value=r.pearson))
    sizes = {task: int(about.get("queries", about["n"])) for task, about in tasks.items()}
    holes = [task for task in tasks if task not in values]
    means = ("mean", "w-mean") if main == METRIC else ("mean",) if len(tasks) > 1 else ()
    for kind in means:
        mean = replace(blank, task=kind, n=sum(sizes.values()))
        if holes:
            out.append(
                replace(mean, status="incomplete", reason=f"mteb's results have no number for {', '.join(holes)}")
            )
            continue
        weights = {t: sizes[t] if kind == "w-mean" else 1 for t in tasks}
        out.append(replace(mean, value=sum(weights[t] * values[t] for t in tasks) / sum(weights.values())))
    return out
