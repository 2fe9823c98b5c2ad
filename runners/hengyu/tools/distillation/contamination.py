"""Which lines of a corpus are evaluation sentences: the same string, the same letters, or nearly the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

from hengyu.base.progress import Progress
from hengyu.cards import load_cards, parse_task
from hengyu.cards.data import load_pairs
from hengyu.tools.pretraining.corpus import substance

__all__ = ["NEAR", "Contamination", "NearDuplicates", "Sentences", "check", "evaluation_texts"]

NEAR = 0.8
"""Near duplicates: the sets of character pairs of two sentences have at least this Jaccard index."""

_LEAST = 4  # letters of a sentence that can have near duplicates


@dataclass(frozen=True)
class Sentences:
    """Evaluation sentences, distinct, and the sha256 of each task's file."""

    texts: frozenset[str]
    against: dict[str, str]


@dataclass(frozen=True)
class Contamination:
    """How many lines were found, each counted once, by the strictest sense that holds."""

    sentences: int  # distinct ones that the lines were compared with
    lines: int
    exact: int  # the same string
    normalised: int  # the same letters and digits in the same order, without width, case and punctuation
    near: int  # a Jaccard index of character pairs of `NEAR` or more
    against: dict[str, str]  # task -> sha256 of its file

    def about(self) -> dict[str, object]:
        """Return it as JSON."""
        return {**asdict(self), "threshold": NEAR}


def evaluation_texts(tasks: Sequence[str], data: Path | None = None, datasets: Sequence[Path] = ()) -> Sentences:
    """Return the sentences of tasks; raises `HengyuError` for a task that is unknown or not available."""
    texts: set[str] = set()
    against: dict[str, str] = {}
    cards = load_cards(datasets)
    for word in tasks:
        pairs = load_pairs(*parse_task(cards, word), data)
        texts.update(pairs.first, pairs.second)
        against[pairs.task] = pairs.sha256
    return Sentences(frozenset(texts), against)


def _pairs(letters: str) -> frozenset[str]:
    return frozenset(letters[i : i + 2] for i in range(len(letters) - 1))


class NearDuplicates:
    """Finds near duplicates of sentences by prefix filtering: two alike sets share one of their rarest elements.

    Chaudhuri et al., A primitive operator for similarity joins in data cleaning, ICDE 2006.
    """

    def __init__(self, letters: Iterable[str]) -> None:
        self.letters = [x for x in letters if len(x) >= _LEAST]  # those that can have near duplicates
        self.sets = [_pairs(x) for x in self.letters]
        times = Counter(pair for one in self.sets for pair in one)
        self.order = {pair: i for i, (pair, _) in enumerate(sorted(times.items(), key=lambda kv: (kv[1], kv[0])))}
        self.rare: dict[str, list[int]] = {}
        for number, one in enumerate(self.sets):
            for pair in self._prefix(one):
                self.rare.setdefault(pair, []).append(number)

    def _prefix(self, pairs: frozenset[str]) -> list[str]:
        """Return the rarest elements, one of which any set shares that is alike; those of no sentence are the rarest."""
        size = len(pairs) - ceil(NEAR * len(pairs)) + 1
        return sorted(pairs, key=lambda p: (self.order.get(p, -1), p))[:size]

    def __call__(self, letters: str) -> bool:
        """Whether some sentence is nearly the same."""
        return next(self.alike(letters), None) is not None

    def alike(self, letters: str) -> Iterator[str]:
        """Yield the letters of all sentences that are nearly the same, or the same."""
        if len(letters) < _LEAST:
            return
        pairs = _pairs(letters)
        tried: set[int] = set()
        for pair in self._prefix(pairs):
            for number in self.rare.get(pair, ()):
                if number not in tried:
                    tried.add(number)
                    other = self.sets[number]
                    if NEAR * len(pairs) <= len(other) <= len(pairs) / NEAR:
                        shared = len(pairs & other)
                        if shared >= NEAR * (len(pairs) + len(other) - shared):
                            yield self.letters[number]


def check(lines: Sequence[str], sentences: Sentences, progress: Progress) -> tuple[Contamination, list[str]]:
    """Compare lines with evaluation sentences; returns the counts, and "exact", "normalised", "near" or "" for each line."""
    letters = {substance(t) for t in sentences.texts} - {""}
    near = NearDuplicates(letters)
    counts = Counter[str]()
    found: list[str] = []
    with progress.stage("compare with evaluation sentences", len(lines)) as tick:
        for number, line in enumerate(lines, 1):
            own = substance(line)
            sense = "exact" if line in sentences.texts else "normalised" if own in letters else ""
            sense = sense or ("near" if near(own) else "")
            counts[sense] += 1
            found.append(sense)
            if number % 4096 == 0:
                tick(number)
    result = Contamination(
        len(sentences.texts),
        len(lines),
        counts["exact"],
        counts["normalised"],
        counts["near"],
        dict(sentences.against),
    )
    return result, found
