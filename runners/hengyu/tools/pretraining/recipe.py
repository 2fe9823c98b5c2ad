"""The parameters of a pretraining; the defaults are those of the built-in encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.methods.training.choices import INITS

__all__ = ["LAYERS", "Pretraining"]

LAYERS = {"bert": 4, "albert": 4, "dgcnn": 8, "gmlp": 8, "fnet": 6}
"""Architecture -> blocks by default: about as many parameters as BERT has in 4 (ALBERT's 4 share one block's)."""

_LATER = (
    "arch",
    "unshare_after",
    "init",
)  # parameters that older recipes do not name: left out where they are the default

_WIDTHS = (12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class Pretraining:
    """What the weights depend on, besides corpus, dtype, threads and versions.

    * ``arch``: the architecture, one of `LAYERS`. ``layers`` (0 for its number there), ``width``, ``heads``: its shape; the
      inner layers of a block are four times as wide. Only BERT and ALBERT have heads. ``length``: its longest input in
      tokens, including [CLS] and [SEP]; longer lines are truncated.
    * ``unshare_after``: the step after which the blocks of an ALBERT no longer share their weights but go on from copies of
      them; -1 for never, 0 for an ALBERT whose blocks only begin alike.
    * ``init``: how matrices begin, except word and position embeddings: "bert", normal with a deviation of 0.02; "normal", with
      a variance of 1 / inputs, which keeps the mean size of a vector's entries; "orthogonal", of the same size but with
      orthogonal rows or columns.
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

    arch: str = "bert"
    layers: int = 0
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
    unshare_after: int = -1
    init: str = "bert"

    floor = 0.02  # of the peak learning rate
    decay = 0.01  # weight decay of matrices; none for biases and norms
    betas = (0.9, 0.98)
    clip = 1.0  # maximum norm of the gradients

    def __post_init__(self) -> None:
        for key, known in (("arch", tuple(LAYERS)), ("init", ("bert", *INITS))):
            if getattr(self, key) not in known:
                raise HengyuError(f"--{key} {getattr(self, key)} is unknown; use one of {', '.join(known)}")
        if self.layers == 0:
            object.__setattr__(self, "layers", LAYERS[self.arch])
        limits = {
            "layers": (1, 48), "width": (8, 4096), "heads": (1, 64), "length": (8, 512), "steps": (1, 10**8),
            "positions": (64, 2**22), "lr": (1e-7, 0.1), "warmup": (0, 10**8), "mask": (0.01, 0.9),
            "dropout": (0, 0.9), "characters": (1, 30000), "others": (0, 10000), "words": (0, 30000), "seen": (1, 10**6),
            "seen_words": (1, 10**6), "held_out": (0, 10**6), "seed": (0, 2**32 - 1),
            "unshare_after": (-1, self.steps),
        }  # fmt: skip
        for key, (least, most) in limits.items():
            if not least <= getattr(self, key) <= most:
                raise HengyuError(f"--{key.replace('_', '-')} {getattr(self, key)} must lie in {least:g}..{most:g}")
        if self.unshare_after >= 0 and self.arch != "albert":
            raise HengyuError(
                f"--unshare-after needs --arch albert: the blocks of {self.arch} share no weights; remove it"
            )
        if self.arch in ("bert", "albert") and self.width % self.heads:
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
        """Return every parameter by name, without later ones that have their default."""
        usual = {f.name: f.default for f in fields(self) if f.name in _LATER}
        return {key: value for key, value in asdict(self).items() if key not in usual or value != usual[key]}
