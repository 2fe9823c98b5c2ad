"""The parameters of a pretraining; the defaults are those of the built-in encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hengyu.base.errors import HengyuError

__all__ = ["Pretraining"]

_WIDTHS = (12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class Pretraining:
    """What the weights depend on, besides corpus, dtype, threads and versions.

    * ``layers``, ``width``, ``heads``: the BERT's shape; its feed-forward layers are four times as wide. ``length``: its
      longest input in tokens, including [CLS] and [SEP]; longer lines are truncated.
    * ``steps`` of ``positions`` token positions each, including padding: rows of similar length make a batch.
    * ``lr``: AdamW's peak learning rate, after a linear warm-up of ``warmup`` steps, with a linear decay until step
      ``steps``, never below a fiftieth of it.
    * ``mask``: the share of a batch's positions that are predicted; 80 % of them are masked, 10 % replaced, 10 % kept.
    * ``dropout``: the rate everywhere in the model during training. The saved configuration has BERT's 0.1, for further
      training.
    * ``characters``, ``others``, ``words``: the maximum number of Chinese characters, other characters, and Latin words
      and numbers in the vocabulary, the most frequent first; a character needs ``seen`` occurrences, a word ``seen_words``.
    * ``held_out``: lines that are not trained on and give the held-out loss; at most a tenth of the corpus.
    """

    layers: int = 4
    width: int = 256
    heads: int = 4
    length: int = 128
    steps: int = 7011
    positions: int = 3072
    lr: float = 1e-3
    warmup: int = 300
    mask: float = 0.12
    dropout: float = 0.1
    characters: int = 6800
    others: int = 400
    words: int = 600
    seen: int = 4
    seen_words: int = 30
    held_out: int = 1000
    seed: int = 0

    floor = 0.02  # of the peak learning rate
    decay = 0.01  # weight decay of matrices; none for biases and norms
    betas = (0.9, 0.98)
    clip = 1.0  # maximum norm of the gradients

    def __post_init__(self) -> None:
        limits = {
            "layers": (1, 48), "width": (8, 4096), "heads": (1, 64), "length": (8, 512), "steps": (1, 10**8),
            "positions": (64, 2**22), "lr": (1e-7, 0.1), "warmup": (0, 10**8), "mask": (0.01, 0.9),
            "dropout": (0, 0.9), "characters": (1, 30000), "others": (0, 10000), "words": (0, 30000), "seen": (1, 10**6),
            "seen_words": (1, 10**6), "held_out": (0, 10**6), "seed": (0, 2**32 - 1),
        }  # fmt: skip
        for key, (least, most) in limits.items():
            if not least <= getattr(self, key) <= most:
                raise HengyuError(f"--{key.replace('_', '-')} {getattr(self, key)} must lie in {least:g}..{most:g}")
        if self.width % self.heads:
            raise HengyuError(f"--width {self.width} must be a multiple of --heads {self.heads}; change one of the two")

    @property
    def buckets(self) -> tuple[int, ...]:
        """The widths to which rows are padded, the longest input last."""
        return (*(w for w in _WIDTHS if w < self.length), self.length)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        rise = min(1.0, step / self.warmup) if self.warmup else 1.0
        return self.lr * rise * max(self.floor, 1 - (step - 1) / self.steps)

    def parameters(self) -> dict[str, Any]:
        """Return every parameter by name."""
        return asdict(self)
