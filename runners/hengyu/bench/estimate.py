"""What a run will take, said before it starts: memory and disk, from what is known without encoding anything.

Time is told while encoding, from the speed of the batches that have passed.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hengyu.base.errors import HengyuError
from hengyu.base.memory import as_words, resident
from hengyu.encoders import SIDES, Encoder
from hengyu.encoders.model_folder import ModelFolder
from hengyu.numerics.compiled import pays
from hengyu.suites.plan import Plan
from hengyu.tasks.interface.data import TaskData

__all__ = ["Estimate", "base_memory", "estimate", "free_space", "refuse_full_disk", "refuse_what_cannot_fit"]

_LIBRARIES = 545 << 20  # PyTorch and sentence-transformers, once they are loaded (measured)
_ENGINE = 85 << 20  # what PyTorch keeps of its own once a transformer has run (measured)
_COMPILED = 160 << 20  # numba and the compiled loops (measured)
_SLACK = 1.15  # what allocators keep
_PENDING = 8192  # texts between two segments of the store
_BATCH_TOKENS = 2048
_NODE = 256  # bytes of a vector in an index beside the vector itself: links of a graph, numbers
_TERM = 12  # bytes of a term of a text in a sparse matrix; 1-2-grams are at most 2 for each character
_TOKEN, _ROW = 18, 200  # bytes of a character in the tokens of all texts, and of a text beside them (measured)
_SEGMENT = 2048  # bytes of a segment beside its vectors and keys


@dataclass(frozen=True)
class Estimate:
    """Bytes that a run holds at its peak, by stage, and that it adds to the store at most."""

    base: int  # what is held all the time: libraries, texts
    encoding: int
    evaluating: int
    deriving: int
    disk: int

    @property
    def memory(self) -> int:
        """The peak: stages come one after the other."""
        return int(_SLACK * (self.base + max(self.encoding, self.evaluating, self.deriving)))

    @property
    def worker(self) -> int:
        """The peak of a process that does parts of the run, and derives no numbers."""
        return int(_SLACK * (self.base + max(self.encoding, self.evaluating)))

    @property
    def costliest(self) -> str:
        """The stage that takes most, in words."""
        stages = {"encoding": self.encoding, "the evaluation": self.evaluating, "the intervals": self.deriving}
        return max(stages, key=lambda name: stages[name])

    def __str__(self) -> str:
        return (
            f"about {as_words(self.memory)} of memory at most, most of it for {self.costliest}; up to {as_words(self.disk)} of "
            "vectors to store"
        )


def base_memory(encoder: Encoder, poolings: int, texts: int = _PENDING) -> int:
    """Return what encoding holds beside its texts: libraries, weights, a batch, a segment on its way out."""
    width, layers, weights = _shape(encoder)
    batch = 2 * _BATCH_TOKENS * width * (layers + 1) * 4
    engine = _ENGINE if layers else 0
    return max(resident(), _LIBRARIES + engine) + weights + batch + 3 * min(texts, _PENDING) * poolings * width * 4


def estimate(
    plan: Plan, encoders: Sequence[Encoder], poolings: Sequence[Sequence[str]], *, sided: Collection[str] = ()
) -> Estimate:
    """Estimate a plan with its encoders and the poolings of each; heavy libraries need not be loaded.

    ``sided`` are the ids of those that encode queries otherwise than documents: a text that is both is stored twice.
    """
    shapes = [_shape(e) for e in encoders]
    widths = [width for width, _, _ in shapes]
    texts = len(plan.texts)
    both = sum(len(plan.texts_of(side)) for side in SIDES) if sided else texts
    disk = sum(
        _stored(both if e.id in sided else texts, w, len(names))
        + sum(_stored(n, w, 1) for name in names for n in _tuned_texts(plan, e.id, name))
        for e, w, names in zip(encoders, widths, poolings, strict=True)
    )
    encoding = max(
        (
            weights + 2 * _BATCH_TOKENS * width * (layers + 1) * 4 + 3 * min(texts, _PENDING) * len(names) * width * 4
            for (width, layers, weights), names in zip(shapes, poolings, strict=True)
        ),
        default=0,
    )
    encoding += _TOKEN * sum(map(len, plan.texts)) + _ROW * texts
    width = max(widths, default=0)
    pairs = [(e.id, name) for e, names in zip(encoders, poolings, strict=True) for name in names]
    rows = [sum(max(1, len(s.names)) * max(1, s.seeds) for s in plan.suite.entries_for(*pair)) for pair in pairs]
    # what is seen of a task under one pooling is held, and once more on its way to the disk
    evaluating = max(
        (
            _evaluating(plan, t, width) + 2 * max(rows, default=0) * _seen(plan, t) + _lexical(plan, t)
            for t in plan.tasks
        ),
        default=0,
    )
    deriving = _deriving(plan, sum(rows))
    engine = _ENGINE if any(layers for _, layers, _ in shapes) else 0
    base = max(resident(), _LIBRARIES + engine) + sum(2 * len(t) + 60 for t in plan.texts)
    return Estimate(base, encoding, evaluating, deriving, disk)


def _seen(plan: Plan, task: TaskData) -> int:
    """Return the bytes of what is seen of a task by one row."""
    beside = plan.thresholds.get(task.name)
    return 8 * (task.n + (beside.n if beside else 0))


def _deriving(plan: Plan, rows: int) -> int:
    """Return what the numbers of rows take: what was seen of one task, and the replicates of all tasks and their means."""
    resamples = plan.suite.resamples
    one = (rows * _seen(plan, t) + (rows + 4) * (2 * t.n + 7 * resamples) * 8 for t in plan.tasks)
    # tasks, two means over the splits of a card, two over all tasks
    columns = len(plan.tasks) + 2 * len({t.pairs.card.name for t in plan.tasks}) + 2
    items = max((t.n for t in plan.tasks), default=0) * rows * resamples
    return max(one, default=0) + rows * columns * resamples * 8 + (_COMPILED if pays(items) else 0)


def _stored(texts: int, width: int, poolings: int) -> int:
    """Return the bytes of so many texts in a store: vectors and keys of each pooling, counts of tokens."""
    spaces = poolings + 1
    return texts * (poolings * 4 * width + 12 + 16 * spaces) + spaces * (1 + texts // _PENDING) * _SEGMENT


def _tuned_texts(plan: Plan, encoder: str, pooling: str) -> list[int]:
    """Return how many texts every tuned encoder of a pooling encodes."""
    found: dict[Hashable, int] = {}
    for spec in plan.suite.entries_for(encoder, pooling):
        word = plan.fit_word(spec)
        for task in plan.tasks if spec.entry.tuners else ():
            fit = plan.fits.get((task.name, word))
            if fit is None:
                continue
            texts = sum(map(len, plan.tuned_ids(task, spec.entry, fit)))
            for seed in spec.seeds_under(plan.suite.seed):
                training = task.name, (spec.entry if seed is None else spec.entry.with_seed(seed)).tuners, word
                found[training] = max(texts, found.get(training, 0))
    return list(found.values())


def _evaluating(plan: Plan, task: TaskData, width: int) -> int:
    """Return what one task takes: its vectors, two copies in float64 on their way through the steps, a sweep's cosines."""
    beside = plan.thresholds.get(task.name)
    rows = len(task.ids) + (2 * beside.n if beside else 0)
    rows = min(rows, len(plan.texts))
    # distractors are read in blocks: what is held of them is their transformed vectors and the index
    apart = _distractors(plan, task) * (width * 4 * 2 + _NODE)
    swept = any(s.dims == "all" for s in plan.suite.entries)
    return apart + rows * width * (4 + 16) + (3 * width * task.n * 8 if swept else 0) + 6 * width * width * 8


