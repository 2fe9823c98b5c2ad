"""The base classes of methods that train the encoder."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from hengyu.base.progress import Tick
from hengyu.methods.base import Method
from hengyu.methods.training.config import TrainingConfig, entry_name
from hengyu.methods.training.data import TrainingData

if TYPE_CHECKING:
    from hengyu.encoders.huggingface import HuggingFace
    from hengyu.methods.training.curve import TrainingMonitor
    from hengyu.methods.training.interface import Objective
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["FineTuner", "Tuner", "TunerWrapper"]


class Tuner(Method):
    """Encoder to encoder: trains a model for one pooling on texts; the first step of an entry.

    Attributes:
        report: the training report, as JSON; the same for the same texts and seed.
    """

    category = "tuner"
    report: dict[str, Any]

    def parameters(self) -> dict[str, Any]:
        """Return every parameter by name, defaults included; a tuner is a dataclass."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def trainable(self, encoder: HuggingFace, pooling: str) -> TrainableEncoder:
        """Return what it trains of an encoder; raises `HengyuError` for one that cannot be trained."""
        from hengyu.methods.training.model import TrainableEncoder

        return TrainableEncoder(encoder, pooling)

    @abstractmethod
    def steps(self, training_data: TrainingData) -> int:
        """Return the number of training steps."""

    @abstractmethod
    def tune(self, trainable: TrainableEncoder, training_data: TrainingData, tick: Tick) -> None:
        """Train in place; raises ValueError or `Degenerate` if the data or the model is unsuitable."""

    def condition(self, training_data: TrainingData) -> dict[str, Any]:
        """Return what its result depends on besides the digest of the training data; {} for nothing.

        Raises ValueError if the training data are unsuitable.
        """
        return {}

    def variants(self, training_data: TrainingData) -> dict[str, TrainingData]:
        """Return the names of the models that one training leaves, with the training data as each of them has them.

        They are names of `TrainableEncoder.variants`; {} for one model.
        """
        return {}


@dataclass
class FineTuner(TrainingConfig, Tuner):
    """A tuner trained by the shared loop; a method derives from it and defines its objective.

    Attributes:
        wrappers: the tuners that wrap it, the innermost last.
    """

    wrappers: list[TunerWrapper] = field(init=False, repr=False, default_factory=list)

    @property
    def fixed_width(self) -> str:
        """What in its loss needs vectors of the full width, so that nothing can cut them; "" if nothing does."""
        return ""

    @property
    def beyond_weights(self) -> str:
        """What it trains besides weight matrices of the model, so that low-rank updates are not enough; "" for nothing."""
        return ""

    def steps(self, training_data: TrainingData) -> int:
        """Return the number of steps on the training data."""
        size = (
            len(training_data.pairs)
            if self.labelled and training_data.pairs is not None
            else int(training_data.counts.sum())
        )
        return self.total(min(size, self.sentences or size))

    @abstractmethod
    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Objective:
        """Return the objective: the rows of a batch, and the loss of their vectors."""

    def monitor(self) -> type[TrainingMonitor]:
        """Return what evaluates the model during its training."""
        from hengyu.methods.training.curve import TrainingMonitor

        return TrainingMonitor

    def tune(self, trainable: TrainableEncoder, training_data: TrainingData, tick: Tick) -> None:
        """Open the model, train it on the objective and keep the report.

        Raises ValueError or `Degenerate` if the training data or the model is unsuitable.
        """
        from hengyu.methods.training.loop import reproducible, train

        if self.patience:
            training_data = training_data.holding_out(self.seed, labelled=self.labelled)
        trainable.open(dropout=self.dropout, length=self.length, dtype=self.dtype)
        with reproducible(trainable, self.seed):
            for wrapper in reversed(self.wrappers):
                wrapper.prepare(trainable, training_data)
            objective = self.make(trainable, training_data)
            for wrapper in reversed(self.wrappers):
                objective = wrapper.changed(objective, trainable)
            self.report = train(trainable, objective, training_data, self, tick, self.monitor())
            for wrapper in self.wrappers:
                wrapper.finish(trainable)
        if trainable.tokenizer.added:
            self.report["prompt"] = trainable.tokenizer.folder.prompt
        if trainable.saved_pooling != trainable.pooling:
            self.report["pooling"] = trainable.saved_pooling


@dataclass
class TunerWrapper(Tuner):
    """A tuner that wraps another one, like ``matryoshka(cosent)``: the training is the other's, the loss changed."""

    inner: FineTuner | TunerWrapper = field(init=False, repr=False)

    joins = 1

    @property
    def name(self) -> str:
        """Its name in an entry, from its file."""
        return entry_name(self)

    def around(self, inner: Any) -> Self:
        """Set the tuner that it wraps; raises ValueError for one whose loss cannot be changed so."""
        if not isinstance(inner, FineTuner | TunerWrapper):
            raise ValueError(f"{self.name} can only wrap a tuner that has a training loss, and this one has none")
        if inner.joint:
            raise ValueError(
                f"{self.name} wraps tuners of sentence vectors, and {inner.name} scores pairs; leave one out"
            )
        self.inner = inner
        if self.name in self.wrapped:
            raise ValueError(f"{self.name} cannot be nested in {self.name}; keep one")
        return self

    @property
    def wrapped(self) -> tuple[str, ...]:
        """The names of the wrappers inside, the outermost first."""
        return (self.inner.name, *self.inner.wrapped) if isinstance(self.inner, TunerWrapper) else ()

    @property
    def core(self) -> FineTuner:
        """The tuner with the training config, inside all that wrap it."""
        return self.inner if isinstance(self.inner, FineTuner) else self.inner.core

    @property
    def fixed_width(self) -> str:
        """What in the loss needs vectors of the full width; "" if nothing does."""
        return self.inner.fixed_width

    def parameters(self) -> dict[str, Any]:
        """Return every parameter by name, with those of the tuner inside."""
        return {**super().parameters(), self.inner.name: self.inner.parameters()}

    def reads(self) -> dict[str, Any]:
        """Return nothing: the tuner inside has a key of its own."""
        return {}

    @property
    def beyond_weights(self) -> str:
        """What is trained besides weight matrices of the model; "" for nothing."""
        return self.inner.beyond_weights

    def condition(self, training_data: TrainingData) -> dict[str, Any]:
        """Return what the result depends on besides the digest of the training data, by the tuner inside."""
        return self.inner.condition(training_data)

    def variants(self, training_data: TrainingData) -> dict[str, TrainingData]:
        """Return the models that one training leaves, by the tuner inside."""
        return self.inner.variants(training_data)

    def steps(self, training_data: TrainingData) -> int:
        """Return the number of steps, which is that of the tuner inside."""
        return self.inner.steps(training_data)

    def prepare(self, trainable: TrainableEncoder, training_data: TrainingData) -> None:
        """Change the opened model before the objective is made, as by what is trained of it."""

    def changed(self, objective: Objective, trainable: TrainableEncoder) -> Objective:
        """Return the objective with the changed loss; raises ValueError if the model or the objective is unsuitable."""
        return objective

    def finish(self, trainable: TrainableEncoder) -> None:
        """Undo after the training what `prepare` did, so that the model can be saved as one of its kind."""

    def tune(self, trainable: TrainableEncoder, training_data: TrainingData, tick: Tick) -> None:
        """Train in place; raises ValueError or `Degenerate` if the data or the model is unsuitable."""
        wrappers = self.core.wrappers
        wrappers.append(self)
        try:
            self.inner.tune(trainable, training_data, tick)
        finally:
            wrappers.remove(self)
        self.report = self.inner.report
