"""The model card of a distilled encoder: teacher, corpus, licences, contamination check, recipe, curve, how to repeat it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from typing import Any

from hengyu.base.escapes import markdown
from hengyu.tools.distillation.recipe import Distillation, defaults
from hengyu.tools.pretraining.card import curve_table, recipe_table, table
from hengyu.tools.pretraining.legs import leg_options, leg_words

__all__ = ["Licences", "card"]

_FRONT = """---
library_name: "sentence-transformers"
pipeline_tag: "sentence-similarity"
language: ["zh"]
tags: ["sentence-transformers", "sentence-similarity", "feature-extraction", "hengyu"]
"""
_USE = {
    "bert": """## Use

```python
from sentence_transformers import SentenceTransformer

SentenceTransformer("PATH/OF/THIS/FOLDER").encode(["今天天气真好"])
```

`hengyu run smoke --encoder PATH/OF/THIS/FOLDER` evaluates it. On a CPU load it as float32, as Hengyu does: float16
arithmetic is several times slower there.""",
    "static": """## Use

`hengyu run smoke --encoder PATH/OF/THIS/FOLDER` evaluates it. From Python, with `pip install hengyu`:

```python
from sentence_transformers import SentenceTransformer

SentenceTransformer("PATH/OF/THIS/FOLDER", trust_remote_code=True).encode(["今天天气真好"])
```""",
}
_FLAGS = ("head",)
_BERT = ("layers", "width", "heads", "length", "head", "positions", "most")
_STATIC = ("width", "grams", "longest", "seen", "bits", "texts")
_OF = {
    "bert": set(_STATIC) - set(_BERT),
    "static": set(_BERT) - set(_STATIC),
}  # parameters that a student does not have


@dataclass(frozen=True)
class Licences:
    """What the card says of licences; external text."""

    weights: str = ""
    teacher: str = ""
    corpus: str = ""


def card(about: dict[str, Any], seconds: float, licences: Licences) -> str:
    """Return README.md; names and licences are external text and are escaped."""
    recipe, corpus, teacher, last = about["recipe"], about["corpus"], about["teacher"], about["curve"][-1]
    student = recipe["student"]
    held = (
        "none held out" if last["held_out"] is None else f"{last['held_out']:.3f} ({about['held_out_lines']:,} lines)"
    )
    epochs = about["texts"] / max(1, corpus["used"] - about["held_out_lines"])
    facts = {
        **about["shape"],
        "targets": f"the teacher's vectors, centred, {100 * about['variance_kept']:.1f} % of their variance",
        **({"centred on": _centre(about["centred_on"][0])} if about["centred_on"] else {}),
        "steps": f"{about['steps']:,}",
        "texts": f"{about['texts']:,} ({epochs:.2f} epochs)",
        "cosine to the teacher": f"{last['cosine']:.3f} (mean over the last steps)",
        "held-out cosine": held,
        "seconds": f"{seconds:,.1f}",
        "trained in": "; ".join(map(leg_words, about["legs"])),
        "Hengyu": about["hengyu"],
    }
    front = _FRONT + (f'license: "{_plain(licences.weights)}"\n' if licences.weights else "") + "---\n"
    lines = [front, "# An encoder distilled by Hengyu", ""]
    lines += ["It was trained to reproduce the vectors of another encoder, its teacher; no labelled pair was used.", ""]
    lines += table(["", ""], [[k, str(v)] for k, v in facts.items()])
    lines += ["## Teacher", ""]
    about_teacher = {"encoder": teacher["encoder"], "pooling": teacher["pooling"], "prompt": teacher.get("prompt", "")}
    about_teacher |= {"fingerprint": str(teacher.get("fingerprint", "")), "licence": licences.teacher or "not stated"}
    if about["start"]:
        about_teacher["the student started from the weights with the fingerprint"] = about["start"]
    lines += table(["", ""], [[k, str(v)] for k, v in about_teacher.items() if v])
    lines += ["## Corpus", ""]
    lines += table(["file", "lines", "sha256"], [[s["name"], f"{s['lines']:,}", s["sha256"]] for s in corpus["files"]])
    lines += [
        f"{corpus['used']:,} lines were used; {corpus['untaught']:,} had no vector of the teacher. Licence: "
        f"{markdown(licences.corpus or 'not stated')}.",
        "",
    ]
    lines += ["## Contamination", "", *_contamination(about["contamination"])]
    used = {k: v for k, v in recipe.items() if k not in _OF[student]}
    if about["start"]:
        used = {k: v for k, v in used.items() if k not in ("layers", "width", "heads")}
    lines += ["## Recipe", ""]
    lines += recipe_table(used)
    lines += ["## Curve", ""]
    lines += curve_table(about["curve"], "cosine")
    lines += ["## Reproduce it", "", "```", _command(about), "```", ""]
    lines += ["The same files, dtype, threads and versions give the same weights.", "", _USE[student]]
    return "\n".join(lines) + "\n"


def _centre(source: dict[str, Any]) -> str:
    return f"{source['name']}, {source['lines']:,} lines, sha256 {source['sha256']}"


def _contamination(found: dict[str, Any]) -> list[str]:
    if not found["against"]:
        return ["No lines were compared with evaluation sentences.", ""]
    names = ", ".join(f"{markdown(task)} (sha256 {digest[:16]})" for task, digest in found["against"].items())
    near = "left out too" if found["near_excluded"] else "not left out"
    return [
        f"The lines were compared with the {found['sentences']:,} distinct sentences of {names}.",
        "",
        *table(
            ["a line is", "lines", ""],
            [
                ["the same string", f"{found['exact']:,}", "left out"],
                [
                    "the same letters and digits, without width, case, punctuation",
                    f"{found['normalised']:,}",
                    "left out",
                ],
                [
                    f"a near duplicate: Jaccard index of character pairs at least {found['threshold']:g}",
                    f"{found['near']:,}",
                    near,
                ],
            ],
        ),
    ]


def _command(about: dict[str, Any]) -> str:
    """Return the command with all non-default options, and files by name only."""
    recipe = about["recipe"]
    words = ["hengyu", "distill", about["teacher"]["encoder"], *(s["name"] for s in about["corpus"]["files"])]
    words += ["--out", "DIR"]
    plain = defaults(recipe["student"], {})
    for f in fields(Distillation):
        value = recipe[f.name]
        if f.name == "student":
            words += ["--student", value] if value != f.default else []
        elif f.name not in _OF[recipe["student"]] and value != getattr(plain, f.name):
            words += [f"--{f.name.replace('_', '-')}"] + ([] if f.name in _FLAGS else [f"{value}"])
    words += ["--start", "START"] if about["start"] else []
    words += [] if about["teacher"]["pooling"] == "native" else ["--pooling", about["teacher"]["pooling"]]
    words += ["--prompt", about["teacher"]["prompt"]] if about["teacher"].get("prompt") else []
    for task in about["contamination"]["against"]:
        words += ["--exclude", task]
    words += ["--exclude-near"] * bool(about["contamination"]["near_excluded"])
    for source in about["centred_on"]:
        words += ["--centre", source["name"]]
    words += leg_options(about["legs"][-1])
    return shlex.join(" ".join(w.split()).replace("`", "'") for w in words)


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in ".-+ ")
