"""Processes of a test that have their imports behind them: forked from a server that imported the package once.

A process of its own is killed, interrupted, limited and waited for as any other, and starts in milliseconds. The server has
imported everything and computed nothing, so it has one thread, and a fork inherits no lock that somebody holds. What is read
when a library is imported (HF_*, OMP_* and the like) is what the server was started with. The processes of one server share
the seed of Python's hashes: compare bytes with those of this process, or of a process with its own interpreter.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

# read when a library is imported: a process that needs another value needs its own interpreter
AT_IMPORT = ("HF_", "TRANSFORMERS_", "OMP_", "OPENBLAS_", "MKL_", "NUMBA_", "PYTHONHASHSEED")
# imported when they are used, by most commands
LAZY = ("sentence_transformers", "faiss", "numba", "sklearn.utils.extmath", "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto", "transformers.models.bert.modeling_bert",
        "transformers.models.bert.tokenization_bert")  # fmt: skip

_server: list[tuple[subprocess.Popen[bytes], socket.socket, dict[str, str]]] = []


def wrote(folder: Path, ending: str) -> bool:
    """Whether a file with this ending is below a folder, while a process writes and deletes there: `Path.rglob` may fail then."""
    return any(name.endswith(ending) for _, _, names in os.walk(folder) for name in names)


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k.startswith(AT_IMPORT)}


def _connection() -> tuple[socket.socket, dict[str, str]]:
    """Return the connection to the server of this process, started if need be, and what its libraries read."""
    if not _server:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join(p for p in sys.path if p)
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno())],
            env={**environment, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        _server.append((process, ours, _read_at_import(environment)))
        atexit.register(_end)
    return _server[0][1], _server[0][2]


def _end() -> None:
    process, connection, _ = _server.pop()
    connection.close()
    process.wait()


class Process:
    """A command of Hengyu, or a program, in a process of its own; the part of `subprocess.Popen` that tests use.

    Args:
        words: what a user types after ``hengyu``; with a ``program``, its ``sys.argv[1:]``.
        program: Python code to run in place of the command.
        env: the whole environment; by default this process's.
        stdout: as in `subprocess`, and so is stderr: None, DEVNULL or PIPE.
        text: whether what `communicate` returns is text.
        handles: open files that the process takes over; their numbers there are appended to its ``words``.
        own_session: whether it leads a session, and so a group of processes, of its own.
    """

    def __init__(
        self,
        words: Sequence[str] = (),
        *,
        program: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        text: bool = True,
        handles: Sequence[int] = (),
        own_session: bool = False,
    ) -> None:
        if sys.platform != "linux":
            pytest.skip("processes are forked from a server on Linux alone")
        environment = dict(os.environ if env is None else env)
        connection, read = _connection()
        if (asked := _read_at_import({**read, **environment})) != read:
            raise ValueError(f"the libraries of the server have read {read}, not {asked}: start a true process")
        self._pipes: dict[str, Any] = {}
        self._status, status = socket.socketpair()
        sent, closing = [status.fileno()], []
        for name, what in (("stdout", stdout), ("stderr", stderr)):
            if what == subprocess.PIPE:
                ours, theirs = os.pipe()
                self._pipes[name] = open(ours, "rb")  # noqa: PTH123, SIM115  # closed with the process
                closing.append(theirs)
                sent.append(theirs)
            elif what == subprocess.DEVNULL:
                closing.append(os.open(os.devnull, os.O_WRONLY))
                sent.append(closing[-1])
            else:
                sent.append(1 if name == "stdout" else 2)
        job = {"words": list(map(str, words)), "program": program, "env": environment, "cwd": str(cwd or Path.cwd())}
        job["own_session"] = own_session
        socket.send_fds(connection, [json.dumps(job).encode()], [*sent, *handles])
        status.close()
        for handle in closing:
            os.close(handle)
        self.returncode: int | None = None
        self._text, self._lines = text, self._status.makefile("r")
        self.stdout, self.stderr = self._pipes.get("stdout"), self._pipes.get("stderr")
        said = self._lines.readline()
        if not said:
            raise RuntimeError("the server of processes has ended")
        self.pid = int(said)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return its exit code."""
        if self.returncode is None:
            if timeout is not None and not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("hengyu", timeout)
            self.returncode = int(self._lines.readline())
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[Any, Any]:
        """Read what is left in the pipes, wait, and return both."""
        found: dict[str, list[bytes]] = {name: [] for name in self._pipes}
        with selectors.DefaultSelector() as waiting:
            for name, pipe in self._pipes.items():
                waiting.register(pipe, selectors.EVENT_READ, name)
            while waiting.get_map():
                for key, _ in waiting.select():
                    if part := key.fileobj.read1(1 << 16):  # type: ignore[union-attr]
                        found[key.data].append(part)
                    else:
                        waiting.unregister(key.fileobj)
        self.wait()
        for pipe in self._pipes.values():
            pipe.close()
        whole = {name: b"".join(parts) for name, parts in found.items()}
        both = [whole[n].decode() if self._text and n in whole else whole.get(n) for n in ("stdout", "stderr")]
        return both[0], both[1]


