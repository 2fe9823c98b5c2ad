"""Units on a Ray cluster, this machine's own or one that is there; what they are and do is the local executor's."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from hengyu.base.environment import code_digest
from hengyu.base.errors import HengyuError, first_line, gather
from hengyu.base.memory import as_words
from hengyu.bench.context import EncodeContext
from hengyu.bench.executors.remote import Report, Setting, absorb, open_context, perform, setting_of
from hengyu.bench.notes import UnitLog
from hengyu.bench.units import WorkUnit, heaviest_first, next_free

__all__ = ["Ray"]

T = TypeVar("T")
C = TypeVar("C", bound=EncodeContext)

_THREADS = 1  # of a worker on the processor; more of them would not give the same last bits
_TRIES = 5  # of a unit whose worker died
_PATIENCE = 20.0  # seconds for units that are cancelled to save what they have
_KNOCK = 5.0  # seconds for a cluster to answer; Ray alone waits for minutes
_open: dict[str, EncodeContext] = {}  # in a worker: what its last unit used


def _perform(setting: list[Any], key: str, unit: WorkUnit[Any, Any]) -> Report:
    """Do a unit in a worker; the setting comes as a reference, and is fetched once."""
    import ray

    if key not in _open:
        _open.clear()
        found: Setting = ray.get(setting[0])
        try:
            _open[key] = open_context(found)
        except HengyuError as e:
            return Report(problems=e.problems)
    return perform(_open[key], unit)


def _knock(address: str) -> None:
    """Raise OSError when nothing listens at HOST:PORT; what an address of another form means, Ray says itself."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal() and 0 < int(port) < 1 << 16:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()


def _end_by(number: signal.Signals, handler: Any) -> None:
    """Set the handler of a signal, where that can be done; Ray's own for SIGTERM dumps the stack and aborts."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """Let a first interrupt wait until Ray has started: what it is starting just then could not be ended."""
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        if came:
            signal.default_int_handler(number, frame)
        came.append(number)

    before = signal.getsignal(number)
    _end_by(number, note)
    try:
        yield
    finally:
        _end_by(number, before)
    if came:
        raise KeyboardInterrupt


def _refuse_strangers() -> None:
    """Raise `HengyuError` where a machine of the cluster has no Hengyu, or another one than this process."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look() -> tuple[str, str]:
        """Say what is there: a function in a function travels whole, so that it needs nothing there."""
        import socket

        try:
            from hengyu.base.environment import code_digest
        except ImportError as e:
            return socket.gethostname(), str(e)
        return socket.gethostname(), code_digest()

    mine = code_digest()
    asked = [
        ray.remote(look)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote()
        for node in ray.nodes()
        if node["Alive"]
    ]
    try:
        found = ray.get(asked)
    except ray.exceptions.RayError as e:
        raise HengyuError(f"--executor ray: a machine of the cluster does not answer ({first_line(e)[:200]})") from None
    problems = [
        f"worker on {host}: has other code of hengyu than where the run was started"
        f"{'' if len(other) == len(mine) else f' ({first_line(other)})'}; install the same version there"
        for host, other in found
        if other != mine
    ]
    gather(dict.fromkeys(problems))


