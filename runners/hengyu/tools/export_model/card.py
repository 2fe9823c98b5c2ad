"""The model card of an exported folder: content, scores, training data, and how to reproduce it."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from hengyu.base.escapes import markdown, markdown_row
from hengyu.base.version import __version__
from hengyu.encoders import BUILT_IN
from hengyu.report.board.board import percent
from hengyu.report.page.provenance import command_of
from hengyu.report.page.public import public
from hengyu.storage.records import Record, Run
from hengyu.tasks.interface.registry import find_task
from hengyu.tools.export_model.fitted import Fitted, FittedScorer
from hengyu.tools.export_model.folder import Written
from hengyu.tools.export_model.row import Choice

__all__ = ["model_card", "scorer_card"]


def scorer_card(run: Run, choice: Choice, fitted: FittedScorer) -> str:
    """Return README.md of a folder with a cross-encoder; all external text is escaped."""
    encoder, pooling, entry, _ = choice.row
    facts = {
        "encoder": encoder + (f", revision {fitted.base.revision}" if fitted.base.revision else ""),
        "pooling": pooling,
        "entry": entry if choice.seed is None else f"{entry}, seed {choice.seed}",
        "trained on": ", ".join(fitted.splits) + ", with its labels",
        f"Spearman x 100 on {choice.task}": percent(fitted.spearman),
        "encoder's fingerprint": fitted.base.folder.fingerprint,
    }
    known = _stated_licence(fitted)
    front = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "text-ranking",
        "language": ["zh"],
        "license": known or "other",
    }
    lines = ["---", *(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in front.items()), "---", ""]
    lines += [f"# {markdown(f'{encoder}, {pooling}, {entry}')}", ""]
    lines += [
        f"A cross-encoder: a row of the leaderboard of {markdown(run.id)}, trained and exported by Hengyu {__version__}.",
        "",
    ]
    lines += [
        "| | |",
        "|---|---|",
        *(markdown_row([markdown(key), markdown(value)]) for key, value in facts.items()),
        "",
    ]
    lines += ["```python", "from sentence_transformers import CrossEncoder", ""]
    lines += ['CrossEncoder("DIR").predict([("第一句", "第二句")])', "```", ""]
    what = f"The encoder's weights are under {known}" if known else "The encoder's card names no licence"
    licence = ["## Licence", "", f"{markdown(what)}; its terms apply to this folder, whose weights were fine-tuned."]
    return "\n".join([*lines, *_again(run, choice, ""), *licence]) + "\n"


def model_card(run: Run, choice: Choice, fitted: Fitted, written: Written, other_fit: str = "") -> str:
    """Return README.md of a folder; all external text is escaped.

    Args:
        run: the run that the row is from.
        choice: the row.
        fitted: the pipeline.
        written: the folder.
        other_fit: the fit_on given instead of the row's; the scores are then those of the row, not of the folder.
    """
    encoder, pooling, entry, fit_on = choice.row
    learned = ", ".join(fitted.splits)
    labels = "with their labels" if choice.entry.labelled else "no labels"
    on = (
        f"{fitted.rows} sentences of {learned} (both columns, repetitions counted as given by fit_on, {labels})"
        if learned
        else ""
    )
    facts = {
        "encoder": encoder + (f", revision {fitted.base.revision}" if fitted.base.revision else ""),
        "pooling": pooling,
        "entry": entry if choice.seed is None else f"{entry}, seed {choice.seed}",
        "trained by": "; ".join(f"{t['name']}: {t['examples']} examples, {t['steps']} steps" for t in fitted.trained),
        "made for": fitted.made_for,
        "fitted on": on or "nothing",
        "modules": " > ".join(written.modules),
        "longest text": f"{fitted.encoder.folder.max_length} tokens",
        "prompt": _prompt(fitted),
        "encoder's fingerprint": fitted.base.folder.fingerprint,
    }
    facts = {key: value for key, value in facts.items() if value}
    lines = [_front(run, choice, fitted), f"# {markdown(f'{encoder}, {pooling}, {entry}')}", ""]
    lines += [f"A row of the leaderboard of {markdown(run.id)}, evaluated and exported by Hengyu {__version__}.", ""]
    lines += ["| | |", "|---|---|", *(markdown_row([key, markdown(value)]) for key, value in facts.items()), ""]
    lines += _usage(written) + _scores(run, choice, other_fit) + _again(run, choice, other_fit)
    lines += ["## Licence", "", _licence(fitted), ""]
    lines += [
        f"Checked when it was exported: on {written.probed} sentences of {markdown(choice.task)} its vectors differ from the "
        f"evaluated ones by at most {written.error:.1e} of their length.",
    ]
    return "\n".join(lines) + "\n"


def _prompt(fitted: Fitted) -> str:
    folder = fitted.encoder.folder
    return (
        f"{folder.prompt} (added around a text by the tokenizer)"
        if folder.prompt_has_suffix
        else folder.prompt or "none"
    )


def _front(run: Run, choice: Choice, fitted: Fitted) -> str:
    """Return the front matter; JSON values are YAML."""
    known = _stated_licence(fitted)
    front: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "language": ["zh"],
        "license": known or "other",
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "hengyu"],
    }
    if "/" in choice.row[0] and fitted.base.revision:
        front["base_model"] = choice.row[0]
    return "\n".join(["---", *(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in front.items()), "---", ""])


def _usage(written: Written) -> list[str]:
    trust = ", trust_remote_code=True" if written.own else ""
    lines = ["## Use", "", "```python", "from sentence_transformers import SentenceTransformer", ""]
    lines += [f'model = SentenceTransformer("PATH/OF/THIS/FOLDER"{trust})', 'model.encode(["今天天气真好"])', "```", ""]
    if written.own:
        lines.append(
            "It needs the package hengyu (`pip install hengyu`), which has the code of an encoder of its own and of "
            "`hengyu.tools.export_model.steps.Step`, a step that is not an affine map. sentence-transformers asks for "
            "`trust_remote_code=True` for every module that is not its own; this folder contains no code."
        )
    else:
        lines.append("It needs only sentence-transformers 6 or newer; this folder contains no code.")
    return [*lines, ""]


def _scores(run: Run, choice: Choice, other_fit: str) -> list[str]:
    level = 100 * float(run.header["suite"]["level"])
    fit = choice.fit_on
    own = {choice.task} if fit != "none" and ":" not in fit else None
    lines = ["## Scores", ""]
    if other_fit:
        lines += [
            f"Scores of the row, which was fitted on {markdown(fit)}; this folder was fitted on {markdown(other_fit)}.",
            "",
        ]
    elif own:
        lines += [
            f"Fitted on {markdown(fit)}, the sentences of each task; this folder is the fit on the task named above.",
            "",
        ]
    kind = find_task(run.kind)
    heads = [
        "task",
        f"{kind.metric(kind.main).title} x 100",
        f"{level:g} % interval",
        "ceiling",
        f"delta to {kind.reference}",
        "its interval",
        "pairs",
    ]
    lines += [markdown_row(heads), markdown_row(["---", *["--:"] * 6])]
    for record in run.records:
        mine = record.row == choice.row and record.metric == kind.main and not record.draw
        if mine and record.value is not None and (not own or record.task in own):
            lines.append(_score(record))
    return [*lines, ""]


def _score(r: Record) -> str:
    low, high, d_low, d_high = r.low, r.high, r.delta_low, r.delta_high
    between = "" if low is None or high is None else f"{percent(low)} to {percent(high)}"
    change = (
        "" if d_low is None or d_high is None else f"{percent(d_low, signed=True)} to {percent(d_high, signed=True)}"
    )
    seeds = f" (mean of {r.seeds} seeds)" if r.seeds and r.seeds > 1 else ""
    cells = [
        r.task,
        percent(r.value) + seeds,
        between,
        percent(r.ceiling),
        percent(r.delta, signed=True),
        change,
        str(r.n),
    ]
    return markdown_row([markdown(c) for c in cells])


def _again(run: Run, choice: Choice, other_fit: str) -> list[str]:
    command = command_of(public(run))
    take = ["hengyu", "export-model", run.id, "--row", " | ".join(choice.row), "--task", choice.task]
    take += ["--fit-on", other_fit] if other_fit else []
    take += [] if choice.seed is None else ["--seed", str(choice.seed)]
    text = f"{command}\n{shlex.join([*take, '--out', 'DIR'])}".replace("`", "'")
    return ["## Reproduce it", "", "```", text, "```", ""]


def _stated_licence(fitted: Fitted | FittedScorer) -> str:
    """Return the licence in the front matter of the encoder's own card, "" if there is none."""
    if fitted.base.id in BUILT_IN:
        return "apache-2.0"
    try:
        text = (fitted.base.folder.path / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    front = text.partition("\n---")[0] if text.startswith("---") else ""
    stated = re.search(r"^licen[cs]e:\s*[\"']?([A-Za-z0-9.+-]+)[\"']?\s*$", front, re.MULTILINE)
    return stated[1] if stated else ""


def _licence(fitted: Fitted) -> str:
    known = _stated_licence(fitted)
    what = f"The encoder's weights are under {known}" if known else "The encoder's card names no licence"
    further = "Its weights were fine-tuned" if fitted.trained else "Its weights are unchanged"
    return f"{markdown(what)}; its terms apply to this folder. {further}; fitted steps are derived from its vectors."
