"""What comes from outside, made harmless for the format it is written into."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["latex", "markdown", "markdown_row", "plain", "workflow_message", "workflow_property", "xml"]


_WIDE_SPACE = "\u3000"  # stands in Chinese text, and moves nothing


def plain(text: str) -> str:
    """Return a text without control characters: a name must not steer the terminal."""
    return "".join(c if c.isprintable() or c == _WIDE_SPACE else "�" for c in text)


def markdown(text: str) -> str:
    """Escape what Markdown or HTML would take for markup."""
    return re.sub(r"([\\`*_|<>\[\]#~&$])", r"\\\1", " ".join(text.split()))


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table, of cells that are escaped already."""
    return f"| {' | '.join(cells)} |"


def xml(text: str) -> str:
    """Return a text without the characters that XML 1.0 cannot hold; markup is escaped by whoever writes the XML."""
    return re.sub(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "�", text)


def workflow_message(text: str) -> str:
    """Escape the message of a GitHub workflow command, which ends with its line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def workflow_property(text: str) -> str:
    """Escape a property of a GitHub workflow command, which ends at a comma or colon."""
    return workflow_message(text).replace(":", "%3A").replace(",", "%2C")


_TEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
}


def latex(text: str) -> str:
    """Escape what LaTeX would take for a command."""
    return "".join(_TEX.get(c, c) for c in " ".join(text.split()))
