"""conditional(TUNER, size, std, unseen): one encoder for several cards, with a LayerNorm that depends on the card."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from hengyu.methods.training.choices import refuse_other
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import TunerWrapper

if TYPE_CHECKING:
    from hengyu.methods.training.interface import Objective
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "Conditional"]

_UNSEEN = ("refuse", "mean")


@dataclass
class Conditional(TunerWrapper):
    r"""Trains one encoder for several cards with another tuner's loss; scale and shift of every norm depend on the card.

    Su, conditional LayerNorm (kexue.fm 7124) for tasks of one form and different standards (kexue.fm 8337): scale and shift
    are $\gamma + A c_k$ and $\beta + B c_k$, where $c_k$ is the trained embedding of card $k$, and the matrices $A$ and $B$ of
    every norm are 0 at first, so that the training starts from the plain encoder. Written `conditional(cosent(lr=2e-4))` with
    a mixture as ``fit_on``, like `{ "ATEC:train" = 1, "BQ:train" = 1 }`; a batch is of one card. Under its condition a card has
    an ordinary model: the condition is added to the norms' weights, and a task is encoded with the model of its card.

    * ``size``: the width of the embeddings; ``std``: the standard deviation of their first values. The larger it is, the further
      a step of Adam moves scale and shift.
    * ``unseen``: what a task gets whose card is not among those trained on: ``refuse`` for an error, ``mean`` for the model under
      the mean of the embeddings.

    Learns what the tuner inside learns from.
    """

    size: int = 128
    std: float = 1.0
    unseen: str = "refuse"
    _conditions: Any = field(init=False, repr=False, default=None)  # of the model in training
    _cards: tuple[str, ...] = field(init=False, repr=False, default=())
    _names: tuple[str, ...] = field(init=False, repr=False, default=())
    _watched: int | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        for key, least, most in (("size", 1, 65536), ("std", 1e-6, 100)):
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"conditional({key}={getattr(self, key):g}) must lie in {least:g}..{most:g}")
        refuse_other("conditional", "unseen", self.unseen, _UNSEEN)

    @property
    def beyond_weights(self) -> str:
        """The maps of the conditions."""
        return "scale and shift of the norms; write conditional(lora(...))"

    def around(self, inner: Any) -> Self:
        """Set the tuner inside; raises ValueError for one that trains other things than the model, or penalises all matrices."""
        super().around(inner)
        core = self.core
        if beyond := self.inner.beyond_weights:
            who = f"{core.name} also" if core.beyond_weights else self.inner.name
            raise ValueError(f"conditional changes the model's norms, and {who} trains {beyond}")
        for key in ("weissi", "weissi_l1"):
            if getattr(core, key):
                raise ValueError(
                    f"conditional has matrices that start from 0, which {key} cannot penalise; leave {key} out"
                )
        return self

    def condition(self, training_data: TrainingData) -> dict[str, Any]:
        """Return the card whose model is wanted, and the cards that are trained on, with what is of which.

        Raises ValueError for the training data of fewer than two cards, and for a card without a condition.
        """
        cards, pairs = training_data.cards, training_data.pairs
        if pairs is None or pairs.groups is None:
            raise ValueError(
                'conditional needs the pairs of several cards; name them in fit_on, like { "ATEC:train" = 1, "BQ:train" = 1 }'
            )
        card = training_data.card if training_data.card in cards else ""
        if not card and self.unseen == "refuse":
            raise ValueError(
                f"conditional was trained on {', '.join(cards)} and has no condition for {training_data.card}; add "
                f"{training_data.card} to fit_on, or write unseen=mean for the mean of the conditions"
            )
        return {
            **self.inner.condition(training_data),
            "card": card,
            "cards": list(cards),
            "of": training_data.groups_digest,
        }

    def variants(self, training_data: TrainingData) -> dict[str, TrainingData]:
        """Return the training data as each card sees them whose model the training leaves; all of them share the training.

        A training that is watched on the pairs of one card is for that card alone.
        """
        card = self.condition(training_data)["card"]
        names = [card]
        if training_data.held is None:
            names = [*training_data.cards, *([""] if self.unseen == "mean" else [])]
        return {name: replace(training_data, card=name) for name in names}

    def prepare(self, trainable: TrainableEncoder, training_data: TrainingData) -> None:
        """Add the conditions to the opened model; raises ValueError where it has no norms."""
        from hengyu.methods.training.conditions import add_conditions

        cards, held = training_data.cards, training_data.held
        if held is not None and held.groups is not None:
            raise ValueError(
                "conditional with patience needs the valid split of the task's card: pairs that are held out of a mixture are of "
                "several cards; leave patience out"
            )
        known = held is not None and training_data.card in cards
        self._watched = cards.index(training_data.card) if known else None
        self._names = tuple(self.variants(training_data))
        self._cards = cards
        self._conditions = add_conditions(trainable, len(cards), size=self.size, std=self.std)

    def changed(self, objective: Objective, trainable: TrainableEncoder) -> Objective:
        """Return the objective with the condition of each batch's card."""
        from hengyu.methods.training.conditions import ConditionalLoss

        assert self._conditions is not None and objective.groups is not None
        return ConditionalLoss(objective, objective.groups, self._conditions, self._watched)

    def finish(self, trainable: TrainableEncoder) -> None:
        """Add the condition of each card to the norms' weights; they are saved one after another."""
        from hengyu.methods.training.conditions import fold_conditions

        assert self._conditions is not None
        numbers = [self._cards.index(name) if name else None for name in self._names]
        folded = fold_conditions(trainable, self._conditions, numbers)
        trainable.variants = dict(zip(self._names, folded, strict=True))


METHOD = Conditional
