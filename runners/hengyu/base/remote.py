"""A remote folder (s3://, gs://, sftp://, whatever fsspec knows) that a local folder mirrors.

Files there are written once and never change: those missing here are fetched, those missing there are sent. The file that
marks a part as complete is sent last.
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

__all__ = ["Mirror", "Unreachable", "temporary_dir", "is_url", "local_of"]

# no folders there: creating one would create a bucket, perhaps from a mistyped name
_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci"}


class Unreachable(HengyuError):
    """The remote folder cannot be read or written now; its content is not at fault."""


@contextmanager
def temporary_dir(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder in ``folder`` for fetched, unchecked files; it is deleted at the end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".draft-") as draft:
            yield Path(draft)
    except OSError as e:
        raise HengyuError(
            f"{folder}: cannot be written ({e.strerror or e}); free some space; what was stored before is kept"
        ) from None


def is_url(place: str) -> bool:
    """Tell a URL from a path."""
    return "://" in place


def local_of(url: str, cache: Path) -> Path:
    """Return the folder in this machine's cache that mirrors a URL."""
    return cache / "mirrors" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Mirror:
    """A remote folder, by its URL."""

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def below(self, *names: str) -> Mirror:
        """Return a subfolder."""
        return Mirror("/".join((self.url, *names)))

    @cached_property
    def _open(self) -> tuple[Any, str]:
        """The file system and the path in it; raises `HengyuError` if it is unknown or its driver is missing."""
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
            raise HengyuError(f"{self.url}: '{protocol}' is not a protocol that fsspec knows{known}") from None
        return found

    def files(self) -> set[str]:
        """Return the files below it, as paths with "/"; foreign file names are left out."""
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
        """Whether a file exists."""
        fs, root = self._open
        try:
            fs.invalidate_cache()
            return bool(fs.isfile(f"{root}/{name}"))
        except Exception as e:
            raise self._lost("read", name, e) from None

    def remove(self, name: str) -> None:
        """Delete a file, or a folder with its content; it may be gone already."""
        fs, root = self._open
        try:
            fs.invalidate_cache()
            if fs.exists(f"{root}/{name}"):
                fs.rm(f"{root}/{name}", recursive=True)
        except Exception as e:
            raise self._lost("deleted", name, e) from None

    def fetch(self, names: Iterable[str], folder: Path) -> None:
        """Download files of it into a local folder."""
        fs, root = self._open
        for name in names:
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                fs.get_file(f"{root}/{name}", str(target))
            except Exception as e:
                raise self._lost("read", name, e) from None

    def send(self, folder: Path, names: Sequence[str]) -> None:
        """Upload files of a local folder, in this order; raises `HengyuError` if one cannot be sent."""
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
        """Fetch the files of a subfolder that are missing here, and send those that are missing there."""
        there = {name for name in self.files() if name.startswith(f"{below}/")}
        here = {f"{below}/{path.name}" for path in folder.glob(f"{below}/*") if re.match(NAME, path.name)}
        with temporary_dir(folder) as draft:
            for name in sorted(there - here):
                self.fetch([name], draft)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (draft / name).replace(folder / name)
        self.send(folder, sorted(here - there))

    def _lost(self, what: str, name: str, error: Exception) -> HengyuError:
        kind = HengyuError if isinstance(error, FileNotFoundError) else Unreachable
        return kind(
            f"{self.url}/{name}: cannot be {what} ({first_line(error)[:200]}); check the network and your permissions; what "
            "was finished is kept on this machine, and the same command continues from there"
        )
