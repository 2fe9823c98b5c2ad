"""Files at a URL: downloads a card's split, resumes a partial download, and checks the sha256 that the card pins."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hengyu.base.bounded import DATA, sha256_of, size_words
from hengyu.base.errors import HengyuError, first_line
from hengyu.base.version import __version__
from hengyu.cards.remote import Unreachable

if TYPE_CHECKING:
    import httpx2

__all__ = ["MIRRORS", "addresses", "download", "fetch_document", "url_fault"]

MIRRORS = "HENGYU_MIRRORS"
"""The environment variable with mirrors: pairs PREFIX=MIRROR, separated by spaces."""

_sleep = time.sleep  # a separate name, so that tests need not wait
_TRIES = 4  # for a connection that breaks off
_WAIT = 1.0  # seconds before the second try; doubled each time
_TIMEOUT = 30.0  # seconds without a byte
_BRANCHES = re.compile(r"https://(?:raw\.githubusercontent\.com/[^/]+/[^/]+|github\.com/[^/]+/[^/]+/raw)/([^/]+)/.+")


@dataclass(frozen=True)
class _Terms:
    """The most bytes that a file may have, what to do about a refusal, and whether what came of it is kept."""

    largest: int = DATA
    remedy: str = "check the card's url"
    kept: bool = True


_FILE = _Terms()  # of a card


class _Missing(HengyuError):
    """The server says that there is no such file."""


class _Broken(Exception):
    """A connection that broke off, or a server that asks to come back later."""


def url_fault(url: str) -> str:
    """Return why a card cannot name a URL, to follow the key in a sentence; "" if it can."""
    if not re.fullmatch(r"https?://[^\s/?#]+/\S+", url):
        return "must be the http(s) address of a file"
    branch = _BRANCHES.fullmatch(url)
    if branch and not re.fullmatch(r"[0-9a-f]{40}", branch[1]):
        return f"names the branch or tag '{branch[1]}', which can move; name a commit, 40 hex digits"
    return ""


def addresses(url: str) -> list[str]:
    """Return where a URL is tried, in order: at the mirrors that fit, then at the URL itself; raises `HengyuError`."""
    found = []
    for pair in os.environ.get(MIRRORS, "").split():
        prefix, equals, mirror = pair.partition("=")
        if not equals or not re.match(r"https?://.", prefix) or not re.match(r"https?://.", mirror):
            raise HengyuError(
                f"{MIRRORS}: '{pair}' is not PREFIX=MIRROR, two addresses, like "
                "https://raw.githubusercontent.com/=https://mirror.example/; separate several with spaces"
            )
        if url.startswith(prefix):
            found.append(mirror + url.removeprefix(prefix))
    return [*found, url]


def download(url: str, sha256: str, path: Path, task: str, pinned_in: Path, say: Callable[[str], None]) -> None:
    """Download a file, unless it is there already, and go on from what an earlier try left.

    Args:
        url: the address; mirrors of it are tried first (`addresses`).
        sha256: the digest that the file must have.
        path: where it is put once it is checked; the unfinished file lies beside it.
        task: its name in messages.
        pinned_in: the card, which messages name.
        say: shows a line to the user.

    Raises:
        Unreachable: no address could be reached.
        HengyuError: the server refused, or the file is not the one that the card pins.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise _unwritable(path.parent, e) from None
    failures: list[HengyuError] = []
    for address in addresses(url):
        try:
            resumed = _fetch(address, part, task, say)
            digest = sha256_of(part)
            if digest != sha256 and resumed:  # the earlier part was of something else
                part.unlink()
                _fetch(address, part, task, say)
                digest = sha256_of(part)
        except OSError as e:
            raise _unwritable(part, e) from None
        except HengyuError as e:
            failures.append(e)
            continue
        if digest == sha256:
            part.replace(path)
            return
        part.unlink()
        failures.append(
            HengyuError(
                f"{task}: {address}: the sha256 is {digest}, but {pinned_in} pins {sha256}; try again, and find out why it "
                "changed before you correct the card"
            )
        )
    raise failures[-1]


