"""The distinct sentences of a task with an encoder's vectors, from the vector store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.base.progress import Progress, silent
from hengyu.bench.encode import encode_missing
from hengyu.cards import load_cards, parse_task
from hengyu.cards.data import load_pairs
from hengyu.encoders import EncoderSpec, open_encoder, pooling_name
from hengyu.numerics.cloud import means_same
from hengyu.storage.vectors import VectorStore

__all__ = ["Sentences", "load_sentences"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Sentences:
    """Distinct sentences (m,) of a task with their vectors (m, d), and the rows (n,) of its pairs."""

    task: str
    encoder: str
    pooling: str
    x: NDArray[np.floating[Any]]
    first: Ids
    second: Ids
    labels: NDArray[np.float64]
    same: NDArray[np.bool_]  # (n,), whether a pair has the same meaning (`hengyu.numerics.cloud.means_same`)


def load_sentences(
    model: str,
    task: str,
    pooling: str = "",
    *,
    data: Path | None = None,
    datasets: Sequence[Path] = (),
    device: str = "",
    offline: bool = False,
    progress: Progress = silent,
) -> Sentences:
    """Encode the texts missing in the store and return a task's sentences; ``pooling`` "" is the mean of the last layer.

    Raises `HengyuError` for an unknown task, model or pooling.
    """
    pairs = load_pairs(*parse_task(load_cards(datasets), task), data)
    encoder = open_encoder(EncoderSpec(model, device=device), offline=offline)
    wanted = pooling_name(pooling) or "mean"
    reason = encoder.poolings.get(wanted, "unknown")
    if reason:
        given = [name for name, why in encoder.poolings.items() if not why]
        raise HengyuError(f"pooling '{wanted}' of {encoder.id}: {reason}{did_you_mean(wanted, given)}")
    number = {text: i for i, text in enumerate(dict.fromkeys([*pairs.first, *pairs.second]))}
    vectors = encode_missing(VectorStore.default(), encoder, list(number), [wanted], progress)
    first, second = (np.array([number[t] for t in column], np.int64) for column in (pairs.first, pairs.second))
    x = vectors.get(wanted, np.arange(len(number)))
    same = means_same(pairs.labels, pairs.card.scale)
    return Sentences(pairs.task, encoder.id, wanted, x, first, second, pairs.labels, same)
