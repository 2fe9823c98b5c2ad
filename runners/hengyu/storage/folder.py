"""What is kept between runs: a folder of the cache, or one that a URL stands behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from hengyu.base.paths import cache_dir, cache_mirror, local
from hengyu.base.remote import Mirror

__all__ = ["StoreFolder"]


@dataclass(frozen=True)
class StoreFolder:
    """A folder of what is kept, which may stand for one elsewhere."""

    root: Path
    mirror: Mirror | None = None

    kind: ClassVar[str]  # its name in the cache

    @classmethod
    def default(cls) -> Self:
        """Return the one in the user's cache."""
        return cls(cache_dir() / cls.kind, cache_mirror(cls.kind))

    @classmethod
    def below(cls, mirror: Mirror) -> Self:
        """Return the one that lies below a place elsewhere, under its name in the cache."""
        own = mirror.below(cls.kind)
        return cls(local(own.url), own)

    def absolute(self) -> Self:
        """Return the same, named so that every process finds it."""
        return type(self)(self.root.absolute(), self.mirror)
