"""unshare(TUNER): another tuner's training of an ALBERT whose blocks no longer share their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hengyu.methods.training.tuner import TunerWrapper

if TYPE_CHECKING:
    from hengyu.methods.training.data import TrainingData
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "Unshare"]


@dataclass
class Unshare(TunerWrapper):
    """Unties the shared blocks of an ALBERT before another tuner's training, so that each is trained separately.

    Su, kexue.fm 7187, whose code is `ALBERT_Unshared` of bert4keras: sharing is a constraint of the pretraining that the
    training for a task need not keep. Written `unshare(cosent(lr=1e-4))`. Before the first step the vectors are those of the
    model; the result is an ALBERT of transformers with as many groups as blocks: inference is as fast, and every block has
    weights of its own. A model whose blocks share nothing is refused. Learns what the tuner inside learns from.
    """

    def around(self, inner: Any) -> Self:
        """Set the tuner inside; raises ValueError for one that adds to the blocks while they are shared."""
        super().around(inner)
        for name in ("conditional", "lora"):
            if name in self.wrapped:
                raise ValueError(f"unshare unties the blocks before {name} adds to them; write {name}(unshare(...))")
        return self

    def prepare(self, trainable: TrainableEncoder, training_data: TrainingData) -> None:
        """Untie the blocks; raises ValueError for a model whose blocks share nothing."""
        from hengyu.methods.training.unsharing import unshare

        unshare(trainable.model)


METHOD = Unshare
