"""A unit done in another process: what travels there, what is opened there once, and what comes back."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hengyu.base.bounded import resolved, user_path
from hengyu.base.environment import code_digest
from hengyu.base.errors import HengyuError
from hengyu.base.memory import status
from hengyu.base.progress import Progress
from hengyu.base.version import __version__
from hengyu.bench.encoder_jobs import open_job
from hengyu.bench.run_log import RunLog
from hengyu.bench.units import WorkerContext, WorkUnit
from hengyu.encoders import EncoderFailed, EncoderSpec, Unavailable
from hengyu.methods.external import external_files, load_methods
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.storage.fits import FitStore
from hengyu.storage.timings import Clock
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.plan import Plan

__all__ = ["Report", "Setting", "absorb", "open_site", "perform", "setting_of"]


@dataclass(frozen=True)
class Setting:
    """What a site is opened from in another process, perhaps on another machine: the plan with its texts, and places."""

    plan: Plan
    specs: tuple[EncoderSpec, ...]
    identities: tuple[Mapping[str, Any], ...]
    store: VectorStore
    fits: FitStore | None
    tuned: TunedStore
    folder: Path
    force: bool
    offline: bool
    threads: int
    methods: tuple[Path, ...] = field(default_factory=external_files)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    version: str = __version__
    code: str = field(default_factory=code_digest)


@dataclass(frozen=True)
class Report:
    """What a unit gave, what the run is to note of it, and the most memory its process has held."""

    result: Any = None
    problems: tuple[str, ...] = ()
    failed: bool = False  # whether the problems are of one encoder
    reasons: tuple[str, Mapping[str, str], bool] | None = None  # of an `Unavailable`
    lines: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    peak: int = 0


class _Lines(Progress):
    """Keeps the lines that are said, for the process that shows them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep one line."""
        self.lines.append(line)


def setting_of(site: WorkerContext, threads: int) -> Setting:
    """Return what a site's units need elsewhere; paths are made absolute."""
    fits = site.ledger.fits
    return Setting(
        site.plan,
        tuple(_anywhere(j.encoder.spec) for j in site.jobs),
        tuple(j.identity for j in site.jobs),
        site.store.absolute(),
        fits.absolute() if fits else None,
        site.tuning.store.absolute(),
        site.ledger.folder.absolute(),
        site.ledger.force,
        site.offline,
        threads,
    )


def _anywhere(spec: EncoderSpec) -> EncoderSpec:
    """Return the spec with paths that hold in every working folder."""
    path, texts = user_path(spec.model), user_path(spec.texts)
    return replace(
        spec,
        name=spec.called,
        model=str(resolved(path)) if path.exists() else spec.model,
        texts=str(resolved(texts)) if spec.texts else "",
    )


def open_site(setting: Setting) -> WorkerContext:
    """Open what units need; raises `HengyuError` where this machine has other code or models than the run was started with."""
    import torch
    from threadpoolctl import threadpool_limits

    host = socket.gethostname()
    if setting.version != __version__:
        raise HengyuError(
            f"worker on {host}: has hengyu {__version__} where the run was started with {setting.version}; install the same"
        )
    if setting.code != code_digest():
        raise HengyuError(
            f"worker on {host}: has other code of hengyu {__version__} than where the run was started; install the same"
        )
    for path in setting.methods:
        if path not in external_files():
            load_methods(path)
    torch.set_num_threads(setting.threads)
    threadpool_limits(limits=setting.threads)
    jobs = [
        open_job(setting.plan, spec, offline=setting.offline, served=identity)
        for spec, identity in zip(setting.specs, setting.identities, strict=True)
    ]
    for job, wanted in zip(jobs, setting.identities, strict=True):
        for key, value in wanted.items():
            if job.identity.get(key) != value:
                raise HengyuError(
                    f"worker on {host}: encoder '{job.encoder.id}' has another {key} than where the run was started; give "
                    "every machine the same model"
                )
    said = _Lines()
    ledger = RunLog(setting.plan, setting.folder, said, setting.force, Clock(None), setting.fits, away=True)
    return WorkerContext(setting.plan, jobs, setting.store, TunedEncoderCache(setting.tuned, said), ledger)


def perform(site: WorkerContext, unit: WorkUnit[Any]) -> Report:
    """Do a unit and take out what was noted with it; a mistake of the user's comes back as its sentences."""
    result: Any = None
    problems: tuple[str, ...] = ()
    failed, reasons = False, None
    try:
        result = unit(site)
    except HengyuError as e:
        problems, failed = e.problems, isinstance(e, EncoderFailed)
        reasons = (e.encoder, e.reasons, e.broken) if isinstance(e, Unavailable) else None
    ledger, said = site.ledger, site.ledger.progress
    assert isinstance(said, _Lines)
    report = Report(
        result,
        problems,
        failed,
        reasons,
        tuple(said.lines),
        dict(ledger.clock.seconds),
        dict(ledger.costs),
        status("VmHWM") or 0,
    )
    for kept in (said.lines, ledger.clock.seconds, ledger.costs):
        kept.clear()
    return report


def absorb(report: Report, ledger: RunLog) -> Any:
    """Note in the run's own ledger what came back with a unit, and return its result; raises the `HengyuError` it met."""
    for line in report.lines:
        ledger.progress.say(line)
    for key, seconds in report.seconds.items():
        ledger.clock.note(key, seconds)
    for key, costs in report.costs.items():
        ledger.note_costs(key, costs)
    if report.reasons:
        encoder, reasons, broken = report.reasons
        raise Unavailable(encoder, reasons, broken=broken)
    if report.problems:
        raise (EncoderFailed if report.failed else HengyuError)(*report.problems)
    return report.result
