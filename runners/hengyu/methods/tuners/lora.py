"""lora(TUNER, rank, alpha, dropout, modules): another tuner's training, of low-rank updates of the weights alone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from hengyu.methods.training.tuner import TunerWrapper

if TYPE_CHECKING:
    from hengyu.methods.training.data import TrainingData
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "Lora"]


@dataclass
class Lora(TunerWrapper):
    r"""Trains low-rank updates of the weight matrices with another tuner's loss; the model's own weights stay as they are.

    Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (ICLR 2022, arXiv:2106.09685), by peft: a matrix $W$ becomes
    $W + \frac{\alpha}{r} B A$, and $A$ (r rows) and $B$ (r columns) are trained alone. Written `lora(cosent(lr=1e-3), rank=8)`.
    After the training the updates are added to the weights, so the result is an ordinary model, which needs no peft.

    * ``rank``: $r$; ``alpha``: the factor; ``dropout``: the rate before $A$.
    * ``modules``: the linear layers with an update, by the ends of their names, like ``modules="query value"``; all-linear for
      all of them, except an unused pooler.

    Learning rates are about ten times those of a whole model. Biases, norms and word embeddings are not trained, so ``fgm``,
    ``gradient_penalty`` and ``weissi`` of the tuner inside are refused. Learns what the tuner inside learns from.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    modules: str = "all-linear"

    def __post_init__(self) -> None:
        for key, least, most in (("rank", 1, 4096), ("alpha", 1e-3, 1e5), ("dropout", 0, 0.9)):
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"lora({key}={getattr(self, key):g}) must lie in {least:g}..{most:g}")
        if not self.names:
            raise ValueError('lora(modules=) is empty; name linear layers, like modules="query value", or all-linear')

    @property
    def names(self) -> list[str]:
        """The ends of the names of the layers with an update."""
        return self.modules.replace(",", " ").split()

    def around(self, inner: Any) -> Self:
        """Set the tuner inside; raises ValueError for one that trains more than weight matrices, and without peft."""
        super().around(inner)
        core = self.core
        if beyond := self.inner.beyond_weights:
            who = core.name if core.beyond_weights else self.inner.name
            raise ValueError(f"lora trains updates of weight matrices, and {who} trains {beyond}")
        for key in ("fgm", "gradient_penalty", "weissi", "weissi_l1"):
            if getattr(core, key):
                raise ValueError(
                    f"lora trains no weight of the model itself, and {core.name}({key}=...) acts on those; leave {key} out"
                )
        if find_spec("peft") is None:
            raise ValueError("lora needs peft; run: pip install 'hengyu[peft]'")
        return self

    def prepare(self, trainable: TrainableEncoder, training_data: TrainingData) -> None:
        """Add the updates to the opened model; raises ValueError where it has no such layers."""
        from hengyu.methods.training.low_rank import add_updates

        add_updates(trainable, self.names, rank=self.rank, alpha=self.alpha, dropout=self.dropout)

    def finish(self, trainable: TrainableEncoder) -> None:
        """Merge the updates into the weights."""
        from hengyu.methods.training.low_rank import merge_updates

        merge_updates(trainable)


METHOD = Lora
