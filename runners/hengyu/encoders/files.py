"""The files of a model's folder, read as data and only from inside it; and which of them are the weights."""

from __future__ import annotations

import json
import re
from pathlib import Path, PureWindowsPath
from typing import Any

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError

__all__ = ["CODE_ENDING", "TOKENIZER", "Files", "is_plain", "join", "shown", "weight_files"]

CODE_ENDING = ".py"
_LARGEST = 1 << 28  # bytes of a JSON file
_BLOB = re.compile(r"models--[^/]+/blobs/[0-9a-f]+\Z")
TOKENIZER = re.compile(
    r"(tokenizer[\w.]*\.json|special_tokens_map\.json|added_tokens\.json|(target_)?vocab(-src|-tgt)?\.json|entity_vocab\.json|"
    r"byte_maps\.json|emoji\.json|normalizer\.json|word_(pronunciation|shape)\.json|tekken\.json|merges\.txt|vocab\.txt|"
    r"dict\.txt|bpe\.codes|prophetnet\.tokenizer|chat_template\.jinja|[\w.-]*\.(model|spm|tiktoken|vocab))\Z"
)
"""The files from which transformers may read a tokenizer."""


class Files:
    """The files of a folder, by their path inside it; files outside it are never read.

    Links that lead out are refused, except in the hub cache, whose snapshots are links to blobs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = root.resolve()

    def find(self, inside: str) -> Path | None:
        """Return the path of a regular file, None if missing; raises `HengyuError` if it is outside the folder."""
        path = self.root / inside
        try:
            real = path.resolve(strict=True)
            if not real.is_file():
                return None
        except (OSError, RuntimeError, ValueError):
            return None
        if not (real.is_relative_to(self._real) or _BLOB.search(real.as_posix())):
            raise HengyuError(
                f"{path}: leads out of the model's folder, which is refused; put the file itself into the folder"
            )
        return path

    def json(self, inside: str) -> Any:
        """Return the content of a JSON file, None if missing; raises `HengyuError` if it is damaged."""
        path = self.find(inside)
        if path is None:
            return None
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"more than {_LARGEST >> 20} MiB")
            return json.loads(read_bytes(path, _LARGEST))
        except (OSError, ValueError, RecursionError) as e:
            raise HengyuError(f"{path}: cannot be read as JSON ({e}); get the model again") from None

    def table(self, inside: str) -> dict[str, Any]:
        """Return a JSON object, {} if the file is missing; raises `HengyuError` for anything else."""
        content = self.json(inside)
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise HengyuError(f"{self.root / inside}: must hold a JSON object; get the model again")
        return content

    def names(self, inside: str) -> list[str]:
        """Return the sorted names in a folder."""
        try:
            return sorted(p.name for p in (self.root / inside).iterdir())
        except OSError:
            return []


def join(inside: str, name: str) -> str:
    """Return the path of a file in a folder inside the model's."""
    return f"{inside}/{name}" if inside else name


def weight_files(files: Files, inside: str) -> list[str]:
    """Return the names of the index and the safetensors files with a transformer's weights, inside its folder.

    Raises:
        HengyuError: if the index names a file elsewhere.
    """
    named = files.table(join(inside, "config.json")).get("transformers_weights")
    if isinstance(named, str):
        index = named if named.endswith(".index.json") else ""
        if not index:
            return [named]
    elif files.find(join(inside, "model.safetensors")) is not None:
        return ["model.safetensors"]
    else:
        index = "model.safetensors.index.json"
    where = files.root / inside / index
    content = files.table(join(inside, index))
    if not content:
        return []
    shards = content.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
        raise HengyuError(f"{where}: key 'weight_map' must name a file for each weight; get the model again")
    for shard in sorted(set(shards.values())):
        if not is_plain(shard) or not shard.endswith(".safetensors"):
            raise HengyuError(f"{where}: names '{shard}', which is not a safetensors file in the same folder; refused")
        if files.find(join(inside, shard)) is None:
            raise HengyuError(f"{where}: names '{shard}', which is missing; get the model again")
    return [index, *sorted(set(shards.values()))]


def is_plain(name: str) -> bool:
    """Whether a name is that of a direct child of a folder."""
    return (
        bool(name)
        and name not in (".", "..")
        and not set(name) & set("/\\\0")
        and not PureWindowsPath(name).anchor
        and len(name) < 256
    )


def shown(value: Any) -> str:
    """Return a value as text for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
