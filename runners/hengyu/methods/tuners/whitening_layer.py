"""whitening-layer(TUNER, dim, shrink, freeze): another tuner's training, with a whitening after the model that is trained too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hengyu.encoders.pooling_names import LIBRARY_POOLINGS
from hengyu.methods.training.tuner import TunerWrapper
from hengyu.methods.transforms.whitening import Whitening

if TYPE_CHECKING:
    from hengyu.methods.training.data import TrainingData
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "WhiteningLayer"]


@dataclass
class WhiteningLayer(TunerWrapper):
    r"""Trains with another tuner's loss a linear layer after the model, which at first is the whitening of the training sentences.

    The vector of a sentence is $(x - \mu) W$, where $x$ is that of the model, and $\mu$ and $W$ are those of `whitening` (Su et
    al., arXiv:2103.15316) before the first step; then the loss trains them, and the model with them. Written
    `whitening-layer(cosent(lr=2e-4), dim=128)`; compare it with `cosent(lr=2e-4) > whitening(dim=128)`, which whitens afterwards.

    * ``dim``: the columns of the layer's result; 0 for all.
    * ``shrink``: how far the covariance is moved towards a multiple of the identity, as in `whitening`.
    * ``freeze``: train the layer alone, and leave the model as it is.

    The result is a folder of sentence-transformers with a Dense module, read as its ``native`` vectors. Learns what the tuner
    inside learns from.
    """

    dim: int = 0
    shrink: float = 0.0
    freeze: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.dim <= 65536:
            raise ValueError(f"whitening-layer(dim={self.dim}) must lie in 0..65536, 0 for all columns")
        if not 0 <= self.shrink <= 1:
            raise ValueError(f"whitening-layer(shrink={self.shrink:g}) must lie in 0..1")

    def around(self, inner: Any) -> Self:
        """Set the tuner inside; raises ValueError for one that trains other things than the model."""
        super().around(inner)
        core = self.core
        if core.beyond_weights:
            raise ValueError(f"whitening-layer changes the vectors, and {core.name} also trains {core.beyond_weights}")
        if not self.freeze:
            return self
        for key in ("fgm", "gradient_penalty"):
            if getattr(core, key):
                raise ValueError(
                    f"whitening-layer(freeze=true) leaves the word embeddings as they are, and {key} acts on those; leave one out"
                )
        for name in ("lora", "conditional", "attention-pooling"):
            if name in self.wrapped:
                raise ValueError(f"whitening-layer(freeze=true) trains the layer alone, and {name} more; leave one out")
        return self

    @property
    def beyond_weights(self) -> str:
        """With ``freeze`` the layer, and nothing of the model."""
        return "its layer alone (freeze=true); leave freeze out" if self.freeze else super().beyond_weights

    def prepare(self, trainable: TrainableEncoder, training_data: TrainingData) -> None:
        """Add the layer to the opened model; raises ValueError for a pooling without a module of sentence-transformers."""
        from hengyu.methods.training.layer import whitening_layer

        if trainable.read not in LIBRARY_POOLINGS:
            raise ValueError(
                f"whitening-layer needs one of the poolings {', '.join(LIBRARY_POOLINGS)}, and this is '{trainable.read}'"
            )
        trainable.layer = whitening_layer(trainable, training_data, Whitening(dim=self.dim or None, shrink=self.shrink))
        if self.freeze:
            trainable.model.requires_grad_(False)

    def finish(self, trainable: TrainableEncoder) -> None:
        """Leave the model as it is saved."""
        trainable.model.requires_grad_(True)


METHOD = WhiteningLayer
