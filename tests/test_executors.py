"""The same suite under every executor: the same bytes, also when workers die, and when nothing but Ray's scheduling is there."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import forked
from helpers.failing import Failing
from helpers.fakeapi import FakeApi
from helpers.words import sentences
from test_killed import lay_out

from hengyu.base.errors import HengyuError
from hengyu.base.memory import available
from hengyu.base.progress import Progress
from hengyu.bench import encode_file as archiving
from hengyu.bench import observe as observing
from hengyu.bench.context import EncodeContext
from hengyu.bench.encode import costs_of
from hengyu.bench.encode_file import archive
from hengyu.bench.encode_shards import shards
from hengyu.bench.executors import open_executor, processes
from hengyu.bench.executors.local import Local
from hengyu.bench.executors.processes import Processes
from hengyu.bench.executors.ray import Ray
from hengyu.bench.executors.remote import absorb, open_context, perform, setting_of
from hengyu.bench.notes import Notes, UnitLog
from hengyu.bench.run import Outcome, run
from hengyu.bench.units import Executor, WorkUnit, next_free
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, Unavailable, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.numerics import moments
from hengyu.storage.fits import FitStore
from hengyu.storage.identity import vectors_key
from hengyu.storage.records import load_run
from hengyu.storage.vectors import VectorStore, text_keys
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

SUITE = """
name = "suite"
tasks = ["grades:test", "others:test"]
poolings = ["mean", "cls", "mask"]
resamples = 50
baselines = ["random"]
entries = ["raw", { entry = "whitening", dims = [4, 8, 99] }, "flow(width=4, steps=10, depth=1)", { entry = "pca", dims = "all" },
           "pca(dim=99)"]
"""
RETRIEVAL = """
name = "search"
kind = "retrieval"
tasks = ["others:test"]
relevant = 4
poolings = ["mean"]
resamples = 50
entries = ["flat", "whitening(dim=8) > flat", "lsh(bits=64)"]
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As a worker: what several threads add up differs in the last bits."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    folder = lay_out(tmp_path_factory.mktemp("executors"), tiny_bert)
    (folder / "suite.toml").write_text(SUITE, encoding="utf-8")
    (folder / "search.toml").write_text(RETRIEVAL, encoding="utf-8")
    return folder


def weigh(here: Path, own: Path, executor: Executor, suite: str = "suite", **more: Any) -> Outcome:
    loaded = load_suite(here / f"{suite}.toml").with_overrides(encoders=(EncoderSpec(str(here / "model")),))
    plan = make_plan(loaded, datasets=[here / "cards"])
    store, fits = VectorStore(own / "vectors"), FitStore(own / "fits")
    return run(plan, reports=own / "reports", store=store, fits=fits, executor=executor, **more)


def left(outcome: Outcome) -> dict[str, bytes]:
    """What must not depend on the executor."""
    files = [outcome.folder / n for n in ("records.json", "run.json", "labels.safetensors", "sums.json")]
    return {p.name: p.read_bytes() for p in [*files, *(outcome.folder / "observations").glob("*.safetensors")]}


