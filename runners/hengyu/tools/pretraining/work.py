"""The folder of a training in progress: begun, gone on with, or refused because it holds something else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.storage.identity import digest

__all__ = ["PART", "begun", "refuse_foreign", "refuse_other"]

PART = ".part"
"""What the name of the folder ends in while the work is in progress."""


def refuse_foreign(out: Path, about: str) -> None:
    """Raise `HengyuError` if a folder to be written has content, but not the file ``about`` that finished ones have."""
    if out.exists() and not (out / about).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise HengyuError(f"{out}: already exists with other content; give another --out")


def begun(part: Path, about: str) -> bool:
    """Whether a folder has work in progress; removes leftovers of killed writes, raises `HengyuError` for other content."""
    if not part.exists():
        return False
    if part.is_dir():
        found = (part / about).is_file()
        # temporary files, which are renamed when complete
        for path in part.glob(".*" if found else f".{about}.*"):
            path.unlink()
        if found or not any(part.iterdir()):
            return found
    raise HengyuError(f"{part}: is needed for work in progress but has other content; give another --out")


def refuse_other(folder: Path, about: Mapping[str, Any], goal: Mapping[str, Any], work: str, otherwise: str) -> None:
    """Raise `HengyuError`, naming the first parameter that differs, if a folder was made with another goal.

    Args:
        folder: the folder.
        about: what it says of itself.
        goal: what is wanted, with its parameters under ``recipe``.
        work: what the folder has, like "a pretraining".
        otherwise: what differs if no parameter does, like "another corpus".
    """
    if about.get("goal") == digest(goal):
        return
    theirs = about.get("recipe")
    theirs = theirs if isinstance(theirs, dict) else {}
    differs = next((k for k, v in goal["recipe"].items() if theirs.get(k) != v), "")
    what = f"{differs} = {str(theirs.get(differs))[:40]} instead of {goal['recipe'][differs]}" if differs else otherwise
    raise HengyuError(f"{folder}: has {work} with {what}; delete it, or give another --out")
