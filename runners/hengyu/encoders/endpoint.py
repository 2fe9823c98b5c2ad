"""The ``/embeddings`` call of an OpenAI-compatible API: one request at a time, with its key, retries and pace."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, first_line
from hengyu.base.version import __version__
from hengyu.encoders.address import Address
from hengyu.encoders.response import Again, Refused, read_vectors, said, seconds_to_wait

if TYPE_CHECKING:
    import httpx2

__all__ = ["Endpoint"]

Vectors = NDArray[np.float32]
_sleep = time.sleep  # a separate name, so that tests need not wait

_TRIES = 6
_TRIES_UNSEEN = 3  # for a server that has never answered
_LONGEST_WAIT = 300.0  # longest wait, in seconds, that a server may ask for
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_SPENT = ("insufficient_quota", "arrearage", "insufficient_balance", "billing")  # a 429 for which waiting does not help
_SHOWN = 300  # characters shown of a server's message
_MARGIN = 4 << 20  # bytes of a response besides its vectors
_PER_TEXT = 1 << 20  # bytes of a vector, as JSON
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass
class Endpoint:
    """One model behind an API, with counts of what was sent to it.

    Attributes:
        where: the encoder's name in messages.
        say: shows a line to the user at once.
        sleep: waits for a number of seconds.
        width: width of the vectors; 0 until the first response.
        texts, requests, tokens: counts so far; the server counts the tokens.
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
            # the value may be the key itself, so it is not shown
            raise HengyuError(
                f"{self.where}: key_env must be the name of an environment variable in capitals, like DASHSCOPE_API_KEY; "
                "never write the key itself into a file or a command"
            )

    @cached_property
    def key(self) -> str:
        """The key; "" if none is named. Raises `HengyuError` if it is missing, malformed or would be sent unencrypted."""
        if not self.key_env:
            return ""
        found = os.environ.get(self.key_env, "").strip()
        if not found:
            raise HengyuError(
                f"{self.where}: the environment variable {self.key_env} is not set; set it to the API key"
            )
        if not all("!" <= c <= "~" for c in found):
            raise HengyuError(
                f"{self.where}: the key in {self.key_env} contains a space or a non-ASCII character; set it to the key alone"
            )
        if not (self.address.encrypted or self.address.loopback or self.key_over_http):
            raise HengyuError(
                f"{self.where}: the key in {self.key_env} would be sent unencrypted to {self.address.name}; use https, or allow it "
                "with --key-over-http"
            )
        return found

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Return the vectors (n, d) of n texts and the server's token count, retrying where it makes sense.

        Raises `Refused` for a request that the server rejects as such, and `HengyuError` for everything else.
        """
        tries = 0
        while True:
            try:
                vectors, tokens = self._once(texts)
            except Again as e:
                tries += 1
                if tries >= (_TRIES if self.requests else _TRIES_UNSEEN):
                    raise HengyuError(
                        f"{self.where}: {self.address.name}: {e} ({tries} tries); what was encoded is kept, run the same "
                        "command again when the server is back"
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
        """Close the connection; the next call opens a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _once(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        status, headers, body = self._post(texts)
        if status == 200:
            at = f"{self.where}: {self.address.name}"
            vectors, tokens = read_vectors(
                body, headers.get("content-type", ""), len(texts), at=at, model=self.model, quote=self._clean
            )
            return self._stacked(vectors, at), tokens
        told = self._clean(said(body))
        if status in _AGAIN and not any(word in told.lower() for word in _SPENT):
            raise Again(
                f"HTTP {status}" + (f": {told}" if told else ""), seconds_to_wait(headers.get("retry-after", ""))
            )
        if status in (400, 413, 422):
            raise Refused(status, told)
        at = f"{self.where}: {self.address.name}"
        about = f"HTTP {status}" + (f": {told}" if told else "")
        if status in (401, 403) and not self.key_env:
            raise HengyuError(f"{at} wants a key ({about}); name its environment variable with key_env (--key-env)")
        if status in (401, 403):
            raise HengyuError(
                f"{at} does not accept the key in {self.key_env} ({about}); check the key and its permissions"
            )
        if status == 404:
            raise HengyuError(
                f"{at} has no such model or no /embeddings ({about}); check model '{self.model}' and api, which usually ends in /v1"
            )
        if 300 <= status < 400:
            try:
                target = urlsplit(headers.get("location", ""))
                to = self._clean(f" to {target.scheme}://{target.hostname}{target.path}") if target.hostname else ""
            except ValueError:
                to = ""
            to = f" {to}" if to else ""
            raise HengyuError(
                f"{at} redirects{to} (HTTP {status}), and no text or key is sent there; give that address as api"
            )
        raise HengyuError(f"{at} answers {about}; check the account, model '{self.model}' and api")

    def _post(self, texts: Sequence[str]) -> tuple[int, httpx2.Headers, bytes]:
        """Send one request; returns status, headers and body, limited in bytes and seconds."""
        import httpx2

        key = self.key
        if self.offline and not self.address.loopback:
            raise HengyuError(
                f"{self.where}: the vector store lacks texts, and --offline forbids sending them to another machine; "
                "remove --offline"
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
            # a proxy from the environment would send local requests to another machine
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
                        raise Again(f"no complete response within {self.timeout:g} s")
                return response.status_code, response.headers, b"".join(parts)
        except httpx2.TimeoutException:
            raise Again(f"no response within {self.timeout:g} s") from None
        except httpx2.DecodingError as e:
            raise Again(f"a response that cannot be decompressed ({self._clean(first_line(e))})") from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as e:
            raise HengyuError(f"{self.where}: {self._clean(first_line(e))}; check api") from None
        except httpx2.TransportError as e:
            said = self._clean(first_line(e))
            if "CERTIFICATE" in said.upper():
                raise HengyuError(
                    f"{self.where}: the certificate of {self.address.name} cannot be verified ({said}); name the authority's "
                    "file in SSL_CERT_FILE"
                ) from None
            raise Again(
                f"cannot be reached ({said})" if isinstance(e, httpx2.ConnectError) else f"connection lost ({said})"
            ) from None

    def _pace(self) -> None:
        """Wait until the next request is allowed."""
        if self.requests_per_minute:
            now = time.monotonic()
            if self._next > now:
                self.sleep(self._next - now)
            self._next = max(self._next, now) + 60.0 / self.requests_per_minute

    def _stacked(self, vectors: Sequence[Vectors], at: str) -> Vectors:
        """Return vectors (d,) as a matrix (n, d); raises `HengyuError` unless they have the width of all earlier ones."""
        for row in vectors:
            wanted = self.dimensions or self.width or len(row)
            if len(row) != wanted:
                why = "requested with dimensions" if self.dimensions else "of earlier vectors"
                remedy = (
                    "remove dimensions, or give a width that the model supports"
                    if self.dimensions
                    else "check the server"
                )
                raise HengyuError(f"{at} answers with {len(row)} numbers per vector, not the {wanted} {why}; {remedy}")
            self.width = wanted
        return np.stack(vectors)

    def _clean(self, text: str) -> str:
        """Return a text as one line of bounded length, without long parts of the key from either end."""
        key = self.__dict__.get("key", "")
        for length in range(len(key), 5, -1):
            text = text.replace(key[:length], "***").replace(key[-length:], "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
