"""A unit done in another process: what travels there, what is opened there once, and what comes back."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hengyu.base.bounded import resolved, user_path
from hengyu.base.environment import code_digest
from hengyu.base.errors import HengyuError
from hengyu.base.memory import status
from hengyu.base.progress import Progress
from hengyu.base.version import __version__
from hengyu.bench.context import EncodeContext, Ids, RunContext
from hengyu.bench.notes import Notes, UnitLog
from hengyu.bench.observations import ObservationStore
from hengyu.bench.prepared_encoder import PreparedEncoder, absent_encoder
from hengyu.bench.units import WorkUnit
from hengyu.encoders import EncoderFailed, EncoderSpec, Unavailable, find_encoder
from hengyu.methods.external import external_files, load_methods
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.storage.fits import FitStore
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.plan import Plan

__all__ = [
    "EncoderSetting",
    "Lines",
    "Report",
    "RunSetting",
    "Setting",
    "absorb",
    "open_context",
    "perform",
    "setting_of",
]


@dataclass(frozen=True)
class EncoderSetting:
    """What an encoder is opened from in another process; its poolings are those that the run asks of it, () for none."""

    spec: EncoderSpec
    identity: Mapping[str, Any]
    poolings: tuple[str, ...]
    sided: bool


@dataclass(frozen=True)
class RunSetting:
    """What a run's context is opened from beside its encoders and texts: the plan, and places."""

    plan: Plan
    fits: FitStore | None
    tuned: TunedStore
    folder: Path
    force: bool


@dataclass(frozen=True)
class Setting:
    """What a context is opened from in another process, perhaps on another machine."""

    encoders: tuple[EncoderSetting, ...]
    store: VectorStore
    texts: Sequence[str]
    sides: Mapping[str, Ids]
    offline: bool
    threads: int
    run: RunSetting | None = None
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
    error: Exception | None = None  # another one than `HengyuError`
    traceback: str = ""


class Lines(Progress):
    """Keeps the lines that are said, for the process that shows them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep one line."""
        self.lines.append(line)


def setting_of(context: EncodeContext, threads: int) -> Setting:
    """Return what the units of a context need elsewhere; paths are made absolute."""
    run = None
    if isinstance(context, RunContext):
        fits, seen = context.fits, context.observations
        run = RunSetting(
            context.plan,
            fits.absolute() if fits else None,
            context.tuning.store.absolute(),
            seen.run.absolute(),
            seen.force,
        )
    encoders = tuple(
        EncoderSetting(_anywhere(e.encoder.spec), e.identity, e.poolings, e.sided) for e in context.encoders
    )
    return Setting(encoders, context.store.absolute(), context.texts, context.sides, context.offline, threads, run)


def _anywhere(spec: EncoderSpec) -> EncoderSpec:
    """Return the spec with paths that hold in every working folder."""
    path, texts = user_path(spec.model), user_path(spec.texts)
    return replace(
        spec,
        name=spec.display_name,
        model=str(resolved(path)) if path.exists() else spec.model,
        texts=str(resolved(texts)) if spec.texts else "",
    )


def open_context(setting: Setting, said: Lines | None = None) -> EncodeContext:
    """Open what units need, which say what they do through ``said``.

    Raises `HengyuError` where this machine has other code or models than the run was started with.
    """
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
    said = said or Lines()
    shared: dict[str, Any] = {
        "encoders": tuple(_open_encoder(one, host, offline=setting.offline) for one in setting.encoders),
        "store": setting.store,
        "texts": setting.texts,
        "sides": setting.sides,
        "progress": said,
        "offline": setting.offline,
    }
    if setting.run is None:
        return EncodeContext(**shared)
    return RunContext(
        **shared,
        plan=setting.run.plan,
        fits=setting.run.fits,
        tuning=TunedEncoderCache(setting.run.tuned, said),
        observations=ObservationStore(setting.run.folder, force=setting.run.force, progress=said),
        is_worker=True,
    )


def _open_encoder(setting: EncoderSetting, host: str, *, offline: bool) -> PreparedEncoder:
    """Open an encoder as it is where the run was started; one that gives nothing there is not opened here."""
    if not setting.poolings:
        return absent_encoder(setting.spec, (), "")
    try:
        encoder = find_encoder(setting.spec, offline=offline)
        encoder.adopt(setting.identity)
        found = PreparedEncoder.of(encoder, setting.poolings, sided=setting.sided)
    except HengyuError as e:
        raise HengyuError(*(f"worker on {host}: {problem}" for problem in e.problems)) from None
    for key, value in setting.identity.items():
        if found.identity.get(key) != value:
            raise HengyuError(
                f"worker on {host}: encoder '{found.encoder.id}' has another {key} than where the run was started; give "
                "every machine the same model"
            )
    return found


def perform(context: EncodeContext, unit: WorkUnit[Any, Any]) -> Report:
    """Do a unit and take what was noted with it; a mistake of the user's comes back as its sentences."""
    result: Any = None
    problems: tuple[str, ...] = ()
    failed, reasons = False, None
    noted, said = Notes(), context.progress
    assert isinstance(said, Lines)
    said.lines.clear()
    try:
        result = unit(context, noted)
    except HengyuError as e:
        problems, failed = e.problems, isinstance(e, EncoderFailed)
        reasons = (e.encoder, e.reasons, e.broken) if isinstance(e, Unavailable) else None
    return Report(
        result, problems, failed, reasons, tuple(said.lines), noted.seconds, noted.costs, status("VmHWM") or 0
    )


def absorb(report: Report, progress: Progress, log: UnitLog) -> Any:
    """Note what came back with a unit as if it had been done here, and return its result; raises what it met."""
    for line in report.lines:
        progress.say(line)
    for key, seconds in report.seconds.items():
        log.note_seconds(key, seconds)
    for key, costs in report.costs.items():
        log.note_costs(key, costs)
    if report.error is not None:
        report.error.add_note(f"in a worker process:\n{report.traceback}")
        raise report.error
    if report.reasons:
        encoder, reasons, broken = report.reasons
        raise Unavailable(encoder, reasons, broken=broken)
    if report.problems:
        raise (EncoderFailed if report.failed else HengyuError)(*report.problems)
    return report.result
