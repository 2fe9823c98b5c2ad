"""Stored fine-tuned encoders: trained once for an encoder, a pooling, a recipe with its seed, and the training data.

Each is a sentence-transformers folder ``<root>/<hash>/``; its ``hengyu.json`` has its key, the training report, and the
sha256 of every file and of itself. It appears atomically: written under a temporary name, then renamed.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct
from msgspec import field as msgspec_field

from hengyu.base.bounded import sha256_of
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import NAME, find_json, shaped
from hengyu.base.paths import cache_mirror
from hengyu.base.remote import Mirror, temporary_dir
from hengyu.storage.folder import StoreFolder
from hengyu.storage.identity import digest, name_of
from hengyu.storage.in_use import Held, changed_at, delete, hold, in_seconds, leftovers, note_use, size_of, unused
from hengyu.storage.records import write_json
from hengyu.storage.vectors import Damage, VectorStore

if TYPE_CHECKING:
    pass

__all__ = ["ABOUT", "TunedStore"]

ABOUT = "hengyu.json"
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class TunedStore(StoreFolder):
    """Fine-tuned encoders, one folder each."""

    kind = "tuned"

    @classmethod
    def next_to(cls, store: VectorStore) -> Self:
        """Return the store for a vector store: the folder next to it, below the same URL."""
        if store.mirror is None or store.mirror == cache_mirror("vectors"):
            return cls(store.root.parent / cls.kind, cache_mirror(cls.kind) if store.mirror else None)
        return cls.below(store.mirror)

    def path(self, cache_key: Mapping[str, Any]) -> Path:
        """Return the folder of a cache key: its name is the hash of every key and value."""
        return self.root / name_of(cache_key, 24)

    def folders(self) -> list[Path]:
        """Return the folders of all fine-tuned encoders, sorted."""
        return sorted(p for p in self.root.glob("*") if p.is_dir() and not p.name.startswith("."))

    def info(self) -> list[dict[str, Any]]:
        """Return for each fine-tuned encoder its folder, its step, its pooling, and its size in bytes."""
        rows = []
        for path in self.folders():
            cache_key = _about(path).get("meaning")
            cache_key = cache_key if isinstance(cache_key, dict) else {}
            encoder = cache_key.get("encoder")
            rows.append(
                {
                    "folder": path.name,
                    "step": cache_key.get("step", "?"),
                    "pooling": cache_key.get("pooling", "?"),
                    "encoder": str(encoder.get("fingerprint", "?")) if isinstance(encoder, dict) else "?",
                    "bytes": size_of(path),
                }
            )
        return rows

    def recall(self, cache_key: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a training's report; None if not stored; raises `HengyuError` if a file has changed."""
        found = self.find(cache_key)
        return found[0] if found else None

    def find(self, cache_key: Mapping[str, Any]) -> tuple[dict[str, Any], Held] | None:
        """Return a training's report like `recall`, and a lock that protects the encoder from `gc` while it lives."""
        path = self.path(cache_key)
        held = hold(path / ABOUT)
        there = self.mirror is not None and self.mirror.has(f"{path.name}/{ABOUT}")
        if not path.is_dir():
            if self.mirror is None or not there:
                return None
            held = self._fetch(self.mirror, path.name)
        damage = _check(path)
        if damage and not path.is_dir():
            return None  # it was deleted while being read
        if damage:
            raise HengyuError(f"{damage.path}: {damage.reason}")
        note_use(path / ABOUT)
        if not there:
            self._send(path)
        if held is None or not held.names(path / ABOUT):  # another process has stored it
            held = hold(path / ABOUT)
        return None if held is None else (_about(path)["report"], held)

    def _fetch(self, mirror: Mirror, name: str) -> Held | None:
        """Fetch a remote encoder, the files that it lists; raises `HengyuError` if it is incomplete."""
        away = mirror.below(name)
        with temporary_dir(self.root) as around:
            draft = around / name
            away.fetch([ABOUT], draft)
            names = _about(draft).get("sha256")
            parts = [part for n in names for part in n.split("/")] if isinstance(names, dict) else [""]
            if not all(re.match(NAME, part) for part in parts):
                raise HengyuError(f"{away.url}/{ABOUT}: is unreadable, or of another encoder")
            away.fetch(sorted(names or ()), draft)
            damage = _check(draft)
            if damage:
                raise HengyuError(f"{away.url}/{damage.path.relative_to(draft).as_posix()}: {damage.reason}")
            held = hold(draft / ABOUT)
            _place(draft, self.root / name)
        return held

    def _send(self, path: Path) -> None:
        if self.mirror is not None:
            names = sorted(p.relative_to(path).as_posix() for p in _files(path))
            self.mirror.below(path.name).send(path, sorted(names, key=lambda n: n == ABOUT))

    def keep(self, cache_key: Mapping[str, Any], report: Mapping[str, Any], draft: Path) -> Held | None:
        """Move a draft folder to its place; an intact one that another process has stored meanwhile is kept.

        Returns a lock that protects it from `gc` while it lives; None if another process has deleted it already.
        """
        files = sorted(p for p in draft.rglob("*") if p.is_file())
        sums = {p.relative_to(draft).as_posix(): sha256_of(p) for p in files}
        about = {"meaning": dict(cache_key), "report": dict(report), "sha256": sums}
        write_json(draft / ABOUT, {**about, "digest": digest(about)})
        path = self.path(cache_key)
        held = hold(draft / ABOUT)
        _place(draft, path)
        if held is None or not held.names(path / ABOUT):
            held = hold(path / ABOUT)
        self._send(path)
        return held

    def verify(self) -> list[Damage]:
        """Check every file against its checksum and return the damaged ones."""
        return [damage for path in self.folders() if (damage := _check(path))]

    def repair(self) -> list[Damage]:
        """Delete damaged encoders; the next run trains them again."""
        found = self.verify()
        for damage in found:
            shutil.rmtree(self.root / damage.path.relative_to(self.root).parts[0])
        return found

    def gc(self, days: float = 90.0, spared: Callable[[Path], object] = lambda path: None) -> int:
        """Delete drafts of killed runs, and encoders that were not used for ``days``; return the bytes freed.

        An encoder that a running process uses is kept, whatever its age; ``spared`` is called with each folder that would
        have been deleted. Raises `HengyuError` if ``days`` is negative or not finite.
        """
        longest, now = in_seconds(days), time.time()
        freed = sum(map(delete, leftovers(self.root)))
        freed += sum(delete(p) for p in self.root.glob(".draft-*") if now - changed_at(p) > _STALE_SECONDS)
        for path in self.folders():
            if not time.time() - max(changed_at(p) for p in (path, path / ABOUT) if p.exists() or p == path) > longest:
                continue
            with unused(path / ABOUT) as free:
                freed += delete(path) if free else 0
            if not free:
                spared(path)
        return freed


