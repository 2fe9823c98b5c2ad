"""The methods of a run at a glance: each at the row where it scores best, against the reference of its kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hengyu.evaluation.cells import JOINT, scores_jointly
from hengyu.report.board.board import RowKey, family_of
from hengyu.report.board.cell import between, percent
from hengyu.report.summary.sentence import Sentence
from hengyu.storage.records import Record, Run, Standing
from hengyu.storage.records.significance import direction
from hengyu.suites.suite import LEXICAL
from hengyu.tasks.interface.registry import find_task

__all__ = ["MethodLine", "Summary", "summarise"]

_MOST = 24  # lines of a summary
_MEAN = "mean"


@dataclass(frozen=True)
class MethodLine:
    """One row of a run, seen as a whole: its number on the main column, and its difference from the reference there."""

    row: RowKey
    main: Record  # of the main column, with a number
    by_task: Mapping[str, Record]  # task -> record of the main metric
    standing: Standing | None
    baseline: bool
    unranked: bool  # whether it is an upper bound without vectors, or one rater
    reference: bool  # whether it is what the others are compared with
    seconds: float | None  # over all tasks, without encoding

    @property
    def family(self) -> str:
        """The methods without their parameters."""
        return family_of(self.row[2])

    @property
    def name(self) -> str:
        """What tells it from others: of a baseline the encoder, or the lexical search; else the entry."""
        return self.row[0] if self.baseline and self.row[0] != LEXICAL else self.row[2]

    @property
    def value(self) -> float:
        """Its number on the main column."""
        return float(self.main.value or 0.0)

    @property
    def clear(self) -> int:
        """1 or -1 where the difference on the main column is a significant gain or loss, else 0."""
        return direction(self.main.delta_low, self.main.delta_high, self.main.n)

    @property
    def delta(self) -> str:
        """The difference with its interval, x 100; "" without one."""
        r = self.main
        if r.delta is None:
            return ""
        return f"{percent(r.delta, signed=True)} {between(r.delta_low, r.delta_high, signed=True)}".rstrip()

    @property
    def score(self) -> str:
        """The number with its interval, x 100."""
        return f"{percent(self.value)} {between(self.main.low, self.main.high)}".rstrip()

    def tasks_where(self, way: int) -> int:
        """Return on how many tasks the difference is a significant gain (1) or loss (-1)."""
        return sum(direction(r.delta_low, r.delta_high, r.n) == way for r in self.by_task.values())


@dataclass(frozen=True)
class Summary:
    """A run at a glance.

    Attributes:
        metric: what the main metric is called.
        column: the main column: "mean", or the only task.
        tasks: the tasks, in their order.
        reference: the entry that the others are compared with.
        level: of the intervals.
        rows: every row with a number on the main column, best first.
    """

    metric: str
    column: str
    tasks: tuple[str, ...]
    reference: str
    level: float
    rows: tuple[MethodLine, ...]

    @cached_property
    def encoders(self) -> tuple[str, ...]:
        """The encoders with a row, baselines left out, in the order of their best row."""
        return tuple(dict.fromkeys(line.row[0] for line in self.rows if not line.baseline))

    @cached_property
    def best(self) -> tuple[MethodLine, ...]:
        """The best row of each method under each encoder, best first; of many the best and all baselines."""
        met: dict[tuple[str, str], MethodLine] = {}
        for line in self.rows:
            met.setdefault((line.row[0], line.family), line)
        lines = tuple(met.values())
        if len(lines) <= _MOST:
            return lines
        kept = {id(line) for line in lines if line.baseline}
        kept |= {id(line) for line in [x for x in lines if not x.baseline][: max(1, _MOST - len(kept))]}
        return tuple(line for line in lines if id(line) in kept)

    @cached_property
    def left_out(self) -> int:
        """How many methods there was no room for."""
        return len({(line.row[0], line.family) for line in self.rows}) - len(self.best)

    @property
    def top(self) -> MethodLine | None:
        """The best row that is neither a baseline nor an upper bound; the best of all where there is none."""
        own = [line for line in self.rows if not (line.baseline or line.unranked)]
        return own[0] if own else self.rows[0] if self.rows else None

    @property
    def note(self) -> Sentence:
        """What is to be known of these lines."""
        told = (
            "Each method is shown at the pooling, dimension and fit_on where it scores best; "
            "the intervals, at {level} %, do not correct for that choice."
        )
        parts = {"level": f"{100 * self.level:g}"}
        if self.left_out:
            return Sentence(told + " The leaderboard has {more} more.", parts | {"more": str(self.left_out)})
        return Sentence(told, parts)

    def sentence(self, line: MethodLine) -> Sentence:
        """Say one method in a sentence."""
        if line.reference:
            return Sentence("the reference that the other methods are compared with")
        if line.baseline:
            return Sentence(
                "one rater, against the mean of the others" if line.unranked else "a baseline: it uses no model"
            )
        if line.unranked and line.row[3] != "none":
            return Sentence("takes no rank: it reads both sentences together and makes no vectors")
        if line.unranked:
            return Sentence("an upper bound: it reads both sentences together and makes no vectors")
        if not line.delta:
            return Sentence("no difference from {reference} is known", {"reference": self.reference})
        verdict = _VERDICTS[line.clear]
        parts = {"reference": self.reference}
        if len(self.tasks) < 2:
            return Sentence(verdict, parts)
        gains, losses = line.tasks_where(1), line.tasks_where(-1)
        counts = {"gains": str(gains), "losses": str(losses), "tasks": str(len(self.tasks))}
        if not gains and not losses:
            alone = (
                " on the mean, but not on any single task"
                if line.clear
                else " on the mean, nor on any of {tasks} tasks"
            )
            return Sentence(verdict + alone, parts | {"tasks": counts["tasks"]})
        return Sentence(verdict + _COUNTED[bool(gains), bool(losses)], parts | counts)


_VERDICTS = {
    1: "significantly better than {reference}",
    -1: "significantly worse than {reference}",
    0: "no significant difference from {reference}",
}
_COUNTED = {
    (True, True): " on the mean; better on {gains} of {tasks} tasks, worse on {losses}",
    (True, False): " on the mean; better on {gains} of {tasks} tasks",
    (False, True): " on the mean; worse on {losses} of {tasks} tasks",
}


def summarise(run: Run) -> Summary:
    """Return a run at a glance; without rows where no main column has a number."""
    kind = find_task(run.kind)
    records = [r for r in run.records if r.metric == kind.main and r.on_board]
    found: dict[RowKey, dict[str, Record]] = {}
    for r in records:
        found.setdefault(r.row, {})[r.task] = r
    heads = [str(t.get("task")) for t in run.header.get("tasks", ())]
    seen = {r.task for r in records}
    tasks = tuple(t for t in heads if t in seen) or tuple(dict.fromkeys(r.task for r in records if r.card))
    column = tasks[0] if len(tasks) == 1 else _MEAN if _MEAN in seen else ""
    encoders = {str(e.get("encoder")): e for e in run.header.get("encoders", ())}
    standings = {s.row: s for s in run.standings if s.task == column}
    level = float(run.header.get("suite", {}).get("level") or 0.95)
    lines = []
    for row, by_task in found.items():
        main = by_task.get(column)
        if main is None or main.status != "ok" or main.value is None:
            continue
        about = encoders.get(row[0], {})
        own = {t: by_task[t] for t in tasks if t in by_task and by_task[t].status == "ok"}
        baseline = bool(about.get("baseline"))
        lines.append(
            MethodLine(
                row,
                main,
                own,
                standings.get(row),
                baseline,
                about.get("kind") == JOINT or scores_jointly(row[2]),
                not baseline and main.delta is None and row[2] == kind.reference,
                _total([r.seconds for r in own.values()]),
            )
        )
    lines.sort(key=lambda line: -line.value)
    title = kind.metric(kind.main).title
    return Summary(title, column, tasks, kind.reference, level, tuple(lines))


def _total(seconds: Sequence[float | None]) -> float | None:
    known = [s for s in seconds if s is not None]
    return sum(known) if known and len(known) == len(seconds) else None
