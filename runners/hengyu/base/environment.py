"""Where a run took place: versions, machine, commit, the code itself."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hengyu.base.paths import checkout
from hengyu.base.version import __version__

__all__ = ["code_digest", "environment"]

_PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "numba", "faiss-cpu"),
    *("torch", "transformers", "tokenizers", "sentence-transformers"),
)


def environment(command: str = "") -> dict[str, str]:
    """Return versions, machine and commit as strings; what cannot be found out is left out."""
    found = {
        "hengyu": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "commit": _commit(),
        "command": command,
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch_threads"] = str(torch.get_num_threads())
    return {key: value for key, value in found.items() if value}


@cache
def code_digest() -> str:
    """Return the sha256 of all of Hengyu's own code: a version number does not tell two states of a clone apart."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def _commit() -> str:
    root = checkout()
    if root is None or not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
