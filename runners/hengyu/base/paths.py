"""Where the data files are: at the root of a clone, or inside an installed package."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from hengyu.base.bounded import user_path
from hengyu.base.remote import Mirror, is_url, local_of

__all__ = ["cache_dir", "cache_mirror", "checkout", "local", "reports_dir", "share"]

_PACKAGE = Path(__file__).resolve().parents[1]


def checkout() -> Path | None:
    """Return the root of the clone this package runs from, or None when it runs from an installed wheel."""
    root = _PACKAGE.parents[1]
    return root if (root / "suites").is_dir() and (root / "pyproject.toml").is_file() else None


def share(*parts: str) -> Path:
    """Return a path under suites/, datasets/ or reports/ as shipped, e.g. ``share("suites", "smoke.toml")``."""
    root = checkout() or _PACKAGE / "_share"
    return root.joinpath(*parts)


def cache_dir() -> Path:
    """Return the user's cache: ``$HENGYU_CACHE``, else the platform's cache folder."""
    own = os.environ.get("HENGYU_CACHE")
    return local(own) if own else user_cache_path("hengyu")


def cache_mirror(name: str) -> Mirror | None:
    """Return the remote folder that a folder of the user's cache mirrors if ``$HENGYU_CACHE`` is a URL; else None."""
    own = os.environ.get("HENGYU_CACHE", "")
    return Mirror(own).below(name) if is_url(own) else None


def local(place: str) -> Path:
    """Return the local folder of a path, or the one that mirrors a URL."""
    return local_of(place, user_cache_path("hengyu")) if is_url(place) else user_path(place)


def reports_dir() -> Path:
    """Return where runs are written: ``$HENGYU_REPORTS``, else the clone's reports/, else ./reports."""
    own = os.environ.get("HENGYU_REPORTS")
    if own:
        return local(own)
    root = checkout()
    return (root if root else Path.cwd()) / "reports"