def _place(draft: Path, path: Path) -> None:
    """Rename a draft to its place; an intact one that another process has stored meanwhile is kept."""
    if path.exists() and _check(path):
        shutil.rmtree(path)
    try:
        draft.rename(path)
    except OSError:
        if not path.exists():
            raise
        shutil.rmtree(draft)


class _About(Struct):
    """hengyu.json of a tuned encoder."""

    cache_key: dict[str, Any] = msgspec_field(name="meaning")
    report: dict[str, Any]
    sha256: dict[str, str]  # of its files
    digest: str  # of all that it says beside


def _about(path: Path) -> dict[str, Any]:
    return find_json(path / ABOUT, dict[str, Any]) or {}


def _check(path: Path) -> Damage | None:
    """Return the first damage of a folder's files, by their checksums."""
    about = _about(path)
    try:
        head = shaped(about, _About)
    except ValueError:
        head = None
    if head is None or TunedStore(path.parent).path(head.cache_key) != path:
        return Damage(path / ABOUT, "is missing, unreadable, or of another encoder")
    if head.digest != _own_digest(about):
        return Damage(path / ABOUT, "has changed since it was written (its own digest differs)")
    for file in sorted(_files(path)):
        name = file.relative_to(path).as_posix()
        if name not in head.sha256 and name != ABOUT and not file.name.startswith("."):
            return Damage(file, "was not written with the encoder, and could change its vectors")
    for name, expected in head.sha256.items():
        try:
            if sha256_of(path / name) != expected:
                return Damage(path / name, "has changed since it was written (its sha256 differs)")
        except OSError as e:
            return Damage(path / name, f"cannot be read ({e.strerror or e})")
    return None


def _own_digest(about: Mapping[str, Any]) -> str:
    """Return the digest of the content of hengyu.json, without that digest."""
    return digest({key: value for key, value in about.items() if key != "digest"})


def _files(path: Path) -> Iterator[Path]:
    yield from (f for f in path.rglob("*") if f.is_file())
