"""mteb's results as rows of a board: numbers that others measured, beside ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import Struct

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError, Problems
from hengyu.base.json_files import find_json
from hengyu.evaluation.run_metrics import METRIC, headline
from hengyu.report.exports.mteb import NAMES, OUR_SPLITS, TASKS, our_card
from hengyu.storage.identity import digest
from hengyu.storage.records import Record, Run, save_records, write_bytes, write_json
from hengyu.storage.records.checksums import break_seal, seal
from hengyu.tasks.interface.registry import find_task
from hengyu.tasks.search.ranking import MAIN

__all__ = ["Reference", "read_results", "with_references"]

_LONGEST_NAME = 300  # characters of a model's name
_SCORES = ("cosine_spearman", "spearman", "main_score")
_PEARSON = ("cosine_pearson", "pearson")
_COPIED = ("environment.json", "sources.json", "timings.json", "clouds.json")
_DIGITS = 16  # of the digest that end a run's id


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
    content: str = ""  # sha256 of everything in the result file and in the model_meta.json beside it

    @property
    def numbers(self) -> tuple[str, float, float | None]:
        """The metric and its numbers."""
        return (self.metric, self.value, self.pearson)


def read_results(folder: Path) -> list[Reference]:
    """Read every result file of STS and retrieval tasks below a folder; raises one `HengyuError` for all that are damaged.

    Result files of other kinds of tasks, which hold neither Spearman nor nDCG@10, are passed over. Two files that give one
    model different numbers for one task are refused: nothing says which of them holds.
    """
    found: dict[tuple[str, str, str], Reference] = {}
    problems = Problems()
    files = sorted(p for p in folder.rglob("*.json") if p.name != "model_meta.json")
    for path in files:
        try:
            content = _parse(path)
            if not (isinstance(content, dict) and "task_name" in content and isinstance(content.get("scores"), dict)):
                continue
            for r in _references(path, content):
                known = found.setdefault((r.model, r.revision, r.task), r)
                if known.numbers != r.numbers:
                    raise ValueError(
                        f"{r.task} of {r.model} is {r.value:g} here and {known.value:g} in {known.path}, or their Pearson "
                        "values differ; keep one of them"
                    )
        except (OSError, ValueError) as e:
            what = (
                str(e)
                if isinstance(e, _Wrong)
                else f"{path}: is no result file of mteb ({e}); get it again or move it away"
            )
            problems.add(what)
    problems.finish()
    if not found:
        raise HengyuError(
            f"{folder}: holds no result of an STS or retrieval task of mteb; give the folder that mteb wrote"
        )
    return list(found.values())


class _Imported(Struct):
    """What run.json of an import says of itself."""

    content: str = ""


class _Wrong(ValueError):
    """A mistake in a file beside the result file, as a whole sentence."""


def _parse(path: Path) -> Any:
    """Parse JSON; raises ValueError where a key occurs twice in an object or objects are nested too deep.

    NaN passes: mteb writes it for measures that we do not read.
    """
    try:
        return json.loads(read_bytes(path), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key '{key}' occurs twice in one object")
        found[key] = value
    return found


def _references(path: Path, content: dict[str, Any]) -> Iterator[Reference]:
    model, revision, meta = _model(path)
    name = _text(content["task_name"], "task_name")
    card = our_card(name)
    subset = TASKS.get(card, (name, "default"))[1]
    whole = _digest({"result": content, "meta": meta})
    for split, parts in content["scores"].items():
        for key, part in _chosen(split, parts, subset):
            searched = key == NAMES[MAIN]
            value = _number(part[key], f"{key} of {split}", 0.0 if searched else -1.0)
            own = next((k for k in _PEARSON if part.get(k) is not None), "")
            pearson = _number(part[own], f"{own} of {split}", -1.0) if own and not searched else None
            task = f"{card}:{split if searched else OUR_SPLITS.get(split, split)}"
            yield Reference(model, revision, task, value, pearson, path, MAIN if searched else METRIC, whole)


def _chosen(split: str, parts: Any, subset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the part of a split that is the wanted subset, and the key of its score; raises ValueError for two of them."""
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError(f"scores of {split} must be a list of objects")
    found = 0
    for part in parts:
        of = part.get("hf_subset")
        if of is not None and _text(of, f"hf_subset of {split}") != subset:
            continue
        key = next((k for k in (NAMES[MAIN], *_SCORES) if k in part), "")
        if of is None or not key or (key == "main_score" and "cos_sim" not in part):
            continue
        found += 1
        if found > 1:
            raise ValueError(f"subset '{subset}' occurs twice in the scores of {split}, keep one of them")
        yield key, part


def _number(value: Any, what: str, least: float) -> float:
    """Return a score; raises ValueError for what is no number, not finite, or out of range."""
    if type(value) not in (int, float):
        raise ValueError(f"{what} is {json.dumps(value)[:40]}, not a number")
    if not least <= value <= 1:  # NaN is not either
        raise ValueError(
            f"{what} is {str(value)[:40] if isinstance(value, float) else _short(value)}, not within {least:g}..1"
        )
    return float(value)


