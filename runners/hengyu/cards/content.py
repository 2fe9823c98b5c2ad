"""Content: detects what a file is from its first bytes, whatever its name, and the encoding of Chinese text."""

from __future__ import annotations

import codecs
import re
from functools import cache

from hengyu.base.errors import HengyuError

__all__ = ["CODECS", "HEAD", "decode", "detect_encoding", "not_utf8", "refuse_foreign"]

HEAD = 4096
"""Number of bytes of a file that `refuse_foreign` examines."""

CODECS = {
    "utf-8": "utf-8-sig",
    "gb18030": "gb18030",
    "gbk": "gb18030",  # a superset of both
    "gb2312": "gb18030",
    "big5": "big5hkscs",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
}
"""Encodings that a card may name, and the codec that reads each."""

_SAMPLE = 1 << 18
_PLAUSIBLE = 0.7  # minimum share of common characters for a guess
_CONVERT = "iconv -f {0} -t UTF-8 OLD > NEW"
_NAMES = {
    "gb18030": "GB18030",
    "big5": "BIG5-HKSCS",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
}
_EXPORT = "save the sheet as 'CSV UTF-8' and name that file"
_FETCH = "download the file again"

# first bytes -> what the file is, and the remedy
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the data", "run 'git lfs pull', or download the file"),
    (b"%PDF-", "a PDF document", "export its table as CSV and name that file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word document", _EXPORT),
    (b"{\\rtf", "an RTF document", "save it as plain text (UTF-8)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd, which is not supported", "decompress it with 'zstd -d' and name the result"),
    (b"\x04\x22\x4d\x18", "compressed with lz4, which is not supported", "decompress it with 'lz4 -d' and name the result"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and name the file inside"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it and name the file inside"),
    (b"ARROW1", "an Arrow (Feather) file", "write it as parquet and name that file"),
    (b"\x93NUMPY", "a NumPy array, not a table of pairs", "name the file that holds the sentences"),
    (b"\x80\x04\x95", "a pickle, which is never read", "write it as CSV or parquet and name that file"),
    (b"\x80\x03", "a pickle, which is never read", "write it as CSV or parquet and name that file"),
    (b"SQLite format 3\0", "an SQLite database", "export its table as CSV and name that file"),
    (b"\x89PNG", "a PNG image", _FETCH),
)  # fmt: skip
_TAR_AT, _TAR = 257, b"ustar"
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|title|\?xml|error[ >])", re.IGNORECASE)
_ZIPPED = re.compile(rb"PK\x03\x04.{22}(..)..", re.DOTALL)


def refuse_foreign(head: bytes, where: str, format: str = "") -> None:
    """Raise `HengyuError` with kind and remedy if the first bytes show that a file is not a table of this format.

    Args:
        head: the first `HEAD` bytes, after decompression.
        where: the file's name in messages.
        format: the format that it is read as, or its encoding if a card names one: a parquet file may begin like parquet, and
            declared UTF-16 may be UTF-16.
    """
    for magic, kind, remedy in _BINARY:
        if head.startswith(magic):
            raise HengyuError(f"{where}: is {kind}; {remedy}")
    if head[_TAR_AT:].startswith(_TAR):
        raise HengyuError(f"{where}: is a tar archive; unpack it with 'tar -xf' and name the file inside")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise HengyuError(f"{where}: {_zip(head)}")
    if _PAGE.match(head):
        raise HengyuError(
            f"{where}: is an HTML or XML page, such as an error or login page in place of the file; {_FETCH}"
        )
    if head.startswith(b"PAR1") and format != "parquet":
        raise HengyuError(f'{where}: is a parquet file; add format = "parquet" to the card')
    if format == "parquet" or format in CODECS:
        return
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        raise HengyuError(f"{where}: is UTF-32; convert it with {_CONVERT.format('UTF-32')}")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise HengyuError(
            f"{where}: is UTF-16, like Excel's 'Unicode text'; save it as 'CSV UTF-8', add encoding = \"utf-16\" to the "
            f"card, or convert it with {_CONVERT.format('UTF-16')}"
        )
    wide = _wide(head)
    if wide:
        raise HengyuError(f"{where}: is {_NAMES[wide]} without a byte order mark; {_remedy(wide)}")


