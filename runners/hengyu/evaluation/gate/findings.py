"""What prevents the comparison of a run with a baseline, with separate words and exit codes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command's help shows the exit codes, and must not wait for numpy
    from hengyu.evaluation.run_metrics import RunMetrics

__all__ = ["ACCEPTABLE", "EXIT", "EXIT_WORDS", "Finding", "comparability"]

EXIT = {
    "green": 0,
    "regression": 1,
    "bad input": 2,  # as of every command
    "no baseline": 3,
    "different protocol": 4,
    "different n": 5,
    "different card": 6,
    "different data": 7,
    "different tokenizer": 8,
    "different settings": 9,
    "nothing measured": 10,
    "failed cell": 11,
    "missing cell": 12,
    "inconclusive": 13,
    "unfinished run": 14,
    "unverified run": 15,
}
"""Stable exit codes; the gate's is the lowest that applies."""

EXIT_WORDS = {
    "green": "no cell got worse beyond tolerance and chance",
    "regression": "a cell fell beyond its tolerance and beyond chance, or below its floor",
    "bad input": "a mistake in the input, or a tolerance tighter than the data can tell",
    "no baseline": "there is no such file or run",
    "different protocol": "the numbers are computed differently from the baseline's",
    "different n": "a task has another number of pairs",
    "different card": "a task's card reads its file differently",
    "different data": "the content of a task's file differs",
    "different tokenizer": "an encoder's tokenizer gives other token ids",
    "different settings": "an encoder's dtype, backend, max_length, long, prompt or pre_tokenizer differs",
    "nothing measured": "not one cell could be compared",
    "failed cell": "a cell of this run gave no number",
    "missing cell": "the baseline has a cell that the run lacks",
    "inconclusive": "a fall beyond the tolerance that may be chance, with --strict (without it: a warning, exit code 0)",
    "unfinished run": "the run did not finish, or 'latest' was asked for and a newer run did not",
    "unverified run": "the run has no checksums, so nothing shows that its numbers are as they were written",
}

ACCEPTABLE = ("protocol", "tokenizer", "settings")
_SETTINGS = ("max_length", "dtype", "backend", "prompt", "query_prompt", "pre_tokenizer", "attention", "long")
_TASK = (
    ("different n", "n", "pairs"),
    ("different n", "queries", "queries"),
    ("different n", "relevant", "relevant pairs"),
    ("different card", "card_sha256", "card"),
    ("different data", "sha256", "data"),
    ("different data", "distractors_sha256", "distractors"),
)


@dataclass(frozen=True)
class Finding:
    """A finding besides the verdicts; its kind is a word of `EXIT`."""

    kind: str
    where: str
    words: str


def comparability(
    baseline: RunMetrics, current: RunMetrics, accept: Collection[str] = ()
) -> tuple[list[Finding], list[str], Callable[[str, str | None], str]]:
    """Return findings, notes, and a function of task and encoder: why their cells cannot be compared, "" if they can.

    With different pairs, labels or protocols the numbers are not comparable. A different tokenizer or dtype is a finding, and
    the comparison shows its effect. Different weights are a note: they are often the change under test.
    """
    findings: list[Finding] = []
    notes: list[str] = []
    reasons: dict[tuple[str, str], str] = {}

    def add(kind: str, where: str, words: str) -> bool:
        if kind.removeprefix("different ") in accept:
            notes.append(f"accepted: {kind}, {where}: {words}")
            return False
        findings.append(Finding(kind, where, words))
        return True

    if baseline.suite != current.suite:
        notes.append(f"the baseline is of suite {baseline.suite}, the run of {current.suite}")
    everywhere = ""
    if baseline.protocol != current.protocol:
        words = f"protocol {baseline.protocol} -> {current.protocol}; make the baseline anew"
        everywhere = words if add("different protocol", "run", words) else ""
    for task in sorted(baseline.tasks.keys() & current.tasks.keys()):
        for kind, key, word in _TASK:
            old, new = (_counted(s.tasks[task]) if key == "n" else s.tasks[task].get(key) for s in (baseline, current))
            if old != new:
                words = f"{word} {_short(old)} -> {_short(new)}; get the same data, or make the baseline anew"
                add(kind, task, words)
                reasons.setdefault(("task", task), kind)
    for name in sorted(baseline.encoders.keys() & current.encoders.keys()):
        was, now = baseline.encoders[name], current.encoders[name]
        if was.get("protocol") != now.get("protocol"):
            words = f"encoding protocol {was.get('protocol')} -> {now.get('protocol')}; make the baseline anew"
            if add("different protocol", name, words):
                reasons["encoder", name] = "different protocol"
        if was.get("tokens") != now.get("tokens"):
            words = f"token ids of the probe sentences {_short(was.get('tokens'))} -> {_short(now.get('tokens'))}"
            add("different tokenizer", name, f"{words}; check the tokenizer's files, or --accept tokenizer")
        if other := _differences(was, now):
            add("different settings", name, f"{other}; mend the suite, or --accept settings")
        if was.get("fingerprint") != now.get("fingerprint"):
            notes.append(
                f"{name}: other weights or files, {_short(was.get('fingerprint'))} -> {_short(now.get('fingerprint'))}"
            )

    def apart(task: str, encoder: str | None) -> str:
        return everywhere or reasons.get(("task", task), "") or reasons.get(("encoder", encoder or ""), "")

    return findings, notes, apart


def _counted(task: Mapping[str, Any]) -> Any:
    """Return the number of pairs of a task; of a sample also what it is of, and its seed."""
    of = task.get("of")
    return task.get("n") if of is None else f"{task.get('n')} of {of}, seed {task.get('sample_seed')}"


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {was.get(k)!r} -> {now.get(k)!r}" for k in _SETTINGS if was.get(k) != now.get(k))


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) > 16 and " " not in text else text
