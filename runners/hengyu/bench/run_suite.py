"""A suite run as ``hengyu run`` and `hengyu.run` do it: what is asked of it, as one set of options, and the one path from there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hengyu.base.bounded import user_path
from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.base.paths import local, reports_dir
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Mirror, is_url
from hengyu.bench.executors import open_executor
from hengyu.bench.rounds import Limits, run_rounds
from hengyu.bench.run import Outcome, run
from hengyu.encoders import EncoderSpec
from hengyu.encoders.fastest import with_backends
from hengyu.storage.fits import FitStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.plan import Plan
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import Suite

__all__ = ["RunOptions", "run_suite"]

_FEWEST = 20  # pairs of a sample


@dataclass(frozen=True)
class RunOptions:
    """How a suite is run; what is left at its default is as the suite says it.

    Attributes:
        tasks, encoders, cross_encoders, poolings, entries, similarity, fit_on, distractors: what is run in the place of the
            suite's own.
        dtypes, backends: every encoder is run in each, () for its own; "auto" is the fastest equal one.
        long: what every model does with texts above its maximum length; "" as suite and cards say.
        prompt, query_prompt, document_prompt: for all encoders; None for their own.
        trust_remote_code, allow_api, key_over_http: permissions that no file can give.
        out: folder or URL of the reports; by default ``$HENGYU_REPORTS``, else that of this machine.
        store: folder or URL of the vectors; by default the user's cache.
        force: observe every cell again.
        fresh: encode everything again too, into a store that is deleted afterwards.
        max_memory: bytes.
        sample: how many pairs are evaluated: a number for all tasks, or TASK=NUMBER for one; () for all pairs.
        budget: seconds for a run of growing samples; 0 for no limit.
        until: half the width of the widest interval, in points, at which such a run stops; 0 for none.
        title: of the run, on its page and in the index; by default the suite's.
        command: the words of the command line, for the record.
    """

    data: Path | None = None
    datasets: Sequence[Path] = ()
    tasks: Sequence[str] = ()
    encoders: Sequence[str | EncoderSpec] = ()
    cross_encoders: Sequence[str] = ()
    poolings: Sequence[str] = ()
    entries: Sequence[str] = ()
    similarity: Sequence[str] = ()
    fit_on: str = ""
    distractors: Sequence[Path] = ()
    dtypes: Sequence[str] = ()
    backends: Sequence[str] = ()
    prompt: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    long: str = ""
    attention: str = ""
    device: str = ""
    trust_remote_code: bool = False
    allow_api: bool = False
    key_over_http: bool = False
    out: str = ""
    store: str = ""
    force: bool = False
    fresh: bool = False
    offline: bool = False
    executor: str = "local"
    address: str = ""
    workers: int = 0
    max_memory: int | None = None
    sample: Sequence[str] = ()
    budget: float = 0.0
    until: float = 0.0
    title: str = ""
    command: str = ""

    @property
    def place(self) -> str:
        """Where the reports go, as it was asked for; "" where nothing was."""
        return self.out or os.environ.get("HENGYU_REPORTS", "")

    @property
    def reports(self) -> Path:
        """The folder of this machine that the reports go to."""
        return local(self.place) if self.place else reports_dir()

    @property
    def mirror(self) -> Mirror | None:
        """What that folder stands for, where the reports go to a URL."""
        return Mirror(self.place) if is_url(self.place) else None

    def applied_to(self, suite: Suite, progress: Progress = silent) -> Suite:
        """Return a suite as it is to be run; what the backend ``auto`` stands for is measured, or was before."""
        changed = suite.with_overrides(
            tasks=tuple(self.tasks),
            encoders=tuple(self.encoders),
            cross_encoders=tuple(self.cross_encoders),
            poolings=tuple(self.poolings),
            entries=tuple(self.entries),
            similarity=tuple(self.similarity),
            fit_on=self.fit_on,
            distractors=tuple(map(user_path, self.distractors)),
        )
        encoders = (
            e
            for spec in map(self._encoder, changed.encoders)
            for e in with_backends(spec, self.dtypes, self.backends, progress, offline=self.offline)
        )
        return replace(
            changed,
            title=self.title or changed.title,
            title_zh="" if self.title else changed.title_zh,
            sample=self._sample(changed),
            long=self.long or changed.long,
            encoders=tuple(encoders),
            cross_encoders=tuple(
                replace(e, device=self.device or e.device, trust_remote_code=self.trust_remote_code)
                for e in changed.cross_encoders
            ),
        )

    def _sample(self, suite: Suite) -> dict[str, int]:
        """Return how many pairs of which task are evaluated; raises `HengyuError`."""
        options = {"--sample": self.sample, "--budget": self.budget, "--until": self.until}
        given = [option for option, value in options.items() if value]
        if given and not suite.task_kind.sampled:
            raise HengyuError(
                f"{given[0]}: samples pairs, but a suite of kind '{suite.kind}' cannot be sampled: each query needs all documents; "
                "leave it out, or name fewer tasks with --task"
            )
        if given[1:] and self.sample:
            raise HengyuError(
                f"--sample says how many pairs are taken, and {given[1]} would choose it; leave one of them out"
            )
        found: dict[str, int] = {}
        for word in self.sample:
            task, _, number = word.rpartition("=")
            if not number.isascii() or not number.isdecimal() or not _FEWEST <= int(number) < 1 << 31:
                raise HengyuError(f"--sample {word}: must be a number of pairs from {_FEWEST} up, or TASK=NUMBER")
            if task and task not in suite.tasks:
                raise HengyuError(f"--sample {word}: the suite has no task '{task}'{did_you_mean(task, suite.tasks)}")
            found |= dict.fromkeys([task] if task else suite.tasks, int(number))
        return found

    def _encoder(self, spec: EncoderSpec) -> EncoderSpec:
        """Return how an encoder is asked for."""
        prompts: dict[str, Any] = {}
        if self.prompt is not None:
            prompts = {"prompt": self.prompt, "query_prompt": None, "document_prompt": None}
        sides = {"query_prompt": self.query_prompt, "document_prompt": self.document_prompt}
        prompts |= {side: text for side, text in sides.items() if text is not None}
        return replace(
            spec,
            **prompts,
            long=spec.long if not self.long else self.long if spec.kind == "model" else "",
            attention=self.attention or spec.attention,
            device=self.device or spec.device,
            trust_remote_code=self.trust_remote_code,
            allow_api=bool(spec.api) and (self.allow_api or spec.allow_api),
            key_over_http=bool(spec.api) and (self.key_over_http or spec.key_over_http),
        )


def run_suite(suite: Suite, options: RunOptions, progress: Progress = silent) -> Outcome:
    """Run a suite and write its records; returns what it left.

    Raises `HengyuError` for every mistake in the suite, its data and the options. Cells that failed are in what is returned.
    """
    started = time.monotonic()
    if options.fresh and options.store:
        raise HengyuError("--fresh encodes into a temporary folder; remove --store")
    suite = options.applied_to(suite, progress)
    with ExitStack() as stack:
        own = Path(stack.enter_context(TemporaryDirectory(prefix="hengyu-"))) if options.fresh else None
        store = VectorStore(own / "vectors") if own else VectorStore.at(options.store)
        local = store.mirror is None and not any(e.api for e in suite.encoders)
        grows = bool(options.budget or options.until)
        # with an empty store a model will run: its libraries are loaded while the plan is made
        certain = local and any(e.kind == "model" for e in suite.encoders) and not any(store.spaces()) and not grows
        ways = options.executor, options.address, options.workers, options.device
        executor = stack.enter_context(open_executor(*ways, at_once=certain))
        fits = FitStore(own / "fits") if own else FitStore.at(options.store)

        def plan_of(sample: Mapping[str, int]) -> Plan:
            return make_plan(replace(suite, sample=sample), data_dir=options.data, datasets=tuple(options.datasets))

        def run_plan(plan: Plan) -> Outcome:
            return run(
                plan,
                reports=options.reports,
                store=store,
                fits=fits,
                progress=progress,
                force=options.force or options.fresh,
                offline=options.offline,
                max_memory=options.max_memory,
                command=options.command,
                executor=executor,
                mirror=options.mirror,
            )

        plan = plan_of(suite.sample)
        if not grows:
            return run_plan(plan)
        limits = Limits(options.budget, options.until)
        sizes = {t.name: t.n for t in plan.tasks}
        return run_rounds(
            sizes, lambda sample: run_plan(plan_of(sample)), limits, options.reports, progress, started=started
        )
