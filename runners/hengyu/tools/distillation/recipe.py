"""The parameters of a distillation; the defaults are those of hengyu-small and hengyu-static."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hengyu.base.errors import HengyuError

__all__ = ["LOSSES", "STUDENTS", "Distillation", "defaults"]

STUDENTS = ("bert", "static")
LOSSES = ("cosine", "mse")
_STATIC = {"steps": 2500, "lr": 2e-2, "warmup": 50}  # where a static student differs


@dataclass(frozen=True)
class Distillation:
    """What the student depends on, besides teacher, corpus, start, dtype, threads and versions.

    * ``student``: "bert", or "static" for a mean over rows of character n-grams.
    * ``layers``, ``width``, ``heads``, ``length``: the shape of a BERT without a start, as in `hengyu pretrain`.
    * ``head``: a dense layer to the teacher's width after the mean pooling of a BERT, fitted by ridge regression before the
      training; its vectors are `native` ones. Without it, the targets are rotated towards the student instead, and the mean
      pooling itself is trained.
    * ``grams`` character n-grams of at most ``longest`` characters, the most frequent first, that occur ``seen`` times or more;
      each has a row of ``width`` numbers, stored in ``bits`` bits.
    * ``steps``: a BERT sees ``positions`` tokens per step, a static student ``texts`` texts.
    * ``lr``: AdamW's peak learning rate, after a linear warm-up of ``warmup`` steps, with a linear decay to 0.
    * ``loss``: "cosine" (1 - cosine to the target) or "mse" (squared distance to the target of length 1).
    * ``similarity``: the weight of the second loss, the squared difference between the cosines of two texts of a batch for
      student and teacher, summed over the batch for each text.
    * ``most``: lines of more tokens than this are not used for a BERT, 0 for all.
    * ``held_out``: lines that are not trained on and give the held-out cosine; at most a tenth of the corpus.
    """

    student: str = "bert"
    layers: int = 4
    width: int = 256
    heads: int = 4
    length: int = 128
    head: bool = False
    grams: int = 56000
    longest: int = 3
    seen: int = 3
    bits: int = 4
    steps: int = 14000
    positions: int = 2048
    texts: int = 1024
    lr: float = 1e-3
    warmup: int = 200
    loss: str = "cosine"
    similarity: float = 0.1
    most: int = 56
    held_out: int = 2000
    seed: int = 0

    decay = 0.01  # weight decay of matrices of a BERT; none for biases, norms and the rows of n-grams
    betas = (0.9, 0.98)
    clip = 1.0  # maximum norm of the gradients

    def __post_init__(self) -> None:
        for key, given, known in (("student", self.student, STUDENTS), ("loss", self.loss, LOSSES)):
            if given not in known:
                raise HengyuError(f"--{key} '{given}' is unknown; use one of {', '.join(known)}")
        limits = {
            "layers": (1, 48), "width": (8, 4096), "heads": (1, 64), "length": (8, 512), "grams": (16, 10**7),
            "longest": (1, 3), "seen": (1, 10**6), "steps": (1, 10**8), "positions": (64, 2**22), "texts": (2, 2**20),
            "lr": (1e-7, 1), "warmup": (0, 10**8), "similarity": (0, 1000), "most": (0, 512), "held_out": (0, 10**6),
            "seed": (0, 2**32 - 1),
        }  # fmt: skip
        for key, (least, most) in limits.items():
            if not least <= getattr(self, key) <= most:
                raise HengyuError(f"--{key.replace('_', '-')} {getattr(self, key)} must lie in {least:g}..{most:g}")
        if self.bits not in (4, 8):
            raise HengyuError(f"--bits {self.bits} must be 4 or 8")
        if self.width % (self.heads if self.student == "bert" else 2):
            of = f"--heads {self.heads}" if self.student == "bert" else "2"
            raise HengyuError(f"--width {self.width} must be a multiple of {of}")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        rise = min(1.0, step / self.warmup) if self.warmup else 1.0
        return self.lr * rise * (1 - (step - 1) / self.steps)

    def parameters(self) -> dict[str, Any]:
        """Return every parameter by name."""
        return asdict(self)


def defaults(student: str, given: dict[str, Any]) -> Distillation:
    """Return the recipe of a student with the parameters given, and its own defaults for the others (None)."""
    own: dict[str, Any] = {"student": student, **(_STATIC if student == "static" else {})}
    return Distillation(**(own | {key: value for key, value in given.items() if value is not None}))
