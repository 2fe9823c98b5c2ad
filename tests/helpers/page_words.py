"""What templates, scripts and modules can put on a page: their texts, with holes where a part is made at run time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import hengyu
from hengyu.base.paths import share

SOURCE = Path(hengyu.__file__).parent


def _constants(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr):
            words = [v.value if isinstance(v, ast.Constant) else "\0" for v in part.values]
            yield "".join(str(word) for word in words)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


@cache
def _texts() -> frozenset[str]:
    found: set[str] = set()
    for path in sorted(SOURCE.rglob("*.py")):
        found |= set(_constants(ast.parse(path.read_text(encoding="utf-8"))))
    for path in sorted(share("reports", "templates").iterdir()):
        if path.suffix in (".j2", ".js"):
            template = path.read_text(encoding="utf-8")
            found |= set(re.findall(r'"([^"\n]*)"', template)) | set(re.findall(r"[>}]([^<>{}\n]+)[<{]", template))
    return frozenset(found)


def without_origin(keys: Iterable[str]) -> list[str]:
    """Return the texts that nothing puts on a page: neither whole, nor as a part before ';', nor joined of two, nor with holes."""
    texts = _texts()
    parts = texts | {part for text in texts if "; " in text for part in text.split("; ")}
    holes = re.compile(
        "|".join(
            re.escape(text).replace("\0", ".{1,30}")
            for text in sorted(parts)
            if "\0" in text and len(text.replace("\0", "").strip()) > 5
        )
    )

    def made(key: str) -> bool:
        joined = (key[:i] in texts and key[i:] in texts for i in range(8, len(key) - 1))
        return key in parts or holes.fullmatch(key) is not None or any(joined)

    return [key for key in keys if not made(key)]