def run(words: Sequence[str] = (), *, check: bool = False, **how: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command to its end and return its exit code and what it printed; ``how`` is as for `Process`."""
    process = Process(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
    out, error = process.communicate()
    done = subprocess.CompletedProcess(["hengyu", *words], process.wait(), out, error)
    if check and done.returncode:
        raise AssertionError(f"{done.args}: exit {done.returncode}\n{error}")
    return done


# --- the server ---


def _import() -> None:
    """Import what the commands import; what starts a thread would be seen."""
    import gc

    import hengyu

    for name in (*LAZY, *(m.name for m in pkgutil.walk_packages(hengyu.__path__, "hengyu."))):
        if not name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # an extra
                importlib.import_module(name)
    from hengyu.storage.identity import CODE

    # the source of what most keys depend on is read once as well
    CODE.reached("hengyu.tasks.sts", "hengyu.encoders.huggingface", "hengyu.methods.tuners.simcse")
    if (threads := len(os.listdir("/proc/self/task"))) > 1:  # noqa: PTH208
        raise SystemExit(f"the server of processes has {threads} threads: a fork of it could hang")
    gc.collect()
    gc.freeze()


def _serve(control: socket.socket) -> dict[str, Any]:
    """Fork for every job that comes; returns in the new process, with its job, and never in the server."""
    wake, alarm = socket.socketpair()
    wake.setblocking(False)
    alarm.setblocking(False)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(alarm.fileno())
    waiting: dict[int, int] = {}
    while True:
        ready = select.select([control, wake], [], [])[0]
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                wake.recv(1 << 10)
        for pid in [p for p in waiting if os.waitid(os.P_PID, p, os.WEXITED | os.WNOHANG | os.WNOWAIT)]:
            _, status = os.waitpid(pid, 0)
            with contextlib.suppress(OSError):
                os.write(waiting[pid], b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(waiting.pop(pid))
        if control not in ready:
            continue
        message, handles, _, _ = socket.recv_fds(control, 1 << 20, 100)
        if not message:
            for pid in waiting:
                os.kill(pid, signal.SIGKILL)
            raise SystemExit
        status, out, error, *more = handles
        if not (pid := os.fork()):
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, before)
            for handle in (*waiting.values(), status, control.fileno(), wake.fileno(), alarm.fileno()):
                os.close(handle)
            for s in (control, wake, alarm):
                s.detach()
            os.dup2(out, 1)
            os.dup2(error, 2)
            os.close(out)
            os.close(error)
            found: dict[str, Any] = json.loads(message)
            found["words"] += map(str, more)
            return found
        for handle in (out, error, *more):
            os.close(handle)
        waiting[pid] = status
        os.write(status, b"%d\n" % pid)


def _work(job: dict[str, Any]) -> None:
    """Do a job, in its process."""
    # as Python opens them: those of the server are of another file
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    # a shell lets what it starts in the background ignore the signal, and so would the server and its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    if job["own_session"]:
        os.setsid()
    time.tzset()
    sys.argv = ["hengyu", *job["words"]]
    if job["program"]:
        exec(compile(job["program"], "<program>", "exec"), {"__name__": "__main__"})
    else:
        from hengyu.cli import main

        main(job["words"], prog_name="hengyu")


def _end_with(job: dict[str, Any]) -> None:
    """Do a job and end as an interpreter does, but for freeing all that was imported."""
    code, killed = 0, False
    try:
        _work(job)
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
        if isinstance(e.code, str):
            sys.stderr.write(f"{e.code}\n")
    except BaseException as e:
        traceback.print_exc()
        code, killed = 1, isinstance(e, KeyboardInterrupt)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if killed:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


if __name__ == "__main__":
    line = socket.socket(fileno=int(sys.argv[1]))
    _import()
    _end_with(_serve(line))
