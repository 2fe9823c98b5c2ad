"""sif(a): tokens weighted by smooth inverse frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hengyu.methods.training.token_weights import Frequencies, TokenWeights, Weights

__all__ = ["METHOD", "Sif"]


@dataclass
class Sif(TokenWeights):
    """Means in which a token of relative frequency p has the weight a / (a + p); nothing is trained.

    Arora, Liang, Ma, A Simple but Tough-to-Beat Baseline for Sentence Embeddings, ICLR 2017, on the states of an encoder's
    tokens in place of word vectors. p is counted in the sentences of ``fit_on``; a token that is not in them has the weight 1.
    The paper then removes the first principal direction: ``sif > abtt`` does, after centring. Errors: ValueError for
    ``a`` that is not positive, and for a pooling that is no mean.
    """

    a: float = 1e-3

    def __post_init__(self) -> None:
        if not (self.a > 0 and np.isfinite(self.a)):
            raise ValueError(f"sif(a={self.a}) must be a positive number")

    def weigh(self, found: Frequencies) -> Weights:
        """Return a / (a + p) of the tokens (V,)."""
        share: Weights = found.tokens / max(float(found.tokens.sum()), 1.0)
        return self.a / (self.a + share)


METHOD = Sif
