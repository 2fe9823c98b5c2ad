"""A made-up run with everything a report must show; the tests of board, exports and pages share it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from hengyu.storage import identity
from hengyu.storage.records import Record, Run, Standing, cell_key, save_records, write_json
from hengyu.storage.records.checksums import seal
from hengyu.storage.records.clouds import save_clouds
from hengyu.storage.records.observations import Observation

TASKS = {"ATEC:test": 20000, "BQ:test": 10000, "LCQMC:test": 12500, "PAWSX:test": 2000, "STS-B:test": 1361}
CEILINGS = {"ATEC:test": 0.665, "BQ:test": 0.866, "LCQMC:test": 0.866, "PAWSX:test": 0.862, "STS-B:test": 0.99}
ENCODERS = ("hengyu-mini", "示例编码器-base")
POOLINGS = ("mean", "first-last-mean", "cls")
ENTRIES = ("raw", "center", "abtt(top=1)", "whitening", "whitening(dim=32)", "whitening(dim=64)", "jl(dim=64, seed=7)")
HOSTILE = ("<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "=1+1|`*_\\&%$#{}~^")
_NONE = dict.fromkeys(("value", "low", "high", "delta", "delta_low", "delta_high"))


def make_run(*, hostile: bool = False, sweep: bool = True, path: Path = Path("nowhere")) -> Run:
    """Return a run of 2 encoders x 3 poolings x 7 entries and 3 baselines on 5 tasks, with its holes."""
    first = HOSTILE[0] if hostile else ENCODERS[0]
    encoders = (first, HOSTILE[1] if hostile else ENCODERS[1])
    rows = [
        (e, p, entry, "none" if entry == "raw" or entry[:2] == "jl" else "target")
        for e in encoders
        for p in POOLINGS
        for entry in ENTRIES
    ]
    rows += [(b, "-", "raw", "target" if b == "tfidf" else "none") for b in ("random", "tfidf", "char-mean")]
    if hostile:
        rows.append((encoders[0], "mean", HOSTILE[2], "none"))
    records: list[Record] = []
    for number, row in enumerate(rows):
        records += _row(number, row)
    if sweep:
        for e in encoders:
            for method in ("whitening", "pca"):
                for dim in range(1, 129):
                    row = (e, "mean", f"{method}(dim={dim})", "target")
                    records += [_point(task, row, curve(t, dim, method), dim) for t, task in enumerate(TASKS)]
    return Run(
        path,
        _header(encoders),
        {"python": "3.11.9", "numpy": "2.4.6", "cpu": "一颗处理器", "command": "hengyu run synthetic"},
        tuple(records),
        standings=tuple(_standings(records)),
    )


def _standings(records: list[Record]) -> list[Standing]:
    """Call level with the best what lies within 0.03 of it, and give ranks two places about the row's own."""
    found = []
    for task in (*TASKS, "mean", "w-mean"):
        whole = [r for r in records if r.task == task and r.metric == "spearman" and r.on_board and r.status == "ok"]
        order = sorted(whole, key=lambda r: -r.value)
        for place, r in enumerate(order, 1):
            behind = r.value - order[0].value
            p = math.exp(behind * 100)
            ranks = (max(1, place - 2), min(len(order), place + 2))
            found.append(Standing(task, *r.row, behind, behind - 0.01, min(0.0, behind + 0.01), p, p > 0.05, *ranks))
    return found


