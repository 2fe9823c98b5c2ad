"""A page as a reader without JavaScript sees it, in a form whose differences can be read in a review."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "input", "hr"}
_INLINE = {"abbr", "b", "bdi", "code", "small", "span", "time", "a", "output"}
_KEPT = ("class", "href", "id", "lang", "open", "scope", "title", "hidden")
_LEFT_OUT = {"script", "style", "select", "textarea", "svg"}  # bundles, what only a script fills, and pictures


class _Outline(HTMLParser):
    """Writes a line an element that is a block, its text and inline elements on it, indented by depth."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.depth = 0
        self.skipped = 0
        self.fresh = True

    def _line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)
        self.fresh = False

    def _inline(self, text: str) -> None:
        if self.fresh or not self.lines:
            self._line(text)
        else:
            self.lines[-1] += text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.skipped or tag in _LEFT_OUT:
            self.skipped += tag not in _VOID
            return
        given = {k: v for k, v in attrs if k in _KEPT}
        text = "<" + " ".join([tag, *(f'{k}="{v}"' if v else k for k, v in given.items())]) + ">"
        if tag in _INLINE:
            self._inline(text)
            return
        self._line(text)
        if tag not in _VOID:
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        if self.skipped:
            self.skipped -= 1
        elif tag in _INLINE:
            self._inline(f"</{tag}>")
        else:
            self.depth -= 1
            self.fresh = True

    def handle_data(self, data: str) -> None:
        text = re.sub(r"\s+", " ", data)
        if not self.skipped and text.strip():
            self._inline(text)


def outline(page: str) -> str:
    """Return the elements and texts of a page, without scripts, styles and what a machine or version puts there."""
    parser = _Outline()
    parser.feed(page)
    parser.close()
    text = "\n".join(line.rstrip() for line in parser.lines) + "\n"
    return re.sub(r"(Written by Hengyu(?:</span>)?) [^.<]*(?:\.[^.< ]+)*\.", r"\1 VERSION.", text)
