"""Makes the plan of a run: loads what a suite names, and says everything at once that stands against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError, Missing, Problems
from hengyu.cards import load_cards, parse_task
from hengyu.cards.card import CollectionCard, TripleCard
from hengyu.cards.data import Pairs, load_pairs
from hengyu.cards.distractors import Distractors, read_distractors
from hengyu.encoders.long_texts import TRUNCATE
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.plan import FitData, Plan
from hengyu.suites.split_loader import SplitLoader
from hengyu.suites.suite import Suite
from hengyu.tasks.interface.data import TaskData
from hengyu.tasks.interface.truth import Truth

__all__ = ["make_plan"]


def make_plan(suite: Suite, *, data_dir: Path | None = None, datasets: Sequence[Path] = ()) -> Plan:
    """Load everything a suite names; raises one `HengyuError` that holds every problem found."""
    problems = PlanProblems(suite)
    loader = SplitLoader(load_cards(datasets), data_dir, suite.sample, suite.seed)
    entries = entries_in_use(suite, problems)
    tasks = load_tasks(suite, loader, problems)
    suite = with_long_texts(suite, tasks, problems)
    fits: dict[tuple[str, str], FitData] = {}
    lacking: dict[tuple[str, str], str] = {}
    thresholds: dict[str, TaskData] = {}
    held: dict[str, Pairs] = {}
    truths: dict[str, Truth] = {}
    # one task after the other: texts are numbered as they come, and an encoder's batches follow the numbers
    for task in tasks:
        found, absent = resolve_fits(suite, task, entries, loader, problems)
        fits |= found
        lacking |= absent
        threshold_on, watched = resolve_validation(suite, task, entries, loader)
        thresholds |= threshold_on
        held |= watched
        with problems.caught(f"{suite.path}: "):
            truths[task.name] = suite.task_kind.truth(task, threshold_on.get(task.name), suite.relevant)
    distractors = load_distractors(suite, tasks, problems)
    problems.finish()
    said: list[str] = []
    for name, others in distractors.items():  # numbered last, so that an encoder's batches of the tasks' own texts stay
        truths[name] = truths[name].among(loader.texts.number(others.texts), others.texts)
        said.append(_distracted(name, truths[name].about, others))
    return Plan(
        suite,
        data_dir,
        tasks,
        thresholds,
        fits,
        loader.texts.texts,
        lacking=lacking,
        held=held,
        warnings=[*problems.warnings, *_data_warnings(loader.loaded), *_sample_warnings(tasks, fits), *said],
        datasets=tuple(datasets),
        left_out=tuple(problems.left_out),
        truths=truths,
        distractors=distractors,
    )


class PlanProblems(Problems):
    """What stands against the plan of a suite, and what it can do without.

    Attributes:
        left_out: what a run says that it leaves out, and how to get it.
        warnings: the same for pages that others read, of what is not here.
    """

    def __init__(self, suite: Suite) -> None:
        super().__init__()
        self.left_out: list[str] = []
        self.warnings: list[str] = []
        self._suite = suite
        self._unfit: dict[tuple[str, str], dict[str, None]] = {}  # fit_on word and problem -> the entries that have it

    def leave_out(self, missing: Missing) -> None:
        """Note what is not here and not needed."""
        if str(missing) not in self.left_out:
            self.left_out.append(str(missing))
            self.warnings.append(f"left out: {missing.brief}")

    def cannot_fit(self, spec: SuiteEntry, word: str, error: HengyuError) -> None:
        """Note why an entry cannot be fitted; entries of which the same is wrong share a sentence."""
        for problem in error.problems:
            self._unfit.setdefault((word, problem), {})[str(spec.entry)] = None

    def finish(self) -> None:
        """Raise one `HengyuError` holding all that was noted, if anything was."""
        for (word, problem), (first, *others) in self._unfit.items():
            more = f" (and {len(others)} more)" if others else ""
            if word == self._suite.fit_on:
                self.add(f"{self._suite.where('fit_on', 'fit_on', word)}entry '{first}'{more}: {problem}")
            else:
                self.add(f"{self._suite.path}: entry '{first}'{more} with fit_on '{word}': {problem}")
        super().finish()


def entries_in_use(suite: Suite, problems: PlanProblems) -> list[SuiteEntry]:
    """Return the entries that any encoder of the suite is evaluated with; the others are left out."""
    used = [e for e in suite.entries if any(e.applies_to(encoder.display_name) for encoder in suite.encoders)]
    problems.left_out += [
        f"entry '{e.entry}', which the suite has for {', '.join(e.encoders)} alone"
        for e in suite.entries
        if e not in used
    ]
    return used


def load_tasks(suite: Suite, loader: SplitLoader, problems: PlanProblems) -> list[TaskData]:
    """Return the tasks of a suite; a partial one leaves out those that are not here, if any is."""
    tasks: list[TaskData] = []
    absent: dict[str, Missing] = {}
    for word in suite.tasks:
        with problems.caught(suite.where("tasks", "task", word)):
            try:
                tasks.append(_load_task(suite, word, loader))
            except Missing as e:
                absent[word] = e
    for word, missing in absent.items():
        if "tasks" in suite.partial and tasks:
            problems.leave_out(missing)
        else:
            problems.add(f"{suite.where('tasks', 'task', word)}{missing}")
    return tasks


def _load_task(suite: Suite, word: str, loader: SplitLoader) -> TaskData:
    """Return a task by its name; raises `HengyuError` for data that suites of this kind cannot use."""
    card, split = parse_task(loader.cards, word)
    if isinstance(card, CollectionCard) and not suite.task_kind.collections:
        load_pairs(card, split)  # says what to do with it
    if isinstance(card, TripleCard):
        raise HengyuError(
            f"{card.path}: {card.name} holds triples, which are for training only; name another "
            f'task, and write fit_on = "{card.name}:{split}"'
        )
    return loader.evaluated(card, split)


def load_distractors(suite: Suite, tasks: Sequence[TaskData], problems: PlanProblems) -> dict[str, Distractors]:
    """Return what is searched beside each task's documents: the files of its card, and then those of the suite."""
    wanted: dict[str, tuple[Path, ...]] = {}
    where: dict[tuple[Path, ...], Path] = {}
    for task in tasks if suite.task_kind.distracts else ():
        card = task.pairs.card
        with problems.caught():
            paths = tuple(dict.fromkeys((*card.distractor_paths(), *suite.distractors)))
            if paths:
                wanted[task.name] = paths
                where.setdefault(paths, card.path if card.distractors else suite.path)
    read: dict[tuple[Path, ...], Distractors] = {}
    for paths, path in where.items():
        with problems.caught(f"{path}: distractors: "):
            read[paths] = read_distractors(paths)
    return {name: read[paths] for name, paths in wanted.items() if paths in read}


