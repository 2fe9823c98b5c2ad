"""The seal of a run: the sha256 of its header, numbers, clouds, labels and relevance, so that a changed byte is found."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import parse, write_json

__all__ = ["break_seal", "broken_seals", "check_seal", "seal"]

_SEAL = "sums.json"
_SEALED = ("run.json", "records.json", "clouds.json", "labels.safetensors", "relevance.safetensors")


def break_seal(folder: Path) -> None:
    """Remove the seal before a file is written anew: a run killed in between is unsealed, never taken for damaged."""
    try:
        (folder / _SEAL).unlink(missing_ok=True)
    except OSError as e:
        raise HengyuError(f"{folder / _SEAL}: cannot be replaced ({e.strerror or e}); check permissions") from None


def seal(folder: Path) -> None:
    """Write the seal of a finished run."""
    found = {name: path for name in _SEALED if (path := folder / name).is_file()}
    write_json(folder / _SEAL, {name: hashlib.sha256(read_bytes(path)).hexdigest() for name, path in found.items()})


def broken_seals(folder: Path) -> list[Path]:
    """Return the files of a run that are not as they were sealed; a run of before there were seals has none."""
    path = folder / _SEAL
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return []
    except OSError:
        return [path]
    try:
        sums = parse(content)
    except ValueError:
        return [path]
    if not isinstance(sums, dict) or not sums.keys() <= set(_SEALED):
        return [path]
    broken = []
    for name in _SEALED:
        try:
            actual = hashlib.sha256(read_bytes(folder / name)).hexdigest()
        except OSError:
            continue  # whoever reads a file that is not there says so
        if sums.get(name) != actual:
            broken.append(folder / name)
    return broken


def check_seal(folder: Path) -> None:
    """Raise `HengyuError` with a sentence for every file of a run that has changed since it was written."""
    broken = broken_seals(folder)
    if broken:
        raise HengyuError(*(f"{p}: has changed since it was written; run the suite again" for p in broken))
