"""distill(lr, batch, epochs, teacher, distance_metric, ...): training on another encoder's vectors; no labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.choices import METRICS, refuse_other
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "Distill"]


@dataclass
class Distill(FineTuner):
    r"""Trains the encoder to give a teacher's vectors of the sentences, and the cosines between them; no labels.

    Kim et al., EmbedDistill (arXiv:2301.12005), as sentence-transformers' EmbedDistillLoss, and Park et al., Relational Knowledge
    Distillation (arXiv:1904.05068): $\frac{1}{n} \sum_i d(x_i, t_i) + \frac{w}{n} \sum_{i,j} (\cos(x_i, x_j) - \cos(t_i, t_j))^2$
    over a batch, with the vectors $x$, the teacher's $t$ and $w$ = ``similarity``.

    * ``distance_metric``: cosine (1 - cosine), mse, l2, or none for the second term alone.
    * ``teacher``: an encoder as ``--encoder`` takes it: a built-in one, a folder, a model in the hub's cache, or a file of vectors
      that holds the training sentences; nothing is downloaded. ``teacher_pooling`` is its pooling, by default native.
    * ``align``: the targets are the teacher's vectors as `hengyu distill` makes them: centred, on as many principal axes as the
      encoder has columns, of length 1, and turned to the encoder's vectors before the first step. With false they are the
      teacher's own, and both must have the same width.

    To make a small encoder from a large corpus, use `hengyu distill`.
    """

    lr: float = 5e-5
    dropout: float = 0.1
    teacher: str = "hengyu-small"
    teacher_pooling: str = ""
    distance_metric: str = "cosine"
    similarity: float = 0.1
    align: bool = True

    models = ("teacher",)
    limits = {"similarity": (0, 1000)}

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_other(self.name, "distance_metric", self.distance_metric, METRICS)
        if self.distance_metric == "none" and not self.similarity:
            raise ValueError(f"{self.name}(distance_metric=none, similarity=0) has no loss; set one of the two")
        if not self.teacher:
            raise ValueError(f"{self.name}(teacher=) is empty; name an encoder, like teacher=hengyu-small")

    def reads(self) -> dict[str, Any]:
        """Return the key of the teacher's vectors."""
        return {"teacher": self._teacher().key}

    def _teacher(self) -> Any:
        from hengyu.methods.training.readers import ReadEncoder

        return ReadEncoder(self.teacher, self.teacher_pooling, f"{self.name}(teacher={self.teacher})")

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.imitation import EmbedDistillLoss

        return EmbedDistillLoss(
            trainable,
            training_data,
            self,
            self._teacher(),
            distance_metric=self.distance_metric,
            similarity=self.similarity,
            align=self.align,
        )


METHOD = Distill
