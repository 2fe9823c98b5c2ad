"""The embedding geometry of a task's sentences after a method."""

from __future__ import annotations

import numpy as np

from hengyu.methods.grammar import Entry
from hengyu.numerics.cloud import Cloud, describe
from hengyu.numerics.sample import Sample
from hengyu.tasks.pairs.vectors import StsVectors
from hengyu.tools.task_vectors import Sentences

__all__ = ["describe_entry"]


def describe_entry(sentences: Sentences, entry: Entry, seed: int = 0) -> Cloud:
    """Fit an entry on the sentences, counting repetitions, and describe its vectors of the distinct sentences.

    Raises ValueError or `Degenerate` if the entry cannot be fitted or described.
    """
    counts = np.bincount(np.concatenate([sentences.first, sentences.second]), minlength=len(sentences.x))
    samples = {"target": Sample.of(sentences.x, counts)}
    vectors = StsVectors(sentences.x, sentences.first, sentences.second, samples, sentences.labels)
    x = vectors.mapped(entry, "target", seed)
    return describe(x, (sentences.first[sentences.same], sentences.second[sentences.same]), seed=seed)