def _lexical(plan: Plan, task: TaskData) -> int:
    """Return what lexical search takes of a task's documents: a weight and its place for each term, thrice while they are made."""
    searched = plan.suite.task_kind.index and (
        plan.suite.baselines or any(s.method.category == "lexical" for e in plan.suite.entries for s in e.entry.walk())
    )
    if not searched:
        return 0
    # a task's distractors are among the last texts of the plan
    others = sum(map(len, plan.texts[len(plan.texts) - _distractors(plan, task) :])) if plan.distractors else 0
    return 3 * _TERM * 2 * (sum(len(plan.texts[int(i)]) for i in task.searched) + others)


def _distractors(plan: Plan, task: TaskData) -> int:
    """Return how many documents are searched beside those of a task."""
    truth = plan.truths.get(task.name)
    return int((truth.about.get("distractors") if truth else 0) or 0)


def _shape(encoder: Encoder) -> tuple[int, int, int]:
    """Return the width of an encoder's vectors, its number of layers, and the bytes of its weights in memory."""
    folder = getattr(encoder, "folder", None)
    if not isinstance(folder, ModelFolder):  # vectors of somebody else's making
        return 1024, 1, 0
    config = folder.config
    width, layers = config.get("hidden_size", config.get("dimensions")), config.get("num_hidden_layers")
    weights = sum(p.stat().st_size for p in folder.transformer.glob("*.safetensors"))
    return (
        width if type(width) is int and 0 < width < 1 << 20 else 1024,
        layers if type(layers) is int and 0 < layers < 1 << 12 else 0 if folder.static else 24,
        2 * weights,  # as they are read and as they are used
    )


