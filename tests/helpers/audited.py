"""Runs hengyu with an audit hook: a pickle read or written, a connection, or a file written elsewhere ends the process.

python -P tests/helpers/audited.py ALLOWED[:ALLOWED...] COMMAND...
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import NoReturn

ALLOWED = [Path(p).resolve() for p in sys.argv[1].split(":")]
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def stop(what: str) -> NoReturn:
    os.write(2, f"AUDIT: {what}\n".encode())
    import traceback

    traceback.print_stack()
    os._exit(99)


def outside(path: object) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    place = Path(os.fsdecode(path)).absolute()
    if place.parts[1:2] in (("dev",), ("proc",)) or "__pycache__" in place.parts:
        return False
    return not any(place.is_relative_to(a) for a in ALLOWED)


def hook(event: str, args: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        stop(f"{event} {args}")
    if event in (
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "socket.connect",
        "socket.getaddrinfo",
        "shelve.open",
    ):
        stop(f"{event} {args}")
    # git says which commit it is; ctypes asks the linker where a library lies
    if event == "subprocess.Popen" and Path(str(args[0])).name not in (
        "git",
        "ldconfig",
        "gcc",
        "cc",
        "ld",
        "objdump",
        "lscpu",
    ):
        stop(f"{event} {args}")
    if event == "open":
        path, mode, flags = args
        if str(path).endswith((".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib")):
            stop(f"open {path}")
        writes = isinstance(flags, int) and flags & _WRITING
        if writes and outside(path):
            stop(f"write {path}")
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate") and outside(
        args[0]
    ):
        stop(f"{event} {args[0]!r}")


def refuse(*args: object, **more: object) -> NoReturn:
    stop("pickle")


# some libraries pickle a number or two into memory while they are imported, which reads and writes no file
pickle.dump = pickle.load = refuse
sys.addaudithook(hook)

if __name__ == "__main__":
    from hengyu.cli import main

    sys.argv = ["hengyu", *sys.argv[2:]]
    main(prog_name="hengyu")
