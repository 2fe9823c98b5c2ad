"""The gate: did the numbers of a run get worse than a baseline's? One verdict a cell, and findings of their own.

A cell fails when it fell by more than its tolerance and the fall is significant (its p-value, adjusted over all compared
cells by Holm's method, is at most 1 - `LEVEL`), or when it lies below its floor. A fall beyond the tolerance that is not
significant is inconclusive: the reason says how many independent groups of pairs or queries would be needed. Cells that
did not move at all take no part in Holm's adjustment. Nothing measured is never green.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hengyu.base.errors import gather
from hengyu.evaluation.gate.findings import EXIT, Finding, comparability
from hengyu.evaluation.gate.rules import Rules
from hengyu.evaluation.paired import Paired, paired_differences
from hengyu.evaluation.paired_test import PairedChange, holm, smallest_detectable, stored_error
from hengyu.evaluation.run_metrics import Key, MetricValue, RunMetrics

__all__ = ["LEVEL", "VERDICTS", "Judgement", "Verdict", "judge"]

LEVEL = 0.99
VERDICTS = ("fail", "not measured", "inconclusive", "new", "pass")  # the worst first
_ROUNDING = 1e-6  # a baseline keeps six digits


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one cell; differences are current minus baseline, negative is worse."""

    key: Key
    verdict: str
    reason: str = ""
    before: MetricValue | None = None
    now: MetricValue | None = None
    change: PairedChange | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None  # adjusted by Holm's method: this one decides
    tolerance: float | None = None
    floor: float | None = None
    raw_p: float | None = None  # of this cell alone
    needed: int | None = None  # independent groups with which the same fall would be significant


@dataclass(frozen=True)
class Judgement:
    """What the gate says of a run."""

    baseline: RunMetrics
    current: RunMetrics
    level: float
    verdicts: tuple[Verdict, ...]  # the worst first
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    strict: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many cells got each verdict."""
        found = Counter(v.verdict for v in self.verdicts)
        return {word: found[word] for word in VERDICTS}

    @property
    def code(self) -> int:
        """The exit code: the lowest of those that apply."""
        codes = [EXIT[f.kind] for f in self.findings]
        counts = self.counts
        if counts["fail"]:
            codes.append(EXIT["regression"])
        if counts["inconclusive"] and self.strict:
            codes.append(EXIT["inconclusive"])
        return min(codes, default=0)


def judge(
    baseline: RunMetrics,
    current: RunMetrics,
    rules: Rules | None = None,
    *,
    level: float = LEVEL,
    strict: bool = False,
    accept: Collection[str] = (),
) -> Judgement:
    """Hold a run against a baseline; raises `HengyuError` for a tolerance tighter than what can be told at that n."""
    rules = rules or Rules()
    findings, notes, apart = comparability(baseline, current, accept)
    same = [t for t in baseline.tasks if t in current.tasks and not apart(t, None)]
    verdicts: list[Verdict] = []
    both: list[Key] = []
    for key in sorted(baseline.cells.keys() | current.cells.keys()):
        before, now = baseline.cells.get(key), current.cells.get(key)
        verdict = Verdict(key, "not measured", before=before, now=now, floor=rules.floor(key))
        if before is None or before.value is None:
            if now is not None:
                verdicts.append(_without_baseline(verdict, now))
        elif now is None:
            verdicts.append(replace(verdict, reason="the baseline has it, the run has not"))
        elif now.value is None:
            verdicts.append(replace(verdict, reason=f"{now.status}: {now.reason}"))
        elif why := apart(key.task, key.encoder):
            verdicts.append(replace(verdict, reason=f"not comparable: {why}"))
        else:
            both.append(key)
    rules.refuse_unmatched(baseline.cells.keys() | current.cells.keys())
    paired, amiss = paired_differences(baseline, current, same) if both else ({}, [])
    notes += amiss
    moves = {k: _change(baseline, current, k, paired) for k in both}
    _refuse_too_tight(baseline, both, moves, rules, level)
    told = [k for k in both if moves[k].test != "identical"]
    adjusted = dict(zip(told, holm([moves[k].p for k in told], level), strict=True))
    for key in both:
        p, share = adjusted.get(key, (1.0, level))
        verdicts.append(_judged(key, baseline, current, rules, moves[key], p, share, 1.0 - level))
    findings += _holes(verdicts, baseline)
    order = sorted(verdicts, key=lambda v: (VERDICTS.index(v.verdict), v.change.size if v.change else 0.0, v.key))
    return Judgement(baseline, current, level, tuple(order), tuple(findings), tuple(dict.fromkeys(notes)), strict)


def _without_baseline(verdict: Verdict, now: MetricValue) -> Verdict:
    """Judge a cell of the run that the baseline has no number of; only what failed is held against it."""
    if now.value is None:
        word = "not measured" if now.status == "failed" else "new"
        return replace(verdict, verdict=word, reason=f"{now.status}: {now.reason}")
    if verdict.floor is not None and now.value < verdict.floor:
        return replace(verdict, verdict="fail", reason=f"below its floor {100 * verdict.floor:.2f}")
    return replace(verdict, verdict="new", reason="not in the baseline")


def _change(baseline: RunMetrics, current: RunMetrics, key: Key, paired: Mapping[Key, Paired]) -> PairedChange:
    """Return how far a cell moved, by the best test there is."""
    before, now = baseline.cells[key], current.cells[key]
    assert before.value is not None and now.value is not None
    size = now.value - before.value
    if abs(size) <= _ROUNDING:
        return PairedChange(0.0, 0.0, test="identical")
    groups = _groups(baseline.tasks[key.task])
    if (found := paired.get(key)) is not None:
        blocks = None if found.blocks is None else found.blocks - found.blocks.mean() + size
        return PairedChange(
            *(size, found.error, found.freedom, "paired", found.groups, blocks, found.bound, found.limit),
            resamples=found.resamples,
        )
    parts = stored_error(before, baseline.level), stored_error(now, current.level)
    if parts[0] is None or parts[1] is None:
        return PairedChange(size, None, test="none", groups=groups)
    # a bootstrap's variance is that of n, not of n - 1
    error = (parts[0] ** 2 + parts[1] ** 2) ** 0.5 * (groups / (groups - 1)) ** 0.5 if groups > 1 else 0.0
    return PairedChange(size, error, groups - 1.0, groups=groups)


def _groups(task: Mapping[str, Any]) -> int:
    """Return the number of independent groups of a task's pairs or queries, as far as its head tells."""
    return int(task.get("groups") or task.get("queries") or task.get("n") or 0)