@pytest.fixture(scope="module")
def whole(here: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The run as this process does it."""
    return weigh(here, tmp_path_factory.mktemp("local"), Local())


def travel(content: Any) -> Any:
    """Go to another process and back, as Ray carries it."""
    return pickle.loads(pickle.dumps(content))  # noqa: S301 - our own bytes


class Elsewhere:
    """Does what Ray does, but for Ray: every unit, its setting and its report pass through bytes; the last unit comes first."""

    remote = True

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.contexts: dict[int, EncodeContext] = {}

    def run(self, units: Sequence[WorkUnit[Any, Any]], context: EncodeContext, log: UnitLog) -> Iterator[Any]:
        for at in reversed(range(len(units))):
            mine = at % self.workers
            if mine not in self.contexts:
                self.contexts[mine] = open_context(travel(setting_of(context, 1)))
            report = perform(self.contexts[mine], travel(units[at]))
            yield at, absorb(travel(report), context.progress, log)


@pytest.mark.parametrize("seed", range(5))
def test_a_shard_is_encoded_in_the_batches_of_the_whole(tiny_bert: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = list(dict.fromkeys(t for a, b, _ in sentences(rng, 300) for t in (a, b + a[: rng.integers(9)], b.upper())))
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))

    def batches(some: Sequence[str]) -> list[list[str]]:
        found: list[Any] = []
        assert list(encoder.stream(some, ["mean"], lambda batch: bool(found.append(batch)))) == []
        return [[some[int(i)] for i in batch] for batch in found]

    every = batches(texts)
    number = {t: i for i, t in enumerate(texts)}
    numbered = [np.array([number[t] for t in batch]) for batch in every]
    wanted, cost = rng.random(len(texts)) < rng.choice([0.002, 0.05, 1.0]), costs_of(texts, {})
    parts = shards(numbered, wanted, cost, float(rng.integers(1, cost.sum())))
    again = [batch for part in parts for batch in batches([texts[int(i)] for i in part])]
    assert again == [b for b, ids in zip(every, numbered, strict=True) if wanted[ids].any()]


@pytest.mark.parametrize("workers", [1, 3])
def test_units_done_in_other_places_leave_the_same_bytes(
    here: Path, whole: Outcome, tmp_path: Path, workers: int
) -> None:
    found = weigh(here, tmp_path, Elsewhere(workers))
    assert left(found) == left(whole)
    assert (found.encoded, found.observed, found.kept, found.failures) == (
        whole.encoded, whole.observed, whole.kept, whole.failures,
    )  # fmt: skip
    assert (found.failures, found.observed) == (
        [],
        4 * 4 + 2,
    )  # dims 99 and pca(dim=99) do not apply, under both poolings
    assert (found.folder / "records.json").read_text(encoding="utf-8").count("larger than the") >= 4
    assert (found.folder / "timings.json").read_text(encoding="utf-8").count(r"[\"cell\"") > 10
    again = weigh(here, tmp_path, Elsewhere(workers))
    assert (again.encoded, again.observed, again.kept) == (0, 0, whole.observed)
    assert left(again) == left(whole)


@pytest.mark.long
@pytest.mark.parametrize("suite", ["suite", "search"])
def test_moments_of_many_rows_are_taken_by_all(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    for module in (moments, observing):
        monkeypatch.setattr(module, "LEAF", 32)
    taken: list[str] = []

    class Counting(Elsewhere):
        def run(self, units: Sequence[WorkUnit[Any, Any]], context: EncodeContext, log: UnitLog) -> Iterator[Any]:
            taken.extend(type(u).__name__ for u in units)
            return super().run(units, context, log)

    one, two = weigh(here, tmp_path / "one", Local(), suite), weigh(here, tmp_path / "two", Counting(3), suite)
    assert taken.count("Leaf") > 8
    assert left(one) == left(two)


@pytest.mark.long
def test_a_retrieval_suite_too_with_its_costs(here: Path, tmp_path: Path) -> None:
    one, two = (weigh(here, tmp_path / str(e.workers), e, "search") for e in (Local(), Elsewhere(2)))
    assert left(one) == left(two)
    costs = (two.folder / "costs.json").read_text(encoding="utf-8")
    assert costs.count("build-seconds") == 5  # of three entries, and of two that need no encoder


def test_a_driver_keeps_what_workers_saw_on_disks_of_their_own(here: Path, whole: Outcome, tmp_path: Path) -> None:
    class Apart(Elsewhere):
        def run(self, units: Sequence[WorkUnit[Any, Any]], context: EncodeContext, log: UnitLog) -> Iterator[Any]:
            for mine in range(self.workers):
                setting = setting_of(context, 1)
                assert setting.run is not None
                own = replace(setting.run, folder=tmp_path / f"worker-{mine}")
                self.contexts.setdefault(mine, open_context(replace(setting, run=own)))
            yield from super().run(units, context, log)

    assert left(weigh(here, tmp_path, Apart(2))) == left(whole)
    assert list(tmp_path.glob("worker-1/observations/*"))


def test_a_store_that_workers_do_not_share_is_told(here: Path, tmp_path: Path) -> None:
    class Apart(Elsewhere):
        def run(self, units: Sequence[WorkUnit[Any, Any]], context: EncodeContext, log: UnitLog) -> Iterator[Any]:
            setting = replace(setting_of(context, 1), store=VectorStore(tmp_path / "worker"))
            self.contexts.setdefault(0, open_context(setting))
            yield from super().run(units, context, log)

    with pytest.raises(HengyuError, match="texts that the workers encoded are not here; let all machines share"):
        weigh(here, tmp_path, Apart(1))


def test_another_model_or_version_on_a_worker_is_told(here: Path, tmp_path: Path) -> None:
    class Astray(Elsewhere):
        def run(self, units: Sequence[WorkUnit[Any, Any]], context: EncodeContext, log: UnitLog) -> Iterator[Any]:
            setting = setting_of(context, 1)
            with pytest.raises(HengyuError, match="has hengyu .* where the run was started with 0.0; install the same"):
                open_context(replace(setting, version="0.0"))
            (one,) = setting.encoders
            changed = (replace(one, identity={**one.identity, "fingerprint": "another"}),)
            with pytest.raises(HengyuError, match="has other code of hengyu .* than where the run was started"):
                open_context(replace(setting, code="another"))
            with pytest.raises(HengyuError, match="encoder 'model' has another fingerprint"):
                open_context(replace(setting, encoders=changed))
            raise KeyboardInterrupt
            yield

    with pytest.raises(KeyboardInterrupt):
        weigh(here, tmp_path, Astray(1))


def test_a_model_that_cannot_read_the_texts_gives_rows_with_the_reason(here: Path, tmp_path: Path) -> None:
    text = "".join(f"鬱靐{a}\t饕餮龘鬱靐龘鬱靐龘鬱靐龘\t{i % 5}\n" for i, a in enumerate("一二三四五六七八九十"))
    (here / "cards" / "test.tsv").rename(tmp_path / "kept")
    (here / "cards" / "test.tsv").write_text("sentence1\tsentence2\tlabel\n" + text, encoding="utf-8")
    try:
        suite = SUITE.replace(', "others:test"', "")
        (here / "unread.toml").write_text(suite, encoding="utf-8")
        for executor in (Local(), Elsewhere(2)):
            done = weigh(here, tmp_path, executor, "unread")
            assert len(done.failures) == 1 and re.search(r"vocabulary turns .* into .UNK.", done.failures[0])
    finally:
        (tmp_path / "kept").replace(here / "cards" / "test.tsv")


def test_a_pooling_that_turns_out_not_to_exist_is_a_row_under_workers_too(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = HuggingFace.stream

    def without_cls(encoder: HuggingFace, texts: Sequence[str], poolings: Sequence[str], wanted: Any) -> Any:
        if "cls" in poolings:
            raise Unavailable(encoder.id, {"cls": "there is no first token"})
        return usual(encoder, texts, poolings, wanted)

    monkeypatch.setattr(HuggingFace, "stream", without_cls)
    suite = 'tasks = ["grades:test"]\npoolings = ["mean", "cls"]\nresamples = 20\nbaselines = []\nentries = ["raw"]\n'
    (here / "lacking.toml").write_text(suite, encoding="utf-8")
    one, two = (weigh(here, tmp_path / str(e.workers), e, "lacking") for e in (Local(), Elsewhere(2)))
    assert left(one) == left(two)
    rows = {r.pooling: (r.status, r.reason) for r in load_run(two.folder).records if r.task == "grades:test"}
    assert rows == {"mean": ("ok", ""), "cls": ("unavailable", "there is no first token")}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Ray]:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'hengyu[ray]')")
    with Ray.on("", 2) as executor:
        yield executor


@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.long), 1])
def test_ray_leaves_the_same_bytes(here: Path, whole: Outcome, tmp_path: Path, cluster: Ray, workers: int) -> None:
    found = weigh(here, tmp_path, Ray(workers, gpus=False))
    assert left(found) == left(whole)
    assert (found.encoded, found.observed, found.failures) == (whole.encoded, whole.observed, whole.failures)


def workers_of_this_process() -> dict[int, str]:
    """The Ray workers that descend from this process, with what they are doing."""
    parents, titles = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:
            continue

    def mine(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and mine(parents[pid]))

    return {pid: title for pid, title in titles.items() if title.startswith("ray::") and mine(pid)}


class Deadly(Ray):
    """Kills a worker at work, once for each kind of unit it is given."""

    def __init__(self, *kinds: str) -> None:
        super().__init__(2, gpus=False)
        self.titles = [f"ray::{kind}" for kind in kinds]
        self.killed: list[str] = []

    def _send(self, unit: WorkUnit[Any, Any]) -> Any:
        import ray

        ref = super()._send(unit)
        title = f"ray::{type(unit).__name__}"
        while title in self.titles and title not in self.killed and not ray.wait([ref], timeout=0)[0]:
            for pid in (p for p, t in workers_of_this_process().items() if t == title):
                os.kill(pid, signal.SIGKILL)
                self.killed.append(title)
                break
        return ref


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")
def test_a_worker_that_is_killed_costs_nothing(here: Path, whole: Outcome, tmp_path: Path, cluster: Ray) -> None:
    deadly = Deadly("Encode", "Observe")
    found = weigh(here, tmp_path, deadly)
    assert deadly.killed == ["ray::Encode", "ray::Observe"]
    assert left(found) == left(whole)
    assert (found.encoded, found.observed) == (whole.encoded, whole.observed)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes for work of any size, and nothing is done here while they start."""
    monkeypatch.setattr(processes, "_PROMPT", -1.0)
    monkeypatch.setattr(processes, "_SHORT", -1.0)


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes whose parent has its imports behind it."""

    def start(command: list[str], *, pass_fds: list[int], env: dict[str, str], **_: Any) -> forked.Process:
        return forked.Process(program=command[2], handles=pass_fds, env=env, own_session=True)

    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(Popen=start, DEVNULL=None))


@pytest.mark.usefixtures("at_once")
def test_processes_leave_the_same_bytes(here: Path, whole: Outcome, tmp_path: Path) -> None:
    with Processes.on(2) as executor:
        found = weigh(here, tmp_path, executor)
        assert (
            len(executor._pool) == 2 and executor.done_here == 1
        )  # the list of batches; all else was done by processes
        assert left(found) == left(whole)
        assert (found.encoded, found.observed, found.failures) == (whole.encoded, whole.observed, whole.failures)
        again = weigh(here, tmp_path, executor)
        assert (again.encoded, again.observed, again.kept) == (0, 0, whole.observed)
    assert not executor._pool


class Mortal(Processes):
    """Kills the process that is given its first unit of a kind, so many times."""

    def __init__(self, kind: str, times: int) -> None:
        super().__init__(2)
        self.kind, self.times = kind, times
        self.killed: set[int] = set()

    def _hand_out(self, units: Sequence[WorkUnit[Any, Any]], waiting: list[int], context: Any) -> None:
        super()._hand_out(units, waiting, context)
        for worker in self._busy:
            pid = worker.pid
            if (
                len(self.killed) < self.times
                and pid not in self.killed
                and type(units[worker.unit]).__name__ == self.kind
            ):
                self.killed.add(pid)
                os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("at_once", "imported")
@pytest.mark.parametrize("kind", ["Encode", pytest.param("Observe", marks=pytest.mark.long)])
def test_a_process_that_is_killed_costs_nothing(here: Path, whole: Outcome, tmp_path: Path, kind: str) -> None:
    mortal = Mortal(kind, times=2)
    said: list[str] = []

    class Said(Progress):
        def say(self, line: str) -> None:
            said.append(line)

    try:
        found = weigh(here, tmp_path, mortal, progress=Said(None))
    finally:
        mortal._close()
    assert len(mortal.killed) == 2 and not mortal._pool
    assert said.count("warning: a worker process died (killed by signal 9); its part is done again") == 2
    assert left(found) == left(whole)
    assert (found.encoded, found.observed) == (whole.encoded, whole.observed)


@pytest.mark.usefixtures("at_once", "imported")
def test_an_interrupt_ends_the_processes_and_what_they_had_is_kept(here: Path, whole: Outcome, tmp_path: Path) -> None:
    class Interrupted(Processes):
        def run(self, units: Sequence[WorkUnit[Any, Any]], context: Any, log: UnitLog) -> Iterator[Any]:
            for number, done in enumerate(super().run(units, context, log)):
                yield done
                if number == 2:
                    raise KeyboardInterrupt

    executor = Interrupted(2)
    with pytest.raises(KeyboardInterrupt):
        weigh(here, tmp_path, executor)
    assert not executor._busy
    executor._close()
    found = weigh(here, tmp_path, Local())
    assert left(found) == left(whole) and 0 < found.encoded < whole.encoded


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("at_once", [False, True])
def test_processes_that_memory_does_not_hold_are_not_used(
    here: Path, whole: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    monkeypatch.setattr(processes, "_PROMPT", -1.0)
    monkeypatch.setattr(processes, "available", lambda: 1 << 30)
    with Processes.on(2, at_once=at_once) as executor:
        found = weigh(here, tmp_path, executor)
        assert executor._alone and not executor._pool
    assert left(found) == left(whole)


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "/somewhere"), RuntimeError("the reason")])
def test_what_a_unit_raises_in_a_process_is_raised_here(here: Path, tmp_path: Path, error: Exception) -> None:
    store = VectorStore(tmp_path)
    context = EncodeContext(encoders=(), store=store, memory=1)
    with Processes.on(2) as executor, pytest.raises(type(error), match=str(error.args[-1])) as raised:
        list(executor.run([Failing(error), Failing(error)], context, Notes()))
    assert "in a worker process:" in "".join(raised.value.__notes__)
    assert getattr(raised.value, "filename", None) == getattr(error, "filename", None)


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_a_unit_has_one_thread_however_many_processes_there_are(workers: int) -> None:
    one, alone, timed = Failing(ValueError()), Failing(ValueError(), sole=True), Failing(ValueError(), timed=True)
    assert [Processes(workers)._threads(unit) for unit in (one, alone, timed)] == [1, workers, workers]


def test_two_units_that_train_the_same_come_after_one_another() -> None:
    @dataclass(frozen=True)
    class Unit:
        makes: frozenset[str]
        timed: bool = False

    flow, other, none = Unit(frozenset("a")), Unit(frozenset("b")), Unit(frozenset())
    units: Any = [flow, flow, other, none, replace(none, timed=True)]
    assert next_free(units, [1, 2, 3], [0]) == 2
    assert next_free(units, [1, 3], [0, 2]) == 3
    assert next_free(units, [1], [0]) is None and next_free(units, [1], []) == 1
    assert next_free(units, [4], []) == 4 and next_free(units, [4], [], spread=True) is None


@pytest.mark.parametrize(
    ("options", "said", "expected"),
    [({"workers": 3}, "", 3), ({}, "1", 1), ({"device": "cuda"}, "", 1), ({"device": "cpu"}, "", 0), ({}, "4", 4)],
)
def test_how_many_processes_there_are(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str, expected: int
) -> None:
    monkeypatch.setenv("HENGYU_WORKERS", said)
    with open_executor("local", **options) as executor:
        assert executor.workers == (expected or len(os.sched_getaffinity(0)))
    monkeypatch.setenv("HENGYU_WORKERS", "many")
    with pytest.raises(HengyuError, match="HENGYU_WORKERS 'many': must be a positive number"), open_executor("local"):
        pass


@pytest.mark.parametrize(
    ("said", "expected"),
    [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), (None, 4)],
)
def test_a_container_has_no_more_processes_than_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3})
    quota = tmp_path / "cpu.max"
    if said is not None:
        quota.write_text(said, encoding="ascii")
    monkeypatch.setattr("hengyu.base.environment._QUOTA", quota)
    monkeypatch.setenv("HENGYU_WORKERS", "")
    with open_executor("local", device="cpu") as executor:
        assert executor.workers == expected


def test_memory_is_what_a_container_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max").write_text("3000000", encoding="ascii")
    (tmp_path / "current").write_text("1000000", encoding="ascii")
    paths = (str(tmp_path / "max"), str(tmp_path / "current"))
    monkeypatch.setattr("hengyu.base.memory._LIMITS", (paths,))
    assert available() == 2_000_000
    (tmp_path / "max").write_text("max", encoding="ascii")
    assert available() > 2_000_000


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of many blocks, whose later ones repeat lines of earlier ones."""
    monkeypatch.setattr(archiving, "_BLOCK", 300)
    lines = [s for a, b, _ in sentences(np.random.default_rng(5), 400) for s in (a, b)]
    path = tmp_path / "large.txt"
    path.write_text("\n".join([*lines, *lines[::3], *(line * 2 for line in lines[::5]), ""]), encoding="utf-8")
    return path


def archived(path: Path, here: Path, root: Path, executor: Executor) -> tuple[Any, dict[str, bytes], list[int]]:
    """Encode a file into a store of its own; returns what came of it, the vectors by text, how many each space holds."""
    encoder, store = open_encoder(EncoderSpec(str(here / "model"))), VectorStore(root)
    done = archive(path, encoder, ["mean", "cls"], store, executor=executor)
    texts = path.read_text(encoding="utf-8").split()
    spaces = {p: store.space(vectors_key(encoder, p)) for p in ("mean", "cls", "tokens")}
    vectors = {p: space.get(text_keys(texts)).tobytes() for p, space in spaces.items()}
    assert store.verify() == []
    return done, vectors, sorted(row["vectors"] for row in store.info())


@pytest.mark.parametrize("workers", [1, 3])
def test_a_large_file_is_encoded_elsewhere_to_the_same_bytes(
    large: Path, here: Path, tmp_path: Path, workers: int
) -> None:
    one, vectors, held = archived(large, here, tmp_path / "local", Local())
    two, again, also = archived(large, here, tmp_path / "away", Elsewhere(workers))
    assert again == vectors and also == held == [one.encoded] * 3
    assert (two.lines, two.blank, two.encoded) == (one.lines, one.blank, one.encoded)
    third, again, also = archived(large, here, tmp_path / "away", Elsewhere(workers))
    assert third.encoded == 0 and again == vectors and also == held


def test_a_large_file_goes_on_after_a_kill_under_another_executor(large: Path, here: Path, tmp_path: Path) -> None:
    class Dying(Elsewhere):
        def run(self, units: Sequence[WorkUnit[Any, Any]], context: EncodeContext, log: UnitLog) -> Iterator[Any]:
            for number, (at, result) in enumerate(super().run(units, context, log)):
                if number == 3:
                    raise KeyboardInterrupt
                yield at, result

    one, vectors, held = archived(large, here, tmp_path / "local", Local())
    with pytest.raises(KeyboardInterrupt):
        archived(large, here, tmp_path / "away", Dying(2))
    rest, again, also = archived(large, here, tmp_path / "away", Local())
    assert 0 < rest.encoded < one.encoded and again == vectors and also == held


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")
def test_a_worker_killed_over_a_large_file_costs_nothing(large: Path, here: Path, tmp_path: Path, cluster: Ray) -> None:
    one, vectors, held = archived(large, here, tmp_path / "local", Local())
    deadly = Deadly("Encode")
    two, again, _ = archived(large, here, tmp_path / "away", deadly)
    assert deadly.killed == ["ray::Encode"]
    assert again == vectors and two.encoded == one.encoded and deadly.peak > 0


def test_an_address_where_nothing_answers_is_told_at_once() -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'hengyu[ray]')")
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = rf"--address {address}: no Ray cluster.*start one with 'ray start --head'"
        with pytest.raises(HengyuError, match=said), Ray.on(address, 1):
            pass


