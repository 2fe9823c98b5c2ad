"""Variants of writing: traditional characters, full and half width, upper case."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hengyu.base.errors import HengyuError

__all__ = ["VARIANTS", "full_width", "half_width", "traditional", "upper_case"]

_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # "!" to "~" -> their full-width forms
_NARROW = {wide: code for code, wide in _WIDE.items()}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def traditional(text: str) -> str:
    """Return the text in traditional characters, word by word (OpenCC's s2t); raises `HengyuError` without OpenCC."""
    return str(_opencc().convert(text))


def full_width(text: str) -> str:
    """Return the text with ASCII letters, digits and signs in full width."""
    return text.translate(_WIDE)


def half_width(text: str) -> str:
    """Return the text with full-width letters, digits and signs (U+FF01 to U+FF5E, the comma too) as ASCII."""
    return text.translate(_NARROW)


def upper_case(text: str) -> str:
    """Return the text with ASCII letters in upper case."""
    return text.translate(_UPPER)


@cache
def _opencc() -> Any:
    try:
        import opencc
    except ImportError:
        raise HengyuError("traditional characters need OpenCC; run: pip install 'hengyu[opencc]'") from None
    return opencc.OpenCC("s2t")


VARIANTS: dict[str, tuple[Callable[[str], str], str]] = {
    "traditional characters": (traditional, "convert texts with OpenCC"),
    "full width": (full_width, "normalise texts with NFKC"),
    "half width": (half_width, "bring punctuation to one width"),
    "upper case": (upper_case, "lower the case of texts"),
}
"""Name of a variant -> its function from text to text, and how to remove the difference."""
