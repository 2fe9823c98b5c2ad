"""Memory: sizes in words, current use, and returning freed memory to the system."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from pathlib import Path

from hengyu.base.errors import HengyuError

__all__ = ["as_bytes", "as_words", "available", "give_back_memory", "resident", "status"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LIMITS = (  # of a control group, and what it holds: version 2, version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def as_bytes(text: str, option: str) -> int:
    """Read a size such as 512M or 1.5GiB (K, M, G, T stand for powers of 1024); raises `HengyuError`."""
    match = _SIZE.fullmatch(text.strip())
    size = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    if not 0 < size < 1 << 60:
        raise HengyuError(f"{option} '{text}': must be a size like 512M or 1.5GiB")
    return int(size)


def as_words(size: float) -> str:
    """Return a number of bytes as MiB or GiB."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def resident() -> int:
    """Return the bytes of memory that this process uses now."""
    import psutil

    held: int = psutil.Process().memory_info().rss
    return held


def available() -> int:
    """Return the bytes of memory that may still be taken, within the limit of a container too."""
    import psutil

    free: int = psutil.virtual_memory().available
    for limit, held in _LIMITS:
        try:
            free = min(free, int(Path(limit).read_text(encoding="ascii")) - int(Path(held).read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is none, or it says max
            continue
    return max(0, free)


def status(word: str) -> int | None:
    """Return a figure of Linux for this process in bytes (VmRSS: now, VmHWM: peak); None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{word}:"))
    except (OSError, StopIteration, ValueError):
        return None


def give_back_memory() -> None:
    """Return freed memory to the system if the C library can (glibc): batches of many shapes fragment its heap."""
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):
            return