def _judged(
    key: Key,
    baseline: RunMetrics,
    current: RunMetrics,
    rules: Rules,
    change: PairedChange,
    p: float,
    share: float,
    alpha: float,
) -> Verdict:
    before, now = baseline.cells[key], current.cells[key]
    assert before.value is not None and now.value is not None
    low, high = change.interval(share) if change.test != "identical" else (0.0, 0.0)
    allowed, floor = rules.tolerance(key).of(before.value), rules.floor(key)
    verdict = Verdict(key, "pass", "", before, now, change, low, high, p, allowed, floor, raw_p=change.p)
    if floor is not None and now.value < floor:
        return replace(verdict, verdict="fail", reason=f"below its floor {100 * floor:.2f}")
    if change.test == "identical":
        return replace(verdict, reason="the same number")
    if -change.size <= allowed:
        return replace(verdict, reason="within the tolerance" if change.size < 0 else "not worse")
    if change.test == "none":
        return replace(verdict, verdict="inconclusive", reason="fell beyond the tolerance, and there is no interval")
    if p <= alpha:
        return replace(verdict, verdict="fail", reason="fell beyond the tolerance, and the fall is significant")
    needed = change.groups_needed(1.0 - share)
    about = baseline.tasks[key.task]
    word = "queries" if "queries" in about else "pairs"
    many = "no number of them" if needed is None else f"about {needed:,}"
    words = f"fell beyond the tolerance, but {change.groups:,.0f} independent {word} cannot tell this from chance"
    return replace(verdict, verdict="inconclusive", reason=f"{words}; it would take {many}", needed=needed)


def _refuse_too_tight(
    baseline: RunMetrics, both: Sequence[Key], moves: Mapping[Key, PairedChange], rules: Rules, level: float
) -> None:
    """Refuse a stated tolerance that the gate could not keep: a fall that size would drown in chance.

    It depends on what is asked and on what the two sides have kept, never on how the run came out.
    """
    worst: dict[str, tuple[float, str]] = {}
    for key in both:
        tolerance, before = rules.tolerance(key), baseline.cells[key]
        error = stored_error(before, baseline.level)
        if not tolerance.where or error is None or before.value is None:
            continue
        freedom = moves[key].freedom if moves[key].test == "paired" else None
        least = smallest_detectable(error, cells=len(both), level=level, freedom=freedom)
        if tolerance.of(before.value) < least > worst.get(tolerance.where, (0.0, ""))[0]:
            how = "compared pair by pair" if freedom else "by the stored intervals"
            of = baseline.tasks[key.task]
            n = f"{int(of['queries']):,} queries" if "queries" in of else f"{int(of.get('n', 0)):,} pairs"
            worst[tolerance.where] = (
                least,
                f"{tolerance.where}: {tolerance} is tighter than the smallest drop that can be told from chance, "
                f"{100 * least:.2f} points ({key}; {n}, {len(both)} cells, {how}); "
                "allow that much, evaluate more of them, or state none: then such a fall is shown as inconclusive",
            )
    gather(sentence for _, sentence in worst.values())


def _holes(verdicts: Iterable[Verdict], baseline: RunMetrics) -> list[Finding]:
    """Return the findings on cells without a comparison, and on a gate that compared nothing."""
    found: list[Finding] = []
    every = list(verdicts)
    failed = [v for v in every if v.verdict == "not measured" and v.now is not None and v.now.value is None]
    missing = [v for v in every if v.verdict == "not measured" and v.now is None and v.before is not None]
    if not any(v.change is not None for v in every):
        found.append(Finding("nothing measured", baseline.source, "no cell of the baseline was compared"))
    if failed:
        found.append(Finding("failed cell", _some(failed), f"{len(failed)} cells gave no number in this run"))
    if missing:
        words = f"{len(missing)} of the baseline's cells are not in this run; evaluate them, or make the baseline again"
        found.append(Finding("missing cell", _some(missing), words))
    return found


def _some(verdicts: list[Verdict]) -> str:
    return "; ".join(str(v.key) for v in verdicts[:3]) + (f"; {len(verdicts) - 3} more" if len(verdicts) > 3 else "")
