"""Docstrings as Markdown."""

from __future__ import annotations

import re
from inspect import cleandoc

__all__ = ["prose", "section"]

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_SECTION = re.compile(r"^(Args|Raises|Returns|Attributes):$")
_NAME = re.compile(r"^    ([\w, ]+): ")


def prose(text: str) -> str:
    """Return a docstring as Markdown: code stays code, any other sign of markup stands for itself.

    The named parts of Google's style (Args, Raises, ...) become lists.
    """
    lines = []
    for line in cleandoc(text).splitlines():
        if _SECTION.match(line):
            lines += [f"**{line.removesuffix(':')}**", ""]
        elif name := _NAME.match(line):
            lines.append(f"* ``{name[1]}``: {line[name.end() :]}")
        else:
            lines.append(line)
    pieces = _CODE.split("\n".join(lines))
    return "".join(_code(p) if number % 2 else _escape(p) for number, p in enumerate(pieces))


def _code(text: str) -> str:
    """Return a piece of code on one line."""
    return f"`{' '.join(text.strip('`').split())}`"


def _escape(text: str) -> str:
    """Escape markup; a star that begins a line is a list's or a heading's, and so is the pair that ends it."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\_\[\]|$~])", r"\\\1", text)
    return re.sub(r"(?m)(?<!^)(?<!^\*)\*(?!\*?$)", r"\\*", text)


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of the second level in a Markdown text; '' where there is none."""
    found = re.search(rf"(?ms)^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text)
    return found[1].strip() if found else ""
