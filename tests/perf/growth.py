"""How the time of a run grows: `python tests/perf/growth.py --out docs/assets` writes growth.json and growth.svg.

Each axis is varied alone, in runs on one thread whose sentences are encoded before: what is timed is evaluation, intervals and
writing, in seconds of the processor, so that other work on the machine counts little. The exponent of an axis is the slope
of log(seconds) against log(size) between its two largest sizes: 1 is linear, and n log n is about 1.07 at 10^6.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SENTENCES = 20_000  # distinct ones of the pairs
SIDE = 2048  # of the square matrices whose product is the machine's peak
LIMIT = 1.15
"""The largest exponent: a straight n log n from 10^5 to 10^6 has 1.08."""

AXES: Mapping[str, Sequence[int]] = {
    "pairs": (1_000, 10_000, 100_000, 1_000_000),
    "entries": (10, 100, 1_000, 10_000),
    "encoders": (1, 4, 16, 64),
    "tasks": (1, 4, 16, 64),
    "labels": (2, 10, 100, 1_000, 10_000),
}
SMALL: Mapping[str, Sequence[int]] = {
    "pairs": (200, 400),
    "entries": (2, 4),
    "encoders": (1, 2),
    "tasks": (1, 2),
    "labels": (2, 4),
}
"""Sizes that a test can run in seconds."""

_CARD = """
name = "t{number}"
labels = {{ scale = [0, 1], kind = "graded" }}
header = false
[splits.test]
file = "{file}"
"""
_SUITE = """
tasks = {tasks}
baselines = []
resamples = {resamples}
entries = {entries}
encoders = {encoders}
"""


def _write(folder: Path, pairs: int, labels: int, tasks: int, sentences: int) -> None:
    """Write cards of random pairs with labels that take so many values, and vectors of the sentences that follow them."""
    rng = np.random.default_rng(0)
    texts = [f"句子{i}" for i in range(sentences)]
    first, second = rng.integers(sentences, size=(2, pairs))
    values = np.linspace(0, 1, labels)[rng.integers(labels, size=pairs)]
    lines = "".join(f"{texts[a]}\t{texts[b]}\t{y!r}\n" for a, b, y in zip(first, second, values.tolist(), strict=True))
    for number in range(tasks):
        (folder / f"t{number}.tsv").write_text(lines, encoding="utf-8")
        (folder / f"t{number}.toml").write_text(_CARD.format(number=number, file=f"t{number}.tsv"), encoding="utf-8")


def _timed(size: Mapping[str, int], resamples: int) -> float:
    """Return the seconds of the processor that one run takes whose sentences are encoded."""
    from hengyu.base.threads import one_thread
    from hengyu.bench.run import run
    from hengyu.storage.vectors import VectorStore
    from hengyu.suites.planning import make_plan
    from hengyu.suites.suite import load_suite

    with tempfile.TemporaryDirectory(prefix="growth-") as place, one_thread():
        root = Path(place)
        (cards := root / "cards").mkdir()
        sentences = min(SENTENCES, 2 * size["pairs"])
        _write(cards, size["pairs"], size["labels"], size["tasks"], sentences)
        rng = np.random.default_rng(1)
        encoders = []
        (root / "texts.txt").write_text("".join(f"句子{i}\n" for i in range(sentences)), encoding="utf-8")
        for number in range(size["encoders"]):
            np.save(root / f"v{number}.npy", rng.normal(size=(sentences, 32)).astype(np.float32))
            encoders.append(
                {"model": str(root / f"v{number}.npy"), "name": f"v{number}", "texts": str(root / "texts.txt")}
            )
        listed = (
            "["
            + ", ".join("{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in e.items()) + "}" for e in encoders)
            + "]"
        )
        entries = ["raw", "whitening", *(f"jl(dim=16, seed={i})" for i in range(size["entries"]))]
        words = {"tasks": json.dumps([f"t{i}:test" for i in range(size["tasks"])]), "resamples": resamples}
        suite = root / "growth.toml"
        suite.write_text(
            _SUITE.format(**words, entries=json.dumps(entries[: size["entries"]]), encoders=listed), encoding="utf-8"
        )
        plan = make_plan(load_suite(suite), datasets=[cards])
        store = VectorStore(root / "store")
        from dataclasses import replace

        fewer = replace(plan, suite=replace(plan.suite, entries=plan.suite.entries[:1], resamples=20))
        run(fewer, reports=root / "before", store=store)  # encodes the sentences, and compiles what is compiled
        started = time.process_time()
        plan = make_plan(load_suite(suite), datasets=[cards])
        outcome = run(plan, reports=root / "reports", store=store)
        seconds = time.process_time() - started
        assert not outcome.failures and outcome.encoded == 0
        return seconds


def _usual(axis: str, value: int) -> dict[str, int]:
    return (
        {"pairs": 1_000, "entries": 4, "encoders": 1, "tasks": 1, "labels": 6}
        | ({"pairs": 20_000} if axis == "labels" else {})
        | {axis: value}
    )


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """Return the slope between the two largest sizes, on logarithmic scales."""
    (a, s), (b, t) = points[-2:]
    return math.log(t / s) / math.log(b / a)


def product(side: int = SIDE, rounds: int = 5) -> float:
    """Return the processor seconds of a product of two square matrices in float32; the best of some."""
    a, b = (np.random.default_rng(i).normal(size=(side, side)).astype(np.float32) for i in (0, 1))
    best = math.inf
    for _ in range(rounds):
        started = time.process_time()
        a @ b
        best = min(best, time.process_time() - started)
    return best


def measure(axes: Mapping[str, Sequence[int]], resamples: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Return the seconds of every size of every axis, their exponents, and what the machine can do."""
    from hengyu.base.environment import processor
    from hengyu.base.memory import status
    from hengyu.base.threads import one_thread

    found: dict[str, Any] = {}
    for axis, sizes in axes.items():
        points = []
        for value in sizes:
            points.append((value, round(_timed(_usual(axis, value), resamples), 3)))
            say(f"{axis} {value:,}: {points[-1][1]:.2f} s")
        found[axis] = {"points": points, "exponent": round(exponent(points), 3)}
        say(f"{axis}: exponent {found[axis]['exponent']:.2f}")
    with one_thread():
        most = 2.0 * SIDE**3 / product()
    return {
        "machine": processor(),
        "threads": 1,
        "peak": {"gflops": round(most / 1e9, 1), "memory": status("VmHWM")},
        "resamples": resamples,
        "axes": found,
    }


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Write the seconds of each axis against its size as a picture, and n log n beside them."""
    import altair as alt
    import pandas as pd

    rows = []
    for axis, one in found["axes"].items():
        a, s = one["points"][0]
        for n, seconds in one["points"]:
            rows.append({"axis": axis, "size": n, "seconds": seconds, "line": "measured"})
            # from the largest point down, so that the line ends where the measurement does
        b, t = one["points"][-1]
        for n in (a, b):
            rows.append(
                {"axis": axis, "size": n, "seconds": t * n * math.log(max(n, 2)) / (b * math.log(b)), "line": "n log n"}
            )
    base = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("size:Q", scale=alt.Scale(type="log"), title=None),
            y=alt.Y("seconds:Q", scale=alt.Scale(type="log"), title="processor seconds"),
            color=alt.Color("line:N", title=None, scale=alt.Scale(range=["#00796b", "#bdbdbd"])),
        )
        .properties(width=190, height=170)
    )
    title = f"one thread, peak {found['peak']['gflops']:g} GFLOP/s in float32; runs whose sentences are encoded"
    base.facet("axis:N", columns=3, title=title).resolve_scale(x="independent", y="independent").save(str(path))


def main(words: Sequence[str] | None = None) -> int:
    """Measure, write both files, and return 1 where an axis grows faster than n log n."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/assets"))
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--small", action="store_true", help="sizes of a test, which say nothing")
    parser.add_argument(
        "--axis",
        action="append",
        choices=list(AXES),
        help="this one alone, the others as they were measured before; repeatable",
    )
    parser.add_argument("--short", action="store_true", help="leave out the largest size of each axis")
    asked = parser.parse_args(words)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    axes = {name: (SMALL if asked.small else AXES)[name] for name in asked.axis or AXES}
    if asked.short:
        axes = {name: sizes[:-1] for name, sizes in axes.items()}
    found = measure(axes, asked.resamples)
    asked.out.mkdir(parents=True, exist_ok=True)
    before = asked.out / "growth.json"
    if asked.axis and before.is_file():
        earlier = json.loads(before.read_text(encoding="utf-8"))
        known = earlier["axes"]
        found["peak"]["memory"] = max(found["peak"]["memory"], earlier["peak"]["memory"])  # over all axes
        found["axes"] = {name: (known | found["axes"])[name] for name in AXES if name in known | found["axes"]}
    (asked.out / "growth.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(found, asked.out / "growth.svg")
    steep = {name: one["exponent"] for name, one in found["axes"].items() if one["exponent"] > LIMIT}
    for name, value in steep.items():
        print(f"{name} grows with exponent {value}, above {LIMIT}")  # noqa: T201
    return int(bool(steep) and not asked.small)


if __name__ == "__main__":
    raise SystemExit(main())
