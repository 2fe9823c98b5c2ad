"""idf(power): tokens weighted by inverse document frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hengyu.methods.training.token_weights import Frequencies, TokenWeights, Weights

__all__ = ["METHOD", "Idf"]


@dataclass
class Idf(TokenWeights):
    """Means in which a token of df out of n sentences has the weight (1 + ln((1 + n) / (1 + df)))^power; nothing is trained.

    The idf is scikit-learn's, 1 for a token of every sentence; df is counted in the sentences of ``fit_on``. Sparck Jones, A
    statistical interpretation of term specificity, 1972. Errors: ValueError for a negative ``power``, and for a pooling that
    is no mean.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.power <= 100:
            raise ValueError(f"idf(power={self.power}) must lie in 0..100")

    def weigh(self, found: Frequencies) -> Weights:
        """Return the idf of the tokens (V,) to a power."""
        return (1 + np.log((1 + found.sentences) / (1 + found.documents))) ** self.power


METHOD = Idf
