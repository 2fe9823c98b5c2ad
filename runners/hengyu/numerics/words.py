"""Words of a corpus without a dictionary: pieces whose characters occur together far more often than by chance."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["COHESION", "Discovered", "Segmenter", "Tally", "discover_words", "plain_text"]

Codes = NDArray[np.uint64]
Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]

COHESION = (2.0, 4.0, 6.0)
"""The least cohesion of pieces of 2, 3 and 4 characters, in nats (Su, kexue.fm 6920)."""

_BITS = 16  # a character's; so four of them are one number
_ORDER = 4
_PENDING = 1 << 20  # numbers that are counted together
_PIECE = re.compile(r"[0-9a-z]+|[\u4e00-\u9fff]+|[^\s]")


def plain_text(text: str) -> str:
    """Return a text in NFKC and lower case: the form in which words are counted and found."""
    return unicodedata.normalize("NFKC", text).lower()


@dataclass
class Tally:
    """How often each of many numbers occurs, in bounded memory.

    Whenever more than ``most`` are known, the rarest half is forgotten (Manku and Motwani, Approximate frequency counts over data
    streams, 2002). No count is then too high, and none is too low by more than ``lost``.
    """

    most: int
    codes: Codes = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    lost: int = 0
    _waiting: list[Codes] = field(default_factory=list)
    _held: int = 0

    def add(self, codes: Codes) -> None:
        """Count numbers (n,)."""
        self._waiting.append(codes)
        self._held += len(codes)
        if self._held >= _PENDING:
            self.settle()

    def settle(self) -> None:
        """Merge what waits; afterwards ``codes`` are ascending, and ``counts`` theirs."""
        if not self._waiting:
            return
        new, times = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting, self._held = [], 0
        both = np.concatenate([self.codes, new])
        self.codes, place = np.unique(both, return_inverse=True)
        sums = np.zeros(len(self.codes), np.int64)
        np.add.at(sums, place, np.concatenate([self.counts, times]))
        self.counts = sums
        if len(self.codes) > self.most:
            at = len(self.codes) - self.most // 2
            floor = int(np.partition(self.counts, at)[at])
            self.keep(self.counts > floor)
            self.lost += floor

    def keep(self, these: Mask) -> None:
        """Forget the others."""
        self.codes, self.counts = self.codes[these], self.counts[these]

    def of(self, codes: Codes) -> Counts:
        """Return the counts (n,) of numbers; 0 for unknown ones."""
        if not len(self.codes):
            return np.zeros(len(codes), np.int64)
        at = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        return np.where(self.codes[at] == codes, self.counts[at], 0)


@dataclass(frozen=True)
class Discovered:
    """The words of a corpus.

    Attributes:
        words: word -> how often it was cut out, the most frequent first, then by code point.
        characters: number of characters read: Chinese ones, Latin letters, digits.
        lost: by how much a count of a piece may be too low, as memory was bounded; 0 where all are exact.
    """

    words: Mapping[str, int]
    characters: int
    lost: int


def discover_words(
    corpus: Callable[[], Iterable[str]],
    *,
    min_count: int = 32,
    cohesion: Sequence[float] = COHESION,
    most: int = 1 << 23,
) -> Discovered:
    """Return the words of 2 and more characters of a corpus that is read twice, ``corpus()`` giving parts of its text.

    The first pass counts pieces of up to four characters. A piece is cohesive if for every cut in two, a and b, log(P(ab) / (P(a)
    P(b))) reaches the threshold of its length. The second pass cuts the text wherever no cohesive piece covers two neighbours, and
    counts what is left in one. Such a word of three characters or more stays only if it is cohesive itself; a longer one than
    four, if every four in a row are. Su, kexue.fm 4256 and 6920 (bojone/word-discovery). Pieces and words rarer than
    ``min_count`` are dropped. Runs of characters end at any other than Chinese ones, Latin letters and digits, and at the
    end of a part. Memory is bounded by ``most`` pieces of each length.

    Raises ValueError for a ``min_count`` below 1, or for other than 3 thresholds.
    """
    if min_count < 1:
        raise ValueError(f"min_count={min_count} must be at least 1")
    if len(cohesion) != _ORDER - 1:
        raise ValueError(f"cohesion needs {_ORDER - 1} thresholds, of 2, 3 and 4 characters, not {len(cohesion)}")
    tallies = [Tally(most) for _ in range(_ORDER)]
    for text in corpus():
        chars = _characters(text)
        for length, tally in enumerate(tallies, 1):
            codes, here = _pieces(chars, length)
            tally.add(codes[here])
    for tally in tallies:
        tally.settle()
    total = int(tallies[0].counts.sum())
    cohesive = _cohesive(tallies, total, min_count, cohesion)

    known = [Tally(most) for _ in range(_ORDER)]
    longer: Counter[str] = Counter()
    lost = 0
    for text in corpus():
        chars = _characters(text)
        starts, ends = _cut(chars, cohesive)
        for length in range(2, _ORDER + 1):
            codes, _ = _pieces(chars, length)
            known[length - 1].add(codes[starts[ends - starts == length]])
        body = plain_text(text)
        far = ends - starts > _ORDER
        longer.update(body[s:e] for s, e in zip(starts[far].tolist(), ends[far].tolist(), strict=True))
        if len(longer) > most:
            floor = sorted(longer.values())[len(longer) // 2]
            lost += floor
            longer = Counter({w: c for w, c in longer.items() if c > floor})
    found: dict[str, int] = {}
    for length, tally in enumerate(known, 1):
        tally.settle()
        lost = max(lost, tally.lost)
        stays = tally.counts >= min_count
        if length > 2:
            stays &= _among(tally.codes, cohesive[length - 1])
        for code, count in zip(tally.codes[stays].tolist(), tally.counts[stays].tolist(), strict=True):
            found[_spelled(code, length)] = count
    for word, count in longer.items():
        if count >= min_count and _among(_pieces(_characters(word), _ORDER)[0], cohesive[_ORDER - 1]).all():
            found[word] = count
    ordered = dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
    return Discovered(ordered, total, max(lost, *(tally.lost for tally in tallies)))


@dataclass(frozen=True)
class Segmenter:
    """Cuts texts into words of a list, the likeliest way: the product of the words' frequencies is the greatest.

    A character that no word covers counts as a word seen once. Latin letters and digits in a row are one word, and so is any
    other character; white space is none.
    """

    words: Mapping[str, int]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Return that of the words which are discovered in texts, each distinct one counted once."""
        return cls(discover_words(lambda: ["\n".join(dict.fromkeys(texts))]).words)

    @cached_property
    def _costs(self) -> dict[str, float]:
        return {word: self._single - math.log(count) for word, count in self.words.items() if count > 0}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.words), default=1)

    @cached_property
    def _single(self) -> float:
        return math.log(max(sum(self.words.values()), 1) + 1)

    def __call__(self, text: str) -> list[str]:
        """Return the words of a text."""
        found: list[str] = []
        for piece in _PIECE.findall(plain_text(text)):
            found += self._best(piece) if "\u4e00" <= piece[0] <= "\u9fff" else [piece]
        return found

    def _best(self, run: str) -> list[str]:
        """Return the likeliest words of a run of Chinese characters, by dynamic programming; of equals the longer first word."""
        costs, longest = self._costs, self._longest
        best, step = [0.0] * (len(run) + 1), [1] * len(run)
        for at in range(len(run) - 1, -1, -1):
            best[at] = costs.get(run[at], self._single) + best[at + 1]
            for size in range(2, min(longest, len(run) - at) + 1):
                cost = costs.get(run[at : at + size])
                if cost is not None and cost + best[at + size] <= best[at]:
                    best[at], step[at] = cost + best[at + size], size
        words, at = [], 0
        while at < len(run):
            words.append(run[at : at + step[at]])
            at += step[at]
        return words


