"""Cross-encoders in a run: rows of their own, one score a pair and nothing fitted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress
from hengyu.bench.context import RunContext
from hengyu.bench.prepared_encoder import data_key
from hengyu.bench.results import ResultLog
from hengyu.cards.data import Pairs
from hengyu.encoders import EncoderSpec
from hengyu.encoders.cross import CrossEncoder, open_cross_encoder
from hengyu.evaluation.cells import JOINT
from hengyu.storage.identity import made_by, observation_key
from hengyu.storage.records.observations import Observation
from hengyu.suites.plan import Plan
from hengyu.tasks.interface.data import TaskData

__all__ = ["Scorer", "open_scorers", "pair_scores", "score_all", "scorer_header", "scorer_keys", "scorer_warnings"]

_ROW = {"pooling": "-", "entry": JOINT, "fit_on": "none"}
_CHUNK = 4096  # pairs that are tokenised at a time


class Streams(Protocol):
    """What scores pairs of texts: a cross-encoder that was given, or one that a run has trained."""

    id: str

    def stream(self, first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Yield pair numbers (k,) and their scores (k,)."""


@dataclass
class Scorer:
    """A cross-encoder's part of a run; without an ``encoder`` its rows show the reason."""

    id: str
    encoder: CrossEncoder | None
    identity: dict[str, Any]
    reason: str = ""


def open_scorers(plan: Plan, progress: Progress, *, offline: bool) -> list[Scorer]:
    """Open every cross-encoder of a suite; one that cannot be had is a row with the reason."""
    found = []
    for spec in plan.suite.cross_encoders:
        try:
            encoder = open_cross_encoder(spec, offline=offline)
            found.append(Scorer(encoder.id, encoder, encoder.identity()))
        except HengyuError as e:
            found.append(_absent(spec, e))
            progress.say(f"warning: {found[-1].reason}; its rows show the reason")
    return found


def _absent(spec: EncoderSpec, error: HengyuError) -> Scorer:
    identity = {"fingerprint": "", "tokens": "", "max_length": 0, "dtype": spec.dtype, "prompt": ""}
    return Scorer(spec.display_name, None, identity, " ".join(error.problems))


def _key(plan: Plan, scorer: Scorer, task: TaskData) -> dict[str, Any]:
    made_with = scorer.encoder.made_with if scorer.encoder else ()
    return observation_key(
        about={"kind": plan.suite.kind, "task": task.name, "encoder": scorer.id, **_ROW},
        data=data_key(plan, task),
        vectors=scorer.identity,
        steps=[],
        fitted={},
        clouds=None,
        made=made_by(CrossEncoder.__module__, *made_with, alone=(__name__,)),
    )


def scorer_keys(plan: Plan, scorers: Sequence[Scorer]) -> Iterator[dict[str, Any]]:
    """Yield the key of everything that cross-encoders observe."""
    for scorer in scorers:
        if scorer.encoder is not None:
            yield from (_key(plan, scorer, task) for task in plan.tasks)


def score_all(context: RunContext, scorers: Sequence[Scorer], log: ResultLog) -> None:
    """Enter the scores of every task under every cross-encoder; what a run has kept is read back."""
    for scorer in scorers:
        for task in context.plan.tasks:
            if scorer.encoder is not None:
                log.enter(context.plan.suite, _score(context, log, scorer, scorer.encoder, task))
            if scorer.encoder is None:  # from the start, or since it failed just now
                about = {"task": task.name, "encoder": scorer.id, **_ROW}
                log.seen.append(Observation(about, (JOINT,), status="failed", reason=scorer.reason))
        if scorer.encoder is not None:
            scorer.encoder.release()
        else:
            log.failures.append(scorer.reason)


def _score(context: RunContext, log: ResultLog, scorer: Scorer, encoder: CrossEncoder, task: TaskData) -> Observation:
    """Observe one task; a model that fails is given up, and what is returned has no rows."""
    cache_key = _key(context.plan, scorer, task)
    done = context.observations.find(cache_key, log)
    if done:
        log.kept += 1
        return done
    started = time.perf_counter()
    beside = context.plan.thresholds.get(task.name)
    try:
        similarity = pair_scores(context.progress, encoder, task.pairs)
        other = pair_scores(context.progress, encoder, beside.pairs)[None] if beside else np.zeros((0, 0))
    except HengyuError as e:
        scorer.encoder, scorer.reason = None, " ".join(e.problems)
        encoder.release()
        context.progress.say(f"warning: {scorer.reason}; its rows show the reason")
        return Observation(cache_key, ())
    log.observed += 1
    # there are no vectors to look at
    found = Observation(cache_key, (JOINT,), (None,), similarity[None], threshold_similarity=other, clouds={})
    context.observations.save(found, log, started)
    context.observations.adopt(found)
    return found


def pair_scores(progress: Progress, encoder: Streams, pairs: Pairs) -> NDArray[np.float64]:
    """Return the scores (n,) of the pairs of a split; a pair that stands twice is scored once."""
    every = list(zip(pairs.first, pairs.second, strict=True))
    distinct = list(dict.fromkeys(every))
    found = np.empty(len(distinct))
    done = 0
    with progress.stage(f"scoring {len(distinct)} pairs of {pairs.task} with {encoder.id}", len(distinct)) as tick:
        for start in range(0, len(distinct), _CHUNK):
            first, second = zip(*distinct[start : start + _CHUNK], strict=True)
            for at, scores in encoder.stream(first, second):
                found[start + at] = scores
                done += len(at)
                tick(done)
    places = {pair: i for i, pair in enumerate(distinct)}
    return found[[places[pair] for pair in every]]


def scorer_header(scorers: Sequence[Scorer]) -> list[dict[str, Any]]:
    """Return what run.json says of the cross-encoders."""
    return [
        {
            "encoder": s.id,
            "kind": JOINT,
            "baseline": False,
            "revision": s.encoder.revision if s.encoder else "",
            **s.identity,
        }
        for s in scorers
    ]


def scorer_warnings(scorers: Sequence[Scorer]) -> list[str]:
    """Say what the rows of cross-encoders are."""
    return [
        f"{s.id} is a cross-encoder: it scores pairs jointly and has no vectors; its row is an upper bound for encoders, and "
        "not one of them"
        for s in scorers
        if s.encoder is not None
    ]
