"""matryoshka(TUNER, dims, weights, n_dims_per_step): another tuner's loss at several dimensions, for vectors to be truncated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hengyu.methods.training.tuner import TunerWrapper

if TYPE_CHECKING:
    from hengyu.methods.training.interface import Objective
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "Matryoshka"]

_LEAST = 64  # columns of the smallest width by default


@dataclass
class Matryoshka(TunerWrapper):
    r"""Trains with another tuner's loss at several dimensions, so that the first columns of a vector are good vectors too.

    Kusupati et al., Matryoshka Representation Learning (NeurIPS 2022, arXiv:2205.13147), as sentence-transformers'
    MatryoshkaLoss: $\sum_k w_k L(x_{1:d_k} / |x_{1:d_k}|)$, where $L$ is the loss of the tuner in parentheses. Written
    `matryoshka(mnrl(lr=2e-4), dims="256 128 64")`; the parameters of the training are those of the tuner inside.

    * ``dims``: the numbers of columns, by default the full width and its halves down to 64. The full width is trained only if
      it is among them.
    * ``weights``: those of their losses, in the order of ``dims``, by default 1 each.
    * ``n_dims_per_step``: how many of them, drawn at random, each step has; -1 for all.

    Follow it by `truncate(dim=64)` to evaluate the first columns. A tuner whose loss has a layer of the full width (simsiam, tsdae,
    promptbert, a classifier, ``mlp``) cannot stand inside. Learns what the tuner inside learns from.
    """

    dims: str | int = ""
    weights: str | int | float = ""
    n_dims_per_step: int = -1

    def __post_init__(self) -> None:
        self._numbers("dims", int, "whole numbers above 0")
        self._numbers("weights", float, "numbers of at least 0")
        if self.n_dims_per_step != -1 and not 1 <= self.n_dims_per_step <= 64:
            raise ValueError(f"matryoshka(n_dims_per_step={self.n_dims_per_step}) must be -1, or lie in 1..64")
        if self.weights != "" and len(self._of("weights")) != len(self._of("dims")):
            raise ValueError("matryoshka(weights=...) must be as many numbers as dims; write one for each")

    def _of(self, key: str) -> list[str]:
        return str(getattr(self, key)).replace(",", " ").split()

    def _numbers(self, key: str, kind: type[int] | type[float], what: str) -> list[Any]:
        """Return a parameter as numbers; raises ValueError for any other content."""
        try:
            found = [kind(word) for word in self._of(key)]
        except ValueError:
            found = [-1]
        low = 1 if kind is int else 0
        if any(not low <= value <= 65536 for value in found) or (kind is float and found and not any(found)):
            raise ValueError(f'matryoshka({key}={getattr(self, key)}) must be {what}, like {key}="{_EXAMPLE[key]}"')
        if kind is int and len(set(found)) < len(found):
            raise ValueError(f"matryoshka(dims={self.dims}) names a dimension twice; keep one")
        return found

    def around(self, inner: Any) -> Self:
        """Set the tuner inside; raises ValueError for one whose loss needs the full width."""
        super().around(inner)
        if inner.fixed_width:
            raise ValueError(
                f"matryoshka cuts vectors, and {inner.name} has {inner.fixed_width}, which takes the full width; "
                "name another tuner"
            )
        return self

    def widths(self, width: int) -> tuple[list[int], list[float]]:
        """Return the dimensions and their weights for an encoder of a width; raises ValueError for too large ones."""
        dims = self._numbers("dims", int, "") or [
            width,
            *(width >> k for k in range(1, 16) if width >> k >= _LEAST),
        ]
        if max(dims) > width:
            raise ValueError(f"matryoshka(dims={self.dims}) exceeds the encoder's {width} columns; name smaller ones")
        return dims, self._numbers("weights", float, "") or [1.0] * len(dims)

    def changed(self, objective: Objective, trainable: TrainableEncoder) -> Objective:
        """Return the objective at several dimensions; raises ValueError where a layer takes the full width."""
        from hengyu.methods.training.matryoshka import MatryoshkaLoss

        if any(True for head in objective.heads for _ in head.parameters()):
            raise ValueError(
                f"matryoshka cuts vectors, and the loss of {self.core.name} has a layer of the full width; name another "
                "tuner or loss"
            )
        dims, weights = self.widths(trainable.width)
        return MatryoshkaLoss(objective, dims, weights, self.n_dims_per_step, self.core.seed)


_EXAMPLE = {"dims": "256 128 64", "weights": "1 1 1"}
METHOD = Matryoshka
