"""Escapes external text for the format it is written into."""

from __future__ import annotations

import re
from collections.abc import Iterable
from unicodedata import category

__all__ = ["in_page", "latex", "markdown", "markdown_row", "plain", "workflow_message", "workflow_property", "xml"]


_HIDDEN = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
"""Categories of characters that are invisible or move others: control, format (including bidi), unassigned, surrogate,
and line and paragraph separators."""

_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"  # invisible letters and marks
_ASSIGNED_LATER = (
    (0x1F000, 0x1FBFF),
    (0x20000, 0x3FFFD),
)  # emoji and Chinese characters that this Python does not know yet
_JOINER = "\u200d"  # joins the parts of one emoji
_SPACE = "\t\n\r"  # equal to a space where lines are wrapped anyway


def plain(text: str, keep: str = "") -> str:
    """Return a text in which every character is visible: invisible and bidi characters are written like ``<U+202E>``.

    A name must not control the terminal or look like another name. Characters in ``keep`` are left alone.
    """
    if text.isprintable() and not any(c in text for c in _BLANK):
        return text
    return "".join(
        c if c in keep or not _hidden(c) or _joins(text, at) else f"<U+{ord(c):04X}>" for at, c in enumerate(text)
    )


def _hidden(char: str) -> bool:
    kind = category(char)
    if kind == "Cn":
        return not any(low <= ord(char) <= high for low, high in _ASSIGNED_LATER)
    return kind in _HIDDEN or char in _BLANK


def _joins(text: str, at: int) -> bool:
    """Whether a character is the joiner between two parts of an emoji."""
    if text[at] != _JOINER or not 0 < at < len(text) - 1:
        return False
    before = text[at - 2] if text[at - 1] == "\ufe0f" and at > 1 else text[at - 1]
    return category(before) in ("So", "Sk") and category(text[at + 1]) in ("So", "Sk")


def in_page(text: str) -> str:
    """Return a text for a page or a table of values: like `plain`, but line ends and tabs are kept."""
    return plain(text, _SPACE)


def markdown(text: str) -> str:
    """Escape Markdown and HTML markup."""
    return re.sub(r"([\\`*_|<>\[\]#~&$])", r"\\\1", _line(text))


def _line(text: str) -> str:
    return " ".join(in_page(text).split())


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table from escaped cells."""
    return f"| {' | '.join(cells)} |"


def xml(text: str) -> str:
    """Return a text without the characters that XML 1.0 forbids; markup is left for the XML writer to escape."""
    return re.sub(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "�", in_page(text))


def workflow_message(text: str) -> str:
    """Escape the message of a GitHub workflow command, which ends at a line end."""
    return in_page(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


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
    """Escape LaTeX's special characters."""
    return "".join(_TEX.get(c, c) for c in _line(text))
