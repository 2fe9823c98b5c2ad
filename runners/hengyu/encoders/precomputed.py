"""Precomputed vectors: a .npy file and its texts, evaluated like an encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import DATA, map_npy, open_regular, read_bytes, user_path
from hengyu.base.errors import HengyuError, first_line
from hengyu.base.json_files import parse
from hengyu.encoders import POOLINGS, Chunk, EncoderSpec, LocalEncoder, Vectors

__all__ = ["Precomputed"]

_BATCH = 4096


class Precomputed(LocalEncoder):
    """The vectors (m, d) in a file, for the texts (m,) in another file; it has only ``native`` vectors.

    The texts are in the file given by ``texts``, by default the one of the same name with the extension .txt (one per line)
    or .json (a list of strings, for texts with line ends). If a text occurs twice, its first vector counts.
    """

    revision = ""
    native_is = ""

    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = spec
        self.path = user_path(spec.model)
        self.id = spec.display_name
        self.where = f"encoder '{self.id}' ({self.path})"
        for key in (
            "revision",
            "prompt",
            "query_prompt",
            "document_prompt",
            "max_length",
            "pre_tokenizer",
            "attention",
        ):
            if getattr(spec, key):
                raise HengyuError(f"{self.where}: {key} does not apply to precomputed vectors; remove it")
        if spec.backend != "torch":
            raise HengyuError(f"{self.where}: backend does not apply to precomputed vectors; remove it")

    def side(self, side: str) -> Precomputed:
        """Return these vectors: a text has the same vector on both sides."""
        return self

    @property
    def poolings(self) -> Mapping[str, str]:
        """Every pooling; all but ``native`` with the reason why it is not available."""
        return dict.fromkeys(POOLINGS, "the vectors are given, so there is no other pooling") | {"native": ""}

    @cached_property
    def vectors(self) -> NDArray[Any]:
        """The vectors (m, d), memory-mapped; raises `HengyuError` for any other content."""
        try:
            found = map_npy(self.path)
        except FileNotFoundError:
            raise HengyuError(f"{self.where}: no such file; check the path") from None
        except OSError as e:
            raise HengyuError(f"{self.where}: cannot be read ({e.strerror or e}); check the path") from None
        except ValueError as e:
            raise HengyuError(
                f"{self.where}: not an array of numbers ({first_line(e)}); write it with numpy.save"
            ) from None
        if found.ndim != 2 or found.dtype.kind != "f" or not found.size:
            what = f"{found.dtype} {found.shape}"
            raise HengyuError(f"{self.where}: must be floating-point vectors (m, d), not {what}; save one row per text")
        if len(found) != len(self.texts):
            raise HengyuError(
                f"{self.where}: {len(found)} vectors for the {len(self.texts)} texts of {self._beside}; give one row per text"
            )
        for start in range(0, len(found), _BATCH):
            wrong = ~np.isfinite(found[start : start + _BATCH]).all(axis=1)
            if wrong.any():
                raise HengyuError(f"{self.where}: row {start + int(wrong.argmax())} (from 0) is not finite; correct it")
        return found

    @cached_property
    def _beside(self) -> Path:
        if self.spec.texts:
            return user_path(self.spec.texts)
        places = [self.path.with_suffix(s) for s in (".txt", ".json")]
        for place in places:
            if place.is_file():
                return place
        raise HengyuError(
            f"{self.where}: its texts are missing; put them in {places[0]}, one per line, in the order of the rows"
        )

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts (m,) in the order of the rows; raises `HengyuError` for a malformed file."""
        path = self._beside
        try:
            raw = read_bytes(path, DATA)
            content = raw.decode("utf-8-sig")
        except OSError as e:
            raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); check the path") from None
        except UnicodeDecodeError as e:
            raise HengyuError(f"{path}: not UTF-8 at byte {e.start}; save the file as UTF-8") from None
        if path.suffix != ".json":
            return tuple(line.removesuffix("\r") for line in content.removesuffix("\n").split("\n"))
        try:
            return tuple(parse(raw, list[str]))
        except ValueError as e:
            raise HengyuError(f"{path}: {e}; write a list of strings, one per row of {self.path.name}") from None

    @cached_property
    def _rows(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        for number, text in enumerate(self.texts):
            rows.setdefault(text, number)
        return rows

    def identity(self) -> dict[str, Any]:
        """What the vectors depend on besides the text: the bytes of both files."""
        width = self.vectors.shape[1]
        total = hashlib.sha256(f"{width}\0".encode())
        for path in (self.path, self._beside):
            with open_regular(path) as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        empty = {"tokens": "", "max_length": 0, "prompt": "", "pre_tokenizer": ""}
        return {"fingerprint": total.hexdigest()[:16], "dtype": str(self.vectors.dtype), "protocol": 1, **empty}

    def read(self, texts: Sequence[str]) -> tuple[float, float]:
        """Check that all texts have vectors; there are no tokens. Raises `HengyuError` for missing texts."""
        missing = [t for t in texts if t not in self._rows]
        if missing:
            raise HengyuError(
                f"{self.where}: has no vector for {len(missing)} of the suite's {len(texts)} texts, such as '{missing[0][:40]}'; "
                "add them, including every split that a method is fitted on"
            )
        return 0.0, 0.0

    def stream(
        self, texts: Sequence[str], poolings: Sequence[str], wanted: Callable[[NDArray[np.int64]], bool]
    ) -> Iterator[Chunk]:
        """Yield the vectors in batches; raises `HengyuError` for missing texts."""
        self.read(texts)
        for name in poolings:
            if self.poolings.get(name, "is unknown"):
                raise HengyuError(f"encoder '{self.id}': pooling '{name}' is not available: {self.poolings.get(name)}")
        for start in range(0, len(texts), _BATCH):
            batch = np.arange(start, min(start + _BATCH, len(texts)))
            if wanted(batch):
                rows = [self._rows[texts[int(i)]] for i in batch]
                found = np.asarray(self.vectors[rows], np.float32)
                yield Chunk(batch, {"native": found}, np.zeros((len(batch), 3), np.float32))

    def encode(self, texts: Sequence[str], poolings: Sequence[str]) -> dict[str, Vectors]:
        """Return the vectors (n, d) of texts."""
        chunks = list(self.stream(texts, poolings, lambda _: True))
        return {p: np.concatenate([c.vectors[p] for c in chunks]) for p in poolings}

    def release(self) -> None:
        """Release the memory-mapped file."""
        self.__dict__.pop("vectors", None)
