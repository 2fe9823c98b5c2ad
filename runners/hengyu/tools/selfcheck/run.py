"""Runs every check of a model, or records why it could not be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.base.progress import Progress, silent
from hengyu.tools.selfcheck.invariances import INVARIANCES
from hengyu.tools.selfcheck.sensitivities import SENSITIVITIES
from hengyu.tools.selfcheck.subject import Check, Subject

__all__ = ["Findings", "selfcheck"]


@dataclass(frozen=True)
class Findings:
    """The findings about a model."""

    subject: Subject
    identity: Mapping[str, Any]  # what its vectors depend on
    invariances: tuple[Check, ...]
    sensitivities: tuple[Check, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the broken checks."""
        return tuple(c.name for c in (*self.invariances, *self.sensitivities) if c.status == "broken")


def selfcheck(subject: Subject, progress: Progress = silent) -> Findings:
    """Run every check; raises `HengyuError` if the model cannot be used at all."""
    encoder = subject.encoder
    reason = encoder.poolings.get(subject.pooling, f"is unknown{did_you_mean(subject.pooling, encoder.poolings)}")
    if reason:
        raise HengyuError(f"encoder '{encoder.id}': pooling '{subject.pooling}' is not available: {reason}")
    identity = encoder.identity()
    groups: list[list[Check]] = [[], []]
    with progress.stage(f"checking {encoder.id}", len(INVARIANCES) + len(SENSITIVITIES) + 1) as tick:
        _ = subject.yardstick
        tick(1)
        for group, checks, on_loss in ((groups[0], INVARIANCES, "broken"), (groups[1], SENSITIVITIES, "note")):
            for name, check in checks.items():
                group.append(_one(name, check, subject, on_loss))
                tick(1 + sum(map(len, groups)))
    encoder.release()
    return Findings(subject, identity, tuple(groups[0]), tuple(groups[1]))


def _one(name: str, check: Callable[[Subject], Check], subject: Subject, on_loss: str) -> Check:
    try:
        return check(subject)
    except HengyuError as e:
        return Check(name, "not run", str(e))
    except FloatingPointError as e:
        return Check(name, on_loss, str(e))
