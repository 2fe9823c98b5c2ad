"""simcse(lr, batch, epochs, temperature, ...): contrastive training with two dropout passes of a sentence as positives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "SimCse"]


@dataclass
class SimCse(FineTuner):
    """Trains the encoder to match two dropout passes of a sentence among those of a batch; no labels.

    Gao et al., SimCSE: Simple Contrastive Learning of Sentence Embeddings (EMNLP 2021, arXiv:2104.08821). The defaults
    are those of Su's Chinese experiments (kexue.fm 8348): 10,000 random sentences of the task, one epoch of batches of
    64, learning rate 1e-5, dropout 0.3, temperature 0.05; trained with the pooling of the evaluation. A sentence that occurs
    twice in a batch is not its own negative. ``mlp`` adds a tanh layer during training only, like the paper on [CLS].
    ``delete``: each token of either pass is deleted with this probability (word deletion, as in the paper's table 1; Wu et
    al., CLEAR, arXiv:2012.15466), for small models, for which dropout alone is too easy; 0 for none.
    """

    temperature: float = 0.05
    mlp: bool = False
    delete: float = 0.0

    limits = {"temperature": (1e-3, 10), "delete": (0, 0.9)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dropout and not self.delete:
            raise ValueError("simcse(dropout=0) makes the two passes of a sentence the same; set dropout or delete")

    @property
    def fixed_width(self) -> str:
        """The layer of ``mlp``."""
        return "the layer of mlp" if self.mlp else ""

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.objectives import Deletions, DropoutPairs

        if self.delete:
            return Deletions(trainable, training_data, self, self.temperature, rate=self.delete, mlp=self.mlp)
        return DropoutPairs(trainable, training_data, self, self.temperature, mlp=self.mlp)


METHOD = SimCse