def fetch_document(url: str, path: Path, name: str, say: Callable[[str], None], largest: int) -> bool:
    """Download a document that no digest pins, like one at a commit, and return whether there is one.

    Args:
        url: the address; mirrors of it are tried first (`addresses`), and the first that knows of it or not decides.
        path: where it is put; nothing is there before, nor after a failure.
        name: its name in messages.
        say: shows a line to the user.
        largest: the most bytes that it may have.

    Raises:
        Unreachable: no address could be reached.
        HengyuError: the server refused, or the document is too large.
    """
    terms = _Terms(largest, "check the address", kept=False)
    failures: list[HengyuError] = []
    for address in addresses(url):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(address, path, name, say, terms)
            return True
        except OSError as e:
            raise HengyuError(f"{path}: cannot be written ({e.strerror or e}); free some space") from None
        except _Missing:  # of a mirror too: whoever needs one cannot ask further
            return False
        except HengyuError as e:
            path.unlink(missing_ok=True)
            failures.append(e)
    raise failures[-1]


def _unwritable(path: Path, error: OSError) -> HengyuError:
    return HengyuError(
        f"{path}: cannot be written ({error.strerror or error}); free some space or set HENGYU_CACHE to another folder; what "
        "was downloaded is kept"
    )


def _fetch(address: str, part: Path, task: str, say: Callable[[str], None], terms: _Terms = _FILE) -> bool:
    """Download an address to a file, and return whether an earlier part of it was kept; retries broken connections."""
    import httpx2

    resumed = False
    for tried in range(_TRIES):
        have = part.stat().st_size if part.exists() else 0
        if have:
            say(f"{task}: going on after {have:,} bytes")
        try:
            return _stream(address, part, have, task, terms) or resumed
        except (_Broken, httpx2.TransportError) as e:
            resumed = resumed or bool(have)
            if tried + 1 == _TRIES:
                kept = "what was downloaded is kept, and the same command continues from there"
                kept = kept if have and terms.kept else ""
                raise Unreachable(
                    f"{task}: {address} cannot be reached or breaks off ({type(e).__name__.lstrip('_')}: "
                    f"{first_line(e)[:160]}); check the network, or name a mirror in {MIRRORS}" + (kept and f"; {kept}")
                ) from None
        except (httpx2.InvalidURL, httpx2.HTTPError) as e:
            raise HengyuError(f"{task}: {address} cannot be fetched ({first_line(e)[:160]}); {terms.remedy}") from None
        _sleep(_WAIT * 2**tried)
    raise AssertionError("unreachable")


def _stream(address: str, part: Path, have: int, task: str, terms: _Terms) -> bool:
    """Ask for a file from byte ``have`` on, and write what comes; return whether the server went on from there."""
    import httpx2

    headers = {"User-Agent": f"hengyu/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with httpx2.stream("GET", address, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as answer:
        if answer.status_code == 416 and have:  # nothing is missing, or the part is of another file
            return True
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise _Broken(f"HTTP {answer.status_code} {answer.reason_phrase}")
        if answer.status_code not in (200, 206):
            kind = _Missing if answer.status_code == 404 else HengyuError
            raise kind(
                f"{task}: {address} answers HTTP {answer.status_code} {answer.reason_phrase}; {terms.remedy}, or name a mirror in "
                f"{MIRRORS}"
            )
        onward = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status_code == 206 and not onward:
            part.unlink(missing_ok=True)
            raise _Broken("it sent other bytes than those asked for")
        _write(answer, part, have if onward else 0, f"{task}: {address}", terms)
        return bool(have and onward)


def _write(answer: httpx2.Response, part: Path, have: int, where: str, terms: _Terms) -> None:
    """Write a response after the first ``have`` bytes of a file; raises `_Broken` if it ends early."""
    size = have
    with part.open("ab" if have else "wb") as file:
        for block in answer.iter_raw():
            size += len(block)
            if size > terms.largest:
                raise HengyuError(f"{where}: is larger than {size_words(terms.largest)}; {terms.remedy}")
            file.write(block)
    expected = answer.headers.get("Content-Length", "")
    if expected.isdecimal() and size - have < int(expected):
        raise _Broken(f"{size - have:,} of {int(expected):,} bytes came")
