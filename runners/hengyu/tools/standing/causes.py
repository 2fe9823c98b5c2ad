"""Tries out why a model's score is not its published one: pooling, split, prompt, maximum length, dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.cards.data import Pairs
from hengyu.encoders import EncoderSpec, Vectors
from hengyu.encoders.huggingface import HuggingFace
from hengyu.tools.selfcheck.change import Excerpt, Yardstick, take_excerpt
from hengyu.tools.standing.place import NATIVE, TOLERANCE

__all__ = ["PROMPTS", "Search", "Trial", "find_cause"]

PROMPTS = ("query: ", "passage: ", "为这个句子生成表示以用于检索相关文章：")
"""Prompts that released models are used with, tried beside those of the model's own files."""

_NONE = "{text}"  # the prompt of a model that is given none
_LENGTHS = (512, 256, 128, 64, 32)
_DTYPES = ("bfloat16", "float16")
_SMALL = 0.02  # half precision moves Spearman by less
_SHARE = 0.2  # of the gap that may remain for a change to be called its cause
_ENOUGH = 0.05  # of the gap: if no more remains, nothing else is tried


@dataclass(frozen=True)
class Trial:
    """One change that was tried.

    Attributes:
        cause: "pooling", "split", "prompt", "max length" or "dtype"; two joined with "and".
        what: the change in words.
        value: the Spearman that the row would have, on all its pairs.
        low, high: the interval of that, from the paired change on the sample.
    """

    cause: str
    what: str
    value: float
    low: float
    high: float

    def explains(self, ours: float, figure: float) -> bool:
        """Whether the change leads from our number to the published one."""
        left = self.left(ours, figure)
        return abs(self.value - figure) <= TOLERANCE or (left <= _SHARE and self.low <= figure <= self.high)

    def left(self, ours: float, figure: float) -> float:
        """Return what remains of the gap, as a share of it."""
        return abs(self.value - figure) / max(abs(ours - figure), 1e-12)


@dataclass(frozen=True)
class Search:
    """What was tried for one figure, and what came of it."""

    figure: float
    ours: float
    pairs: int  # of the sample
    trials: tuple[Trial, ...]

    @property
    def cause(self) -> Trial | None:
        """The change that leads nearest to the figure, if it explains it; None if nothing does."""
        fit = [t for t in self.trials if t.explains(self.ours, self.figure)]
        return min(fit, key=lambda t: abs(t.value - self.figure), default=None)


def find_cause(
    ours: float,
    figure: float,
    spec: EncoderSpec,
    pooling: str,
    pairs: Pairs,
    opener: Callable[[EncoderSpec], HuggingFace],
    *,
    beside: Sequence[Pairs] = (),
    limit: int = 2000,
    progress: Progress = silent,
) -> Search:
    """Try one change after the other, the likeliest first, until one leads to a published figure.

    Args:
        ours: the Spearman of the run's row.
        figure: the published one.
        spec: the encoder's declaration in the run.
        pooling: of the row.
        pairs: the task's.
        opener: opens a spec.
        beside: other splits of the card that are at hand.
        limit: the most pairs that are encoded, evenly spaced; 0 for all.
        progress: shows what is tried.

    Raises:
        HengyuError: for a model that cannot be opened, or a sample without a score.
    """
    encoder = opener(spec)
    sample = take_excerpt(pairs, limit)
    stages = _Stages(encoder, spec, pooling, sample, opener, ours, tuple(beside), limit)
    trials: list[Trial] = []
    for name, stage in (
        ("pooling", stages.poolings),
        ("split", stages.splits),
        ("prompt", stages.prompts),
        ("max length", stages.lengths),
        *((("dtype", stages.dtypes),) if abs(ours - figure) <= _SMALL else ()),
    ):
        progress.say(f"{encoder.id} on {pairs.task}: trying another {name}")
        trials += stage()
        # of many changes one comes near by chance, so that only a close one ends the search
        if any(abs(t.value - figure) <= TOLERANCE or t.left(ours, figure) <= _ENOUGH for t in trials):
            break
    encoder.release()
    return Search(figure, ours, len(sample.labels), tuple(trials))


