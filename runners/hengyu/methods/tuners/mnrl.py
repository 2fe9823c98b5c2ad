"""mnrl(lr, batch, epochs, scale, chunk, ...): multiple negatives ranking on labels, with hard negatives and gradient caching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.choices import DIRECTIONS, HARDNESS, PARTITIONS, positives_of, refuse_other, refuse_shares
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "MultipleNegativesRanking"]


@dataclass
class MultipleNegativesRanking(FineTuner):
    r"""Trains the encoder to tell each anchor's positive from the other sentences of the batch; uses labels.

    Henderson et al., Efficient Natural Language Response Suggestion for Smart Reply (arXiv:1705.00652), as
    sentence-transformers' MultipleNegativesRankingLoss: $-\frac{1}{n} \sum_i \log \frac{e^{\lambda \cos(a_i, p_i)}}{\sum_j
    e^{\lambda \cos(a_i, p_j)} + \sum_k e^{\lambda \cos(a_i, h_k)}}$ over anchors a, positives p and hard negatives h, with
    $\lambda$ = ``scale``. Positives, negatives and ``hard`` are those of simcse-sup; it is that method's loss at ``scale=20``.

    * ``chunk``: with it the loss is CachedMultipleNegativesRankingLoss and ``chunk`` its ``mini_batch_size``: batches of
      thousands in the memory of so many rows, with the same gradients (Gao et al., arXiv:2101.06983).
    * ``directions``: what is compared besides query_to_doc, joined by +: query_to_query, doc_to_query, doc_to_doc.
    * ``partition_mode``: joint for one softmax over all directions, per_direction for the mean of one of each.
    * ``hardness_mode`` (in_batch_negatives, hard_negatives or all_negatives) adds ``hardness_strength`` times the cosine to
      the scores of those negatives (Lan et al., arXiv:2503.04812).

    Sentences with the same meaning by the labels are no negatives of each other. ``fit_on`` must name a split that is not
    evaluated.
    """

    lr: float = 5e-5
    epochs: int = 3
    sentences: int = 0  # here: positive pairs
    dropout: float = 0.1
    scale: float = 20.0
    directions: str = "query_to_doc"
    partition_mode: str = "joint"
    hardness_mode: str = "none"
    hardness_strength: float = 0.0
    positive: float = 0.8
    negative: float = 0.2
    hard: bool = True

    labelled = True
    limits = {"scale": (1e-3, 1000), "hardness_strength": (0, 1000)}

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_shares(self.name, self.positive, self.negative)
        given = self.directions.split("+")
        if "query_to_doc" not in given or len(set(given)) < len(given) or not set(given) <= set(DIRECTIONS):
            raise ValueError(
                f"{self.name}(directions={self.directions}) must be query_to_doc, alone or joined by + with "
                f"{', '.join(DIRECTIONS[1:])}"
            )
        refuse_other(self.name, "partition_mode", self.partition_mode, PARTITIONS)
        refuse_other(self.name, "hardness_mode", self.hardness_mode, HARDNESS)
        if self.partition_mode == "per_direction" and set(given) & {"query_to_query", "doc_to_doc"}:
            raise ValueError(
                f"{self.name}(partition_mode=per_direction) needs directions that hold the positive: query_to_doc and "
                "doc_to_query; remove the others, or set partition_mode=joint"
            )
        if (self.hardness_mode == "none") != (self.hardness_strength == 0):
            raise ValueError(f"{self.name}: hardness_mode and hardness_strength need each other; set both, or none")

    def steps(self, training_data: TrainingData) -> int:
        """Return the number of steps on the positive pairs of the training data."""
        return self.total(positives_of(training_data, self.positive, self.sentences))

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.ranking import MultipleNegativesRankingLoss

        return MultipleNegativesRankingLoss(
            trainable,
            training_data,
            self,
            positive=self.positive,
            negative=self.negative if self.hard else -1.0,
            scale=self.scale,
            directions=self.directions.split("+"),
            partition_mode=self.partition_mode,
            hardness_mode=self.hardness_mode,
            hardness_strength=self.hardness_strength,
        )


METHOD = MultipleNegativesRanking
