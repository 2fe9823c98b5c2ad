"""The seal of a run: the sha256 of its header, numbers, clouds, labels and relevance, so that a changed byte is found."""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec import Struct

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import find_json, parse, write_json

__all__ = ["break_seal", "broken_seals", "check_seal", "is_verified", "seal", "unverified", "what_broke"]

_SEAL = "sums.json"
_ALWAYS = ("run.json", "records.json")
_SEALED = (*_ALWAYS, "clouds.json", "labels.safetensors", "relevance.safetensors")
_CHANGED = "has changed since it was written"


class _Origin(Struct):
    unverified: str = ""


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
    """Return the files of a run that are not as they were sealed, or are gone; none for a run without checksums."""
    return list(_broken(folder))


def is_verified(folder: Path) -> bool:
    """Tell whether a run has checksums and every file of it that they cover is as it was written."""
    return not unverified(folder) and not broken_seals(folder)


def unverified(folder: Path) -> str:
    """Return in one sentence why a run's files cannot be checked, "" where they can be."""
    path = folder / _SEAL
    if path.exists():
        return _inherited(folder / "run.json")
    return (
        f"{path}: is missing, so nothing shows that the numbers of this run are as they were written (an interrupted run, "
        "an old one, or a deleted file); run the suite again"
    )


def _inherited(path: Path) -> str:
    """Return why the run that a run was made from could not be verified."""
    found = find_json(path, _Origin)  # whoever reads the run says what is wrong with the file
    return f"{path}: {found.unverified}" if found and found.unverified else ""


def check_seal(folder: Path) -> None:
    """Raise `HengyuError` with a sentence for every file of a run that has changed since it was written, or is gone."""
    broken = _broken(folder)
    if broken:
        raise HengyuError(*(f"{path}: {reason}; run the suite again" for path, reason in broken.items()))


def what_broke(folder: Path) -> dict[Path, str]:
    """Return the files of a run that cannot be relied on, with the reason: changed, gone, or covered by no checksum."""
    path = folder / _SEAL
    if not path.exists():
        return {path: "is missing, so the run cannot be verified"}
    return _broken(folder)


def _broken(folder: Path) -> dict[Path, str]:
    path = folder / _SEAL
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return {}
    except OSError as e:
        return {path: f"cannot be read ({e.strerror or e})"}
    try:
        sums = parse(content, dict[str, str])
    except ValueError:
        return {path: _CHANGED}
    if not set(_ALWAYS) <= sums.keys() <= set(_SEALED):
        return {path: _CHANGED}
    broken = {}
    for name in _SEALED:
        try:
            actual = hashlib.sha256(read_bytes(folder / name)).hexdigest()
        except FileNotFoundError:
            if name in sums:
                broken[folder / name] = f"is missing, though {_SEAL} names it"
            continue
        except OSError as e:
            broken[folder / name] = f"cannot be read ({e.strerror or e})"
            continue
        if sums.get(name) != actual:
            broken[folder / name] = _CHANGED
    return broken
