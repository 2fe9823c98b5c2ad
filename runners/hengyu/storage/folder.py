"""A store: a folder of the cache, which may mirror a URL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from hengyu.base.paths import cache_dir, cache_mirror, local
from hengyu.base.remote import Mirror

__all__ = ["StoreFolder"]


@dataclass(frozen=True)
class StoreFolder:
    """A folder of stored things, which may mirror a remote one."""

    root: Path
    mirror: Mirror | None = None

    kind: ClassVar[str]  # its name in the cache

    @classmethod
    def default(cls) -> Self:
        """Return the store in the user's cache."""
        return cls(cache_dir() / cls.kind, cache_mirror(cls.kind))

    @classmethod
    def below(cls, mirror: Mirror) -> Self:
        """Return the store below a remote folder, under its name in the cache."""
        own = mirror.below(cls.kind)
        return cls(local(own.url), own)

    def absolute(self) -> Self:
        """Return the same store with an absolute path, for other processes."""
        return type(self)(self.root.absolute(), self.mirror)
