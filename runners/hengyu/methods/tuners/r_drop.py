"""r-drop(TUNER, alpha, scale): another tuner's loss in two dropout passes that must agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hengyu.methods.training.tuner import TunerWrapper

if TYPE_CHECKING:
    from hengyu.methods.training.interface import Objective
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "RDrop"]


@dataclass
class RDrop(TunerWrapper):
    r"""Trains with another tuner's loss in two dropout passes, and with the divergence between what the passes say.

    Liang et al., R-Drop: Regularized Dropout for Neural Networks (NeurIPS 2021, arXiv:2106.14448):
    $\frac{1}{2}(L_1 + L_2) + \frac{\alpha}{2} (KL(P_1 \| P_2) + KL(P_2 \| P_1))$, where $L_1$, $L_2$ are the losses of the tuner in
    parentheses in two passes; the paper's loss is twice this one, so its alpha of 4 is 2 here. Written
    `r-drop(sbert(loss=classify))`: then $P$ is the classifier's distribution over the labels, as in the paper. For tuners without
    a classifier, $P$ is the distribution of a sentence over the other sentences of the batch, the softmax of ``scale`` times the
    cosines; this is our reading, since the paper has classifiers only (Su, kexue.fm 8496, measures it on Chinese ones).
    sentence-transformers has no such loss. A step takes twice as long. Learns what the tuner inside learns from.
    """

    alpha: float = 1.0
    scale: float = 20.0

    def __post_init__(self) -> None:
        for key, least, most in (("alpha", 0, 1000), ("scale", 1e-3, 1000)):
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"r-drop({key}={getattr(self, key):g}) must lie in {least:g}..{most:g}")

    def around(self, inner: Any) -> Self:
        """Set the tuner inside; raises ValueError for one without dropout."""
        super().around(inner)
        if not self.core.dropout:
            raise ValueError(f"r-drop needs two different dropout passes, and {self.core.name} has dropout=0; raise it")
        return self

    def changed(self, objective: Objective, trainable: TrainableEncoder) -> Objective:
        """Return the objective in two passes."""
        from hengyu.methods.training.rdrop import RDropLoss

        return RDropLoss(objective, self.alpha, self.scale)


METHOD = RDrop
