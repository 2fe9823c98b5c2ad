"""Runs Hengyu's commands in processes that are killed at chosen moments.

    python -P tests/helpers/mortal.py FOLDER POINTS SEED

FOLDER holds ``suite.toml``, ``found.toml``, ``model/`` and ``cards/``. The same work (encode, fit, train, weigh, baseline, gate,
report, search) is done twice undisturbed; then, POINTS times, a process is killed: by SIGKILL at one of its writes (before
the flush, before the rename, after it), or by the alarm of its CPU clock, which nothing handles, after a random time; by
that clock, as the machine may be busier at one time than at another. What it leaves is finished by a last, undisturbed one.
Prints a JSON list, one object a life.
Every life is a process of its own: a fork would inherit the locks of the libraries' threads, and hang on them at times.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LIVES = 3  # kills that one store and one reports folder survive before they are finished


def work(here: Path, own: Path) -> None:
    """Do all the work of a user, in this process: raises SystemExit with the code of the first command that fails."""
    from hengyu.cli import main

    os.environ["HENGYU_CACHE"], os.environ["HENGYU_REPORTS"] = str(own / "cache"), str(own / "reports")
    places = ["--encoder", str(here / "model"), "--datasets", str(here / "cards"), "--quiet"]
    commands = [
        ["run", str(here / "suite.toml"), *places],
        ["baseline", "latest"],
        ["gate", "suite", "latest", "--json", str(own / "gate.json")],
        ["report", "latest"],
        ["export", "latest", "--out", str(own / "all.csv")],
        ["run", str(here / "found.toml"), *places],
    ]
    for words in commands:
        try:
            main(words, prog_name="hengyu")
        except SystemExit as e:
            if e.code:
                raise


def left(own: Path) -> dict[str, bytes]:
    """Return what must not depend on how often the work was killed."""
    names = ("records.json", "clouds.json", "run.json", "suite.json", "labels.safetensors")
    files = [p for p in own.rglob("*") if p.name in names]
    files += [*own.rglob("observations/*.safetensors"), *own.rglob("tuned/**/*.safetensors")]
    found = {str(p.relative_to(own)): p for p in files}
    # drafts of a killed training stay until `hengyu store gc`, and nothing reads them
    return {name: p.read_bytes() for name, p in found.items() if not any(n.startswith(".") for n in Path(name).parts)}


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


def child(here: Path, own: Path, number: int = 0, seconds: float = 0.0) -> int:
    """Run a process that does the work in a folder, and dies at a moment or after seconds of work; with 0 it never does."""
    with (here / "mortal.log").open("ab") as log:
        words = [sys.executable, "-P", __file__, "life", str(here), str(own), str(number), str(seconds)]
        return subprocess.run(words, stdout=log, stderr=log, check=False).returncode


def life(here: Path, own: Path, number: int, seconds: float) -> None:
    """Do the work in this process, and say how many moments and seconds it took."""
    import torch

    torch.set_num_threads(1)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    started = time.process_time()
    seen = arm(number)
    work(here, own)
    (own / "took.json").write_text(json.dumps([seen[0], time.process_time() - started]), encoding="ascii")


def main() -> None:
    here, points, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    again = child(here, here / "again")
    status = child(here, here / "whole") or again
    wanted = left(here / "whole")
    moments, seconds = (
        json.loads((here / "whole" / "took.json").read_text(encoding="ascii")) if not status else (1, 1.0)
    )
    report = [{"kills": [], "status": status, "same": wanted == left(here / "again"), "files": len(wanted)}]
    done = 0
    while done < points and not status:
        own = here / f"life-{done}"
        kills: list[str] = []
        for _ in range(min(LIVES, points - done)):
            done += 1
            share = rng.random() * 0.4 ** len(kills)  # a resumed work has less left to do
            if rng.random() < 0.6:
                number = 1 + int(moments * share)
                code = child(here, own, number)
                what = f"write {number} of {moments}"
            else:
                code = child(here, own, seconds=max(seconds * share, 1e-3))
                what = f"{seconds * share:.3f} of {seconds:.3f} s"
            kills.append(f"{what}: {'killed' if code < 0 else f'exit {code}'}")
        status = child(here, own)
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
    if sys.argv[1] == "life":
        life(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    else:
        main()
