"""Where a run took place: versions, machine, commit, the code itself."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hengyu.base.json_files import find_json, write_json
from hengyu.base.paths import checkout
from hengyu.base.version import __version__

__all__ = ["Environment", "begin", "code_digest", "commit_of", "cores", "environment", "may_have_gpu", "processor"]

Environment = dict[str, str | list[dict[str, str]]]
"""environment.json: versions, machine and commit; ``earlier`` lists those of rows that were made before."""

_PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "numba", "faiss-cpu"),
    *("torch", "transformers", "tokenizers", "sentence-transformers"),
)


_SHIPPED = (
    "runners",
    "suites",
    "datasets",
    "reports/templates",
)  # folders of a clone whose files affect numbers and pages
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a control group: microseconds of all cores together, in how many
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA, AMD, and either under Windows
_MOMENTARY = ("command", "earlier")  # keys of an environment that no number depends on


def begin(path: Path, command: str = "") -> list[dict[str, Any]]:
    """Write the environment of a starting run, and return those that earlier processes left there.

    Cells finished by such a process were computed in its environment, not in this one.
    """
    before: dict[str, Any] | None = find_json(path, Environment)
    earlier = before.pop("earlier", []) if before else []
    if before:
        earlier.append({k: v for k, v in before.items() if k not in _MOMENTARY})
    write_json(path, environment(command, earlier))
    return earlier


def environment(command: str = "", earlier: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return versions, machine and commit as strings; what is unknown is left out.

    ``earlier`` are the environments in which reused parts were computed; those that differ from this one are listed.
    """
    found: dict[str, Any] = {
        "hengyu": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "commit": _commit(),
        "code": code_digest(),
        "command": command,
    }
    found |= _versions()
    torch, numba = sys.modules.get("torch"), sys.modules.get("numba")
    if torch is not None:
        found["torch_threads"] = str(torch.get_num_threads())
    if numba is not None:
        found["numba_threads"] = str(numba.get_num_threads())
    found["blas_threads"] = _blas_threads()
    others: list[dict[str, Any]] = []
    for one in earlier:
        differs = {k: v for k, v in one.items() if k not in _MOMENTARY and k in found and found[k] != v}
        if differs and differs not in others:
            others.append(differs)
    return {key: value for key, value in (found | {"earlier": others}).items() if value}


@cache
def _versions() -> dict[str, str]:
    """Return the versions of the libraries that are installed."""
    found = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _blas_threads() -> str:
    """Return the largest number of threads that a loaded BLAS would use."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return ""
    return str(max((i["num_threads"] for i in threadpool_info() if i.get("user_api") == "blas"), default=""))


@cache
def code_digest() -> str:
    """Return the sha256 of all of Hengyu's own code: the version number is the same for different states of a clone."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def processor() -> str:
    """Return the name of the processor, "" if the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


@cache
def _commit() -> str:
    """Return the commit of the clone that this package runs from, read once per process."""
    root = checkout()
    return commit_of(root, Path(__file__).parent) if root is not None and (root / ".git").exists() else ""


def commit_of(root: Path, package: Path) -> str:
    """Return the commit that a clone has checked out, "" if git does not tell.

    It ends in ``-dirty`` if the running code may differ from the commit: a tracked file has changed, there is an untracked,
    unignored file among code, suites or cards, or a source file of the package differs from the commit (even if it is
    ignored or hidden from git's index).
    """
    described = _git(root, "describe", "--always", "--dirty", "--abbrev=12")
    if not described or described.endswith("-dirty"):
        return described or ""
    untracked = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *_SHIPPED)
    clean = untracked == "" and _committed(root, package)
    return described if clean else f"{described}-dirty"


def _committed(root: Path, package: Path) -> bool:
    """Whether every source file of the package is in the commit, byte for byte, and no other code was loaded."""
    known = {Path(file).resolve() for m in list(sys.modules.values()) if (file := _file_of(m))}
    files = sorted({p.resolve() for p in package.rglob("*.py")} | known)
    if not all(p.is_relative_to(root.resolve()) for p in files):
        return False
    names = [p.relative_to(root.resolve()).as_posix() for p in files]
    tree = _git(
        root,
        "ls-tree",
        "-r",
        "-z",
        "--full-tree",
        "HEAD",
        "--",
        package.resolve().relative_to(root.resolve()).as_posix(),
    )
    hashes = _git(root, "hash-object", "--stdin-paths", given="\n".join(names))
    if tree is None or hashes is None or len(hashes.split()) != len(names):
        return False
    entries = (line.partition("\t") for line in tree.split("\0") if line)
    blobs = {name: about.split()[2] for about, _, name in entries}
    return all(blobs.get(name) == blob for name, blob in zip(names, hashes.split(), strict=True))


def _file_of(module: Any) -> str:
    """Return the source file of a module that belongs to this package, wherever it is; "" for other modules."""
    name = getattr(module, "__name__", "")
    own = isinstance(name, str) and name.partition(".")[0] == "hengyu"
    file = getattr(module, "__file__", None) if own else None
    return file if isinstance(file, str) and file.endswith(".py") else ""


def _git(root: Path, *words: str, given: str = "") -> str | None:
    """Return git's output, or None if git cannot be run."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], input=given, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout.strip()


def cores() -> int:
    """Return how many cores this process may use, within the quota of a container too."""
    allowed = getattr(os, "sched_getaffinity", None)
    number = len(allowed(0)) if allowed else os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # there is none, or it says max
        return number
    return max(1, min(number, quota // period))


def may_have_gpu() -> bool:
    """Return whether there is a GPU's device, as far as can be told without loading PyTorch, which takes seconds."""
    return any(Path(path).exists() for path in _GPUS)
