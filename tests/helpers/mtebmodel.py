"""A model of ours as mteb takes one, and its tasks with data of a test: mteb itself then says what the numbers are."""

from __future__ import annotations

from typing import Any

import numpy as np

from hengyu.encoders import EncoderSpec, open_encoder


class Ours:
    """hengyu-mini with mean pooling."""

    mteb_model_meta = None

    def __init__(self) -> None:
        self._encoder = open_encoder(EncoderSpec("hengyu-mini"))

    def encode(self, inputs: Any, **more: Any) -> np.ndarray:
        texts = [text for batch in inputs for text in batch["text"]]
        return self._encoder.encode(texts, ["mean"])["mean"]

    def similarity(self, a: Any, b: Any) -> Any:
        from mteb.similarity_functions import cos_sim

        return cos_sim(a, b)

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(a, b)


def judged_by_mteb(name: str, split: str, data: Any) -> dict[str, float]:
    """Return the scores of `Ours` by a task of mteb whose data of one split are given."""
    import mteb

    task = mteb.get_task(name)
    nested = task.metadata.is_multilingual or task.metadata.type in ("Retrieval", "Reranking")
    subset = "zh" if task.metadata.is_multilingual else "default"
    task.dataset = {subset: {split: data}} if nested else {split: data}
    task.data_loaded = True
    found = task.evaluate(
        Ours(), split=split, subsets_to_run=[subset], encode_kwargs={"batch_size": 32, "show_progress_bar": False}
    )
    return dict(found[subset])
