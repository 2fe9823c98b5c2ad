"""Cross-encoders in a run: rows of their own, one score a pair and nothing fitted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.bench.encoder_jobs import data_key
from hengyu.bench.run_log import RunLog
from hengyu.cards.data import Pairs
from hengyu.encoders import EncoderSpec
from hengyu.encoders.cross import CrossEncoder, open_cross_encoder
from hengyu.evaluation.cells import JOINT
from hengyu.storage.identity import made_by, observation_key
from hengyu.storage.records.observations import Observation
from hengyu.suites.plan import Plan
from hengyu.tasks.interface.data import TaskData

__all__ = ["Scorer", "open_scorers", "score_all", "scorer_header", "scorer_keys", "scorer_warnings"]

_ROW = {"pooling": "-", "entry": JOINT, "fit_on": "none"}
_CHUNK = 4096  # pairs that are tokenised at a time


@dataclass
class Scorer:
    """A cross-encoder's part of a run; without an ``encoder`` its rows give the reason."""

    id: str
    encoder: CrossEncoder | None
    identity: dict[str, Any]
    reason: str = ""


def open_scorers(plan: Plan, *, offline: bool) -> list[Scorer]:
    """Open every cross-encoder of a suite; one that cannot be had is a row with the reason."""
    found = []
    for spec in plan.suite.cross_encoders:
        try:
            encoder = open_cross_encoder(spec, offline=offline)
            found.append(Scorer(encoder.id, encoder, encoder.identity()))
        except HengyuError as e:
            found.append(_absent(spec, e))
    return found


def _absent(spec: EncoderSpec, error: HengyuError) -> Scorer:
    identity = {"fingerprint": "", "tokens": "", "max_length": 0, "dtype": spec.dtype, "prompt": ""}
    return Scorer(spec.called, None, identity, " ".join(error.problems))


def _key(plan: Plan, scorer: Scorer, task: TaskData) -> dict[str, Any]:
    return observation_key(
        about={"kind": plan.suite.kind, "task": task.name, "encoder": scorer.id, **_ROW},
        data=data_key(plan, task),
        vectors=scorer.identity,
        steps=[],
        fitted={},
        clouds=None,
        made=made_by(CrossEncoder.__module__, alone=(__name__,)),
    )


def scorer_keys(plan: Plan, scorers: Sequence[Scorer]) -> Iterator[dict[str, Any]]:
    """Yield the key of everything that cross-encoders observe."""
    for scorer in scorers:
        if scorer.encoder is not None:
            yield from (_key(plan, scorer, task) for task in plan.tasks)


def score_all(state: RunLog, scorers: Sequence[Scorer]) -> None:
    """Enter the scores of every task under every cross-encoder; what a run has kept is read back."""
    for scorer in scorers:
        for task in state.plan.tasks:
            if scorer.encoder is not None:
                state.enter(_score(state, scorer, scorer.encoder, task))
            if scorer.encoder is None:  # from the start, or since it failed just now
                about = {"task": task.name, "encoder": scorer.id, **_ROW}
                state.seen.append(Observation(about, (JOINT,), status="failed", reason=scorer.reason))
        if scorer.encoder is not None:
            scorer.encoder.release()
        else:
            state.failures.append(scorer.reason)


def _score(state: RunLog, scorer: Scorer, encoder: CrossEncoder, task: TaskData) -> Observation:
    """Observe one task; a model that fails is given up, and what is returned has no rows."""
    meaning = _key(state.plan, scorer, task)
    done = state.load(meaning)
    if done:
        return done
    started = time.perf_counter()
    beside = state.plan.thresholds.get(task.name)
    try:
        similarity = _scores(state, encoder, task.pairs)
        other = _scores(state, encoder, beside.pairs)[None] if beside else np.zeros((0, 0))
    except HengyuError as e:
        scorer.encoder, scorer.reason = None, " ".join(e.problems)
        encoder.release()
        state.progress.say(f"warning: {scorer.reason}; its rows give the reason")
        return Observation(meaning, ())
    state.observed += 1
    # there are no vectors to look at
    seen = Observation(meaning, (JOINT,), (None,), similarity[None], beside=other, clouds={})
    found = state.keep(seen, started)
    state.adopt(found)
    return found


def _scores(state: RunLog, encoder: CrossEncoder, pairs: Pairs) -> NDArray[np.float64]:
    """Return the scores (n,) of the pairs of a split; a pair that stands twice is scored once."""
    every = list(zip(pairs.first, pairs.second, strict=True))
    distinct = list(dict.fromkeys(every))
    found = np.empty(len(distinct))
    done = 0
    with state.progress.stage(
        f"scoring {len(distinct)} pairs of {pairs.task} with {encoder.id}", len(distinct)
    ) as tick:
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
