"""angle(lr, batch, epochs, scale, ...): training on labels like cosent, by an angle in the complex plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.data import TrainingData
from hengyu.methods.tuners.cosent import CoSent

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "AnglE"]


@dataclass
class AnglE(CoSent):
    r"""Trains the encoder on labelled pairs like cosent, but by a similarity whose gradient does not vanish near a cosine of 1.

    Li and Li, AnglE-optimized Text Embeddings (arXiv:2309.12871), as sentence-transformers' AnglELoss, which has the angle
    term alone; the paper adds CoSENT's and an in-batch term. The loss is
    $\log(1 + \sum_{y_i > y_j} e^{\lambda (s_j - s_i)})$ over the pairs of a batch, with $\lambda$ = ``scale`` and
    $s = |\mathrm{Re}\, z + \mathrm{Im}\, z|$, where $z$ is the inner product of the two vectors of length 1, read as complex
    numbers: the first half of the columns real, the second imaginary. $\mathrm{Re}\, z$ is the cosine. Defaults as in cosent.
    Learns from labels: ``fit_on`` must name a split that is not evaluated.
    """

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.supervised import AnglELoss

        return AnglELoss(trainable, training_data, self, self.scale)


METHOD = AnglE
