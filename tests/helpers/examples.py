"""The examples of a Markdown file: fenced blocks with the mark that stands on the line before, and lines of commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# <!-- run -->, <!-- file: NAME -->, <!-- shows -->; a block without a mark is read, and not run
_FENCE = re.compile(r"(?ms)^(?:<!-- (?P<mark>run|shows|file: \S+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$")
_INDENTED = re.compile(r"(?m)^    (?:\.venv/bin/)?(hengyu .*)$")
_INLINE = re.compile(r"`(hengyu [a-z][^`]*)`")


@dataclass(frozen=True)
class Block:
    mark: str
    kind: str
    text: str
    line: int


def documents() -> list[Path]:
    """README in both languages, and the pages of prose."""
    return [ROOT / "README.md", ROOT / "README.zh.md", *sorted(p for p in (ROOT / "docs").rglob("*.md"))]


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [
        Block(m["mark"] or "", m["kind"], m["text"], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)
    ]


def commands(path: Path) -> list[str]:
    """Every line that calls hengyu, of fenced and indented blocks and of code in a sentence."""
    text = path.read_text(encoding="utf-8")
    found = [line for b in blocks(path) if b.kind == "sh" for line in b.text.splitlines()]
    rest = _FENCE.sub("", text)
    found += [m[1] for m in _INDENTED.finditer(rest)]
    found += [" ".join(m[1].split()) for m in _INLINE.finditer(_INDENTED.sub("", rest))]
    found = [part for line in found for part in re.split(r" && |\n", line.split(" #")[0])]
    return [line.strip() for line in found if line.strip().startswith("hengyu ")]
