"""redraw(TUNER, init): another tuner's training with other first weights of the layers that it adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hengyu.methods.training.choices import INITS, refuse_other
from hengyu.methods.training.tuner import TunerWrapper

if TYPE_CHECKING:
    from hengyu.methods.training.interface import Objective
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "Redraw"]


@dataclass
class Redraw(TunerWrapper):
    """Draws the layers that a tuner adds on top of the encoder (a classifier, a predictor, a projection) in another way.

    Su, kexue.fm 7180. Written `redraw(sbert(loss=classify))`. Without it such a layer begins as PyTorch draws it, uniformly with
    a variance of 1/(3 n) for n inputs.

    * ``init``: orthogonal, with orthogonal rows or columns, or normal, with a variance of 1/n; the mean square of the entries
      is the same in both.

    The encoder's own weights stay; a tuner that adds no linear layer is refused. Learns what the tuner inside learns from.
    """

    init: str = "orthogonal"

    def __post_init__(self) -> None:
        refuse_other(self.name, "init", self.init, INITS)

    def changed(self, objective: Objective, trainable: TrainableEncoder) -> Objective:
        """Draw the layers of the objective anew; raises ValueError where it has none."""
        from hengyu.methods.training.drawing import redraw

        if not redraw(objective.heads, self.init):
            raise ValueError(
                f"redraw draws the layers that a tuner adds, and {self.core.name} adds none; leave redraw out"
            )
        return objective


METHOD = Redraw
