"""The data of a search: its loader reads train and valid splits and nothing else, so no search can look at test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.cards import find_card, load_cards, parse_task
from hengyu.cards.card import Card
from hengyu.cards.data import Pairs
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.mixture import OWN, mixture
from hengyu.suites.plan import DISTINCT, FitData
from hengyu.suites.planning import PlanProblems, with_long_texts
from hengyu.suites.split_loader import SplitLoader
from hengyu.suites.suite import Suite
from hengyu.tasks.interface.data import TaskData

__all__ = ["CHOSEN_ON", "READ", "Lesson", "Resolved", "TuningLoader", "resolve"]

READ = ("train", "valid")
"""The splits that a search may read."""

CHOSEN_ON = "valid"
"""The split that settings are chosen on."""

_WORDS = ("target", "all", *READ)


class TuningLoader(SplitLoader):
    """Reads train and valid splits; any other split is refused, whoever asks for it."""

    def pairs(self, card: Card, split: str) -> Pairs:
        """Return the pairs of a split; raises `HengyuError` for one that a search may not read."""
        if split not in READ:
            raise HengyuError(
                f"{card.name}:{split}: settings are chosen on {CHOSEN_ON} splits, and a search reads no split but "
                f"{' and '.join(READ)}"
            )
        return super().pairs(card, split)


@dataclass(frozen=True)
class Lesson:
    """What an entry is trained on and scored by for one card."""

    task: TaskData  # the valid split
    fit: FitData


@dataclass(frozen=True)
class Resolved:
    """What a suite's tuners are trained on and scored by.

    Attributes:
        suite: with what its encoders do with long texts.
        texts: those that lessons name by their numbers.
        lessons: one for each card, of each entry.
    """

    suite: Suite
    texts: Sequence[str]
    cards: Sequence[str]
    lessons: Mapping[SuiteEntry, Sequence[Lesson]]


def resolve(
    suite: Suite,
    specs: Sequence[SuiteEntry],
    *,
    named: Sequence[str] = (),
    data: Path | None = None,
    datasets: Sequence[Path] = (),
) -> Resolved:
    """Return what each entry is trained on and scored by, for each card of the suite's tasks.

    ``named`` are the tasks of the command line: a card's name, or ``CARD:valid``. Raises one `HengyuError` with all problems:
    a task of another split, a card without a valid split, a ``fit_on`` that reads another split.
    """
    loader = TuningLoader(load_cards(datasets), data)
    problems = PlanProblems(suite)
    cards: dict[str, Card] = {}
    for word in named or suite.tasks:
        with problems.caught(f"task '{word}': "):
            card = _card(loader, word, strict=bool(named))
            if CHOSEN_ON not in card.splits:
                raise HengyuError(
                    f"{card.name} has no split '{CHOSEN_ON}' to choose settings on; name other tasks with --task, or give the "
                    "card one"
                )
            cards[card.name] = card
    tasks: list[TaskData] = []
    for card in cards.values():
        with problems.caught(f"{suite.path}: "):
            tasks.append(loader.task(card, CHOSEN_ON))
    suite = with_long_texts(suite, tasks, problems)
    lessons: dict[SuiteEntry, list[Lesson]] = {}
    for spec in specs:
        word = suite.fit_word(spec)
        for task in tasks:
            with problems.caught(f"{suite.path}: entry '{spec.entry}' with fit_on '{word}': "):
                _refuse_other_splits(word)
                lessons.setdefault(spec, []).append(Lesson(task, loader.fit(task, word, labelled=spec.entry.labelled)))
    problems.finish()
    return Resolved(suite, loader.texts.texts, list(cards), lessons)


def _card(loader: TuningLoader, word: str, *, strict: bool) -> Card:
    """Return the card of a task; one of the command line must be a card's name or its valid split."""
    if strict and ":" not in word:
        return find_card(loader.cards, word)
    card, split = parse_task(loader.cards, word)
    if strict and split != CHOSEN_ON:
        raise HengyuError(
            f"settings are never chosen on a split that is reported; name {card.name}:{CHOSEN_ON}, or {card.name}"
        )
    return card


def _refuse_other_splits(word: str) -> None:
    """Refuse a ``fit_on`` that reads another split than train or valid."""
    words = [part.word for part in mixture(word.removesuffix(DISTINCT).removesuffix(OWN))]
    if any(one.rpartition(":")[2] not in (READ if ":" in one else _WORDS) for one in words):
        raise HengyuError(
            f'a search reads no split but {" and ".join(READ)}; write fit_on = "train", or tune the entry without it'
        )