class Ray:
    """Units in the processes of a Ray cluster, each with one core, or one GPU where there are GPUs and a model runs."""

    remote = True

    def __init__(self, workers: int, gpus: bool) -> None:
        self.workers = workers
        self.gpus = gpus
        self.peak = 0
        self._given: tuple[EncodeContext, Setting, Any] | None = None

    @classmethod
    @contextmanager
    def on(cls, address: str, workers: int) -> Iterator[Self]:
        """Connect to the cluster at an address, or start one of this machine for "", and leave it at the end.

        Raises `HengyuError` where Ray is not installed, or there is no such cluster.
        """
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if not address and "ray" not in sys.modules:  # it reads them when it is imported
            # whoever reaches the ports of a cluster could run anything there
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        try:
            import ray
        except ImportError:
            raise HengyuError("--executor ray needs Ray; run: pip install 'hengyu[ray]'") from None
        own: dict[str, Any] = {"num_cpus": workers or os.cpu_count() or 1, "include_dashboard": False}
        before = signal.getsignal(signal.SIGTERM)
        try:
            try:
                _knock(address)
                with _held_back(signal.SIGINT):
                    ray.init(address or "local", **({} if address else own), log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, RuntimeError, ValueError, OSError) as e:
                remedy = "start one with 'ray start --head', or leave --address out" if address else "see Ray's logs"
                raise HengyuError(
                    f"--address {address or 'local'}: no Ray cluster is available ({first_line(e)}); {remedy}"
                ) from None
            _end_by(signal.SIGTERM, signal.default_int_handler)
            _refuse_strangers()
            there = ray.cluster_resources()
            gpus = int(there.get("GPU", 0))
            executor = cls(workers or gpus or int(there.get("CPU", 1)), gpus > 0)
            yield executor
            if executor.peak and executor._given:
                executor._given[0].progress.say(f"ray: no worker held more than {as_words(executor.peak)}")
        finally:
            ray.shutdown()
            _end_by(signal.SIGTERM, before)

    def run(self, units: Sequence[WorkUnit[C, T]], context: C, log: UnitLog) -> Iterator[tuple[int, T]]:
        """Do all units, the heaviest first; yields the number and the result of each as it is finished.

        A unit whose worker died is done again, and goes on from what is stored. Raises `HengyuError` when it dies again
        and again.
        """
        import ray

        waiting = heaviest_first(units)
        flying: dict[Any, int] = {}
        if units:
            self._share(context)
        try:
            while waiting or flying:
                while len(flying) < self.workers:
                    at = next_free(units, waiting, list(flying.values()))
                    if at is None:
                        break
                    waiting.remove(at)
                    flying[self._send(units[at])] = at
                (done, *_), _ = ray.wait(list(flying), num_returns=1)
                at = flying.pop(done)
                yield at, absorb(self._report(done), context.progress, log)
        finally:
            for ref in flying:
                ray.cancel(ref, force=False)
            if flying:
                ray.wait(list(flying), num_returns=len(flying), timeout=_PATIENCE)

    def _share(self, context: EncodeContext) -> None:
        """Put what all units need where the workers find it, and say what a worker may hold."""
        import ray

        if self._given is not None and self._given[0] is context:
            return
        needed = context.memory
        largest = max((node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]), default=0)
        if needed > largest:
            raise HengyuError(
                f"--executor ray: a worker may hold {as_words(needed)}, and no machine of the cluster offers more than "
                f"{as_words(largest)}; take a larger machine, or ask for fewer poolings or tasks"
            )
        kind = "a GPU where a model runs, else one core and thread" if self.gpus else "one core and thread"
        context.progress.say(
            f"ray: {self.workers} workers at once, {kind} each; each may hold about {as_words(needed)}"
        )
        setting = setting_of(context, _THREADS)
        self._given = (context, setting, ray.put(setting))

    def _send(self, unit: WorkUnit[Any, Any]) -> Any:
        import ray

        assert self._given is not None
        context, setting, ref = self._given
        gpu = 1 if self.gpus and unit.trains else 0
        task = ray.remote(_perform).options(
            num_cpus=_THREADS, num_gpus=gpu, memory=context.memory, max_retries=_TRIES, name=type(unit).__name__
        )
        return task.remote([ref], setting.key, unit)

    def _report(self, ref: Any) -> Report:
        import ray

        try:
            report: Report = ray.get(ref)
        except ray.exceptions.RayTaskError:
            raise  # a mistake of ours: its traceback says where
        except ray.exceptions.RayError as e:
            raise HengyuError(
                f"--executor ray: a worker died {_TRIES + 1} times over the same part ({first_line(e)[:200]}); what was "
                "finished is kept, the same command goes on from there; where memory was short, with fewer --workers"
            ) from None
        self.peak = max(self.peak, report.peak)
        return report
