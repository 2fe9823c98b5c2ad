"""What other programs report of a folder that `hengyu export-model` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["library_vectors", "mteb_score"]


def mteb_score(
    folder: Path, first: Sequence[str], second: Sequence[str], labels: np.ndarray, *, trust: bool = False
) -> float:
    """Return the Spearman that mteb reports for a folder on pairs."""
    import mteb
    from datasets import Dataset
    from mteb.abstasks.sts import AbsTaskSTS
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=trust)

    class Local(AbsTaskSTS):
        metadata = _like().model_copy(update={"name": "Local", "eval_splits": ["test"]})

        def load_data(self, *_: Any, **__: Any) -> None:
            columns = {"sentence1": list(first), "sentence2": list(second), "score": labels}
            self.dataset = {"test": Dataset.from_dict(columns)}
            self.data_loaded = True

    result = mteb.evaluate(model, Local(), cache=None, co2_tracker=False, show_progress_bar=False)
    return float(result.task_results[0].scores["test"][0]["cosine_spearman"])


@cache
def _like() -> Any:
    """Return what mteb says of a task of its own, for which it walks over all of them."""
    import mteb

    return mteb.get_tasks(tasks=["BQ"])[0].metadata


def library_vectors(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """Return the vectors (n, d) that sentence-transformers gives from a folder."""
    from sentence_transformers import SentenceTransformer

    return np.asarray(SentenceTransformer(str(folder), device="cpu").encode(list(texts)))
