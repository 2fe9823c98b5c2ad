"""What tokenising has shown, kept on disk: to tokenise, transformers and PyTorch are imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from hengyu.base.bounded import sha256_of
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import find_json, shaped, write_json
from hengyu.base.paths import cache_dir
from hengyu.encoders import probes, token_print
from hengyu.encoders.model_folder import ModelFolder
from hengyu.storage.code_graph import library_version
from hengyu.storage.identity import digest, made_by, text_digest

__all__ = ["kept_counts", "kept_token_print"]

T = TypeVar("T")

_CODE = "hengyu.encoders.huggingface"
_READERS = ("tokenizers", "sentencepiece", "protobuf", "jieba")  # libraries that transformers reads a tokenizer with
_WEIGHTS = (".safetensors", ".bin", ".onnx", ".xml", ".h5", ".msgpack", ".pt", ".ot", ".gguf", ".pth", ".ckpt")


class _Kept(Struct):
    """tokens/<digest of the key>.json in the cache."""

    key: dict[str, Any]
    found: Any


def kept_token_print(folder: ModelFolder, tokenize: Callable[[list[str]], Sequence[Sequence[int]]]) -> str:
    """Return `token_print` of a folder's tokenizer, from the cache where nothing it depends on has changed."""
    return _kept(folder, {"probes": text_digest(probes())}, str, lambda: token_print(tokenize))


def kept_counts(
    folder: ModelFolder, texts: Sequence[str], count: Callable[[], tuple[float, float]]
) -> tuple[float, float]:
    """Return how many tokens texts have, and how many of them are [UNK], as ``count`` says or has said of the same texts."""
    about = {
        "texts": text_digest(texts),
        "prompt": folder.prompt,
        "continues": folder.prompt_has_suffix,
        "max_length": folder.max_length,
        "long": folder.long,
    }
    return _kept(folder, about, tuple[float, float], count)


def _kept(folder: ModelFolder, about: Mapping[str, Any], kind: type[T], find: Callable[[], T]) -> T:
    """Return what ``find`` has found before under the same key.

    The key has every file beside the tokenizer but weights, the folder's fingerprint, the pre-tokenizer, our code and the
    versions of the libraries that read a tokenizer. Code of the model's own could depend on anything: with
    ``trust_remote_code`` nothing is kept.
    """
    if folder.spec.trust_remote_code:
        return find()
    key = {**_key(folder), **about}
    path = cache_dir() / "tokens" / f"{digest(key)}.json"
    kept = find_json(path, _Kept)
    if kept is not None and kept.key == key:
        with suppress(ValueError):
            return shaped(kept.found, kind)
    found = find()
    with suppress(HengyuError):  # a cache that cannot be written costs time alone
        write_json(path, {"key": key, "found": found})
    return found


def _key(folder: ModelFolder) -> dict[str, Any]:
    words = folder.spec.pre_tokenizer
    return {
        "fingerprint": folder.fingerprint,
        "files": {p.name: sha256_of(p) for p in sorted(folder.tokenizer.iterdir()) if _counts(p)},
        "pre_tokenizer": words,
        "readers": {name: library_version(name) for name in _READERS},
        **made_by(_CODE, settings=words),
    }


def _counts(path: Path) -> bool:
    return path.is_file() and path.suffix not in _WEIGHTS