@dataclass
class _Stages:
    """The changes of each kind, measured on a sample."""

    encoder: HuggingFace
    spec: EncoderSpec
    pooling: str
    sample: Excerpt
    opener: Callable[[EncoderSpec], HuggingFace]
    ours: float
    beside: tuple[Pairs, ...]
    limit: int
    yardstick: Yardstick | None = None

    def _others(self) -> list[str]:
        """Return the poolings that are tried: all that one pass gives."""
        given = [p for p, why in self.encoder.poolings.items() if not why and p not in ("echo", "mask")]
        return [p for p in given if p != self.pooling and p != self.encoder.native_is]

    def _encode(self, encoder: HuggingFace, poolings: Sequence[str]) -> dict[str, Vectors]:
        return encoder.encode(list(self.sample.texts), list(poolings))

    def _trial(self, cause: str, what: str, vectors: Vectors) -> Trial | None:
        assert self.yardstick is not None
        try:
            change = self.yardstick.compare(vectors)
        except FloatingPointError:
            return None
        if change.points is None or change.low is None or change.high is None:
            return None
        points, low, high = (self.ours + x / 100 for x in (change.points, change.low, change.high))
        return Trial(cause, what, points, low, high)

    def _named(self, pooling: str) -> str:
        """Return a pooling in words: which one ``native`` is, where that is known."""
        own = self.encoder.folder.tail
        if pooling == NATIVE:
            return f"{NATIVE} ({own[0]})" if own else NATIVE
        return f"{pooling} (the model's own)" if pooling == self.encoder.native_is else pooling

    def poolings(self) -> list[Trial]:
        """Try every other pooling, from one pass."""
        others = self._others()
        found = self._encode(self.encoder, [self.pooling, *others])
        self.yardstick = Yardstick(self.sample, found[self.pooling])
        if self.yardstick.spearman is None:
            raise HengyuError(f"{self.sample.task}: the sample has no score ({self.yardstick.no_score})")
        tried = (
            self._trial("pooling", f"{self._named(p)} instead of {self._named(self.pooling)}", found[p]) for p in others
        )
        return [t for t in tried if t]

    def splits(self) -> list[Trial]:
        """Score the card's other splits as they are."""
        found = []
        for pairs in self.beside:
            sample = take_excerpt(pairs, self.limit)
            vectors = self.encoder.encode(list(sample.texts), [self.pooling])[self.pooling]
            there = Yardstick(sample, vectors)
            if there.spearman is not None and there.low is not None and there.high is not None:
                what = f"{pairs.task} instead of {self.sample.task}"
                found.append(Trial("split", what, there.spearman, there.low, there.high))
        return found

    def prompts(self) -> list[Trial]:
        """Try other prompts, or none, with the row's pooling and the model's own."""
        own = self.encoder.folder.prompt
        known = [p for p in (*self.encoder.folder.prompts.values(), *PROMPTS) if p and p != own]
        found = []
        for prompt in dict.fromkeys([*([_NONE] if own else []), *known]):
            other = self.opener(replace(self.spec, prompt=prompt, query_prompt=None, document_prompt=None))
            words = "no prompt" if prompt == _NONE else f"the prompt '{prompt}'"
            words += f" instead of '{own}'" if own else ""
            poolings = [p for p in dict.fromkeys((self.pooling, NATIVE)) if not other.poolings[p]]
            poolings = [p for p in poolings if p == self.pooling or self.pooling != other.native_is]
            for pooling, vectors in self._encode(other, poolings).items():
                both = pooling != self.pooling
                trial = self._trial(
                    "prompt and pooling" if both else "prompt",
                    f"{words}, and {self._named(pooling)} instead of {self._named(self.pooling)}" if both else words,
                    vectors,
                )
                found += [trial] if trial else []
            other.release()
        return found

    def lengths(self) -> list[Trial]:
        """Try other maximum lengths, those at which some text is cut or no longer is."""
        if self.encoder.folder.static:
            return []
        own = self.encoder.folder.max_length
        found: list[Trial] = []
        before = -1
        for other, length in self._at_lengths(own):
            cut = int(other.tokenizer(list(self.sample.texts))[1][:, 2].sum())
            if cut != before:
                vectors = self._encode(other, [self.pooling])[self.pooling]
                trial = self._trial("max length", f"{length} tokens instead of {own}", vectors)
                found += [trial] if trial else []
            before = cut
            other.release()
        return found

    def _at_lengths(self, own: int) -> Iterator[tuple[HuggingFace, int]]:
        for length in _LENGTHS:
            if length == own:
                continue
            try:
                other = self.opener(replace(self.spec, max_length=length))
                _ = other.folder.max_length
            except HengyuError:  # above what the model accepts
                continue
            yield other, length

    def dtypes(self) -> list[Trial]:
        """Try half precision."""
        if self.encoder.folder.static:
            return []
        found = []
        for dtype in _DTYPES:
            if dtype == self.spec.dtype:
                continue
            other = self.opener(replace(self.spec, dtype=dtype))
            try:
                vectors = self._encode(other, [self.pooling])[self.pooling]
            except (HengyuError, RuntimeError, NotImplementedError, TypeError):
                continue
            finally:
                other.release()
            trial = self._trial("dtype", f"{dtype} instead of {self.spec.dtype}", vectors)
            found += [trial] if trial else []
        return found
