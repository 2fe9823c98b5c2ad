"""Other encoders that a tuner reads, as a guide or a teacher: opened by their spec, and part of the tuner's key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.encoders import Encoder, EncoderSpec, find_encoder
from hengyu.encoders.hub import NETWORK_OFF
from hengyu.storage.identity import vectors_key

__all__ = ["ReadEncoder"]


class ReadEncoder:
    """An encoder that another one learns from: a built-in one, a folder, a cached hub id, or a file of vectors.

    Args:
        model: its spec, as ``--encoder`` takes it; never an API, and never downloaded.
        pooling: its pooling; "" for its native vectors.
        what: how an entry names it, for messages: ``gist(guide=hengyu-small)``.

    Raises:
        HengyuError: if there is no such encoder, or it lacks the pooling.
    """

    def __init__(self, model: str, pooling: str, what: str) -> None:
        try:
            self.encoder: Encoder = find_encoder(EncoderSpec(model), offline=True)
            self.pooling = pooling or "native"
            reason = self.encoder.poolings.get(self.pooling, "is unknown")
        except HengyuError as e:
            said = (p.replace(NETWORK_OFF, "nothing is downloaded for it; give") for p in e.problems)
            raise HengyuError(*(f"{what}: {problem}" for problem in said)) from None
        if reason:
            raise HengyuError(f"{what}: pooling '{self.pooling}' is not available: {reason}; name another pooling")
        self.what = what

    @property
    def key(self) -> dict[str, Any]:
        """The key of its vectors: everything they depend on besides the texts."""
        return vectors_key(self.encoder, self.pooling)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return its vectors (n, d) of texts; raises ValueError if it cannot, as a file of vectors that lacks some of them."""
        distinct = list(dict.fromkeys(texts))
        try:
            if self.encoder.spec.kind == "vectors":
                self.encoder.read(distinct)  # says which texts have no vector
            found = self.encoder.encode(distinct, [self.pooling])[self.pooling]
        except HengyuError as e:
            raise ValueError(f"{self.what}: {' '.join(e.problems)}") from None
        finally:
            self.encoder.release()
        place = {text: i for i, text in enumerate(distinct)}
        return found[[place[text] for text in texts]]