def with_long_texts(suite: Suite, tasks: Sequence[TaskData], problems: PlanProblems) -> Suite:
    """Return a suite whose models know what to do with long texts: as they say themselves, else the suite, else its cards.

    Texts are encoded once for all tasks, so cards that disagree are a problem unless the suite decides.
    """
    of: dict[str, list[str]] = {}
    for task in tasks:
        of.setdefault(task.pairs.card.long or TRUNCATE, []).append(task.name)
    open_ = [e for e in suite.encoders if not e.long]
    long = suite.long or next(iter(of), TRUNCATE)
    if not suite.long and len(of) > 1 and any(e.kind == "model" for e in open_):
        said = "; ".join(f"'{word}' for {', '.join(names)}" for word, names in of.items())
        problems.add(
            f"{suite.path}: its cards want long texts treated differently ({said}); choose for all of them with --long or with "
            "the key long of the suite, or run them apart"
        )
    for encoder in open_ if long != TRUNCATE else ():
        if encoder.kind != "model":
            problems.warnings.append(
                f"encoder '{encoder.display_name}': its vectors are made elsewhere, so long = '{long}' does not apply to them"
            )
    encoders = (e if e.long or e.kind != "model" else replace(e, long=long) for e in suite.encoders)
    return replace(suite, encoders=tuple(encoders))


