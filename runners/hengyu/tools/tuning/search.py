"""The search: proposes settings, tries them until the budget is spent, and goes on where an earlier one was interrupted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hengyu.base.errors import Degenerate, HengyuError, first_line
from hengyu.base.progress import Progress, silent
from hengyu.methods.grammar import Entry
from hengyu.methods.step import Value
from hengyu.storage.identity import digest
from hengyu.storage.in_use import unused
from hengyu.tools.tuning.space import Space, settings_of
from hengyu.tools.tuning.subject import SCRATCH, Subject
from hengyu.tools.tuning.trials import Table, Trial, counted

__all__ = ["Budget", "Found", "require_optuna", "search"]

_FIRST = 5  # trials that may fail before the search gives up
_UNPRUNED = 4  # trials before any is pruned
_AGAIN = 20  # proposals before the space counts as exhausted
_DIGITS = 16
_SPENT = "the budget was spent"


@dataclass(frozen=True)
class Budget:
    """When a search ends: after so many seconds, earlier interrupted parts of it included, or so many trials; 0 for no limit."""

    seconds: float = 0.0
    trials: int = 0

    def spent(self, table: Table, elapsed: float = 0.0) -> bool:
        """Whether no further trial may start, or this one go on."""
        over = 0 < self.seconds <= table.seconds + elapsed
        return over or (not elapsed and 0 < self.trials <= len(table.trials))


@dataclass(frozen=True)
class Found:
    """What a search has found."""

    subject: Subject
    space: Space
    table: Table
    new: int  # trials of this call

    @property
    def best(self) -> Trial:
        """The trial with the highest score."""
        assert self.table.best is not None
        return self.table.best


class _Pruned(Exception):
    """Ends a trial early."""


def require_optuna() -> None:
    """Raise `HengyuError` where optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise HengyuError("hengyu tune needs optuna; run: pip install 'hengyu[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def search(subject: Subject, space: Space, budget: Budget, root: Path, *, progress: Progress = silent) -> Found:
    """Search the settings of an entry, or go on with it; its table is in a folder below ``root``, named after its key.

    The first trial has the entry's own settings. The proposal of a trial depends on the trials before it and the seed alone
    (tree-structured Parzen estimator: Bergstra et al., NeurIPS 2011), so an interrupted search ends with the same table as
    one that was not, except for the seconds and what depends on them.

    Raises:
        HengyuError: if the first trials all fail, or none is complete.
    """
    require_optuna()
    entry = subject.spec.entry
    whole = {**subject.key, "space": {name: str(part) for name, part in space.items()}}
    key = digest(whole)
    about = {
        "encoder": subject.encoder.id,
        "pooling": subject.pooling,
        "entry": str(entry),
        "chosen_on": [one.task.name for one in subject.lessons],
        "fit_on": subject.lessons[0].fit.word,
        "fit_splits": sorted({name for one in subject.lessons for name in one.fit.splits}),
        "space": whole["space"],
    }
    with _alone(root / key[:_DIGITS]) as folder:
        return _searched(subject, space, budget, Table.open(folder, key, about), progress)


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Hold the folder of a search, and remove what a killed one has left; raises `HengyuError` if another process holds it."""
    lock = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as e:
        raise HengyuError(f"{folder}: cannot be written ({e.strerror or e}); give another --tables") from None
    with unused(lock) as alone:
        if not alone:
            raise HengyuError(f"{folder}: the same search is running in another process; wait for it, or end it")
        for left in folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield folder


def _searched(subject: Subject, space: Space, budget: Budget, table: Table, progress: Progress) -> Found:
    """Try settings until the budget is spent."""
    entry = subject.spec.entry
    before = len(table.trials)
    title = f"tune {entry} on {', '.join(one.task.name for one in subject.lessons)}"
    if before:
        progress.say(f"{title}: going on after {counted(before, 'trial')}, {table.seconds:.0f} s")
    total = round(budget.seconds) or budget.trials
    with progress.stage(f"{title}, {'seconds' if budget.seconds else 'trials'}", total) as tick:
        while not budget.spent(table) or not table.trials:
            values = _proposed(table, space, entry, subject.seed)
            if values is None:
                progress.say(f"{title}: every setting of the space has been tried")
                break
            started = time.perf_counter()

            def beat(started: float = started) -> None:
                spent = table.seconds + time.perf_counter() - started
                tick(min(total, round(spent) if budget.seconds else len(table.trials)))

            trial = _try(subject, space, values, table, budget, beat)
            table.add(trial)
            progress.say(_line(trial, table))
            if len(table.trials) >= _FIRST and all(t.state == "failed" for t in table.trials):
                raise HengyuError(
                    f"entry '{entry}': the first {_FIRST} trials fail: {table.trials[0].reason}; see {table.root}"
                )
    if table.best is None:
        reasons = "; ".join(dict.fromkeys(t.reason for t in table.trials))
        raise HengyuError(f"entry '{entry}': no trial was completed ({reasons}); raise --budget, or correct the entry")
    return Found(subject, space, table, len(table.trials) - before)


def _try(subject: Subject, space: Space, values: dict[str, Value], table: Table, budget: Budget, beat: Any) -> Trial:
    """Train with some settings, and return the trial."""
    number = len(table.trials)
    entry = subject.spec.entry.with_training(values)
    study = _study(table, space, subject.seed, 0)
    asked = study.ask()
    curve: dict[str, float] = {}
    started = time.perf_counter()

    def look(place: int, value: float) -> None:
        curve[str(place)] = round(value, 5)
        asked.report(value, place)
        if number and budget.spent(table, time.perf_counter() - started):
            raise _Pruned(_SPENT)
        if asked.should_prune():
            raise _Pruned("its held-out curve was below the median")

    score, state, reason = None, "complete", ""
    try:
        score = round(subject.score(entry, look, beat, table.root), 6)
    except _Pruned as e:
        state, reason = "pruned", str(e)
    except HengyuError:  # not for these settings alone: an encoder that cannot be trained, a full disk
        raise
    except (Degenerate, ValueError) as e:
        state, reason = "failed", first_line(e)
    return Trial(
        number=number,
        seed=subject.seed,
        state=state,  # type: ignore[arg-type]
        entry=str(entry),
        values={k: v for k, v in values.items() if v is not None},
        score=score,
        curve=curve,
        seconds=round(time.perf_counter() - started, 2),
        reason=reason,
    )


def _proposed(table: Table, space: Space, entry: Entry, seed: int) -> dict[str, Value] | None:
    """Return the settings of the next trial: first the entry's own; None where all have been tried."""
    own = settings_of(entry)
    if not table.trials:
        return {name: own[name] for name in space}
    tried = {
        t.entry for t in table.trials if t.reason != _SPENT
    }  # with a larger budget, a trial that it cut short is made again
    for attempt in range(_AGAIN):
        asked = _study(table, space, seed, attempt).ask({name: part.distribution for name, part in space.items()})
        values: dict[str, Value] = {name: space[name].rounded(asked.params[name]) for name in space}
        try:
            if str(entry.with_training(values)) not in tried:
                return values
        except HengyuError:  # values that exclude each other
            continue
    return None


def _study(table: Table, space: Space, seed: int, attempt: int) -> Any:
    """Return a study of optuna that knows the trials so far; what it proposes follows from them and the seed."""
    import optuna
    from optuna.trial import TrialState

    drawn = int(digest([table.key, seed, len(table.trials), attempt])[:8], 16)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=drawn, n_startup_trials=_UNPRUNED + 1),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED),
    )
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    for t in table.trials:
        inside = all(space[name].holds(t.values.get(name)) for name in space)
        study.add_trial(
            optuna.trial.create_trial(
                state=states[t.state],
                value=t.score,
                params={name: t.values[name] for name in space} if inside else {},
                distributions={name: part.distribution for name, part in space.items()} if inside else {},
                intermediate_values={int(place): value for place, value in t.curve.items()},
            )
        )
    return study


def _line(trial: Trial, table: Table) -> str:
    """Return what is said of a trial."""
    shown = ", ".join(f"{name}={value}" for name, value in trial.values.items())
    found = f"Spearman {100 * trial.score:.2f}" if trial.score is not None else f"{trial.state}: {trial.reason}"
    best = table.best
    beside = f" (best so far {100 * (best.score or 0):.2f}, trial {best.number})" if best else ""
    return f"trial {trial.number}: {shown}: {found}, {trial.seconds:.0f} s{beside}"
