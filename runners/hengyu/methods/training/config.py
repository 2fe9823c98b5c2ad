"""The training config: the parameters that all tuners share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from hengyu.encoders.mixed_precision import TRAINED_IN
from hengyu.methods.training.choices import refuse_other

__all__ = ["TrainingConfig", "entry_name"]

_CLIP_FORMS = ("hard", "smooth")


def entry_name(method: object) -> str:
    """Return a method's name in an entry, from its file."""
    return type(method).__module__.rpartition(".")[2].replace("_", "-")


@dataclass
class TrainingConfig:
    """How a model is trained.

    * ``lr``: Adam's learning rate; ``decay``: linear decay to 0. ``batch`` examples per step, ``epochs`` passes.
    * ``sentences``: how many are drawn at most (pairs, for a tuner with labels); 0 for all. ``length``: in tokens.
    * ``dropout``: the rate everywhere in the model during training.
    * ``clip``: the maximum norm c of the gradients g; 0 for no limit. ``clip_form``: "hard" multiplies them by min(1, c / |g|),
      "smooth" by c / (|g| + c).
    * ``fgm``: how far the word embeddings are moved along their gradient for a second, adversarial gradient; 0 for none.
      ``gradient_penalty``: half of it times the squared norm of the word embeddings' gradient is added to the loss; 0 for none.
    * ``vat``: how far the word embeddings are moved in virtual adversarial training; 0 for none. The divergence between the
      predictions without and with the move is added to the loss: those of the classifier, if there is one, otherwise the softmax
      of 20 times the cosines in the batch. ``vat_iterations``: of the search for the direction in which they change most.
    * ``embedding_noise``, ``weight_noise``: the standard deviation of Gaussian noise that every step adds to the outputs of the
      word embeddings, and to all trained weights of the model; 0 for none. Evaluations are without noise.
    * ``weissi``: the factor of the sum of log |W| over the weight matrices W of the model's layers, which is added to the loss.
      ``weissi_l1``: the factor of the sum of the absolute entries of W / |W|.
    * ``chunk``: rows that pass the model at once if the batch does not fit into memory; the gradients stay the same.
    * ``patience``: the training ends after so many evaluations in a row without a higher held-out Spearman, and the weights of the
      best evaluation are kept, be it the one before the first step; 0 for all steps. The held-out pairs are those of the card's
      valid split, if it is neither trained on nor evaluated, otherwise a tenth of the labelled training pairs, never test.
      There are at least four evaluations an epoch, if that leaves 8 steps between two of them.
    * ``dtype``: "bfloat16" for mixed-precision training (weights and losses stay float32): faster on processors that support
      it, several times slower on others.

    The smooth form of clipping follows kexue.fm 7469, the penalty 7234, the noises and virtual adversarial training 7466, weissi
    7681. Losses in the report are without the penalty, the divergence and weissi.
    """

    lr: float = 1e-5
    batch: int = 64
    epochs: int = 1
    sentences: int = 10000
    length: int = 64
    dropout: float = 0.3
    decay: bool = False
    clip: float = 0.0
    clip_form: str = "hard"
    fgm: float = 0.0
    gradient_penalty: float = 0.0
    vat: float = 0.0
    vat_iterations: int = 1
    embedding_noise: float = 0.0
    weight_noise: float = 0.0
    weissi: float = 0.0
    weissi_l1: float = 0.0
    chunk: int = 0
    patience: int = 0
    dtype: str = "float32"
    seed: int = 0
    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    limits: ClassVar[dict[str, tuple[float, float]]] = {}  # limits of a tuner's additional parameters

    def __post_init__(self) -> None:
        limits = {
            "lr": (1e-9, 0.1), "batch": (2, 65536), "epochs": (1, 1000), "sentences": (0, 10**8), "length": (4, 8192),
            "dropout": (0, 0.9), "clip": (0, 1e6), "fgm": (0, 1e3), "gradient_penalty": (0, 1e6),
            "vat": (0, 1e3), "vat_iterations": (1, 100), "embedding_noise": (0, 1e3), "weight_noise": (0, 1e3),
            "weissi": (0, 1e3), "weissi_l1": (0, 1e3), "chunk": (0, 65536), "patience": (0, 1000), "seed": (0, 2**32 - 1),
        }  # fmt: skip
        for key, (least, most) in {**limits, **self.limits}.items():
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"{self.name}({key}={getattr(self, key)}) must lie in {least:g}..{most:g}")
        refuse_other(self.name, "dtype", self.dtype, TRAINED_IN)
        refuse_other(self.name, "clip_form", self.clip_form, _CLIP_FORMS)
        if self.clip_form != _CLIP_FORMS[0] and not self.clip:
            raise ValueError(f"{self.name}(clip_form={self.clip_form}) needs clip, the maximum norm of the gradients")
        if self.gradient_penalty and self.chunk:
            raise ValueError(
                f"{self.name}(gradient_penalty={self.gradient_penalty}, chunk={self.chunk}): the penalty needs the whole batch "
                "at once; leave out chunk and lower batch, or use fgm"
            )

    @property
    def name(self) -> str:
        """Its name in an entry, from its file."""
        return entry_name(self)

    def total(self, size: int) -> int:
        """Return the number of steps for a number of examples."""
        whole, rest = divmod(size, self.batch)
        return self.epochs * (whole + (rest > 1))
