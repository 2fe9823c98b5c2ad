"""The score of an entry with some settings: trained, and evaluated on valid splits as `hengyu run` evaluates it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.progress import Progress, Tick
from hengyu.bench.encode import encode_some
from hengyu.bench.task_inputs import make_training_data, watched_on
from hengyu.encoders.huggingface import HuggingFace
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import Entry
from hengyu.methods.pipeline import PipelineFitter
from hengyu.methods.training.cache import TRAINEE, TunedEncoderCache
from hengyu.methods.training.curve import watching
from hengyu.numerics.metrics import spearman
from hengyu.numerics.similarity import cosines
from hengyu.storage.identity import made_by, vectors_key
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.entries import SuiteEntry
from hengyu.tasks.pairs.vectors import restrict
from hengyu.tools.tuning.splits import Lesson

__all__ = ["SCRATCH", "Subject"]

SCRATCH = ".trial-"
"""How the names of folders begin that hold a trained encoder while it is evaluated."""

Look = Callable[[int, float], None]
_PLACES = 6  # of a training where held-out curves are compared


class _Beating(Progress):
    """Says nothing, and calls a function as stages go on."""

    def __init__(self, beat: Callable[[], None]) -> None:
        super().__init__(None)
        self._beat = beat

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Tick]:
        """Yield the function that is called as the stage goes on."""
        yield lambda done: self._beat()


@dataclass(frozen=True)
class Subject:
    """An entry of a suite on an encoder under a pooling, with what it is trained on and scored by.

    Attributes:
        texts: those that ``lessons`` name by their numbers; train and valid splits alone.
    """

    encoder: HuggingFace
    pooling: str
    spec: SuiteEntry
    lessons: Sequence[Lesson]
    texts: Sequence[str]
    seed: int

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions over which a score is the mean; () for the entry as it is, also where all are wanted."""
        return () if self.spec.dims == "all" else self.spec.dims

    @property
    def key(self) -> dict[str, Any]:
        """Everything that a score depends on besides the settings: encoder, data, the entry's other steps, seed and code."""
        return {
            "encoder": vectors_key(self.encoder, self.pooling),
            "steps": [step.key for step in self.spec.entry.every_step],
            "data": [
                [one.task.pairs.digest, one.fit.digest, *(p.pairs.digest for p in one.fit.parts)]
                for one in self.lessons
            ],
            "fit_on": [one.fit.word for one in self.lessons],
            **({"dims": list(self.dims)} if self.dims else {}),
            "seed": self.seed,
            "made": made_by(__name__, TRAINEE),
        }

    def score(self, entry: Entry, look: Look, beat: Callable[[], None], scratch: Path) -> float:
        """Train an entry for each card and return the mean Spearman on their valid splits.

        Args:
            entry: the entry with the settings to be tried.
            look: called with a place, counted through all trainings, and the mean of the scores so far and the current held-out
                Spearman; what it raises ends the trial.
            beat: called often, to show that work goes on.
            scratch: a folder, in which trained encoders are kept while they are evaluated.

        Raises:
            ValueError: if the entry cannot be trained or fitted.
        """
        scores: list[float] = []
        seeded = entry.with_seed(self.seed)
        for number, lesson in enumerate(self.lessons):

            def seen(share: float, figures: dict[str, float], number: int = number) -> None:
                if share > 0 and "held_out_spearman" in figures:
                    place = number * _PLACES + max(1, round(share * _PLACES))
                    look(place, float(np.mean([*scores, figures["held_out_spearman"]])))

            with TemporaryDirectory(prefix=SCRATCH, dir=scratch) as folder, watching(seen):
                scores.append(self._one(seeded, lesson, Path(folder), _Beating(beat)))
        return float(np.mean(scores))

    def _one(self, entry: Entry, lesson: Lesson, folder: Path, progress: Progress) -> float:
        """Return the Spearman on one valid split, the mean over the dims; the trained encoder is not kept.

        Raises ValueError if the vectors are too narrow.
        """
        task, fit = lesson.task, lesson.fit
        data = watched_on(make_training_data(self.texts, task, fit, None), task.pairs)
        tuning = TunedEncoderCache(TunedStore(folder / "tuned"), progress)
        on = "+".join(fit.splits)
        if entry.joint:
            scorer = tuning.tune_pairs(self.encoder, self.pooling, entry.tuners, data, on).scorer
            return spearman(scorer.scores(task.pairs.first, task.pairs.second), task.pairs.labels)
        tuned = tuning.tune(self.encoder, self.pooling, entry.tuners, data, on)
        encoder, pooling = tuned.encoder, tuned.pooling
        needed = np.unique(np.concatenate([task.ids, *([fit.ids] if entry.fits_vectors else [])]))
        vectors = encode_some(VectorStore(folder / "vectors"), encoder, self.texts, needed, pooling, progress)
        sample = {fit.word: vectors.sample(pooling, fit)} if entry.fits_vectors else {}
        ids, (first, second) = restrict([task.first, task.second])
        x = vectors.get(pooling, ids)
        encoder.release()

        def cut(entry: Entry) -> float:
            y: NDArray[np.floating[Any]] = x
            chain = PipelineFitter(sample, FitCache()).chain(fit.word)
            for step in entry.steps[len(entry.tuners) :]:
                y = chain.add(step)(y)
            return spearman(cosines(y, first, second), task.pairs.labels)

        return float(np.mean([cut(one) for one in [entry.with_dim(d) for d in self.dims] or [entry]]))
