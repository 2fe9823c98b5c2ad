"""The model card of a pretrained encoder: corpus, recipe, duration, and how to reproduce it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from hengyu.base.escapes import markdown, markdown_row
from hengyu.tools.pretraining.legs import leg_options, leg_words
from hengyu.tools.pretraining.recipe import Pretraining

__all__ = ["card", "curve_table", "recipe_table", "table"]

_FRONT = """---
library_name: "sentence-transformers"
pipeline_tag: "sentence-similarity"
language: ["zh"]
tags: ["sentence-transformers", "sentence-similarity", "feature-extraction", "hengyu"]
---
"""
_NAMES = {"bert": "A BERT", "albert": "An ALBERT", "dgcnn": "A DGCNN", "gmlp": "A gMLP", "fnet": "An FNet"}


def _use(*, own: bool) -> str:
    """Return how to use the folder; a model of ours is loaded by code of this package."""
    trusted = ", trust_remote_code=True" if own else ""
    needs = "Its code is in the package hengyu, which must be installed. " if own else ""
    return f"""## Use

```python
from sentence_transformers import SentenceTransformer

SentenceTransformer("PATH/OF/THIS/FOLDER"{trusted}).encode(["今天天气真好"])
```

{needs}`hengyu run smoke --encoder PATH/OF/THIS/FOLDER` evaluates it. On a CPU load it as float32, as Hengyu does: float16
arithmetic is several times slower there."""


def card(about: dict[str, Any], seconds: float) -> str:
    """Return README.md; file names are external text and are escaped."""
    recipe, corpus, last = about["recipe"], about["corpus"], about["curve"][-1]
    held = "none held out" if last["held_out"] is None else f"{last['held_out']:.3f}"
    arch = recipe.get("arch", "bert")
    heads = f", {recipe['heads']} heads" if arch in ("bert", "albert") else ""
    own = arch not in ("bert", "albert")
    facts = {
        "shape": f"{recipe['layers']} layers, width {recipe['width']}{heads}, at most {recipe['length']} tokens",
        "vocabulary": f"{about['vocabulary']:,} tokens; [UNK] is {100 * about['unknown_share']:.3f} % of the corpus's tokens",
        "parameters": f"{about['parameters']:,}, stored as float16",
        "pooling": "mean of the last layer",
        "steps": f"{about['steps']:,}",
        "tokens": f"{about['tokens']:,} ({about['tokens'] / about['epoch_tokens']:.2f} epochs)",
        "loss": f"{last['loss']:.3f} (mean over the last tenth of the steps)",
        "held-out loss": held + ("" if last["held_out"] is None else f" ({about['held_out_lines']:,} lines)"),
        "seconds": f"{seconds:,.1f}",
        "trained in": "; ".join(map(leg_words, about["legs"])),
        "Hengyu": about["hengyu"],
    }
    lines = [_FRONT, f"# {_NAMES[arch]} pretrained by Hengyu", ""]
    lines += ["Only masked language modelling from random weights: sentence embeddings were not trained.", ""]
    lines += table(["", ""], [[k, v] for k, v in facts.items()])
    lines += ["## Corpus", ""]
    lines += table(
        ["file", "lines", "left out", "sha256"],
        [[s["name"], f"{s['lines']:,}", f"{s['excluded']:,}", s["sha256"]] for s in corpus["files"]],
    )
    lines += [_exclusion(corpus["excluded_tasks"]), ""]
    lines += ["The licences of its texts decide how the weights may be used; they are not known to this card.", ""]
    lines += ["## Recipe", ""]
    lines += recipe_table(recipe)
    lines += ["## Curve", ""]
    lines += curve_table(about["curve"], "loss")
    lines += ["## Reproduce it", "", "```", _command(about), "```", ""]
    lines += ["The same files, dtype, threads and versions give bit-identical weights.", "", _use(own=own)]
    return "\n".join(lines) + "\n"


def _command(about: dict[str, Any]) -> str:
    """Return the command with all non-default options, and files by name only."""
    words = ["hengyu", "pretrain", *(s["name"] for s in about["corpus"]["files"]), "--out", "DIR"]
    usual = Pretraining(arch=about["recipe"].get("arch", "bert"))
    for f in fields(Pretraining):
        if about["recipe"].get(f.name, f.default) != (usual.layers if f.name == "layers" else f.default):
            words += [f"--{f.name.replace('_', '-')}", f"{about['recipe'][f.name]}"]
    for task in about["corpus"]["excluded_tasks"]:
        words += ["--exclude", task]
    words += leg_options(about["legs"][-1])
    return shlex.join(" ".join(w.split()).replace("`", "'") for w in words)


def _exclusion(tasks: dict[str, str]) -> str:
    if not tasks:
        return "No lines were compared with evaluation sentences."
    names = ", ".join(f"{markdown(task)} (sha256 {digest[:16]})" for task, digest in tasks.items())
    return (
        f"Lines equal to a sentence of {names}, ignoring punctuation, width and case, were excluded; near-duplicates were not "
        "searched."
    )


def recipe_table(recipe: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of a recipe."""
    return table(["parameter", "value"], [[k, f"{v:g}" if isinstance(v, float) else str(v)] for k, v in recipe.items()])


def curve_table(curve: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
    """Return the lines of the table of a training curve, by the name of what it measures."""
    rows = [
        [f"{c['step']:,}", f"{c[measure]:.3f}", "" if c["held_out"] is None else f"{c['held_out']:.3f}"] for c in curve
    ]
    return table(["step", measure, f"held-out {measure}"], rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, and a blank one; cells are external text and are escaped."""
    body = [markdown_row([markdown(c) for c in row]) for row in rows]
    return [markdown_row(heads), markdown_row(["---"] * len(heads)), *body, ""]
