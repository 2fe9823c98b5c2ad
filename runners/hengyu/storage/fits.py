"""Fitted states on disk: one checksummed file each, named by its cache key."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hengyu.base.errors import HengyuError
from hengyu.base.remote import Mirror, is_url, temporary_dir
from hengyu.storage.folder import StoreFolder
from hengyu.storage.in_use import in_seconds, note_use
from hengyu.storage.tensor_file import Tensors, load_sealed, read_sealed, save_sealed, sealed_path
from hengyu.storage.vectors import Damage

__all__ = ["FitStore"]


@dataclass(frozen=True)
class FitStore(StoreFolder):
    """Fitted states, one checksummed file each."""

    kind = "fits"

    @classmethod
    def at(cls, place: str | None) -> Self:
        """Return the store for a place of vectors: below a URL, or for a folder the one in the user's cache."""
        if not place or not is_url(place):
            return cls.default()
        return cls.below(Mirror(place))

    def recall(self, cache_key: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return (arrays, about) of a fit; None if not stored; raises `HengyuError` if its bytes have changed."""
        name = sealed_path(self.root, cache_key).name
        found = load_sealed(self.root, cache_key)
        note_use(self.root / name)
        if self.mirror is not None:
            there = self.mirror.has(name)
            if found is None and there:
                return self._fetch(self.mirror, name, cache_key)
            if found is not None and not there:
                self.mirror.send(self.root, [name])
        return found

    def keep(self, cache_key: Mapping[str, Any], tensors: Tensors, about: Mapping[str, Any]) -> None:
        """Save a fit locally and in the remote store; raises `HengyuError` if either fails."""
        path = save_sealed(self.root, cache_key, tensors, about)
        if self.mirror is not None:
            self.mirror.send(self.root, [path.name])

    def _fetch(self, mirror: Mirror, name: str, cache_key: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        with temporary_dir(self.root) as draft:
            mirror.fetch([name], draft)
            try:
                found = read_sealed(draft / name, cache_key)
            except HengyuError:
                raise HengyuError(f"{mirror.url}/{name}: has changed since it was written") from None
            (draft / name).replace(self.root / name)
        return found

    def files(self) -> list[Path]:
        """Return the files of all states, sorted."""
        return sorted(self.root.glob("*.safetensors"))

    def verify(self) -> list[Damage]:
        """Check every file against its checksum and return the damaged ones."""
        found = []
        for path in self.files():
            try:
                read_sealed(path)
            except HengyuError:
                found.append(Damage(path, "has changed since it was written (its sha256 differs)"))
        return found

    def repair(self) -> list[Damage]:
        """Delete the damaged files; the next run fits them again."""
        found = self.verify()
        for damage in found:
            try:
                damage.path.unlink(missing_ok=True)
            except OSError as e:
                raise HengyuError(f"{damage.path}: cannot be deleted ({e.strerror or e}); check permissions") from None
        return found

    def gc(self, days: float = 90.0, spared: Callable[[Path], object] = lambda path: None) -> int:
        """Delete states that were not used for ``days``; return the bytes freed.

        A state is read at once, so none is in use for longer than a moment, and ``spared`` is never called. Raises
        `HengyuError` if ``days`` is negative or not finite.
        """
        longest, freed = in_seconds(days), 0
        for path in self.files():
            with suppress(OSError):
                about = path.stat()
                if time.time() - about.st_mtime > longest:
                    path.unlink(missing_ok=True)
                    freed += about.st_size
        return freed
