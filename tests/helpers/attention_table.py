"""Pretrain small encoders with and without attention, evaluate them and print the tables of docs/findings/attention.md.

`make attention CORPUS=FILE DATA=DIR MODELS=DIR`: a folder that is there already is not trained again, and a training that was
stopped goes on. DATA is in the senteval_cn layout.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import click
import torch

import hengyu
from hengyu.tools.pretraining.architectures import body_of
from hengyu.tools.pretraining.batches import hide
from hengyu.tools.pretraining.loop import _loss, _optimizer, make_model
from hengyu.tools.pretraining.recipe import Pretraining

SETTINGS = ["--positions", "1024", "--warmup", "100", "--mask", "0.15", "--dropout", "0", "--dtype", "bfloat16"]
ROWS = {
    "bert": "--arch bert --steps 1000",
    "dgcnn": "--arch dgcnn --steps 1000",
    "gmlp": "--arch gmlp --steps 1000",
    "fnet": "--arch fnet --steps 1000",
    "albert": "--arch albert --steps 1000",
    "albert-unshared": "--arch albert --unshare-after 500 --steps 1000",
    "bert-normal": "--init normal --steps 1000",
    "bert-orthogonal": "--init orthogonal --steps 1000",
}
"""Folders and the options of their pretraining; rows are compared with the first."""

HEADS = (
    "encoder", "parameters", "held-out loss", "tokens/s, training", "tokens/s, encoding", "raw", "minus bert", "whitening",
    "minus bert",
)  # fmt: skip
TASKS = ("ATEC", "BQ", "LCQMC", "PAWSX", "STS-B")
TUNED = "cosent(lr=2e-4, epochs=1, decay=true)"
SUITE = """name = "albert"
title = "ALBERT, shared and unshared"
tasks = ["STS-B:test"]
encoders = ["hengyu-mini"]
poolings = ["mean"]
fit_on = "train"
entries = ["raw", {{ entry = "{tuned}", seeds = 3 }}, {{ entry = "unshare({tuned})", seeds = 3 }}]
"""
WIDTH = 24  # tokens of a row when speed is measured: about the mean length of the five tasks' sentences


def call(*words: str | Path) -> str:
    """Print and run a command of hengyu; return what it writes to standard output."""
    click.echo(" ".join(["$ hengyu", *map(str, words)]), err=True)
    done = subprocess.run([sys.executable, "-m", "hengyu", *map(str, words)], check=True, stdout=subprocess.PIPE)
    return done.stdout.decode("utf-8")


def record(printed: str) -> str:
    """Return the folder of the run whose command printed this."""
    return next(line.removeprefix("records:").strip() for line in printed.splitlines() if line.startswith("records:"))


def numbers(value: float, low: float, high: float, *, sign: bool = False) -> str:
    """Return a score x 100 with its interval."""
    form = "+.2f" if sign else ".2f"
    return f"{100 * value:{form}} [{100 * low:{form}}, {100 * high:{form}}]"


def speeds(about: dict[str, object]) -> tuple[float, float]:
    """Return tokens a CPU second in training (bfloat16) and in encoding (float32), on one thread, the best of seven."""
    kept = {k: v for k, v in about["recipe"].items() if k != "unshare_after"}  # type: ignore[attr-defined]
    recipe, size = Pretraining(**kept), int(about["vocabulary"])  # type: ignore[call-overload]
    model = make_model(recipe, size)
    optimizer = _optimizer(model, recipe)
    rows = torch.randint(5, size, (recipe.positions // WIDTH, WIDTH), generator=torch.Generator().manual_seed(0))
    batch = hide(rows, recipe.mask, size, 0)
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(7):
        began = time.process_time()
        _loss(model, batch, "bfloat16").backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        taken[0].append(time.process_time() - began)
        with torch.inference_mode():
            began = time.process_time()
            body_of(model)(rows, attention_mask=torch.ones_like(rows))
            taken[1].append(time.process_time() - began)
    return rows.numel() / min(taken[0]), rows.numel() / min(taken[1])


def against(run: str, entry: str, first: str, second: str) -> str:
    """Return the paired difference of two encoders on the mean of the tasks."""
    text = call("compare", run, "--encoder", first, "--encoder", second, "--entry", entry, "--format", "csv")
    (row,) = [r for r in csv.DictReader(io.StringIO(text)) if r["task"] == "mean"]
    return numbers(float(row["difference"]), float(row["low"]), float(row["high"]), sign=True)


def main(corpus: Path, data: Path, models: Path) -> None:
    """Do all of it and print the tables."""
    torch.set_num_threads(1)
    common: list[str | Path] = ["--data", data, "--out", models / "reports", "--quiet"]
    for name, options in ROWS.items():
        call("pretrain", corpus, "--out", models / name, *options.split(), *SETTINGS)
    tasks = [w for t in TASKS for w in ("--task", f"{t}:test")]
    encoders = [w for name in ROWS for w in ("--encoder", models / name)]
    run = record(
        call(
            "run",
            "zh-sts",
            *encoders,
            *tasks,
            "--entry",
            "raw",
            "--entry",
            "whitening",
            "--sample",
            "2000",
            "--pooling",
            "mean",
            *common,
        )
    )
    table = hengyu.frame(run)
    table = table[(table["metric"] == "spearman") & (table["task"] == "mean")].set_index(["encoder", "entry"])
    click.echo(f"| {' | '.join(HEADS)} |")
    click.echo(f"{'|---' * len(HEADS)}|")
    first, about = next(iter(ROWS)), {}
    for name in ROWS:
        about = json.loads((models / name / "pretraining.json").read_bytes())
        training, encoding = speeds(about)
        cells = [name, f"{about['parameters'] / 1e6:.2f} M", f"{about['curve'][-1]['held_out']:.3f}"]
        cells += [f"{training:,.0f}", f"{encoding:,.0f}"]
        for entry in ("raw", "whitening"):
            row = table.loc[(name, entry)]
            cells.append(numbers(row["value"], row["low"], row["high"]))
            cells.append("" if name == first else against(run, entry, name, first))
        click.echo(f"| {' | '.join(cells)} |")
    click.echo(f"\n{about['tokens']:,} tokens of text, {about['vocabulary']:,} tokens in the vocabulary; {run}\n")
    suite = models / "albert.toml"
    suite.write_text(SUITE.format(tuned=TUNED), encoding="utf-8")
    tuned = record(call("run", suite, "--encoder", models / "albert", *common))
    click.echo(call("compare", tuned, "--entry", f"unshare({TUNED})", "--entry", TUNED, "--format", "md"))
    click.echo(call("compare", tuned, "--entry", TUNED, "--entry", "raw", "--format", "md"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