def resolve_fits(
    suite: Suite, task: TaskData, entries: Sequence[SuiteEntry], loader: SplitLoader, problems: PlanProblems
) -> tuple[dict[tuple[str, str], FitData], dict[tuple[str, str], str]]:
    """Return what entries are fitted on for a task, by task and fit_on word, and why a partial suite lacks the others."""
    fits: dict[tuple[str, str], FitData] = {}
    lacking: dict[tuple[str, str], str] = {}
    may_lack = "entries" in suite.partial
    for spec in entries:
        word = suite.fit_word(spec)
        place = (task.name, word)
        if word == "none" or (place in fits and not spec.entry.labelled):
            continue
        try:
            fits[place] = loader.fit(task, word, labelled=spec.entry.labelled)
        except HengyuError as e:
            if not (isinstance(e, Missing) and may_lack):
                problems.cannot_fit(spec, word, e)
            elif place not in lacking:
                lacking[place] = e.brief
                what = f"what is fitted on '{word}', on {task.name}"
                problems.leave_out(Missing(f"{what}: {e}", f"{what}: {e.brief}"))
    return fits, lacking


def resolve_validation(
    suite: Suite, task: TaskData, entries: Sequence[SuiteEntry], loader: SplitLoader
) -> tuple[dict[str, TaskData], dict[str, Pairs]]:
    """Return the valid split of a task, by the task: where its threshold is chosen on it, and where tuners are watched on it."""
    binary = task.pairs.card.binary and suite.task_kind.decides
    tuned = any(spec.entry.tuners for spec in entries)
    valid = loader.valid(task) if binary or tuned else None
    if valid is None:
        return {}, {}
    threshold_on = {task.name: loader.threshold_split(task)} if binary else {}
    return threshold_on, {task.name: valid} if tuned else {}


def _distracted(task: str, about: Mapping[str, Any], distractors: Distractors) -> str:
    """Say how many distractors a task has, and which lines are none."""
    said = f"{task}: {about['distractors']:,} distractors of {', '.join(distractors.files)} are searched, too"
    why = (
        (distractors.blank, "blank"),
        (distractors.repeated, "repeated"),
        (about["distractors_left_out"], "equal to a document or query of the task"),
    )
    counts = [f"{count:,} {word}" for count, word in why if count]
    return f"{said}; lines left out: {', '.join(counts)}" if counts else said


def _sample_warnings(tasks: Sequence[TaskData], fits: Mapping[tuple[str, str], FitData]) -> Iterator[str]:
    """Say which tasks are samples, and of what little is learned from."""
    for task in tasks:
        sample = task.pairs.sample
        if sample is None:
            continue
        yield (
            f"{task.name}: a random sample of {task.n:,} of its {sample.n:,} pairs, stratified by label (seed {sample.seed}); "
            "every number and interval is of these pairs"
        )
        own = next(
            (fit for (name, _), fit in fits.items() if name == task.name and any(part is task for part in fit.parts)),
            None,
        )
        if own is not None:
            yield (
                f"{task.name}: what is fitted on the target is fitted on the {len(own.ids):,} sentences of the sample; on all of "
                "them it may score otherwise, which the intervals do not say"
            )


def _data_warnings(loaded: Iterable[Pairs]) -> Iterator[str]:
    """Say what is odd about the splits that were read."""
    for pairs in loaded:
        yield from pairs.notes
        if pairs.dropped:
            lines = ", ".join(map(str, pairs.dropped[:5])) + (", ..." if len(pairs.dropped) > 5 else "")
            yield f"{pairs.task}: {len(pairs.dropped)} malformed lines dropped (line {lines})"
