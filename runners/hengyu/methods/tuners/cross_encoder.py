"""cross-encoder(lr, batch, epochs, loss, ...): both sentences in one input, and one score (interaction)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.choices import refuse_other
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.encoders.huggingface import HuggingFace
    from hengyu.methods.training.curve import TrainingMonitor
    from hengyu.methods.training.model import TrainableEncoder
    from hengyu.methods.training.pair_model import TrainablePairEncoder

__all__ = ["METHOD", "CrossEncoder"]


@dataclass
class CrossEncoder(FineTuner):
    """Trains the encoder to read both sentences of a pair together and to score them; there are no sentence vectors.

    The input is `[CLS] first [SEP] second [SEP]`; the pooling of the row reads its tokens ("cls" as published), and a new linear
    layer makes one score of them. ``loss``: ``bce``, the binary cross-entropy of the score's sigmoid to the label on 0..1
    (sentence-transformers' `BinaryCrossEntropyLoss`; for labels of 0 and 1 the softmax over two classes of kexue.fm 8860), or
    ``cosent``, the loss log(1 + sum exp(scale (s_j - s_i))) of scores s over the pairs i above j of a batch (kexue.fm 9341, with
    ``scale`` 1). ``length`` is that of both sentences together, ``segments`` gives the second one BERT's other token type.
    Defaults as in the code of 8860 (that of 9341 has a batch of 64): batch 32, learning rate 2e-5, 5 epochs, length 128, no token
    types. Learns from labels: ``fit_on`` must name a split that is not evaluated.
    """

    lr: float = 2e-5
    batch: int = 32
    epochs: int = 5
    sentences: int = 0  # pairs, here
    length: int = 128
    dropout: float = 0.1
    loss: str = "bce"
    scale: float = 1.0
    segments: bool = False

    labelled = True
    joint = True
    limits = {"scale": (1e-3, 1000)}

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_other(self.name, "loss", self.loss, ("bce", "cosent"))
        if self.loss == "bce" and self.scale != 1:
            raise ValueError(f"{self.name}(scale={self.scale}) needs loss=cosent; leave it out")
        if self.loss == "cosent" and self.vat:
            raise ValueError(
                f"{self.name}(loss=cosent) gives no probabilities, which vat moves; use loss=bce, or leave vat out"
            )

    def trainable(self, encoder: HuggingFace, pooling: str) -> TrainablePairEncoder:
        """Return what it trains of an encoder; raises `HengyuError` for one that cannot be trained."""
        from hengyu.methods.training.pair_model import TrainablePairEncoder

        return TrainablePairEncoder(encoder, pooling, segments=self.segments, probabilities=self.loss == "bce")

    def monitor(self) -> type[TrainingMonitor]:
        """Return what evaluates the model during its training."""
        from hengyu.methods.training.joint import JointMonitor

        return JointMonitor

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.joint import BinaryCrossEntropyLoss, JointCoSENTLoss
        from hengyu.methods.training.pair_model import TrainablePairEncoder

        assert isinstance(trainable, TrainablePairEncoder)
        if self.loss == "bce":
            return BinaryCrossEntropyLoss(trainable, training_data, self)
        return JointCoSENTLoss(trainable, training_data, self, self.scale)


METHOD = CrossEncoder
