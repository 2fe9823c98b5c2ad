"""The vector store: every text encoded once, content-addressed, append-only, memory-mapped, safe against crashes.

A *space* holds the vectors of one key (`hengyu.storage.identity.vectors_key`): encoder fingerprint, pooling, settings, code
and libraries, everything a vector depends on besides its text. It is a folder named by the digest of the key; in it are
*segments*, folders that appear atomically (written under a temporary name, then renamed) and never change:

    <root>/<space hash>/space.json              the key
    <root>/<space hash>/<segment>/keys.npy      uint8 (n, 16): BLAKE2b-128 of the texts' UTF-8 bytes
    <root>/<space hash>/<segment>/vectors.npy   float32 (n, d)
    <root>/<space hash>/<segment>/sums.json     sha256 of both files

A space is in use while a `VectorSpace` of it lives in any process, and was last used when ``space.json`` was last touched
(`hengyu.storage.in_use`). Concurrent runs write separate segments; if both have a text, the first segment by name counts. A
store may mirror a remote one (`hengyu.base.remote`): new segments there are fetched, new ones here are sent.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hengyu.base.bounded import map_npy
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import find_json
from hengyu.base.paths import local
from hengyu.base.remote import Mirror, is_url
from hengyu.storage.folder import StoreFolder
from hengyu.storage.identity import name_of
from hengyu.storage.in_use import changed_at, delete, in_seconds, leftovers, size_of, unused
from hengyu.storage.vector_space import Damage, VectorSpace, check, segments_of, text_keys

__all__ = ["Damage", "VectorSpace", "VectorStore", "text_keys"]

_STALE_SECONDS = 24 * 3600
_DIGITS = 32  # of a space's name


@dataclass(frozen=True)
class VectorStore(StoreFolder):
    """All spaces of vectors."""

    kind = "vectors"

    @classmethod
    def at(cls, place: str | None) -> Self:
        """Return the store of a folder or URL; by default that in the user's cache."""
        if not place:
            return cls.default()
        return cls(local(place), Mirror(place) if is_url(place) else None)

    def space(self, cache_key: Mapping[str, Any], *, write_only: bool = False) -> VectorSpace:
        """Return the space of a cache key, whose address holds all its keys and values; a ``write_only`` one can only append."""
        name = name_of(cache_key, _DIGITS)
        return VectorSpace(
            self.root / name, cache_key, self.mirror.below(name) if self.mirror else None, write_only=write_only
        )

    def spaces(self) -> Iterator[Path]:
        """Yield the folders of all spaces, sorted by name."""
        if self.root.is_dir():
            yield from sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))

    def info(self) -> list[dict[str, Any]]:
        """Return for each space its cache key, its numbers of segments and vectors, and its size in bytes."""
        rows = []
        for folder in self.spaces():
            segments = list(segments_of(folder))
            vectors = sum(int(_shape(p / "keys.npy")[0]) for p in segments)
            size = size_of(folder)
            rows.append(
                {**_key_of(folder), "space": folder.name, "segments": len(segments), "vectors": vectors, "bytes": size}
            )
        return rows

    def verify(self) -> list[Damage]:
        """Check every file of the store against its checksum and return the damaged ones."""
        found = []
        for folder in self.spaces():
            cache_key = _key_of(folder)
            if not _is_named(folder, cache_key):
                found.append(Damage(folder / "space.json", "does not match the name of its folder"))
        return found + self.damaged_segments()

    def damaged_segments(self) -> list[Damage]:
        """Check the files of every segment against their checksums and return the damaged ones."""
        return [d for folder in self.spaces() for p in segments_of(folder) if (d := check(p)) and p.is_dir()]

    def repair(self) -> list[Damage]:
        """Delete damaged segments, and spaces without a valid key; the next run encodes them again."""
        found = self.verify()
        for folder in dict.fromkeys(d.path.parent for d in found):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                continue  # it was in a deleted space
            except OSError as e:
                raise HengyuError(f"{folder}: cannot be deleted ({e.strerror or e}); check permissions") from None
        return found

    def gc(self, days: float = 90.0, spared: Callable[[Path], object] = lambda path: None) -> int:
        """Delete drafts of killed runs, and spaces that were not used for ``days``; return the bytes freed.

        A space that a running process uses is kept, whatever its age; ``spared`` is called with each folder that would have
        been deleted. Raises `HengyuError` if ``days`` is negative or not finite.
        """
        longest = in_seconds(days)
        freed = sum(map(delete, leftovers(self.root)))
        for folder in list(self.spaces()):
            drafts = {p: time.time() - changed_at(p) for p in folder.glob(".draft-*")}
            stale = [p for p, age in drafts.items() if age > _STALE_SECONDS]
            if len(stale) < len(drafts) or not time.time() - _last_use(folder) > longest:
                freed += sum(map(delete, stale))
                continue
            with unused(folder / "space.json") as free:
                freed += delete(folder) if free else 0
            if not free:
                spared(folder)
        return freed


def _last_use(folder: Path) -> float:
    """Return when a space was last read or written; an empty one counts as used until it is stale."""
    segments = list(segments_of(folder))
    if not segments:
        return changed_at(folder) + _STALE_SECONDS
    about = folder / "space.json"
    return max(map(changed_at, [*segments, about] if about.is_file() else segments))


def _key_of(folder: Path) -> dict[str, Any]:
    return find_json(folder / "space.json", dict[str, Any]) or {}


def _is_named(folder: Path, cache_key: Mapping[str, Any]) -> bool:
    """Whether the name of a space's folder matches its cache key, which may be any JSON."""
    try:
        return name_of(cache_key, _DIGITS) == folder.name
    except ValueError:
        return False


def _shape(path: Path) -> tuple[int, ...]:
    try:
        return map_npy(path).shape or (0,)
    except (OSError, ValueError):
        return (0,)
