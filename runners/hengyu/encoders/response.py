"""Responses of an OpenAI-compatible embeddings API: checks of their content, and error messages."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError

__all__ = ["Again", "Refused", "read_vectors", "said", "seconds_to_wait"]

Vectors = NDArray[np.float32]


class Refused(Exception):
    """The server rejects a request as such (HTTP 400, 413 or 422); a smaller or different one may pass."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}: {said}" if said else f"HTTP {status}")
        self.said = said

    def smaller(self, count: int) -> int:
        """Return how many texts to send instead of ``count``: the server's limit if it names one, else half."""
        named = [int(n) for n in re.findall(r"(?<![\d.])\d{1,5}(?!\.?\d)", self.said) if 1 <= int(n) < count]
        about_size = re.search(r"batch|size|array|maximum|larger|too many|条|批", self.said, re.IGNORECASE)
        return max(named) if named and about_size else max(1, count // 2)


class Again(Exception):
    """The request is fine and may succeed later."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def read_vectors(
    body: bytes, kind: str, count: int, *, at: str, model: str, quote: Callable[[str], str]
) -> tuple[list[Vectors], int]:
    """Return the vectors (d,) and tokens of a response to ``count`` texts, in the order of the texts.

    ``at`` is the server's name in messages, and ``quote`` makes its text safe to show. Raises `Again` for a response that was
    cut short, and `HengyuError` for an invalid one.
    """
    if not body.strip():
        raise Again("an empty response")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        if "html" in kind or body.lstrip()[:1] == b"<":
            raise HengyuError(f"{at} answers with a web page, not JSON; check api, which usually ends in /v1") from None
        raise Again("a response that is not JSON, or cut short") from None
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, list):
        told = quote(said(body))
        raise HengyuError(f"{at} answers without vectors{f' ({told})' if told else ''}; check api and model '{model}'")
    if len(data) != count:
        raise HengyuError(f"{at} answers {count} texts with {len(data)} vectors; it is not a valid embeddings API")
    rows: list[Vectors | None] = [None] * count
    for number, item in enumerate(data):
        place = item.get("index", number) if isinstance(item, dict) else None
        if type(place) is not int or not 0 <= place < count or rows[place] is not None:
            raise HengyuError(
                f"{at} numbers its vectors wrongly: index must be each of 0..{count - 1} once; it is not a valid "
                "embeddings API"
            )
        rows[place] = _vector(item.get("embedding"), at, model)
    vectors = [row for row in rows if row is not None]
    usage = found.get("usage")
    counts = [usage.get(k) for k in ("total_tokens", "prompt_tokens")] if isinstance(usage, dict) else []
    return vectors, next((n for n in counts if type(n) is int and 0 <= n < 1 << 40), 0)


def _vector(given: Any, at: str, model: str) -> Vectors:
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
            f"{at} answers with a vector that is not a list of numbers; check the model and encoding_format"
        ) from None
    if not len(row):
        raise HengyuError(f"{at} answers with an empty vector; check that '{model}' is an embedding model")
    if not np.isfinite(row).all():
        raise HengyuError(
            f"{at} answers with a vector that is not finite; the model is broken there, try another precision"
        )
    return row


def said(body: bytes) -> str:
    """Return a server's error message; it may contain the key, so it must be cleaned before it is shown."""
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
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def seconds_to_wait(given: str) -> float | None:
    """Return the seconds of a Retry-After header, given as a number or a date; None without one."""
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(given)
    except (ValueError, TypeError):
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