def _zip(head: bytes) -> str:
    names = []
    for found in _ZIPPED.finditer(head):
        size = int.from_bytes(found[1], "little")
        names.append(head[found.end() : found.end() + size].decode("utf-8", "replace"))
    if any(n.startswith(("xl/", "[Content_Types]", "_rels/", "docProps/", "word/")) for n in names):
        return f"is an Office file, such as an Excel workbook (.xlsx); {_EXPORT}"
    inside = next((n for n in names if not n.endswith("/")), "")
    name = f" '{inside}'" if inside else ""
    return (
        f"is a zip file (Excel workbooks are, too); unpack it and name the file inside{name}, or save the sheet as "
        "'CSV UTF-8'"
    )


def _wide(head: bytes) -> str:
    """Return the encoding of UTF-16 without a byte order mark if it has ASCII (every second byte is zero), else ""."""
    even, odd = head[0:400:2], head[1:400:2]
    if len(odd) < 4:
        return ""
    for name, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros.count(0) > 0.4 * len(zeros) and not others.count(0):
            return name
    return ""


def _remedy(encoding: str) -> str:
    return f'add encoding = "{encoding}" to the card, or convert it with {_CONVERT.format(_NAMES[encoding])}'


def detect_encoding(raw: bytes) -> str:
    """Return the encoding, one of `CODECS`, of a text that is not UTF-8; "" if none gives plausible Chinese."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    wide = _wide(raw[:HEAD])
    if wide:
        return wide
    scores = {}
    for name in ("gb18030", "big5", "utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(CODECS[name])().decode(raw[:_SAMPLE])
        except UnicodeDecodeError:
            continue
        scores[name] = _share(text)
    best = max(scores, key=lambda name: scores[name], default="")
    return best if best and scores[best] >= _PLAUSIBLE else ""


def _share(text: str) -> float:
    """Return the share of non-ASCII characters that are common in Chinese text."""
    odd = [
        character
        for character in text
        if not character.isascii() or not (character.isprintable() or character in "\t\r\n")
    ]
    return sum(map(_usual, odd)) / len(odd) if odd else 1.0


@cache
def _usual(character: str) -> bool:
    """Whether a character is common in Chinese text: punctuation, or a frequent character of GB 2312 or Big5."""
    if "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uffef" or "\u2010" <= character <= "\u2026":
        return True
    for codec, low, high in (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6)):
        try:
            if low <= character.encode(codec)[0] <= high:
                return True
        except UnicodeEncodeError:
            pass
    return False


def not_utf8(where: str, number: int, byte: int, raw: bytes) -> HengyuError:
    """Return the error for a line that is not UTF-8; ``raw`` is the file or its beginning."""
    found = detect_encoding(raw)
    start = f"{where}: line {number} is not UTF-8 (byte {byte} of the line)"
    if found:
        text = codecs.getincrementaldecoder(CODECS[found])().decode(raw[:_SAMPLE]).lstrip("\ufeff")
        line = next((t.strip() for t in text.splitlines() if not t.isascii()), "")
        seen = f" ({line[:20]}…)" if line else ""
        return HengyuError(f"{start}; the file seems to be {_NAMES[found]}{seen}: {_remedy(found)}")
    return HengyuError(
        f"{start}; save the file as UTF-8, for older Chinese files with {_CONVERT.format('GB18030')}; if only this line "
        "is damaged, correct it"
    )


def decode(raw: bytes, where: str, encoding: str) -> str:
    """Decode a text in the encoding that a card names; raises `HengyuError` if it is in another encoding.

    Bytes of one encoding are often valid in another, so successful decoding is not enough.
    """
    codec = CODECS[encoding]
    try:
        text = raw.decode(codec).removeprefix("\ufeff")
    except UnicodeDecodeError as e:
        number = raw[: e.start].decode(codec, "replace").count("\n") + 1
        remedy = _meant(raw, codec) or "correct that line, or 'encoding' in the card"
        raise HengyuError(f"{where}: line {number} is not {encoding}; {remedy}") from None
    if encoding != "utf-8" and _share(text[:_SAMPLE]) < _PLAUSIBLE:
        meant = _meant(raw, codec)
        if meant:
            raise HengyuError(f"{where}: is not {encoding}; {meant}")
    return text


def _meant(raw: bytes, codec: str) -> str:
    """Return what to write in the card if a text is in a different encoding; "" if none is found."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        other = detect_encoding(raw)
        if other and CODECS[other] != codec:
            return f'the file seems to be {_NAMES[other]}: write encoding = "{other}" in the card'
        return ""
    return "the file is UTF-8, so remove 'encoding' from the card"