def make_search(*, hostile: bool = False, path: Path = Path("nowhere")) -> Run:
    """Return a run of a retrieval suite: four entries, one of which failed, on two tasks and their mean."""
    encoder = HOSTILE[0] if hostile else "hengyu-mini"
    entries = (("flat", "none"), ("hnsw", "none"), ("whitening(dim=64) > lsh(bits=256)", "target"), ("ivfpq", "target"))
    records = []
    for t, task in enumerate(("BQ:test", "STS-B:test", "mean")):
        for e, (entry, fit_on) in enumerate(entries):
            row = (encoder, "mean", entry, fit_on)
            ndcg = replace(_record(task, row, "ndcg@10", 0.5 - 0.04 * e + 0.02 * t, 64), n=900, ceiling=None)
            if entry == "flat":
                ndcg = replace(ndcg, delta=None, delta_low=None, delta_high=None)
            if entry == "ivfpq":
                records.append(replace(ndcg, **_NONE, status="failed", reason="fewer rows than centroids"))
                continue
            exact = replace(
                ndcg, metric="exact-recall@10", value=1.0 - 0.25 * e, delta=None, delta_low=None, delta_high=None
            )
            records += [ndcg, replace(exact, low=exact.value - 0.01, high=min(1.0, exact.value + 0.01))]
            costs = {"qps": 2000.0 * (1 + e), "bytes-per-vector": 256.0 / (1 + e)}
            records += [replace(exact, metric=m, value=v, low=None, high=None, interval="") for m, v in costs.items()]
    header = _header((encoder, ENCODERS[1]))
    tasks = [
        t | {"corpus": 1500, "queries": 900, "relevant": 950}
        for t in header["tasks"]
        if t["task"] in ("BQ:test", "STS-B:test")
    ]
    suite = header["suite"] | {"kind": "retrieval", "relevant": 4, "title": "Search, 检索"}
    header |= {"run": "search-0a1b2c3d", "suite": suite, "tasks": tasks, "fits": [], "warnings": []}
    return Run(path, header, {"python": "3.11.9", "command": "hengyu run search"}, tuple(records))


def make_large(rows: int) -> Run:
    """Return a run of so many rows on six tasks with all metrics, for what takes time."""
    tasks = [f"T{t}:test" for t in range(6)]
    records = []
    for number in range(rows):
        row = (
            f"encoder-{number % 50}",
            POOLINGS[number % 3],
            f"whitening(dim={number % 9 + 1}, gamma=0.{number})",
            "target",
        )
        for t, task in enumerate((*tasks, "mean", "w-mean")):
            value = 0.4 + 0.3 * math.sin(number * 1.7 + t)
            cell = _record(task, row, "spearman", value, number % 9 + 1)
            if "mean" in task:
                cell = replace(cell, card="", split="")
            records.append(cell)
            if "mean" not in task:
                names = ("pearson", "auc", "ap", "f1", "accuracy", "ceiling-share")
                records += [replace(cell, metric=m, value=value / 2 + 0.1 * k) for k, m in enumerate(names)]
    header = _header(("encoder-0", "encoder-1"))
    header["tasks"] = [{**header["tasks"][0], "task": t, "card": t.split(":")[0]} for t in tasks]
    return Run(Path("nowhere"), {**header, "run": "large"}, {}, tuple(records))


def write_run(run: Run, root: Path) -> Path:
    """Write a run as ``root/records/<id>`` and return the folder."""
    folder = root / "records" / run.id
    write_json(folder / "run.json", run.header)
    write_json(folder / "environment.json", run.environment)
    seconds = {cell_key(r.task, r.row): r.seconds for r in run.records if r.seconds is not None}
    write_json(folder / "timings.json", {"seconds": {**seconds, identity.cell("encode", "hengyu-mini"): 12.5}})
    save_records(folder, run.records, run.differences, run.standings)
    save_clouds(folder, looked_at(run), 42)
    seal(folder)
    return folder


