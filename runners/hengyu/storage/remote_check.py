"""What is kept elsewhere, held against its checksums: fetched part by part, and deleted there where it is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hengyu.base.remote import Mirror, drafted
from hengyu.storage.fits import FitStore
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore

__all__ = ["RemoteDamage", "damaged_elsewhere"]


@dataclass(frozen=True)
class RemoteDamage:
    """A part of a folder elsewhere that is not as it was written: a segment, a fit, or a tuned encoder."""

    mirror: Mirror
    part: str
    reason: str

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.mirror.url}/{self.part}"

    def delete(self) -> None:
        """Delete it there; what is whole on this machine is sent anew by the next run that uses it."""
        self.mirror.remove(self.part)


def damaged_elsewhere(vectors: VectorStore, fits: FitStore, tuned: TunedStore, scratch: Path) -> Iterator[RemoteDamage]:
    """Fetch every part of what three stores stand for into a folder, one at a time, and yield those that are damaged.

    What is still on its way, whose mark of the whole is missing, is no damage.
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
    with drafted(scratch) as own:
        mirror.fetch(sorted(n for n in files if n == part or n.startswith(f"{part}/")), own)
        stores = {"": VectorStore(own).damaged_segments, "fits": FitStore(own).verify, "tuned": TunedStore(own).verify}
        for damage in stores[kind]():
            where = damage.path.relative_to(own / part).as_posix() if damage.path != own / part else ""
            yield RemoteDamage(mirror, part, f"{where} {damage.reason}".strip())