def _short(value: int) -> str:
    """Return a whole number, of a large one its size: Python refuses to print thousands of digits."""
    return str(value) if abs(value) < 10**40 else f"a whole number of {value.bit_length()} bits"


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is {json.dumps(value)[:40]}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half of a character (a lone surrogate)") from None
    return value


def _model(path: Path) -> tuple[str, str, Any]:
    """Return a result's model and revision: of model_meta.json beside it, else of the folders it stands in; and that file."""
    beside = path.parent / "model_meta.json"
    try:
        meta = _parse(beside)
        if not isinstance(meta, dict) or meta.get("name") is None:
            raise FileNotFoundError
        name, revision = _text(meta["name"], "name"), _text(meta.get("revision") or "", "revision")
        if not name.strip() or len(name) > _LONGEST_NAME:
            raise ValueError(f"the name has {len(name)} characters, not 1 to {_LONGEST_NAME}")
        return name, revision, meta
    except FileNotFoundError:
        return path.parent.parent.name.replace("__", "/"), path.parent.name, None
    except (OSError, ValueError) as e:
        raise _Wrong(f"{beside}: cannot be read ({e}); get it again or move it away") from None


def _digest(content: dict[str, Any]) -> str:
    """Return the sha256 of a document in which NaN may stand where nothing of ours is read."""
    try:
        return digest(content)
    except ValueError:
        return digest({"text": json.dumps(content, sort_keys=True)})


def with_references(run: Run, references: Iterable[Reference], reports: Path) -> tuple[Path, int]:
    """Write a run that also has the references as rows, and return its folder and how many numbers it took.

    A reference counts where the run has its task. It has no interval and no difference: only its number is known. Its mean
    over tasks is there when it has all of them. The folder's name ends in a digest of the run and of all that is laid
    beside it, so that another import never overwrites it. Raises `HengyuError` when the run has none of the tasks, or one
    model has two numbers for one of them.
    """
    tasks = {str(t["task"]): t for t in run.header["tasks"]}
    if sampled := [name for name, about in tasks.items() if about.get("of") is not None]:
        raise HengyuError(
            f"run {run.id}: evaluated a sample of {', '.join(sampled)}, and mteb's results are of whole tasks; run the suite whole"
        )
    names = {e["encoder"] for e in run.header["encoders"]}
    main = headline(run)
    by_model: dict[tuple[str, str], dict[str, Reference]] = {}
    for r in references:
        if r.task not in tasks or r.metric != main:
            continue
        known = by_model.setdefault((r.model, r.revision), {}).setdefault(r.task, r)
        if known.numbers != r.numbers:
            raise HengyuError(
                f"{r.path}: {r.task} of {r.model} is {r.value:g}, and {known.value:g} in {known.path}; keep one of them"
            )
    if not by_model:
        raise HengyuError(f"run {run.id} has none of the tasks of these results; its tasks are {', '.join(tasks)}")
    records = list(run.records)
    encoders = list(run.header["encoders"])
    taken: list[dict[str, Any]] = []
    several = [model for model, _ in by_model]
    for (model, revision), found in sorted(by_model.items()):
        name = f"{model} @ {revision} (mteb)" if several.count(model) > 1 else f"{model} (mteb)"
        while name in names:
            name += "'"
        names.add(name)
        records += _records(run, name, list(found.values()), tasks)
        encoders.append({"encoder": name, "kind": "reference", "baseline": False, "revision": revision})
        taken += [{"encoder": name, **asdict(r), "path": r.path.name} for _, r in sorted(found.items())]
    header = {**run.header, "encoders": encoders, "references": taken}
    if run.unverified:
        header["unverified"] = f"the run {run.id}, which these results were added to, could not be verified"
    copied = {name: read_bytes(run.path / name) for name in _COPIED if (run.path / name).is_file()}
    content = digest(
        {
            "header": header,
            "records": [_plain(r) for r in records],
            "differences": [asdict(d) for d in run.differences],
            "clouds": hashlib.sha256(copied.get("clouds.json", b"")).hexdigest(),
        }
    )
    own = f"{run.id}-mteb-{content[:_DIGITS]}"
    folder = reports / "records" / own
    _refuse_other(folder, content)
    break_seal(folder)
    for name, whole in copied.items():
        write_bytes(folder / name, whole)
    save_records(folder, records, run.differences)
    write_json(folder / "run.json", {**header, "run": own, "content": content})
    seal(folder)
    return folder, sum(map(len, by_model.values()))


def _plain(record: Record) -> dict[str, Any]:
    return {k: v for k, v in asdict(record).items() if k != "seconds"}


def _refuse_other(folder: Path, content: str) -> None:
    """Raise `HengyuError` for a folder of that name that holds something else."""
    path = folder / "run.json"
    known = find_json(path, _Imported)
    if known is not None and known.content != content:  # else nothing whole is there
        raise HengyuError(
            f"{path}: is of another import that has the same name; move the folder away, or give another --out"
        )


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
        entry=find_task(run.kind).reference,  # mteb searches exactly
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
    means = dict.fromkeys(r.task for r in run.records if r.metric == main and r.on_board and not r.card)
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