def looked_at(run: Run) -> list[Observation]:
    """Make up clouds for the models' rows: raw in a narrow cone, abtt of one task not to be described, the others wide."""
    found = []
    for r in run.records:
        if (
            r.metric not in ("spearman", "ndcg@10")
            or r.status != "ok"
            or not (r.on_board and r.card)
            or r.pooling == "-"
        ):
            continue
        raw, dim = r.entry == "raw", r.dim or 1
        middle, width = (10, 3) if raw else (45, 8)  # bins
        shares = [math.exp(-0.5 * ((i - 2 * width) / width) ** 2) for i in range(4 * width + 1)]
        cloud = {
            **{"n": 1000, "dim": dim, "mean_norm": 0.75 if raw else 0.015625, "anisotropy": 0.5625 if raw else 0.0},
            **{"effective_rank": dim / 4 if raw else float(dim), "concentration": 100.0 if raw else 2.0},
            **{
                "uniformity": -1.25 if raw else -3.75,
                "alignment": 0.125 if raw else 0.875,
                "hubness": 2.5 if raw else 0.25,
            },
            "spectrum": [min(1.0, 0.25 * 2**p) for p in range(dim.bit_length())],
            "angles_from": middle - 2 * width,
            "angles": [round(s / sum(shares), 5) for s in shares],
            **{"angle_mean": 2.0 * middle + 1, "angle_sd": 2.0 * width},
        }
        if r.entry.startswith("abtt") and r.task == "STS-B:test":
            cloud = {"dim": dim, "problem": "1 vectors are not zero; a cloud needs at least 2"}
        about = dict(
            zip(("task", "encoder", "pooling", "fit_on"), (r.task, r.encoder, r.pooling, r.fit_on), strict=True)
        )
        found.append(Observation(about, (r.entry,), clouds={r.entry: cloud}))
    return found


def curve(task: int, dim: int, method: str) -> float:
    """Return the score of a method at a dimension: whitening rises and falls, PCA rises."""
    rise = 0.2 * (1 - math.exp(-dim / 24))
    return 0.45 + 0.02 * task + (rise - dim / 4000 if method == "whitening" else 0.8 * rise)


def _point(task: str, row: tuple[str, str, str, str], value: float, dim: int) -> Record:
    point = _record(task, row, "spearman", value, dim)
    return replace(point, sweep=True, interval="delta", delta=None, delta_low=None, delta_high=None, seconds=None)


def _row(number: int, row: tuple[str, str, str, str]) -> list[Record]:
    encoder, pooling, entry, _ = row
    out: list[Record] = []
    values: list[float | None] = []
    width = 128 if encoder == "hengyu-mini" or encoder.startswith("<") else 768
    dim = next((d for d in (32, 64) if f"dim={d}" in entry), width)
    for t, task in enumerate(TASKS):
        status, reason = "ok", ""
        if (pooling, entry) == ("cls", "abtt(top=1)"):
            status, reason = (
                [
                    ("failed", "the covariance is singular; fit on more sentences"),
                    ("degenerate", "the scores are all the same"),
                ][t % 2]
                if t < 2
                else ("ok", "")
            )
        if (pooling, entry) == ("cls", "raw") and encoder == "示例编码器-base":
            status, reason = "unavailable", "this encoder has no CLS token"
        if (pooling, entry, task) == ("first-last-mean", "center", "STS-B:test"):
            values.append(None)  # never weighed
            continue
        value = 0.31 + 0.07 * t + 0.0431 * (number * 7 % 8) - 0.013 * (number % 5) + (0.0001 * number)
        if pooling == "mean" and entry.startswith("whitening"):
            value = curve(t, dim, "whitening")
        if encoder == "random":
            value = 0.012 - 0.01 * t
        if status != "ok":
            metrics = ("spearman", "pearson") + (("auc",) if t < 4 else ())
            out += [
                replace(_record(task, row, m, value, dim), **_NONE, status=status, reason=reason, interval="")
                for m in metrics
            ]
            values.append(None)
            continue
        values.append(value)
        cell = _record(task, row, "spearman", value, dim)
        share = replace(
            cell, metric="ceiling-share", value=value / CEILINGS[task], ceiling=None, low=None, high=None, interval=""
        )
        out += [
            cell,
            replace(share, delta=None, delta_low=None, delta_high=None),
            _record(task, row, "pearson", value - 0.01, dim),
        ]
        if t < 4:
            out.append(_record(task, row, "auc", min(0.5 + value / 2, 1.0), dim))
    for kind in ("mean", "w-mean"):
        whole = [v for v in values if v is not None]
        weights = [1 if kind == "mean" else n for n in TASKS.values()]
        mean = replace(_record(kind, row, "spearman", 0.0, dim), n=sum(TASKS.values()), card="", split="", ceiling=None)
        if len(whole) < len(TASKS):
            out.append(replace(mean, **_NONE, status="incomplete", reason="no number for a task", interval=""))
        else:
            value = sum(w * v for w, v in zip(weights, whole, strict=True)) / sum(weights)
            out.append(replace(mean, value=value, low=value - 0.008, high=value + 0.008))
    return out


