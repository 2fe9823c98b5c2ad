"""The header of a run: what was run, on what, with which encoders; the same bytes for the same plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hengyu.base.version import __version__
from hengyu.bench.prepared_encoder import EncodedEncoder
from hengyu.bench.prompts import say_prompts
from hengyu.bench.score_pairs import Scorer, scorer_header, scorer_warnings
from hengyu.bench.sources import splits_read
from hengyu.storage.records import SCHEMA
from hengyu.suites.plan import Plan
from hengyu.suites.suite import LEXICAL

__all__ = ["header"]

_FEW = 200  # items of a task from which on nobody has to be told that they are few


def header(
    plan: Plan,
    name: str,
    key: str,
    encoded: Sequence[EncodedEncoder],
    fits: list[dict[str, Any]],
    scorers: Sequence[Scorer] = (),
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Return run.json: the same for the same plan, whenever and wherever it ran.

    ``key`` is the whole of what names the run; ``warnings`` are those of its encoders, beside the plan's.
    """
    suite = plan.suite
    tasks = [
        {
            "task": t.name,
            "card": t.pairs.card.name,
            "split": t.pairs.split,
            "n": t.n,
            "distinct": len(np.unique(t.ids)),
            "labels": "binary" if t.pairs.card.binary else "graded",
            "scale": list(t.pairs.card.scale),
            "positive_rate": float(t.pairs.labels.mean()) if t.pairs.card.binary else None,
            "ceiling": t.ceiling,
            "sha256": t.pairs.sha256,
            "digest": t.pairs.digest,
            "card_sha256": t.pairs.card.digest,
            "licence": t.pairs.card.licence,
            "citation": t.pairs.card.citation,
            "dropped": len(t.pairs.dropped),
            "threshold_on": plan.thresholds[t.name].name if t.name in plan.thresholds else "",
            **t.about,
            **plan.truths[t.name].about,
        }
        for t in plan.tasks
    ]
    encoders: list[dict[str, Any]] = [
        {
            "encoder": j.encoder.id,
            "kind": "model",
            "baseline": False,
            "revision": j.encoder.revision,
            "native": j.encoder.native_is or "its own",
            "dim": j.dim,
            "parameters": j.encoder.parameters,
            "coverage": j.coverage,
            **j.prepared.identity,
            **({"query_prompt": asking.identity()["prompt"]} if (asking := j.prepared.asking) else {}),
            **_served(plan, j),
        }
        for j in encoded
    ]
    encoders += scorer_header(scorers)
    without = ([LEXICAL] if suite.baselines else []) if suite.task_kind.index else suite.baselines
    encoders += [{"encoder": name, "kind": "lexical", "baseline": True} for name in without]
    raters = dict.fromkeys(name for truth in plan.truths.values() for name in truth.label_rows())
    encoders += [{"encoder": name, "kind": "raters", "baseline": True} for name in raters]
    return {
        "schema": SCHEMA,
        "run": name,
        "key": key,
        "hengyu": __version__,
        "suite": {
            "name": suite.name,
            "title": suite.title,
            "description": suite.description,
            **{key: said for key in ("title_zh", "description_zh") if (said := getattr(suite, key))},
            "seed": suite.seed,
            "resamples": suite.resamples,
            "level": suite.level,
            "aggregate": suite.aggregate,
            **({"kind": suite.kind, "relevant": suite.relevant} if suite.kind != type(suite).kind else {}),
        },
        "tasks": tasks,
        "encoders": encoders,
        "fits": fits,
        "read": splits_read(plan),
        "fitted_on": [
            {"task": task, "fit_on": word, "splits": list(fit.splits)}
            for (task, word), fit in sorted(plan.fits.items())
        ],
        "warnings": [
            *plan.warnings,
            *warnings,
            *(j.encoder.warning for j in encoded if j.encoder.warning),
            *_size_warnings(plan),
            *_prompt_warnings(plan, encoded),
            *scorer_warnings(scorers),
            *_coverage_warnings(encoded),
            *_fit_warnings(fits),
        ],
    }


def _served(plan: Plan, one: EncodedEncoder) -> dict[str, Any]:
    """Return what is said of vectors that a service made; nothing of others."""
    if not one.encoder.hosted or one.vectors is None:
        return {}
    if one.vectors.asking:
        tokens = one.vectors.tokens_of(plan.texts_of("document")) + one.vectors.asking.tokens_of(plan.texts_of("query"))
    else:
        tokens = one.vectors.tokens_of(np.arange(len(plan.texts)))
    return one.encoder.bill(tokens)


def _size_warnings(plan: Plan) -> list[str]:
    """Say which tasks are too small to tell methods apart, and from what difference on they can."""
    found = []
    for task in plan.tasks:
        n = plan.truths[task.name].n
        if n < _FEW:
            points, enough = 100 * plan.suite.task_kind.noise / n**0.5, (100 * plan.suite.task_kind.noise / 5) ** 2
            found.append(
                f"{task.name} has only {n} items: a difference between two methods must be about {points:.0f} points to be "
                f"significant; {enough:,.0f} items would be enough to detect 5 points"
            )
    return found


def _prompt_warnings(plan: Plan, encoded: Sequence[EncodedEncoder]) -> list[str]:
    """Say which encoders were given prompts for queries and documents that no text of the suite is."""
    return [said for j in encoded if not plan.suite.task_kind.sided and (said := say_prompts(plan, j.prepared))]


def _coverage_warnings(encoded: Sequence[EncodedEncoder]) -> list[str]:
    """Say where more than 1 % of the tokens are unknown or of the texts cut."""
    found = []
    for one in encoded:
        for task, shares in one.coverage.items():
            if shares["unk"] > 0.01:
                found.append(f"{one.encoder.id} on {task}: {shares['unk']:.1%} of the tokens are [UNK]")
            if shares["truncated"] > 0.01:
                longest = one.prepared.identity["max_length"]
                found.append(
                    f"{one.encoder.id} on {task}: {shares['truncated']:.1%} of the texts cut at {longest} tokens"
                )
    return found


def _fit_warnings(fits: list[dict[str, Any]]) -> list[str]:
    """Say where the fitted sentences span fewer directions than the vectors have.

    One direction less is usual and no warning: the output of a LayerNorm fulfils one linear equation.
    """
    found = []
    for fit in fits:
        if "rank" in fit and fit["rank"] < fit["dim"] - 1:  # a sketch does not know the rank
            where = f"{fit['encoder']}, {fit['pooling']} on {fit['task']}, fit_on {fit['fit_on']}"
            found.append(f"{where}: {fit['n']} sentences span only {fit['rank']} of {fit['dim']} dimensions")
    return list(dict.fromkeys(found))
