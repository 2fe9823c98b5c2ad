"""The address of an API: its base URL in a normal form that holds no secret."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from hengyu.base.errors import HengyuError

__all__ = ["Address", "find_address"]


@dataclass(frozen=True)
class Address:
    """The address of an API."""

    url: str  # of the call, including the scheme
    name: str  # host, port and path, without the call's own part; identifies the API
    encrypted: bool
    loopback: bool


def find_address(text: str, where: str) -> Address:
    """Return the address of an API given by its base URL; raises `HengyuError` for anything else.

    A URL with a user name, password or query is refused: these may hold keys, and the address goes into records.
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
            f"{where}: the URL in api must not contain a user name, password, query or fragment, since it goes into records; "
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