def _record(task: str, row: tuple[str, str, str, str], metric: str, value: float, dim: int) -> Record:
    encoder, pooling, entry, fit_on = row
    change = None if entry == "raw" else round(0.021 - (len(entry) % 4) * 0.012, 4)
    given: dict[str, Any] = {"delta": change}
    if change is not None:
        given |= {"delta_low": change - 0.008, "delta_high": change + 0.008}
    card, _, split = task.rpartition(":")
    return Record(
        suite="synthetic",
        task=task,
        card=card,
        split=split,
        encoder=encoder,
        pooling=pooling,
        entry=entry,
        dim=dim,
        metric=metric,
        value=value,
        low=value - 0.011,
        high=value + 0.011,
        interval="bootstrap",
        n=TASKS.get(task, 0),
        ceiling=CEILINGS.get(task) if metric == "spearman" else None,
        fit_on=fit_on,
        seed=42,
        status="ok",
        reason="",
        seconds=0.25 if metric == "spearman" else None,
        **{"delta_low": None, "delta_high": None, **given},
    )


def _header(encoders: tuple[str, str]) -> dict[str, Any]:
    tasks = [
        {
            "task": t,
            "card": t.split(":")[0],
            "split": "test",
            "n": n,
            "distinct": 2 * n - 7,
            "labels": "graded" if t[0] == "S" else "binary",
            "scale": [0, 5] if t[0] == "S" else [0, 1],
            "positive_rate": None if t[0] == "S" else 0.5,
            "ceiling": CEILINGS[t],
            "sha256": "ab" * 32,
            "card_sha256": "cd" * 32,
            "licence": "未声明 (not stated)",
            "citation": "Liu et al., 2018",
            "dropped": 0,
        }
        for t, n in TASKS.items()
    ]
    models = [
        {
            "encoder": e,
            "kind": "model",
            "baseline": False,
            "fingerprint": "0123456789abcdef" * 4,
            "tokens": "fe" * 16,
            "dim": 128,
            "max_length": 64,
            "dtype": "float32",
            "revision": "main",
            "coverage": {t: {"unk": 0.0123, "truncated": 0.0} for t in TASKS},
        }
        for e in encoders
    ]
    models += [{"encoder": b, "kind": "lexical", "baseline": True} for b in ("random", "tfidf", "char-mean")]
    fits = [
        {
            "task": t,
            "encoder": e,
            "pooling": "mean",
            "entry": "whitening",
            "fit_on": "target",
            "n": 39000,
            "effective_rank": 41.25,
            "rank": 128,
            "dim": 128,
            "condition": 81234.5,
        }
        for t in TASKS
        for e in encoders
    ]
    suite = {
        "name": "synthetic",
        "title": "Five tasks, 五个任务",
        "description": "Made-up numbers for tests; 并非真实结果。",
        "seed": 42,
        "resamples": 1000,
        "level": 0.95,
        "aggregate": "",
    }
    return {
        "schema": 1,
        "run": "synthetic-0a1b2c3d",
        "hengyu": "0.1.0",
        "suite": suite,
        "tasks": tasks,
        "encoders": models,
        "fits": fits,
        "warnings": [f"{encoders[0]} on BQ:test: 1.2% of the tokens are [UNK]"],
    }
