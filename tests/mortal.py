"""Runs Hengyu's commands in children that are killed at chosen moments; run as a script, so that the imports are paid once.

    python -P tests/mortal.py FOLDER POINTS SEED

FOLDER holds ``suite.toml``, ``model/`` and ``cards/``. The same work (encode, fit, weigh, baseline, gate, report) is done once
undisturbed; then, POINTS times, a forked child is sent SIGKILL: at one of its writes (before the flush, before the rename,
after it), or after a random time. What it leaves is finished by a last, undisturbed child. Prints a JSON list, one object a life.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

LIVES = 3  # kills that one store and one reports folder survive before they are finished


def work(here: Path, own: Path) -> None:
    """Do all the work of a user, in this process: raises SystemExit with the code of the first command that fails."""
    from hengyu.cli import main

    os.environ["HENGYU_CACHE"], os.environ["HENGYU_REPORTS"] = str(own / "cache"), str(own / "reports")
    suite = str(here / "suite.toml")
    commands = [
        ["run", suite, "--encoder", str(here / "model"), "--datasets", str(here / "cards"), "--quiet"],
        ["baseline", "latest"],
        ["gate", "suite", "latest", "--json", str(own / "gate.json")],
        ["report", "latest"],
        ["export", "latest", "--out", str(own / "all.csv")],
    ]
    for words in commands:
        try:
            main(words, prog_name="hengyu")
        except SystemExit as e:
            if e.code:
                raise


def left(own: Path) -> dict[str, bytes]:
    """Return what must not depend on how often the work was killed."""
    files = [p for p in own.rglob("*") if p.name in ("records.json", "run.json", "suite.json", "labels.safetensors")]
    files += list(own.rglob("observations/*.safetensors"))
    return {str(p.relative_to(own)): p.read_bytes() for p in files if not p.name.startswith(".")}


def arm(number: int) -> list[int]:
    """Count the moments of writing in this process, and die at the ``number``-th; 0 never dies."""
    seen = [0]

    def wrap(function: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **more: object) -> object:
            for before in (True, False):
                if not before:
                    result = function(*args, **more)
                seen[0] += 1
                if seen[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    for module, name in ((os, "fsync"), (os, "mkdir"), (Path, "replace"), (Path, "rename")):
        setattr(module, name, wrap(getattr(module, name)))
    return seen


def child(task: Callable[[], None], log: Path) -> int:
    """Fork a child that does a task, its words going to a file; returns its process id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        task()
        code = 0
    except SystemExit as e:
        code = int(e.code or 0) if isinstance(e.code, int | None) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    import torch

    torch.set_num_threads(1)
    here, points, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    log = here / "mortal.log"
    counter = here / "moments"

    def whole() -> None:
        seen = arm(0)
        work(here, here / "whole")
        counter.write_text(str(seen[0]), encoding="ascii")

    # compiled loops and imported modules are inherited by every child that is forked after this
    keep = os.dup(1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    work(here, here / "warm")
    sys.stdout.flush()
    os.dup2(keep, 1)
    started = time.monotonic()
    _, status = os.waitpid(child(whole, log), 0)
    seconds = time.monotonic() - started
    wanted, moments = left(here / "whole"), int(counter.read_text(encoding="ascii"))
    report = [{"kills": [], "status": status, "same": wanted == left(here / "warm"), "files": len(wanted)}]
    done = 0
    while done < points:
        own = here / f"life-{done}"
        kills: list[str] = []
        for _ in range(min(LIVES, points - done)):
            done += 1
            if rng.random() < 0.6:
                number = 1 + int(moments * rng.random() ** 1.5)  # a resumed work has fewer moments left

                def doomed(number: int = number, own: Path = own) -> None:
                    arm(number)
                    work(here, own)

                process = child(doomed, log)
                what = f"write {number} of {moments}"
            else:
                process = child(lambda own=own: work(here, own), log)
                delay = seconds * rng.random()
                time.sleep(delay)
                os.kill(process, signal.SIGKILL)
                what = f"{delay:.3f} of {seconds:.3f} s"
            _, status = os.waitpid(process, 0)
            kills.append(f"{what}: {'killed' if os.WIFSIGNALED(status) else f'exit {os.WEXITSTATUS(status)}'}")
        _, status = os.waitpid(child(lambda own=own: work(here, own), log), 0)
        found = left(own)
        report.append(
            {
                "kills": kills,
                "status": status,
                "same": found == wanted,
                "files": len(found),
                "differ": sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k)),
            }
        )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
