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

__all__ = ["TRAINEE", "TunedEncoder", "TunedEncoderCache"]

TRAINEE = "hengyu.methods.training.model"
"""The module that opens, trains and saves a model, imported only for a training."""


@dataclass(frozen=True)
class TunedEncoder:
    """A fine-tuned encoder, with the report of each training."""

    encoder: HuggingFace
    trained: list[dict[str, Any]]


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
            method: Tuner = step.make()
            cache_key = self._cache_key(encoder, pooling, step, method, training_data)
            try:
                found = store.find(cache_key)
            except Unreachable:
                raise
            except HengyuError as e:
                self.progress.say(f"warning: {e}; training it again")
                found = None
            if found is None:
                found = self._train(store, encoder, pooling, step, method, training_data, cache_key, on)
            report, held = found
            trained.append({"name": str(step), **report})
            path = store.path(cache_key)
            encoder = _open(path, encoder, str(report.get("prompt", encoder.spec.prompt)))
            finalize(encoder, held.release)
        return TunedEncoder(encoder, trained)

    def _cache_key(
        self, encoder: HuggingFace, pooling: str, step: Step, method: Tuner, training_data: TrainingData
    ) -> dict[str, Any]:
        return tuned_key(
            about={"step": str(step), "pooling": pooling},
            encoder=vectors_key(encoder, pooling),
            step=step.key,
            training_data=training_data.digest(labelled=step.labelled),
            held=training_data.held_digest,
            made=made_by(TRAINEE, alone=(__name__,)),
        )

    def _train(
        self,
        store: TunedStore,
        encoder: HuggingFace,
        pooling: str,
        step: Step,
        method: Tuner,
        training_data: TrainingData,
        cache_key: dict[str, Any],
        on: str,
    ) -> tuple[dict[str, Any], Held]:
        from hengyu.methods.training.model import TrainableEncoder

        started = time.perf_counter()
        where = f"{encoder.id}, {pooling}: {step} on {on}"
        trainable = TrainableEncoder(encoder, pooling)
        with (
            _all_processes(encoder, pooling, step, training_data),
            self.progress.stage(f"tuning {where}", method.steps(training_data)) as tick,
        ):
            method.tune(trainable, training_data, tick)
        draft = store.root / f".draft-{uuid.uuid4().hex}"
        try:
            draft.mkdir(parents=True)
            trainable.save(draft, _readme(encoder, pooling, step, method))
            held = store.keep(cache_key, method.report, draft)
        except OSError as e:
            raise HengyuError(
                f"{draft.parent}: the fine-tuned encoder cannot be stored ({e.strerror or e}); free some space or set HENGYU_CACHE "
                "to another folder"
            ) from e
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        del trainable
        give_back_memory()
        seconds = time.perf_counter() - started
        parts = (encoder.id, pooling, str(step), on)
        self.seconds[parts] = self.seconds.get(parts, 0.0) + seconds
        self.progress.say(f"fine-tuned {where}: {seconds:.0f} s")
        if held is None:
            raise Unreachable(f"{store.path(cache_key)}: was deleted while it was in use; run the same command again")
        return method.report, held


def _all_processes(
    encoder: HuggingFace, pooling: str, step: Step, training_data: TrainingData
) -> AbstractContextManager[None]:
    """Let all processes that torchrun has started take part in a training."""
    if processes() == 1:
        return nullcontext()
    from hengyu.methods.training.distributed import shared_job

    return shared_job(encoder, pooling, str(step), training_data)


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
