"""A folder elsewhere (s3://, gs://, sftp://, whatever fsspec knows) that a local one stands for.

Everything that is kept there is written once, and never changes: what is there and not here is fetched, what is here and not
there is sent. The file that says that a part is whole comes last.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean, first_line
from hengyu.base.json_files import NAME

__all__ = ["Mirror", "Unreachable", "drafted", "is_url", "local_of"]

# what has no folders: making one there would make a bucket, out of a name that may be a slip
_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci"}


class Unreachable(HengyuError):
    """What is elsewhere cannot be read or written now; nothing is wrong with what is kept there."""


@contextmanager
def drafted(folder: Path) -> Iterator[Path]:
    """Yield a new folder in a folder, for what is fetched and not checked yet; it is deleted at the end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".draft-") as draft:
            yield Path(draft)
    except OSError as e:
        raise HengyuError(
            f"{folder}: cannot be written ({e.strerror or e}); make room, what was stored before is kept"
        ) from None


def is_url(place: str) -> bool:
    """Tell a URL from a path."""
    return "://" in place


def local_of(url: str, cache: Path) -> Path:
    """Return the folder below the cache of this machine that stands for a URL."""
    return cache / "mirrors" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Mirror:
    """A folder by its URL."""

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def below(self, *names: str) -> Mirror:
        """Return a folder in it."""
        return Mirror("/".join((self.url, *names)))

    @cached_property
    def _open(self) -> tuple[Any, str]:
        """The file system and the path in it; raises `HengyuError` for one that is unknown, or whose driver is missing."""
        import fsspec
        from fsspec.registry import known_implementations

        protocol = self.url.partition("://")[0]
        try:
            found: tuple[Any, str] = fsspec.url_to_fs(self.url)
        except ImportError as e:
            about = known_implementations.get(protocol, {}).get("err") or first_line(e)
            raise HengyuError(f"{self.url}: its driver is missing here ({about}); install it with pip") from None
        except Exception as e:
            known = did_you_mean(protocol, known_implementations)
            if protocol in known_implementations:
                raise HengyuError(f"{self.url}: cannot be reached ({first_line(e)[:200]}); check the address") from None
            raise HengyuError(f"{self.url}: '{protocol}' is no kind of place that fsspec knows{known}") from None
        return found

    def files(self) -> set[str]:
        """Return the files below it, as paths with "/"; those whose names no file of ours has are left out."""
        fs, root = self._open
        try:
            fs.invalidate_cache()
            found = fs.find(root) if fs.exists(root) else []
        except FileNotFoundError:
            return set()
        except Exception as e:
            raise self._lost("read", "", e) from None
        names = (str(path).removeprefix(root).lstrip("/") for path in found)
        return {name for name in names if all(re.match(NAME, part) for part in name.split("/"))}

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        fs, root = self._open
        try:
            fs.invalidate_cache()
            return bool(fs.isfile(f"{root}/{name}"))
        except Exception as e:
            raise self._lost("read", name, e) from None

    def remove(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it; one that is gone already is no mistake."""
        fs, root = self._open
        try:
            fs.invalidate_cache()
            if fs.exists(f"{root}/{name}"):
                fs.rm(f"{root}/{name}", recursive=True)
        except Exception as e:
            raise self._lost("deleted", name, e) from None

    def fetch(self, names: Iterable[str], folder: Path) -> None:
        """Get files of it into a folder."""
        fs, root = self._open
        for name in names:
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                fs.get_file(f"{root}/{name}", str(target))
            except Exception as e:
                raise self._lost("read", name, e) from None

    def send(self, folder: Path, names: Sequence[str]) -> None:
        """Put files of a folder there, in this order; raises `HengyuError` when one cannot be sent."""
        fs, root = self._open
        for name in names:
            try:
                target = f"{root}/{name}"
                if not _BUCKETS & {fs.protocol, *fs.protocol}:
                    fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                fs.put_file(str(folder / name), target)
            except Exception as e:
                raise self._lost("written", name, e) from None

    def exchange(self, folder: Path, below: str) -> None:
        """Fetch the files of one folder in it that are there and not here, and send those that are here and not there."""
        there = {name for name in self.files() if name.startswith(f"{below}/")}
        here = {f"{below}/{path.name}" for path in folder.glob(f"{below}/*") if re.match(NAME, path.name)}
        with drafted(folder) as draft:
            for name in sorted(there - here):
                self.fetch([name], draft)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (draft / name).replace(folder / name)
        self.send(folder, sorted(here - there))

    def _lost(self, what: str, name: str, error: Exception) -> HengyuError:
        kind = HengyuError if isinstance(error, FileNotFoundError) else Unreachable
        return kind(
            f"{self.url}/{name}: cannot be {what} ({first_line(error)[:200]}); check the network and your rights there, what "
            "was finished is kept on this machine, and the same command goes on from there"
        )
