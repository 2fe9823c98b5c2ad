"""The gate: did a run get worse than a baseline? One verdict per cell, and further findings.

A cell fails when it fell by more than its tolerance and the fall is significant (its p-value, adjusted over all compared
cells by Holm's method, is at most 1 - `LEVEL`), or when it is below its floor. A fall beyond the tolerance that is not
significant is inconclusive: the reason says how many independent groups of pairs or queries would be needed. Cells that
did not change at all are not part of Holm's adjustment. A gate without measurements is never green.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hengyu.base.errors import HengyuError, gather
from hengyu.evaluation.gate.findings import EXIT, Finding, comparability
from hengyu.evaluation.gate.rules import Rules
from hengyu.evaluation.paired import Paired, paired_differences
from hengyu.evaluation.paired_test import PairedChange, holm, smallest_detectable, stored_error
from hengyu.evaluation.run_metrics import Key, MetricValue, RunMetrics

__all__ = ["LEVEL", "VERDICTS", "Judgement", "Verdict", "judge"]

LEVEL = 0.99
VERDICTS = ("fail", "not measured", "inconclusive", "new", "pass")  # the worst first
_ROUNDING = 1e-6  # a baseline stores six digits


@dataclass(frozen=True)
class Verdict:
    """The verdict on one cell; differences are current minus baseline, negative is worse."""

    key: Key
    verdict: str
    reason: str = ""
    before: MetricValue | None = None
    now: MetricValue | None = None
    change: PairedChange | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None  # adjusted by Holm's method; decides
    tolerance: float | None = None
    floor: float | None = None
    raw_p: float | None = None  # for this cell alone
    needed: int | None = None  # independent groups for the same fall to be significant


@dataclass(frozen=True)
class Judgement:
    """The gate's result for a run."""

    baseline: RunMetrics
    current: RunMetrics
    level: float
    verdicts: tuple[Verdict, ...]  # the worst first
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    strict: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """The number of cells per verdict."""
        found = Counter(v.verdict for v in self.verdicts)
        return {word: found[word] for word in VERDICTS}

    @property
    def code(self) -> int:
        """The exit code: the lowest that applies."""
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
    """Compare a run with a baseline; raises `HengyuError` for a tolerance that is too tight for the number of pairs."""
    held, found = ({k.metric for k in scores.cells} for scores in (baseline, current))
    if held and found and not held & found:
        raise HengyuError(
            f"{current.source}: measures {', '.join(sorted(found))}, and {baseline.source} {', '.join(sorted(held))}: these cannot "
            "be compared; name a run of the suite that the baseline is of"
        )
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
            verdicts.append(replace(verdict, reason="the baseline has it, the run does not"))
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
    """Judge a cell of the run without a number in the baseline; only its floor and failures count."""
    if now.value is None:
        word = "not measured" if now.status == "failed" else "new"
        return replace(verdict, verdict=word, reason=f"{now.status}: {now.reason}")
    if verdict.floor is not None and now.value < verdict.floor:
        return replace(verdict, verdict="fail", reason=f"below its floor {100 * verdict.floor:.2f}")
    return replace(verdict, verdict="new", reason="not in the baseline")


def _change(baseline: RunMetrics, current: RunMetrics, key: Key, paired: Mapping[Key, Paired]) -> PairedChange:
    """Return the change of a cell, by the best available test."""
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
    """Return the number of independent groups of a task's pairs or queries, if its header has it."""
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
    """Refuse a tolerance so tight that chance would hide a fall of that size.

    It depends on the request and on what both sides have stored, never on the results of the run.
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
    """Return findings about cells without a comparison, and about a gate that compared nothing."""
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
