"""Checks a remote store against its checksums: parts are fetched one by one, and damaged ones deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hengyu.base.remote import Mirror, temporary_dir
from hengyu.storage.fits import FitStore
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore

__all__ = ["RemoteDamage", "damaged_elsewhere"]


@dataclass(frozen=True)
class RemoteDamage:
    """A damaged part of a remote folder: a segment, a fit, or a fine-tuned encoder."""

    mirror: Mirror
    part: str
    reason: str

    @property
    def url(self) -> str:
        """Its URL."""
        return f"{self.mirror.url}/{self.part}"

    def delete(self) -> None:
        """Delete the remote copy; an intact local one is sent again by the next run that uses it."""
        self.mirror.remove(self.part)


def damaged_elsewhere(vectors: VectorStore, fits: FitStore, tuned: TunedStore, scratch: Path) -> Iterator[RemoteDamage]:
    """Fetch every part of the remote folders of three stores, one at a time, and yield the damaged ones.

    Incomplete parts, whose last file is still missing, are not damage.
    """
    if vectors.mirror is not None:
        files = vectors.mirror.files()
        for name in sorted(n for n in files if n.endswith("/sums.json") and n.count("/") == 2):
            yield from _held(vectors.mirror, name.removesuffix("/sums.json"), files, scratch, "")
    if fits.mirror is not None:
        for name in sorted(n for n in fits.mirror.files() if n.endswith(".safetensors") and "/" not in n):
            yield from _held(fits.mirror, name, {name}, scratch, "fits")
    if tuned.mirror is not None:
        files = tuned.mirror.files()
        for name in sorted(n.partition("/")[0] for n in files if n.endswith("/hengyu.json") and n.count("/") == 1):
            yield from _held(tuned.mirror, name, files, scratch, "tuned")


def _held(mirror: Mirror, part: str, files: set[str], scratch: Path, kind: str) -> Iterator[RemoteDamage]:
    with temporary_dir(scratch) as own:
        mirror.fetch(sorted(n for n in files if n == part or n.startswith(f"{part}/")), own)
        stores = {"": VectorStore(own).damaged_segments, "fits": FitStore(own).verify, "tuned": TunedStore(own).verify}
        for damage in stores[kind]():
            where = damage.path.relative_to(own / part).as_posix() if damage.path != own / part else ""
            yield RemoteDamage(mirror, part, f"{where} {damage.reason}".strip())
