"""The default on a machine without a GPU: units in processes of this machine, each on one thread.

A process of one thread waits for no other: a busy neighbour costs its share of a core and no more, and the last bits of a
vector do not depend on the number of cores.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.reduction import ForkingPickler
from typing import Self, TypeVar

from hengyu.base.errors import HengyuError
from hengyu.base.memory import as_words, available
from hengyu.base.progress import Tick
from hengyu.bench.context import EncodeContext
from hengyu.bench.executors.remote import Lines, Report, Setting, absorb, open_context, perform, setting_of
from hengyu.bench.notes import Notes, UnitLog
from hengyu.bench.units import WorkUnit, heaviest_first, next_free

__all__ = ["Processes"]

T = TypeVar("T")
C = TypeVar("C", bound=EncodeContext)

_PROMPT = 1.0  # seconds of work that are done here before processes are started, which takes as long as loading PyTorch
_SHORT = 2.0  # seconds that a unit may take here while the processes start
_TRIES = 3  # of a unit whose process died
_PATIENCE = 20.0  # seconds for units that are interrupted to save what they have
_TOLD = 30.0  # seconds between two lines on how far the trainings are
_SPARE = 0.8  # the share of the free memory that the processes may take
_PARENT = "import sys; from hengyu.bench.executors.processes import rear; rear(*map(int, sys.argv[1:]))"


@dataclass(frozen=True)
class _Stage:
    """How far a unit in a process is."""

    title: str
    done: int
    total: int


@dataclass(frozen=True)
class _Ready:
    """Says that a process can be given units."""

    pid: int


@dataclass(eq=False)
class _Worker:
    """One process, and what it is doing."""

    pipe: Connection
    pid: int = 0  # 0 until it has loaded what it needs
    unit: int = -1  # the number of what it does; -1 for nothing
    key: str = ""  # of the setting that it has
    stage: _Stage | None = None

    @property
    def idle(self) -> bool:
        """Whether it can be given a unit."""
        return self.pid > 0 and self.unit < 0


@dataclass(frozen=True)
class _Parent:
    """The process that loads what all need, once, and then becomes as many as are wanted: they share the memory of it."""

    process: subprocess.Popen[bytes]
    pipe: Connection  # it sends how each of its children ended; they end when this end is closed
    statuses: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int) -> tuple[Self, list[_Worker]]:
        """Start it, and return what it will give as well; nothing is waited for."""
        mine, theirs = zip(*(Pipe() for _ in range(number + 1)), strict=True)
        handles = [pipe.fileno() for pipe in theirs]
        path = os.pathsep.join(p for p in sys.path if p)
        around = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "TOKENIZERS_PARALLELISM": "false"}
        process = subprocess.Popen(
            [sys.executable, "-c", _PARENT, *map(str, handles)],
            pass_fds=handles,
            env=around,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C reaches the process that gives out the work; that sends it on, once
        )
        for pipe in theirs:
            pipe.close()
        return cls(process, mine[0]), [_Worker(pipe) for pipe in mine[1:]]

    def ended(self, pid: int) -> str:
        """Return in words how a child has ended."""
        with suppress(EOFError, OSError):
            while pid not in self.statuses and self.pipe.poll(5.0):
                which, status = self.pipe.recv()
                self.statuses[which] = status
        if pid not in self.statuses:
            return "it is gone"
        code = os.waitstatus_to_exitcode(self.statuses[pid])
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """End it and whatever it has become, at once: what it holds is stored."""
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()


@dataclass
class Processes:
    """Units in processes of this machine; small work is done in this one.

    Attributes:
        workers: how many units are done at once at most.
        done_here: how many units this process has done itself.
    """

    workers: int
    remote: bool = field(default=True, init=False)
    done_here: int = field(default=0, init=False)
    _pool: list[_Worker] = field(default_factory=list, init=False, repr=False)
    _parent: _Parent | None = field(default=None, init=False, repr=False)
    _spent: float = field(default=0.0, init=False, repr=False)
    _last: float = field(default=0.0, init=False, repr=False)
    _alone: bool = field(default=False, init=False, repr=False)
    _started: bool = field(default=False, init=False, repr=False)
    _given: tuple[EncodeContext, Setting, bytes] | None = field(default=None, init=False, repr=False)
    _peak: int = field(default=0, init=False, repr=False)
    _told: float = field(default=0.0, init=False, repr=False)

    @classmethod
    @contextmanager
    def on(cls, workers: int, *, at_once: bool = False) -> Iterator[Self]:
        """Yield an executor; its processes are started when there is work for them, or ``at_once``, and end with it."""
        executor = cls(workers)
        try:
            if at_once:
                executor._parent, executor._pool = _Parent.of(workers)
            yield executor
            if executor._peak and executor._given:
                progress = executor._given[0].progress
                progress.say(f"no worker process held more than {as_words(executor._peak)}")
        finally:
            executor._close()

    def run(self, units: Sequence[WorkUnit[C, T]], context: C, log: UnitLog) -> Iterator[tuple[int, T]]:
        """Do all units, the heaviest first; yields the number and the result of each as it is finished.

        A unit whose process died is done again, and goes on from what is stored. Raises `HengyuError` when it dies again and
        again.
        """
        waiting = heaviest_first(units)
        tries = [0] * len(units)
        if self._parent and not self._started:
            self._start(context)
        try:
            while waiting or self._busy:
                if self._pays(units, waiting):
                    self._start(context)
                at = self._to_do_here(units, waiting)
                if at is not None:
                    waiting.remove(at)
                    yield at, self._here(units[at], context, log)
                    continue
                self._hand_out(units, waiting, context)
                for worker, report in self._reports(context):
                    number, worker.unit, worker.stage = worker.unit, -1, None
                    if report is None:
                        tries[number] += 1
                        waiting.insert(0, number)
                        self._bury(worker, tries[number], context)
                    else:
                        self._peak = max(self._peak, report.peak)
                        yield number, absorb(report, context.progress, log)
        finally:
            self._interrupt()

    @property
    def _busy(self) -> list[_Worker]:
        return [w for w in self._pool if w.unit >= 0]

    def _pays(self, units: Sequence[WorkUnit[C, T]], waiting: Sequence[int]) -> bool:
        """Return whether what waits is worth starting processes for."""
        if self._started or self._alone:
            return False
        spread = [i for i in waiting if not units[i].timed]
        return len(spread) > 1 and (self._spent >= _PROMPT or any(units[i].long for i in spread))

    def _to_do_here(self, units: Sequence[WorkUnit[C, T]], waiting: Sequence[int]) -> int | None:
        """Return the number of the unit that this process should do now; None where others should, or it must wait."""
        if not waiting or self._busy:
            return None
        spread = [i for i in waiting if not units[i].timed]
        if not spread or self._alone:
            return waiting[0]
        self._welcome(0.0)
        if any(w.pid for w in self._pool):
            return None
        light = spread[-1]
        if not self._pool:
            return light
        # they are being started; to load what a model runs with here as well would take as long
        loaded = not units[light].trains or "sentence_transformers" in sys.modules
        return light if loaded and not units[light].long and self._last <= _SHORT else None

    def _here(self, unit: WorkUnit[C, T], context: C, log: UnitLog) -> T:
        """Do a unit in this process, on as many threads as it would have in another."""
        noted = Notes()
        started = time.perf_counter()
        with _on_threads(self._threads(unit)):
            result = unit(context, noted)
        self._last = time.perf_counter() - started
        self._spent += self._last
        self.done_here += 1
        done: T = absorb(Report(result, seconds=noted.seconds, costs=noted.costs), context.progress, log)
        return done

    def _threads(self, unit: WorkUnit[C, T]) -> int:
        """Return how many threads a unit has: one, so that numbers do not depend on how many processes there are.

        It has all of them where nothing ever runs beside it: it is timed, or is all there is.
        """
        return self.workers if unit.timed or unit.sole else 1

    def _start(self, context: EncodeContext) -> None:
        """Start the processes, as many as the memory holds; where that is one, all is done here."""
        room = _SPARE * available() if context.spare is None else context.spare
        number = min(self.workers, int(room // max(1, context.memory)))
        if number < 2:
            self._alone = True
            self._close()
            if self.workers > 1:
                context.progress.say(
                    f"one unit of work at a time: another process would hold about {as_words(context.memory)}, and "
                    f"{as_words(room)} may be taken"
                )
            return
        context.progress.say(
            f"{number} worker processes, one thread each; each may hold about {as_words(context.memory)}"
        )
        if self._parent is None:
            self._parent, self._pool = _Parent.of(number)
        self._started = True
        for worker in self._pool[number:]:
            self._lose(worker)

    def _welcome(self, seconds: float) -> None:
        """Note which processes have loaded what they need, waiting for one if need be."""
        starting = {w.pipe: w for w in self._pool if not w.pid}
        for pipe in wait(list(starting), seconds) if starting else ():
            worker = starting[pipe]  # type: ignore[index]
            try:
                worker.pid = worker.pipe.recv().pid
            except (EOFError, OSError):
                self._lose(worker)

    def _hand_out(self, units: Sequence[WorkUnit[C, T]], waiting: list[int], context: C) -> None:
        """Give every idle process a unit that stores nothing that one in work will store."""
        for worker in self._pool:
            if not worker.idle:
                continue
            at = next_free(units, waiting, [w.unit for w in self._busy], spread=True)
            if at is None:
                return
            waiting.remove(at)
            setting, packed = self._setting(context)
            try:
                if worker.key != setting.key:
                    worker.pipe.send_bytes(packed)
                    worker.key = setting.key
                worker.pipe.send((self._threads(units[at]), units[at]))
            except OSError:
                pass  # it has died: reading from it says so
            worker.unit = at

    def _setting(self, context: EncodeContext) -> tuple[Setting, bytes]:
        """Return what a context is opened from, made once."""
        if self._given is None or self._given[0] is not context:
            setting = setting_of(context, 1)
            self._given = (context, setting, bytes(ForkingPickler.dumps(setting)))
        return self._given[1:]

    def _reports(self, context: EncodeContext) -> list[tuple[_Worker, Report | None]]:
        """Wait for a while, and return what has come of units; None for one whose process has died."""
        pipes = {w.pipe: w for w in self._pool}
        found: list[tuple[_Worker, Report | None]] = []
        for pipe in wait(list(pipes), 1.0):
            worker = pipes[pipe]  # type: ignore[index]
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                if worker.unit >= 0:
                    found.append((worker, None))
                else:
                    self._lose(worker)
                continue
            if isinstance(message, _Stage):
                worker.stage = message
            elif isinstance(message, _Ready):
                worker.pid = message.pid
            else:
                found.append((worker, message))
        self._tell(context)
        return found

    def _tell(self, context: EncodeContext) -> None:
        """Say now and then how far the units are that take long."""
        now = time.monotonic()
        self._told = self._told or now
        if now - self._told < _TOLD:
            return
        self._told = now
        for worker in self._busy:
            if worker.stage:
                context.progress.say(f"{worker.stage.title}: {worker.stage.done} of {worker.stage.total}")

    def _lose(self, worker: _Worker) -> None:
        """Go on without a process that has ended with nothing to do; where it was the last, all is done here."""
        self._pool.remove(worker)
        worker.pipe.close()
        self._alone = not self._pool

    def _bury(self, worker: _Worker, tries: int, context: EncodeContext) -> None:
        """Go on without a process that has died, in this one if it was the last; raises `HengyuError` at the last try."""
        how = self._parent.ended(worker.pid) if self._parent else ""
        self._lose(worker)
        if tries >= _TRIES:
            raise HengyuError(
                f"a worker process died {tries} times over the same part ({how}); what was finished is kept, the same command "
                "goes on from there; where memory was short, with fewer --workers"
            )
        context.progress.say(f"warning: a worker process died ({how}); its part is done again")

    def _interrupt(self) -> None:
        """Let units that are in work when a run ends early save what they have, and end their processes."""
        busy = self._busy
        for worker in busy:
            with suppress(OSError):
                os.kill(worker.pid, signal.SIGINT)
        until = time.monotonic() + _PATIENCE
        for worker in busy:
            with suppress(EOFError, OSError):
                while worker.pipe.poll(max(0.0, until - time.monotonic())):
                    worker.pipe.recv()
                os.kill(worker.pid, signal.SIGKILL)
            self._lose(worker)
        if busy and not self._pool:  # what ended early may be one encoder's work: others can have new processes
            self._close()
            self._started = self._alone = False

    def _close(self) -> None:
        """End the processes."""
        for worker in self._pool:
            worker.pipe.close()
        self._pool.clear()
        if self._parent:
            self._parent.end()
        self._parent = None


@contextmanager
def _on_threads(number: int) -> Iterator[None]:
    """Compute on so many threads, also in libraries that are loaded meanwhile."""
    from threadpoolctl import threadpool_limits

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    said = {name: os.environ.get(name) for name in names}
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(number)
    os.environ |= dict.fromkeys(names, str(number))
    try:
        with threadpool_limits(limits=number):
            yield
    finally:
        for name, value in said.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(before or os.cpu_count() or 1)


class _Stages(Lines):
    """Says how far a unit is, beside keeping its lines."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Tick]:
        """Send how many are done, at most once a second."""
        last = 0.0

        def tick(done: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= 1.0:
                last = now
                self._pipe.send(_Stage(title, done, total))

        yield tick


def rear(control: int, *handles: int) -> None:
    """Load what units need, and become a process for each of the handles of pipes; say how each of them ends.

    It computes nothing itself: a process that has started threads cannot be copied.
    """
    import sentence_transformers  # noqa: F401

    import hengyu.encoders.huggingface  # noqa: F401

    own = Connection(control)
    for handle in handles:
        if not os.fork():
            for other in handles:
                if other != handle:
                    os.close(other)
            try:
                _serve(Connection(handle), own)
            except KeyboardInterrupt:
                os._exit(0)
            finally:  # whatever happens: what comes after this is the work of the process that it is a copy of
                os._exit(1)
    for handle in handles:
        os.close(handle)
    for _ in handles:
        with suppress(OSError):
            own.send(os.wait())


def _serve(pipe: Connection, control: Connection) -> None:
    """Do units until nobody asks any more: a message is a setting, in bytes, or the threads and the unit."""
    threading.Thread(target=_end_with, args=(control,), daemon=True).start()
    context: EncodeContext | None = None
    refused: tuple[str, ...] = ()
    with suppress(EOFError, OSError):
        pipe.send(_Ready(os.getpid()))
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                return
            except Exception as e:  # what cannot be read here, like a class that only the other process knows
                pipe.send(_failed(e))
                continue
            if isinstance(message, Setting):
                try:
                    context, refused = open_context(message, _Stages(pipe)), ()
                except HengyuError as e:
                    context, refused = None, e.problems
                continue
            threads, unit = message
            if context is None:
                pipe.send(Report(problems=refused))
                continue
            try:
                with _on_threads(threads):
                    report = perform(context, unit)
            except Exception as e:  # it is raised where the work is given out, as if it had come about there
                report = _failed(e)
            pipe.send(report)


def _failed(error: Exception) -> Report:
    """Return the report of an exception, which another process can read whatever it is."""
    said = "".join(traceback.format_exception(error))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Report(error=error, traceback=said)


def _end_with(control: Connection) -> None:
    """End at once when the process that gives out the work has ended, however it did."""
    wait([control])
    os._exit(1)