def _alone(plan: Plan, task: TaskData) -> Plan:
    """Return the plan of one task, as far as an estimate needs it."""
    return replace(plan, tasks=[task], texts=[plan.texts[i] for i in np.unique(task.ids)])


def free_space(folder: Path) -> int | None:
    """Return the bytes free where a folder is or will be; None where the system does not say."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def refuse_full_disk(needed: float, folder: Path) -> None:
    """Raise `HengyuError` when vectors have no room; what is half-way there would be lost time."""
    free = free_space(folder)
    if free is not None and needed > free:
        raise HengyuError(
            f"{folder}: up to {as_words(needed)} of vectors must be stored where {as_words(free)} are free; make room, set "
            "HENGYU_CACHE to another folder, or ask for fewer poolings or tasks"
        )


def refuse_what_cannot_fit(
    found: Estimate, limit: int, plan: Plan, encoders: Sequence[Encoder], poolings: Sequence[Sequence[str]]
) -> None:
    """Raise `HengyuError` for a run that would hold more than ``limit`` bytes, and say what would fit."""
    if found.memory <= limit:
        return
    smaller: list[tuple[str, Estimate]] = []
    unswept = tuple(replace(s, dims=()) if s.dims == "all" else s for s in plan.suite.entries)
    if unswept != plan.suite.entries:
        other = replace(plan, suite=replace(plan.suite, entries=unswept))
        smaller.append(('without the sweeps (dims = "all")', estimate(other, encoders, poolings)))
    if any(len(names) > 1 for names in poolings):
        smaller.append(("with one pooling", estimate(plan, encoders, [names[:1] for names in poolings])))
    if len(plan.tasks) > 1:
        least = min(plan.tasks, key=lambda t: t.n)
        smaller.append(
            (f"on {least.name} alone (--task {least.name})", estimate(_alone(plan, least), encoders, poolings))
        )
    fits = [f"{words} it needs {as_words(e.memory)}" for words, e in smaller if e.memory <= limit]
    remedy = (
        f"what would fit: {'; '.join(fits)}"
        if fits
        else f"nothing smaller of this suite fits; allow {as_words(found.memory)}"
    )
    raise HengyuError(
        f"{plan.suite.path}: needs about {as_words(found.memory)} of memory, most of it for {found.costliest}, where --max-memory "
        f"allows {as_words(limit)}; {remedy}"
    )
