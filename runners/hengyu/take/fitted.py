"""A row's pipeline fitted again, on the sentences that the run fitted it on, and held against the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu import metrics
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.encoding import Vectors, encode_missing
from hengyu.entries import Entry
from hengyu.errors import HengyuError
from hengyu.fits import Fits, FitStore
from hengyu.fitting import Fitting
from hengyu.methods import Transform
from hengyu.plan import Fit, Plan, make_plan
from hengyu.progress import Progress, silent
from hengyu.records import Run
from hengyu.sample import Sample
from hengyu.similarity import cosines
from hengyu.store import VectorStore
from hengyu.suites import EntrySpec, Suite
from hengyu.take.row import Choice
from hengyu.tasks.sts import restrict

__all__ = ["Fitted", "Places", "fit_steps", "refit"]


@dataclass(frozen=True)
class Places:
    """Where things lie now, where that is not where they lay when the run was made."""

    encoder: str = ""  # folder or hub id
    data: Path | None = None
    datasets: Sequence[Path] = ()
    offline: bool = False


@dataclass(frozen=True)
class Fitted:
    """A pipeline with what it learned, and some of the vectors it gives."""

    encoder: HuggingFace
    methods: tuple[Transform, ...]  # one a step
    width: int  # of the encoder's vectors
    splits: tuple[str, ...]  # what it was fitted on: ("LCQMC:test",); () for nothing
    rows: int  # sentences it was fitted on, repeats counted
    texts: tuple[str, ...]  # (m,) sentences of the task
    vectors: NDArray[np.floating[Any]]  # (m, k) of them
    spearman: float  # of the task, from these vectors


def refit(
    run: Run,
    choice: Choice,
    fit_on: str = "",
    places: Places | None = None,
    *,
    store: VectorStore | None = None,
    fits: FitStore | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Fit a row's steps as the run did; ``fit_on`` (CARD:split) takes other sentences instead.

    Raises:
        HengyuError: when encoder or data cannot be found, or are not those of the run.
    """
    plan, encoder = _plan(run, choice, fit_on, places or Places())
    identity = encoder.identity()
    pooling = choice.row[1]
    vectors = encode_missing(store or VectorStore.default(), encoder, plan.texts, [pooling], progress)
    entry = choice.entry if choice.seed is None else choice.entry.with_seed(choice.seed)
    fit = next(iter(plan.fits.values()), None)
    sample = vectors.sample(pooling, fit) if fit else None
    rows = {fit.word: fit.digest} if fit else {}
    recalled = Fits(fits, {"identity": identity, "pooling": pooling}, rows, progress)
    methods = fit_steps(entry, sample, recalled, fit.word if fit else "none")
    return _look(plan, encoder, vectors, pooling, methods, fit)


def fit_steps(entry: Entry, sample: Sample | None, fits: Fits, word: str) -> tuple[Transform, ...]:
    """Return the fitted method of every step; each learns from the rows as the steps before it leave them."""
    chain = Fitting({} if sample is None else {word: sample}, fits).chain(word)
    methods: list[Transform] = []
    for step in entry.steps:
        if not isinstance(step.make(), Transform):
            raise HengyuError(
                f"entry '{entry}': '{step}' maps no vectors to vectors, so it cannot be taken home this way"
            )
        try:
            methods.append(chain.add(step))
        except ValueError as e:
            raise HengyuError(f"entry '{entry}' cannot be fitted: {e}") from None
    return tuple(methods)


def _plan(run: Run, choice: Choice, fit_on: str, places: Places) -> tuple[Plan, HuggingFace]:
    known = _sources(run)
    name = choice.row[0]
    given = known.get("encoders", {}).get(name, {})
    if not given and not places.encoder and name != "hengyu-mini" and "/" not in name:
        raise HengyuError(f"run {run.id} does not say where the encoder '{name}' lies; say so with --encoder DIR")
    about = next(e for e in run.header["encoders"] if e["encoder"] == name)
    values = {f.name: given[f.name] for f in fields(EncoderSpec) if f.name in given} or {
        **{
            k: about[k] for k in ("max_length", "dtype", "backend", "prompt", "pre_tokenizer", "revision") if k in about
        },
        "model": name,
    }
    spec = EncoderSpec(
        **(values | {"name": name, "device": ""} | ({"model": places.encoder} if places.encoder else {}))
    )
    if spec.model.endswith(".npy"):
        raise HengyuError(f"encoder '{name}': is vectors in {spec.model}, not a model; take a row of a model")
    encoder = open_encoder(spec, offline=places.offline)
    for key, value in encoder.identity().items():
        if about.get(key) != value:
            raise HengyuError(
                f"encoder '{spec.model}': its {key} is {value} where run {run.id} has {about.get(key)}, so it is not the "
                "one that was weighed; give that one with --encoder, or run the suite again"
            )
    word = fit_on or choice.fit_on
    suite = Suite(
        name=str(run.header["suite"]["name"]),
        path=run.path,
        tasks=(choice.task,),
        entries=(EntrySpec(choice.entry, fit_on=word),),
        encoders=(spec,),
        poolings=(choice.row[1],),
        baselines=(),
    )
    data = places.data or (Path(known["data"]) if known.get("data") else None)
    folders = [*places.datasets] or [Path(p) for p in known.get("datasets", ())]
    plan = make_plan(suite, data_dir=data, datasets=folders)
    wanted = next(t["sha256"] for t in run.header["tasks"] if t["task"] == choice.task)
    if plan.tasks[0].pairs.sha256 != wanted:
        raise HengyuError(
            f"{plan.tasks[0].pairs.source}: is not the file that run {run.id} read (sha256 {wanted}); give that one with "
            "--data, or run the suite again"
        )
    return plan, encoder


def _sources(run: Run) -> dict[str, Any]:
    """Return sources.json, {} for a run without one."""
    import json

    path = run.path / "sources.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as e:
        raise HengyuError(f"{path}: cannot be read as JSON ({e}); delete it and give --encoder and --data") from None
    return content if isinstance(content, dict) else {}


def _look(
    plan: Plan, encoder: HuggingFace, vectors: Vectors, pooling: str, methods: tuple[Transform, ...], fit: Fit | None
) -> Fitted:
    """Return the pipeline with the vectors of the task's sentences, and the task's Spearman from them."""
    task = plan.tasks[0]
    ids, (first, second) = restrict([task.first, task.second])
    raw = vectors.get(pooling, ids)
    x: NDArray[np.floating[Any]] = raw
    for method in methods:
        x = method(x)
    return Fitted(
        encoder,
        methods,
        raw.shape[1],
        fit.splits if fit else (),
        int(fit.counts.sum()) if fit else 0,
        tuple(plan.texts[i] for i in ids),
        x,
        metrics.spearman(cosines(x, first, second), task.pairs.labels),
    )
