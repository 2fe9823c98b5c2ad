"""Tuned encoders: recalled from the store, or trained and put there."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import finalize

from hengyu.base.errors import HengyuError
from hengyu.base.memory import give_back_memory
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Unreachable
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
"""The module that opens, trains and saves a model, imported when one is trained."""


@dataclass(frozen=True)
class TunedEncoder:
    """An encoder made by tuners, and what each training saw."""

    encoder: HuggingFace
    trained: list[dict[str, Any]]


@dataclass
class TunedEncoderCache:
    """The tunings of a run: recalled from the store, or made and put there.

    Attributes:
        store: where tuned encoders are kept.
        seconds: what was trained now (encoder, pooling, step, sentences) -> what it took.
    """

    store: TunedStore
    progress: Progress = silent
    seconds: dict[tuple[str, ...], float] = field(default_factory=dict)

    def tune(
        self, encoder: HuggingFace, pooling: str, steps: Sequence[Step], lesson: TrainingData, on: str
    ) -> TunedEncoder:
        """Return the encoder that tuners make of one, each going on from the one before; ``on`` says on what, for people.

        Raises ValueError or `Degenerate` when the model or the lesson cannot be trained with.
        """
        # code that a user trusts is that of the model they named, not of what others have put elsewhere
        store = replace(self.store, mirror=None) if encoder.spec.trust_remote_code else self.store
        trained = []
        for step in steps:
            method: Tuner = step.make()
            meaning = self._meaning(encoder, pooling, step, method, lesson)
            try:
                found = store.find(meaning)
            except Unreachable:
                raise
            except HengyuError as e:
                self.progress.say(f"warning: {e}; trained again now")
                found = None
            if found is None:
                found = self._train(store, encoder, pooling, step, method, lesson, meaning, on)
            report, held = found
            trained.append({"name": str(step), **report})
            path = store.path(meaning)
            encoder = _open(path, encoder, str(report.get("prompt", encoder.spec.prompt)))
            finalize(encoder, held.release)
        return TunedEncoder(encoder, trained)

    def _meaning(
        self, encoder: HuggingFace, pooling: str, step: Step, method: Tuner, lesson: TrainingData
    ) -> dict[str, Any]:
        return tuned_key(
            about={"step": str(step), "pooling": pooling},
            encoder=vectors_key(encoder, pooling),
            step=step.key,
            lesson=lesson.digest(labelled=method.labelled),
            held=lesson.held_digest,
            made=made_by(TRAINEE, alone=(__name__,)),
        )

    def _train(
        self,
        store: TunedStore,
        encoder: HuggingFace,
        pooling: str,
        step: Step,
        method: Tuner,
        lesson: TrainingData,
        meaning: dict[str, Any],
        on: str,
    ) -> tuple[dict[str, Any], Held]:
        from hengyu.methods.training.model import TrainableEncoder

        started = time.perf_counter()
        where = f"{encoder.id}, {pooling}: {step} on {on}"
        trainee = TrainableEncoder(encoder, pooling)
        with self.progress.stage(f"tuning {where}", method.steps(lesson)) as tick:
            method.tune(trainee, lesson, tick)
        draft = store.root / f".draft-{uuid.uuid4().hex}"
        try:
            draft.mkdir(parents=True)
            trainee.save(draft, _readme(encoder, pooling, step, method))
            held = store.keep(meaning, method.report, draft)
        except OSError as e:
            raise HengyuError(
                f"{draft.parent}: the tuned encoder cannot be stored ({e.strerror or e}); make room or set HENGYU_CACHE "
                "to another folder"
            ) from e
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        del trainee
        give_back_memory()
        seconds = time.perf_counter() - started
        parts = (encoder.id, pooling, str(step), on)
        self.seconds[parts] = self.seconds.get(parts, 0.0) + seconds
        self.progress.say(f"tuned {where}: {seconds:.0f} s")
        if held is None:
            raise Unreachable(f"{store.path(meaning)}: was deleted while it was in use; run the same command again")
        return method.report, held


def _open(path: Path, encoder: HuggingFace, prompt: str) -> HuggingFace:
    """Open a tuned encoder as the one it was made of: the same name, dtype and device."""
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
