"""The model under check with its sample, and the result of a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec, Vectors
from hengyu.encoders.huggingface import HuggingFace
from hengyu.tools.selfcheck.change import Change, Excerpt, Yardstick

__all__ = ["LIMIT_DISTANCE", "LIMIT_POINTS", "LIMIT_UNKNOWN", "Check", "Subject"]

LIMIT_DISTANCE = 1e-6
"""The largest cosine distance allowed for an invariance: float32 rounding gives about 1e-13."""

LIMIT_POINTS = 0.01
"""The largest change of Spearman x 100 allowed for an invariance: the last printed digit."""

LIMIT_UNKNOWN = 0.5
"""The share of [UNK] above which `hengyu run` refuses a model."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    ``status`` is "holds" or "broken" for an invariance, "note" for a sensitivity (not a fault of the model), and "not run"
    with the reason as its verdict.
    """

    name: str
    status: str
    verdict: str
    change: Change | None = None


@dataclass
class Subject:
    """An opened model, its sample, and its vectors with the default batching.

    Args:
        spec: its declaration; conditions like another dtype open it again with that changed.
        opener: opens a spec.
        sample: the pairs.
        pooling: the pooling under check.
    """

    spec: EncoderSpec
    opener: Callable[[EncoderSpec], HuggingFace]
    sample: Excerpt
    pooling: str

    @cached_property
    def encoder(self) -> HuggingFace:
        """The model as declared."""
        return self.opener(self.spec)

    @cached_property
    def vectors(self) -> Vectors:
        """The vectors (m, d) of the sample's texts; raises `HengyuError` if they are not finite."""
        found = self.encode(self.sample.texts)
        if not np.isfinite(found).all():
            bad = int((~np.isfinite(found).all(axis=1)).sum())
            raise HengyuError(
                f"encoder '{self.encoder.id}': {bad} of {len(found)} vectors are not finite; get the model again, "
                "or check how its weights were saved"
            )
        return found

    @cached_property
    def yardstick(self) -> Yardstick:
        """The reference for all conditions."""
        return Yardstick(self.sample, self.vectors)

    def encode(self, texts: tuple[str, ...] | list[str], encoder: HuggingFace | None = None) -> Vectors:
        """Return the vectors (k, d) of texts, by the declared model or another one."""
        return (encoder or self.encoder).encode(texts, [self.pooling])[self.pooling]
