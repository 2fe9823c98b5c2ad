"""A run as mteb's result files, and mteb's names of our tasks.

Every row of the leaderboard becomes a model: ``<out>/results/<model>/<run>/<task>.json`` with a ``model_meta.json``, as in
mteb's result cache, so that ``mteb.ResultCache(out).load_results()`` reads it.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.base.version import __version__
from hengyu.cards import load_cards
from hengyu.evaluation.run_metrics import headline
from hengyu.report.board.board import parted
from hengyu.storage.records import Record, Run, write_json
from hengyu.tasks.interface.registry import find_task

__all__ = ["NAMES", "OUR_SPLITS", "TASKS", "mteb_task", "our_card", "write_mteb"]

TASKS = {"STS-B": ("STSB", "default"), "STS22-zh": ("STS22.v2", "zh")}
"""Our cards with a different name in mteb: its name, and the subset."""

_SHARED = ("spearman", "pearson", "ndcg@10", "mrr@10", "recall@1", "recall@10", "recall@100", "map@1000")
NAMES = {m: m.replace("@", "_at_") for m in _SHARED} | {
    m: m.replace("-", "_") for m in ("max-ap", "max-f1", "max-accuracy")
}
"""Our metrics that mteb has too, with its names."""

_PAIRED = ("sts", "pair-classification")
OUR_SPLITS = {"validation": "valid", "dev": "valid"}
_THEIR_SPLITS = {"valid": "validation"}
_PREFIX = "mteb-"  # of a card made from mteb's task


def mteb_task(card: str) -> tuple[str, str]:
    """Return mteb's name and subset for a card."""
    return TASKS.get(card, (card.removeprefix(_PREFIX), "default"))


def our_card(task: str) -> str:
    """Return the name of our card for an mteb task."""
    return {theirs: ours for ours, (theirs, _) in TASKS.items()}.get(task, task)


def write_mteb(run: Run, out: Path) -> list[Path]:
    """Write the rows of a run as mteb's result files and return them; raises `HengyuError` for a run without numbers."""
    if sampled := [t["task"] for t in run.header["tasks"] if t.get("of") is not None]:
        raise HengyuError(
            f"run {run.id}: evaluated a sample of {', '.join(sampled)}, and mteb's results are of whole tasks; run the suite "
            "without --budget, --until and --sample"
        )
    baselines = {e["encoder"] for e in run.header["encoders"] if e.get("baseline")}
    revisions = {name: card.hub.revision for name, card in load_cards().items() if card.hub}
    digests = {t["task"]: t["sha256"] for t in run.header["tasks"]}
    main = headline(run)
    # sentences that are queries for each other are not a retrieval task of mteb
    tasks = {t["task"] for t in run.header["tasks"] if run.kind in _PAIRED or t.get("kind") == "retrieval"}
    rows: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in run.records:
        if (
            record.task in tasks
            and record.on_board
            and record.card
            and record.split
            and record.task == f"{record.card}:{record.split}"
        ):
            rows[record.row].append(record)
    written: list[Path] = []
    for row, records in rows.items():
        numbers = [r for r in records if r.value is not None]
        if not any(r.metric == main for r in numbers):
            continue
        model = _model_name(row)
        folder = out / "results" / model.replace("/", "__") / run.id
        for task, parts in _by_task(numbers).items():
            scores = {split: [_scores(found, run.kind, row)] for split, found in sorted(parts.items())}
            first = next(iter(parts.values()))[0]
            content = {
                "dataset_revision": revisions.get(first.card, digests.get(first.task, "")),
                "task_name": task,
                "mteb_version": None,
                "scores": scores,
                "evaluation_time": first.seconds,
                "kg_co2_emissions": None,
            }
            write_json(folder / f"{task}.json", content)
            written.append(folder / f"{task}.json")
        about = {"hengyu": __version__, "run": run.id, "baseline": row[0] in baselines}
        meta = {"name": model, "revision": run.id, "languages": ["cmn-Hans"], "framework": [], "hengyu": about}
        write_json(folder / "model_meta.json", meta | {"row": dict(zip(_ROW, row, strict=True))})
    if not written:
        raise HengyuError(f"run {run.id} has no row with a number on a task of mteb; nothing is written")
    return written


_ROW = ("encoder", "pooling", "entry", "fit_on")


def _model_name(row: tuple[str, ...]) -> str:
    """Return a valid folder name that no other row has."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", ".".join(row)).strip("-.")[:80]
    return f"hengyu/{plain}-{hashlib.sha256(repr(row).encode()).hexdigest()[:8]}"


def _by_task(records: list[Record]) -> dict[str, dict[str, list[Record]]]:
    found: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        task = mteb_task(record.card)[0]
        found[re.sub(r"[^\w.-]+", "-", task)][_THEIR_SPLITS.get(record.split, record.split)].append(record)
    return found


def _scores(records: list[Record], kind: str, row: tuple[str, ...]) -> dict[str, Any]:
    """Return one split's numbers under mteb's names, and all others under ``hengyu``."""
    values: dict[str, Any] = {r.metric: r.value for r in records}
    first = next((r for r in records if r.metric == find_task(kind).main), records[0])
    own: dict[str, Any] = {theirs: values[ours] for ours, theirs in NAMES.items() if ours in values}
    similarity = parted(row[2])[1].partition("(")[0]
    own |= {f"{similarity}_{m}": v for m, v in values.items() if m in ("spearman", "pearson", "ap")}
    about = {"interval": [first.low, first.high], "ceiling": first.ceiling, "n": first.n, "fit_on": row[3]}
    return {
        **own,
        "main_score": values.get(find_task(kind).published_main, first.value),
        "hf_subset": mteb_task(first.card)[1],
        "languages": ["cmn-Hans"],
        "hengyu": about | {m: v for m, v in values.items() if m not in NAMES},
    }