def test_without_ray_or_a_cluster_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HengyuError, match=r"pip install 'hengyu\[ray\]'"):
        monkeypatch.setitem(sys.modules, "ray", None)
        with Ray.on("", 1):
            pass


def test_options_of_ray_without_ray_are_refused() -> None:
    from click.testing import CliRunner

    done = CliRunner().invoke(main, ["run", "smoke", "--address", "auto"], prog_name="hengyu")
    assert done.exit_code == 2
    assert "--address belongs to --executor ray" in done.output


def test_workers_send_nothing_to_an_api(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    try:
        api.key = "a-key-of-this-process"
        monkeypatch.setenv("HENGYU_TEST_KEY", api.key)
        suite = load_suite(here / "suite.toml")
        spec = EncoderSpec("m", api=api.url, key_env="HENGYU_TEST_KEY", allow_api=True)
        suite = replace(suite, encoders=(spec,), poolings=("native",), entries=suite.entries[:1], baselines=())
        plan = make_plan(suite, datasets=[here / "cards"])
        outcome = [
            run(plan, reports=tmp_path / name, store=VectorStore(tmp_path / name / "store"), executor=executor)
            for name, executor in (("local", Local()), ("away", Elsewhere(2)))
        ]
        assert left(outcome[0]) == left(outcome[1])
        assert len(api.texts) == 2 * len(set(api.texts))  # each run has a store of its own
    finally:
        api.close()
