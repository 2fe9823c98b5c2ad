"""gist(lr, batch, epochs, guide, temperature, ...): in-batch negatives on labels, without those that a guide finds similar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.choices import MARGINS, positives_of, refuse_other, refuse_shares
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "GistEmbed"]


@dataclass
class GistEmbed(FineTuner):
    """Trains like mnrl, but a guide model says which sentences of the batch are not negatives of an anchor; uses labels.

    Solatorio, GISTEmbed (arXiv:2402.16829), as sentence-transformers' GISTEmbedLoss: the cross-entropy of each anchor's positive
    among the other positives and hard negatives, with ``contrast_anchors`` the other anchors too, and with
    ``contrast_positives`` the cosines of the positives with each other, all divided by ``temperature``. A candidate is left out
    where $g(a_i, c) > g(a_i, p_i) - m$, with the guide's cosine $g$ and $m$ = ``margin`` (``margin_strategy=absolute``) or that
    share of $|g(a_i, p_i)|$ (relative).

    ``guide`` is an encoder as ``--encoder`` takes it: a built-in one, a folder, a model in the hub's cache, or a file of vectors
    that holds the training sentences; nothing is downloaded. ``guide_pooling`` is its pooling, by default native. Its vectors
    are computed once, before the training. Positives and negatives as in mnrl. ``fit_on`` must name a split that is not
    evaluated.
    """

    lr: float = 5e-5
    epochs: int = 3
    sentences: int = 0  # here: positive pairs
    dropout: float = 0.1
    guide: str = "hengyu-small"
    guide_pooling: str = ""
    temperature: float = 0.01
    margin_strategy: str = "absolute"
    margin: float = 0.0
    contrast_anchors: bool = True
    contrast_positives: bool = True
    positive: float = 0.8
    negative: float = 0.2
    hard: bool = True

    labelled = True
    models = ("guide",)
    limits = {"temperature": (1e-3, 10), "margin": (0, 2)}

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_shares(self.name, self.positive, self.negative)
        refuse_other(self.name, "margin_strategy", self.margin_strategy, MARGINS)
        if not self.guide:
            raise ValueError(f"{self.name}(guide=) is empty; name an encoder, like guide=hengyu-small")

    def reads(self) -> dict[str, Any]:
        """Return the key of the guide's vectors."""
        return {"guide": self._guide().key}

    def _guide(self) -> Any:
        from hengyu.methods.training.readers import ReadEncoder

        return ReadEncoder(self.guide, self.guide_pooling, f"{self.name}(guide={self.guide})")

    def steps(self, training_data: TrainingData) -> int:
        """Return the number of steps on the positive pairs of the training data."""
        return self.total(positives_of(training_data, self.positive, self.sentences))

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.ranking import GISTEmbedLoss

        return GISTEmbedLoss(
            trainable,
            training_data,
            self,
            self._guide().vectors(training_data.texts[: len(training_data.counts)]),
            positive=self.positive,
            negative=self.negative if self.hard else -1.0,
            temperature=self.temperature,
            margin_strategy=self.margin_strategy,
            margin=self.margin,
            contrast_anchors=self.contrast_anchors,
            contrast_positives=self.contrast_positives,
        )


METHOD = GistEmbed
