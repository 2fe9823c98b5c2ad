"""The ``/embeddings`` call of an OpenAI-compatible API: one request, its retries, and every check of the response."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from hengyu import __version__
from hengyu.base.errors import HengyuError, first_line

if TYPE_CHECKING:
    import httpx2

__all__ = ["Address", "Endpoint", "Refused", "find_address"]

Vectors = NDArray[np.float32]
_sleep = time.sleep  # a name of its own, so that tests need not wait

_TRIES = 6
_TRIES_UNSEEN = 3  # of a server that has not answered once
_LONGEST_WAIT = 300.0  # seconds that a server may ask to wait
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_SPENT = ("insufficient_quota", "arrearage", "insufficient_balance", "billing")  # a 429 that waiting does not mend
_SHOWN = 300  # characters of what a server says
_MARGIN = 4 << 20  # bytes of a response beside its vectors
_PER_TEXT = 1 << 20  # bytes of a vector, as JSON
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True)
class Address:
    """Where an API is."""

    url: str  # of the call, with its scheme
    name: str  # host, port and path, without the call's own part: what identifies it
    encrypted: bool
    loopback: bool


class Refused(Exception):
    """The server does not take a request as it is (HTTP 400, 413 or 422); a smaller or another one may pass."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}: {said}" if said else f"HTTP {status}")
        self.said = said

    def smaller(self, count: int) -> int:
        """Return how many texts to send instead of ``count``: the limit that the server names, else half."""
        named = [int(n) for n in re.findall(r"(?<![\d.])\d{1,5}(?!\.?\d)", self.said) if 1 <= int(n) < count]
        about_size = re.search(r"batch|size|array|maximum|larger|too many|条|批", self.said, re.IGNORECASE)
        return max(named) if named and about_size else max(1, count // 2)


class _Again(Exception):
    """Nothing is wrong with the request: it may pass at another time."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def find_address(text: str, where: str) -> Address:
    """Return the address of an API given by its base URL; raises `HengyuError` for anything else.

    A URL with a user name, a password or a query is refused: these hold keys, and the address goes into records.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or any(c.isspace() or not c.isprintable() for c in text.strip())
    ):
        raise HengyuError(f"{where}: api must be an http or https URL, like https://example.com/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise HengyuError(
            f"{where}: the URL in api must not hold a user name, password, query or fragment, since it goes into records; "
            "name the key's environment variable with key_env"
        )
    path = parts.path.rstrip("/").removesuffix("/embeddings").rstrip("/")
    shown = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        shown += f":{port}"
    name = shown + path
    return Address(f"{parts.scheme}://{name}/embeddings", name, parts.scheme == "https", _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass
class Endpoint:
    """One model behind an API, and what was sent to it so far.

    Attributes:
        where: how messages name the encoder.
        say: takes a line that the user should see now.
        sleep: waits so many seconds.
        width: of the vectors; 0 until the first response.
        texts, requests, tokens: answered so far; the server counts the tokens.
    """

    where: str
    address: Address
    model: str
    key_env: str = ""
    dimensions: int = 0
    encoding_format: str = "float"
    requests_per_minute: float = 0.0
    timeout: float = 60.0
    offline: bool = False
    key_over_http: bool = False
    say: Callable[[str], None] = lambda line: None
    sleep: Callable[[float], None] = field(default_factory=lambda: _sleep)
    width: int = 0
    texts: int = 0
    requests: int = 0
    tokens: int = 0
    _next: float = 0.0  # when the next request may be sent, on the monotonic clock
    _client: httpx2.Client | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.key_env and not _ENV_NAME.fullmatch(self.key_env):
            # what was given may be the key itself, and is not shown
            raise HengyuError(
                f"{self.where}: key_env must be the name of an environment variable in capitals, like DASHSCOPE_API_KEY; "
                "never write the key itself into a file or a command"
            )

    @cached_property
    def key(self) -> str:
        """The key; "" where none is named. Raises `HengyuError` when it is missing, malformed or would be sent in the clear."""
        if not self.key_env:
            return ""
        found = os.environ.get(self.key_env, "").strip()
        if not found:
            raise HengyuError(
                f"{self.where}: the environment variable {self.key_env} is not set; put the API key in it"
            )
        if not all("!" <= c <= "~" for c in found):
            raise HengyuError(
                f"{self.where}: the key in {self.key_env} holds a space or a character that is not ASCII; set it to the key alone"
            )
        if not (self.address.encrypted or self.address.loopback or self.key_over_http):
            raise HengyuError(
                f"{self.where}: the key in {self.key_env} would be sent unencrypted to {self.address.name}; use https, or allow it "
                "with --key-over-http"
            )
        return found

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Return the vectors (n, d) of n texts and the tokens that the server counted, after as many tries as it takes.

        Raises `Refused` for a request that the server does not take as it is, and `HengyuError` for everything else.
        """
        tries = 0
        while True:
            try:
                vectors, tokens = self._once(texts)
            except _Again as e:
                tries += 1
                if tries >= (_TRIES if self.requests else _TRIES_UNSEEN):
                    raise HengyuError(
                        f"{self.where}: {self.address.name}: {e} ({tries} tries); what was encoded is kept, run the same "
                        "command again when the server answers"
                    ) from None
                wait = e.wait if e.wait is not None else 2.0 ** (tries - 1) * random.uniform(1.0, 1.25)
                if wait > _LONGEST_WAIT:
                    raise HengyuError(
                        f"{self.where}: {self.address.name}: {e}, and asks to wait {wait:,.0f} s; what was encoded is kept, run "
                        "the same command again after that"
                    ) from None
                self.say(f"{self.where}: {e}; trying again in {wait:.0f} s")
                self.sleep(wait)
                continue
            self.texts, self.requests, self.tokens = self.texts + len(texts), self.requests + 1, self.tokens + tokens
            return vectors, tokens

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _once(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        status, headers, body = self._post(texts)
        if status == 200:
            return self._read(body, headers.get("content-type", ""), len(texts))
        said = self._said(body)
        if status in _AGAIN and not any(word in said.lower() for word in _SPENT):
            raise _Again(f"HTTP {status}" + (f": {said}" if said else ""), _wait(headers.get("retry-after", "")))
        if status in (400, 413, 422):
            raise Refused(status, said)
        at = f"{self.where}: {self.address.name}"
        about = f"HTTP {status}" + (f": {said}" if said else "")
        if status in (401, 403) and not self.key_env:
            raise HengyuError(f"{at} wants a key ({about}); name its environment variable with key_env (--key-env)")
        if status in (401, 403):
            raise HengyuError(
                f"{at} does not accept the key in {self.key_env} ({about}); check the key and what it may use"
            )
        if status == 404:
            raise HengyuError(
                f"{at} has no such model or no /embeddings ({about}); check model '{self.model}' and api, which usually ends in /v1"
            )
        if 300 <= status < 400:
            target = urlsplit(headers.get("location", ""))
            to = f" to {target.scheme}://{target.hostname}{target.path}" if target.hostname else ""
            raise HengyuError(
                f"{at} redirects{to} (HTTP {status}), and no text or key is sent there; give that address as api"
            )
        raise HengyuError(f"{at} answers {about}; check the account, model '{self.model}' and api")

    def _post(self, texts: Sequence[str]) -> tuple[int, httpx2.Headers, bytes]:
        """Send one request; returns status, headers and body, which is bounded in bytes and seconds."""
        import httpx2

        key = self.key
        if self.offline and not self.address.loopback:
            raise HengyuError(
                f"{self.where}: the vector store lacks texts, and --offline forbids sending them to another machine; "
                "leave --offline out"
            )
        self._pace()
        request: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if self.dimensions:
            request["dimensions"] = self.dimensions
        if self.encoding_format != "float":
            request["encoding_format"] = self.encoding_format
        headers = {"Content-Type": "application/json", "User-Agent": f"hengyu/{__version__}"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if self._client is None:
            # a proxy from the environment would carry what is meant for this machine elsewhere
            self._client = httpx2.Client(timeout=self.timeout, trust_env=not self.address.loopback)
        end, limit = time.monotonic() + self.timeout, _MARGIN + len(texts) * _PER_TEXT
        parts: list[bytes] = []
        size = 0
        try:
            with self._client.stream(
                "POST", self.address.url, content=json.dumps(request), headers=headers
            ) as response:
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > limit:
                        raise HengyuError(
                            f"{self.where}: {self.address.name} answers {len(texts)} texts with more than {limit >> 20} MiB; "
                            "check that it is an embeddings API"
                        )
                    if time.monotonic() > end:
                        raise _Again(f"no whole response within {self.timeout:g} s")
                return response.status_code, response.headers, b"".join(parts)
        except httpx2.TimeoutException:
            raise _Again(f"no response within {self.timeout:g} s") from None
        except httpx2.DecodingError as e:
            raise _Again(f"a response that cannot be unpacked ({self._clean(first_line(e))})") from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as e:
            raise HengyuError(f"{self.where}: {self._clean(first_line(e))}; check api") from None
        except httpx2.TransportError as e:
            said = self._clean(first_line(e))
            if "CERTIFICATE" in said.upper():
                raise HengyuError(
                    f"{self.where}: the certificate of {self.address.name} cannot be verified ({said}); name the authority's "
                    "file in SSL_CERT_FILE"
                ) from None
            raise _Again(
                f"cannot be reached ({said})" if isinstance(e, httpx2.ConnectError) else f"connection lost ({said})"
            ) from None

    def _pace(self) -> None:
        """Wait until the next request may be sent."""
        if self.requests_per_minute:
            now = time.monotonic()
            if self._next > now:
                self.sleep(self._next - now)
            self._next = max(self._next, now) + 60.0 / self.requests_per_minute

    def _read(self, body: bytes, kind: str, count: int) -> tuple[Vectors, int]:
        """Return the vectors and tokens of a response to ``count`` texts."""
        at = f"{self.where}: {self.address.name}"
        if not body.strip():
            raise _Again("an empty response")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            if "html" in kind or body.lstrip()[:1] == b"<":
                raise HengyuError(
                    f"{at} answers with a web page, not JSON; check api, which usually ends in /v1"
                ) from None
            raise _Again("a response that is not JSON, or cut short") from None
        data = found.get("data") if isinstance(found, dict) else None
        if not isinstance(data, list):
            said = self._said(body)
            raise HengyuError(
                f"{at} answers without vectors{f' ({said})' if said else ''}; check api and model '{self.model}'"
            )
        if len(data) != count:
            raise HengyuError(
                f"{at} answers {count} texts with {len(data)} vectors; it does not work as an embeddings API must"
            )
        rows: list[Vectors | None] = [None] * count
        for number, item in enumerate(data):
            place = item.get("index", number) if isinstance(item, dict) else None
            if type(place) is not int or not 0 <= place < count or rows[place] is not None:
                raise HengyuError(
                    f"{at} numbers its vectors wrongly: index must be each of 0..{count - 1} once; it does not work as an "
                    "embeddings API must"
                )
            rows[place] = self._vector(item.get("embedding"), at)
        vectors = [row for row in rows if row is not None]
        for row in vectors:
            wanted = self.dimensions or self.width or len(row)
            if len(row) != wanted:
                why = "asked for with dimensions" if self.dimensions else "that came before"
                remedy = (
                    "leave dimensions out, or give a width that the model has"
                    if self.dimensions
                    else "check the server"
                )
                raise HengyuError(f"{at} answers with {len(row)} numbers a vector, not the {wanted} {why}; {remedy}")
            self.width = wanted
        usage = found.get("usage")
        counts = [usage.get(k) for k in ("total_tokens", "prompt_tokens")] if isinstance(usage, dict) else []
        return np.stack(vectors), next((n for n in counts if type(n) is int and 0 <= n < 1 << 40), 0)

    def _vector(self, given: Any, at: str) -> Vectors:
        """Return a vector (d,) given as numbers, or as base64 of little-endian float32."""
        row: Vectors
        try:
            if isinstance(given, str):
                row = np.frombuffer(base64.b64decode(given, validate=True), "<f4").astype(np.float32)
            elif isinstance(given, list) and all(type(v) in (int, float) for v in given):
                with np.errstate(over="ignore"):
                    row = np.asarray(given, np.float64).astype(np.float32)
            else:
                raise ValueError
        except (ValueError, OverflowError, binascii.Error):
            raise HengyuError(
                f"{at} answers with a vector that is no list of numbers; check the model and encoding_format"
            ) from None
        if not len(row):
            raise HengyuError(f"{at} answers with an empty vector; check that '{self.model}' is an embedding model")
        if not np.isfinite(row).all():
            raise HengyuError(
                f"{at} answers with a vector that is not finite; the model is broken there, try another precision"
            )
        return row

    def _said(self, body: bytes) -> str:
        """Return what a server says of an error, shortened, and without the key if it repeats that."""
        text = body[: 1 << 16].decode("utf-8", "replace")
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            found = "" if text.lstrip().startswith("<") else text
        for name in ("error", "message", "detail"):
            if isinstance(found, dict) and found.get(name):
                code = found.get("code") or found.get("type")
                found = found[name]
                if isinstance(found, str) and isinstance(code, str) and code not in found:
                    found = f"{found} [{code}]"
        if isinstance(found, dict):
            found = found.get("message") or found.get("code") or ""
        return self._clean(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False))

    def _clean(self, text: str) -> str:
        """Return a text in one line of bounded length that holds no longer part of the key, from either end."""
        key = self.__dict__.get("key", "")
        for length in range(len(key), 5, -1):
            text = text.replace(key[:length], "***").replace(key[-length:], "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _wait(given: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as a number or a date; None without one."""
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(given)
    except (ValueError, TypeError):
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