def _characters(text: str) -> Codes:
    """Return the code points (n,) of a text in the form of `plain_text`; 0 for what ends a run."""
    points = np.frombuffer(plain_text(text).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    chinese = (points >= 0x4E00) & (points <= 0x9FFF)
    other = ((points >= ord("a")) & (points <= ord("z"))) | ((points >= ord("0")) & (points <= ord("9")))
    return np.where(chinese | other, points, np.uint64(0))


def _pieces(chars: Codes, length: int) -> tuple[Codes, Mask]:
    """Return the numbers of all pieces of a length (n - length + 1,), and which lie within a run."""
    n = max(len(chars) - length + 1, 0)
    codes, here = np.zeros(n, np.uint64), np.ones(n, np.bool_)
    for at in range(length):
        part = chars[at : at + n]
        codes = (codes << np.uint64(_BITS)) | part
        here &= part != 0
    return codes, here


def _spelled(code: int, length: int) -> str:
    return "".join(chr((code >> (_BITS * at)) & 0xFFFF) for at in range(length - 1, -1, -1))


def _among(codes: Codes, known: Codes) -> Mask:
    """Return which numbers (n,) are in an ascending list."""
    if not len(known):
        return np.zeros(len(codes), np.bool_)
    found: Mask = known[np.minimum(np.searchsorted(known, codes), len(known) - 1)] == codes
    return found


def _cohesive(tallies: Sequence[Tally], total: int, min_count: int, least: Sequence[float]) -> list[Codes]:
    """Return the cohesive pieces of each length, ascending; none of length 1."""
    found: list[Codes] = [np.zeros(0, np.uint64)]
    for length in range(2, len(tallies) + 1):
        tally = tallies[length - 1]
        often = tally.counts >= min_count
        codes, counts = tally.codes[often], tally.counts[often]
        score = np.full(len(codes), np.inf)
        for cut in range(1, length):
            after = np.uint64(_BITS * (length - cut))
            left = tallies[cut - 1].of(codes >> after)
            right = tallies[length - cut - 1].of(codes & ((np.uint64(1) << after) - np.uint64(1)))
            with np.errstate(divide="ignore"):
                whole = np.log(total * counts.astype(np.float64)) - np.log(left.astype(np.float64) * right)
            score = np.minimum(score, np.where(left * right > 0, whole, -np.inf))
        found.append(codes[score >= least[length - 2]])
    return found


def _cut(chars: Codes, cohesive: Sequence[Codes]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return starts and ends (w,) of what no cut goes through."""
    together = np.zeros(len(chars) + 1, np.bool_)  # a character with the one before it
    for length in range(2, len(cohesive) + 1):
        codes, here = _pieces(chars, length)
        at = np.flatnonzero(here & _among(codes, cohesive[length - 1]))
        for offset in range(1, length):
            together[at + offset] = True
    inside = np.concatenate([chars != 0, [False]])
    starts = np.flatnonzero(inside & ~together)
    # a word ends where the next one starts, or where the run does
    edges = np.flatnonzero(~inside | ~together)
    ends = edges[np.searchsorted(edges, starts, side="right")]
    return starts, ends
