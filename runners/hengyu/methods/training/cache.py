"""Fine-tuned encoders: loaded from the store, or trained and stored."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import finalize

from hengyu.base.errors import HengyuError
from hengyu.base.memory import give_back_memory
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Unreachable
from hengyu.base.torchrun import processes
from hengyu.methods.step import Step
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import Tuner
from hengyu.storage.identity import made_by, tuned_key, vectors_key
from hengyu.storage.in_use import Held
from hengyu.storage.tuned import ABOUT, TunedStore

if TYPE_CHECKING:
    from hengyu.encoders.huggingface import HuggingFace
    from hengyu.methods.training.model import TrainableEncoder
    from hengyu.methods.training.pair_model import PairScorer

__all__ = ["TRAINEE", "TunedEncoder", "TunedEncoderCache", "TunedScorer"]

TRAINEE = "hengyu.methods.training.model"
"""The module that opens, trains and saves a model, imported only for a training."""


@dataclass(frozen=True)
class TunedEncoder:
    """A fine-tuned encoder, with the report of each training, and the pooling that it is read under."""

    encoder: HuggingFace
    trained: list[dict[str, Any]]
    pooling: str


@dataclass(frozen=True)
class TunedScorer:
    """A trained cross-encoder, with the report of each training, and its folder."""

    scorer: PairScorer
    trained: list[dict[str, Any]]
    folder: Path


@dataclass
class TunedEncoderCache:
    """The fine-tuned encoders of a run: loaded from the store, or trained and stored.

    Attributes:
        store: where fine-tuned encoders are stored.
        seconds: (encoder, pooling, step, sentences) -> duration of a training in this run.
    """

    store: TunedStore
    progress: Progress = silent
    seconds: dict[tuple[str, ...], float] = field(default_factory=dict)

    def tune(
        self, encoder: HuggingFace, pooling: str, steps: Sequence[Step], training_data: TrainingData, on: str
    ) -> TunedEncoder:
        """Return an encoder after a sequence of fine-tuning steps; ``on`` describes the data in messages.

        Raises ValueError or `Degenerate` if the model or the training data is unsuitable for training.
        """
        # the user's trust covers the code of the model they named, not that of stored encoders
        store = replace(self.store, mirror=None) if encoder.spec.trust_remote_code else self.store
        trained = []
        for step in steps:
            report, held, path = self._stored(store, encoder, pooling, step, training_data, on)
            trained.append({"name": str(step), **report})
            encoder = _open(path, encoder, str(report.get("prompt", encoder.spec.prompt)))
            pooling = str(report.get("pooling", pooling))
            finalize(encoder, held.release)
        return TunedEncoder(encoder, trained, pooling)

    def tune_pairs(
        self, encoder: HuggingFace, pooling: str, steps: Sequence[Step], training_data: TrainingData, on: str
    ) -> TunedScorer:
        """Return what scores pairs after a sequence of fine-tuning steps, the last of which is `joint`; like `tune` otherwise."""
        from hengyu.methods.training.pair_model import PairScorer, TrainablePairEncoder

        tuned = self.tune(encoder, pooling, steps[:-1], training_data, on)
        store = replace(self.store, mirror=None) if encoder.spec.trust_remote_code else self.store
        report, held, path = self._stored(store, tuned.encoder, tuned.pooling, steps[-1], training_data, on)
        method: Tuner = steps[-1].make()
        trainable = method.trainable(tuned.encoder, tuned.pooling)
        assert isinstance(trainable, TrainablePairEncoder)
        scorer = PairScorer(trainable, path, length=int(method.parameters()["length"]))
        finalize(scorer, held.release)
        return TunedScorer(scorer, [*tuned.trained, {"name": str(steps[-1]), **report}], path)

    def _stored(
        self,
        store: TunedStore,
        encoder: HuggingFace,
        pooling: str,
        step: Step,
        training_data: TrainingData,
        on: str,
    ) -> tuple[dict[str, Any], Held, Path]:
        """Return the report, the lock and the folder of a fine-tuning step, which is trained unless it is stored."""
        method: Tuner = step.make()
        cache_key = _cache_key(encoder, pooling, step, method, training_data)
        try:
            found = store.find(cache_key)
        except Unreachable:
            raise
        except HengyuError as e:
            self.progress.say(f"warning: {e}; training it again")
            found = None
        if found is None:
            found = self._train(store, encoder, pooling, step, method, training_data, on)
        return (*found, store.path(cache_key))

    def _train(
        self,
        store: TunedStore,
        encoder: HuggingFace,
        pooling: str,
        step: Step,
        method: Tuner,
        training_data: TrainingData,
        on: str,
    ) -> tuple[dict[str, Any], Held]:
        started = time.perf_counter()
        where = f"{encoder.id}, {pooling}: {step} on {on}"
        trainable = method.trainable(encoder, pooling)
        with (
            _all_processes(encoder, pooling, step, training_data),
            self.progress.stage(f"tuning {where}", method.steps(training_data)) as tick,
        ):
            method.tune(trainable, training_data, tick)
        wanted = _cache_key(encoder, pooling, step, method, training_data)
        held: Held | None = None
        about = _readme(encoder, pooling, step, method)
        for variant, data in (method.variants(training_data) or {"": training_data}).items():
            if trainable.variants:
                trainable.take(variant)
            cache_key = _cache_key(encoder, pooling, step, method, data)
            kept = _keep(
                store, trainable, cache_key, method.report, f"{about}\nIt is for {variant}.\n" if variant else about
            )
            if cache_key == wanted:
                held = kept
            elif kept is not None:
                kept.release()
        del trainable
        give_back_memory()
        seconds = time.perf_counter() - started
        parts = (encoder.id, pooling, str(step), on)
        self.seconds[parts] = self.seconds.get(parts, 0.0) + seconds
        self.progress.say(f"fine-tuned {where}: {seconds:.0f} s")
        if held is None:
            raise Unreachable(f"{store.path(wanted)}: was deleted while it was in use; run the same command again")
        return method.report, held


def _all_processes(
    encoder: HuggingFace, pooling: str, step: Step, training_data: TrainingData
) -> AbstractContextManager[None]:
    """Let all processes that torchrun has started take part in a training."""
    if processes() == 1:
        return nullcontext()
    from hengyu.methods.training.distributed import shared_job

    return shared_job(encoder, pooling, str(step), training_data)


def _cache_key(
    encoder: HuggingFace, pooling: str, step: Step, method: Tuner, training_data: TrainingData
) -> dict[str, Any]:
    return tuned_key(
        about={"step": str(step), "pooling": pooling},
        encoder=vectors_key(encoder, pooling),
        step=step.key,
        training_data=training_data.digest(labelled=step.labelled),
        held=training_data.held_digest,
        condition=method.condition(training_data),
        made=made_by(TRAINEE, alone=(__name__,)),
    )


def _keep(
    store: TunedStore, trainable: TrainableEncoder, cache_key: dict[str, Any], report: dict[str, Any], about: str
) -> Held | None:
    """Store a trained model, and return the lock that protects it; None if it was deleted already."""
    draft = store.root / f".draft-{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        trainable.save(draft, about)
        return store.keep(cache_key, report, draft)
    except OSError as e:
        raise HengyuError(
            f"{draft.parent}: the fine-tuned encoder cannot be stored ({e.strerror or e}); free some space or set HENGYU_CACHE "
            "to another folder"
        ) from e
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _open(path: Path, encoder: HuggingFace, prompt: str) -> HuggingFace:
    """Open a fine-tuned encoder like its original: with the same name, dtype and device."""
    from hengyu.encoders.huggingface import HuggingFace
    from hengyu.encoders.model_folder import ModelFolder

    spec = replace(encoder.spec, model=str(path), revision="", prompt=prompt)
    return HuggingFace(ModelFolder(path, spec, identifier=encoder.id))


def _readme(encoder: HuggingFace, pooling: str, step: Step, method: Tuner) -> str:
    parameters = ", ".join(f"{k}={v}" for k, v in method.parameters().items())
    return (
        f"# {encoder.id}, tuned by {step.name}\n\nMade by Hengyu from the encoder '{encoder.id}' with the pooling "
        f"'{pooling}': {step.name}({parameters}). `{ABOUT}` says on what data, by hash, and what the training saw.\n"
    )
