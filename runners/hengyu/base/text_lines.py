"""Reads a text file of one sentence per line block by block, whatever its size."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hengyu.base.bounded import open_regular, unpacked
from hengyu.base.errors import HengyuError

__all__ = ["Block", "blocks", "typical_line"]

_LONGEST = 1 << 20  # bytes of a line; a file without line ends is not a file of sentences
_SAMPLE = 1 << 20


@dataclass(frozen=True)
class Block:
    """Some lines of a file, in order."""

    texts: list[str]  # without blank lines
    blank: int
    done: int  # bytes of the file on disk that have been read so far


def blocks(path: Path, lines: int) -> Iterator[Block]:
    """Yield blocks of lines, decompressing gzip and xz; raises `HengyuError` that names file and line."""
    number = 0
    try:
        with open_regular(path) as disk:
            source, _ = unpacked(disk)
            texts: list[str] = []
            blank = 0
            while raw := source.readline(_LONGEST + 1):
                number += 1
                if len(raw) > _LONGEST:
                    raise HengyuError(
                        f"{path}: line {number} is longer than {_LONGEST >> 20} MiB; write one sentence per line"
                    )
                text = _text(raw, path, number)
                if text.strip():
                    texts.append(text)
                else:
                    blank += 1
                if len(texts) + blank >= lines:
                    yield Block(texts, blank, disk.tell())
                    texts, blank = [], 0
            if texts or blank:
                yield Block(texts, blank, disk.tell())
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as e:
        raise HengyuError(
            f"{path}: after line {number}: the compressed file is damaged or cut short ({e}); get it again"
        ) from None
    except OSError as e:
        raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); check the path and its permissions") from None


def typical_line(path: Path) -> float:
    """Return the mean size of the first lines of a file, in bytes on disk."""
    lines, last = 0, 0
    for block in blocks(path, 1000):
        lines, last = lines + len(block.texts) + block.blank, block.done
        if last > _SAMPLE:
            break
    return last / lines if lines else 1.0


def _text(raw: bytes, path: Path, number: int) -> str:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as e:
        raise HengyuError(
            f"{path}: line {number} is not UTF-8 (byte {e.start + 1} of the line); save the file as UTF-8, for older "
            "Chinese files with iconv -f GB18030 -t UTF-8"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
