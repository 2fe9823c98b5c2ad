"""A space of the vector store: the segments of one encoder and pooling, looked up by text; see `hengyu.storage.vectors`."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import map_npy, sha256_of
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import find_json
from hengyu.base.remote import Mirror, Unreachable
from hengyu.storage.in_use import Held, hold, note_use
from hengyu.storage.records import write_json

__all__ = ["Damage", "VectorSpace", "Vanished", "check", "segments_of", "text_keys"]

Key = NDArray[np.uint8]
_KEY_BYTES = 16
_TRIES = 10
_PARTS = ("keys.npy", "vectors.npy", "sums.json")  # in the order they are sent


def text_keys(texts: Sequence[str]) -> Key:
    """Return the keys (n, 16) of texts: BLAKE2b-128 of their UTF-8 bytes (lone surrogates pass through)."""
    digests = b"".join(
        hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest() for t in texts
    )
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(texts), _KEY_BYTES)


def _ordered(keys: Key) -> NDArray[np.void]:
    """View keys (n, 16) as n wholes of 16 bytes, which sort and compare as bytes do."""
    return np.ascontiguousarray(keys).view(f"V{_KEY_BYTES}").reshape(len(keys))


@dataclass(frozen=True)
class Damage:
    """A damaged file of the store."""

    path: Path
    reason: str


class Vanished(Unreachable):
    """Vectors were deleted while they were read; the cell that needs them is not at fault."""


class Changed(Unreachable):
    """Stored vectors are not as they were written; the cell that needs them is not at fault."""


class VectorSpace:
    """The vectors of one encoder and pooling: look up texts, append missing ones.

    A ``blind`` one can only append: it reads nothing of what is stored. While the object lives, `hengyu store gc` keeps the
    space; segments that are deleted by other means count as missing.
    """

    def __init__(
        self, folder: Path, cache_key: Mapping[str, Any], mirror: Mirror | None = None, *, write_only: bool = False
    ) -> None:
        self.folder = folder
        self.mirror = mirror
        self.write_only = write_only
        self.cache_key = dict(cache_key)
        self._segments: list[Path] = []
        self._mapped: dict[int, NDArray[np.float32]] = {}
        self._keys: NDArray[np.void] = _ordered(np.zeros((0, _KEY_BYTES), np.uint8))
        self._places: NDArray[np.int64] = np.zeros((0, 2), np.int64)
        self._seen: set[str] = set()
        self._gone: set[int] = set()  # numbers of segments that were deleted after they were read
        self._held: Held | None = None
        self._dim: int | None = None
        self._checked: set[int] = set()  # numbers of segments whose vectors are as they were written
        self.refresh(send=True)

    def refresh(self, *, send: bool = False) -> None:
        """Read the keys of new segments; raises `HengyuError` for one whose bytes have changed.

        The vectors of a segment are checked when they are first read. If the store mirrors a remote one, segments are fetched
        first; local ones are sent if requested.
        """
        if self.write_only:
            return
        if self.mirror is not None:
            self._exchange(self.mirror, send=send)
        self._hold()
        self._forget(n for n, path in enumerate(self._segments) if n not in self._gone and not path.is_dir())
        keys, places = [self._keys], [self._places]
        for path in segments_of(self.folder):
            if path.name in self._seen:
                continue
            damage = check(path, ("keys.npy",))
            if damage and path.is_dir():
                raise _damaged(damage)
            try:
                own = np.load(path / "keys.npy", allow_pickle=False)
            except FileNotFoundError:
                continue  # it was deleted meanwhile
            keys.append(_ordered(own))
            places.append(np.stack([np.full(len(own), len(self._segments)), np.arange(len(own))], axis=1))
            self._segments.append(path)
            self._seen.add(path.name)
        if len(keys) == 2 and len(keys[1]) < len(keys[0]):
            self._insert(keys[1], places[1])
        elif len(keys) > 1:
            every = np.concatenate(keys)
            self._keys, first = np.unique(every, return_index=True)
            self._places = np.concatenate(places)[first]

    def _hold(self) -> None:
        """Lock the space, if it exists, and record its use."""
        path = self.folder / "space.json"
        if self._held is None or not self._held.names(path):
            self._held = hold(path)
        note_use(path)

    def _claim(self) -> None:
        """Create the space's folder and lock it; repeat if it is deleted in between."""
        for _ in range(_TRIES):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._describe()
            self._hold()
            if self._held is not None:
                return

    def _forget(self, numbers: Iterable[int]) -> None:
        """Count the texts of deleted segments as missing."""
        gone = list(numbers)
        if not gone:
            return
        left = ~np.isin(self._places[:, 0], gone)
        self._keys, self._places = self._keys[left], self._places[left]
        self._gone.update(gone)
        for number in gone:
            self._seen.discard(self._segments[number].name)
            self._mapped.pop(number, None)

    def _vanished(self) -> Vanished:
        return Vanished(
            f"{self.folder}: vectors were deleted while they were in use; run the same command again; what is missing is "
            "encoded again, and finished cells are kept"
        )

    def _exchange(self, mirror: Mirror, *, send: bool) -> None:
        """Fetch the segments that are missing here; with ``send``, send those that are missing there."""
        there = {name.removesuffix("/sums.json") for name in mirror.files() if name.endswith("/sums.json")}
        here = {path.name for path in segments_of(self.folder)}
        if there or here:
            self._claim()
        for name in sorted(n for n in there - here if "/" not in n):
            draft = self.folder / f".draft-{uuid.uuid4().hex}"
            try:
                mirror.below(name).fetch(_PARTS, draft)
                damage = check(draft)
                if damage and damage.path.name == "sums.json":
                    continue  # incomplete: this file comes last
                if damage:
                    raise HengyuError(f"{mirror.url}/{name}/{damage.path.name}: {damage.reason}; delete {name} there")
                draft.rename(self.folder / name)
            except OSError as e:
                if not (self.folder / name).is_dir():  # else another process was faster
                    raise HengyuError(
                        f"{self.folder}: vectors cannot be stored ({e.strerror or e}); free some space"
                    ) from None
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        for name in sorted(here - there) if send else ():
            self._send(mirror, name)

    def _send(self, mirror: Mirror, name: str) -> None:
        mirror.send(self.folder, ["space.json", *(f"{name}/{part}" for part in _PARTS)])

    def _describe(self) -> None:
        if not (self.folder / "space.json").is_file():
            write_json(self.folder / "space.json", self.cache_key)

    def _insert(self, keys: NDArray[np.void], places: NDArray[np.int64]) -> None:
        """Merge a segment's keys without sorting all again: a store grows by many small segments."""
        keys, first = np.unique(keys, return_index=True)
        at = np.searchsorted(self._keys, keys)
        new = self._keys[at.clip(max=len(self._keys) - 1)] != keys
        self._keys = np.insert(self._keys, at[new], keys[new])
        self._places = np.insert(self._places, at[new], places[first][new], axis=0)

    def __len__(self) -> int:
        """Return the number of distinct texts held."""
        return len(self._keys)

    @property
    def dim(self) -> int | None:
        """The width of the vectors; None while the space is empty."""
        first = next((n for n in range(len(self._segments)) if n not in self._gone), None)
        if first is None:
            self._dim = None
        elif self._dim is None:
            self._dim = int(self._map(first, whole=False).shape[1])
        return self._dim

    def unmap(self) -> None:
        """Release the memory maps, whose touched pages count as this process's memory; `get` maps again."""
        self._mapped.clear()

    def _map(self, number: int, *, whole: bool = True) -> NDArray[np.float32]:
        """Map the vectors of a segment; raises `HengyuError` where they have changed, which is found out once.

        Without ``whole`` they are not read, and what is returned is good for its shape alone.
        """
        segment = self._segments[number]
        if whole and number not in self._checked:
            damage = check(segment, ("vectors.npy",))
            if damage and segment.is_dir():
                raise _damaged(damage)
            self._checked.add(number)
        if number not in self._mapped:
            try:
                mapped = map_npy(segment / "vectors.npy")
                if mapped.ndim != 2:
                    raise ValueError("it holds no rows")
                self._mapped[number] = mapped
            except FileNotFoundError:
                self._forget([number])
                raise self._vanished() from None
            except (OSError, ValueError):
                found = check(segment, ("vectors.npy",))
                raise _damaged(found or Damage(segment / "vectors.npy", "cannot be read")) from None
        return self._mapped[number]

    def find(self, keys: Key) -> NDArray[np.int64]:
        """Return for each key (n, 16) its position in the space, -1 if missing."""
        wanted = _ordered(keys)
        if not len(self._keys):
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        found: NDArray[np.int64] = np.where(self._keys[at] == wanted, at, -1)
        return found

    def get(self, keys: Key) -> NDArray[np.float32]:
        """Return the vectors (n, d) of keys (n, 16); raises KeyError if one is missing, `Vanished` if it was deleted."""
        at = self.find(keys)
        if (at < 0).any() and self._gone:
            raise self._vanished()
        if (at < 0).any():
            raise KeyError(f"{int((at < 0).sum())} of {len(at)} texts are not in {self.folder}")
        places = self._places[at]
        read = {int(number): self._map(int(number)) for number in np.unique(places[:, 0])}
        width = next((rows.shape[1] for rows in read.values()), self.dim or 0)
        out = np.empty((len(at), width), dtype=np.float32)
        for number, rows in read.items():
            mine = np.flatnonzero(places[:, 0] == number)
            out[mine] = rows[places[mine, 1]]
        return out

    def append(self, keys: Key, vectors: NDArray[np.float32]) -> None:
        """Add vectors (n, d) with their keys as one new segment, atomically.

        Raises `HengyuError` if it cannot be written (disk full, no permission) or the width differs, and ValueError if a
        vector is not finite.
        """
        if not len(keys):
            return
        if self.dim not in (None, vectors.shape[1]):
            raise HengyuError(
                f"{self.folder}: has vectors of width {self.dim}, not {vectors.shape[1]}; delete the folder"
            )
        if not np.isfinite(vectors).all():
            raise ValueError("the encoder gave a vector that is not finite")
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        draft = self.folder / f".draft-{name}"
        try:
            self._claim()
            draft.mkdir()
            sums = {
                part: _save(draft / part, array)
                for part, array in (("keys.npy", keys), ("vectors.npy", np.ascontiguousarray(vectors, np.float32)))
            }
            write_json(draft / "sums.json", sums)
            draft.rename(self.folder / name)
        except OSError as e:
            shutil.rmtree(draft, ignore_errors=True)
            raise HengyuError(
                f"{self.folder}: vectors cannot be stored ({e.strerror or e}); free some space or set HENGYU_CACHE to another "
                "folder; what was stored before is kept"
            ) from e
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        if self.mirror is not None:
            self._send(self.mirror, name)
        self.refresh()


def segments_of(folder: Path) -> Iterator[Path]:
    """Yield the folders of the segments of a space, sorted by name."""
    try:
        found = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from sorted(found)


def _save(path: Path, array: NDArray[Any]) -> str:
    """Write an array as .npy, flushed to disk, and return the sha256 of the file."""
    with path.open("xb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return sha256_of(path)


def _damaged(damage: Damage) -> Changed:
    return Changed(
        f"{damage.path}: {damage.reason}; run 'hengyu store repair' to set the damaged part aside, the next run encodes its texts "
        "again"
    )


def check(segment: Path, parts: Sequence[str] = _PARTS[:-1]) -> Damage | None:
    """Return the first damage of a segment's files, or of some ``parts`` of it, by their checksums."""
    sums = find_json(segment / "sums.json", dict[str, str])
    if sums is None:
        return Damage(segment / "sums.json", "is missing or unreadable")
    for part in parts:
        try:
            actual = sha256_of(segment / part)
        except OSError as e:
            return Damage(segment / part, f"cannot be read ({e.strerror or e})")
        if sums.get(part) != actual:
            return Damage(segment / part, "has changed since it was written (its sha256 differs)")
    return None
