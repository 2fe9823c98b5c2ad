"""Precomputed vectors in files other than .npy: safetensors, parquet, and folders of vectors and texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import open_regular, user_path
from hengyu.base.errors import HengyuError, first_line
from hengyu.encoders import VECTOR_FILES, EncoderSpec
from hengyu.encoders.precomputed import Precomputed

__all__ = ["ParquetVectors", "SafetensorsVectors", "open_vectors"]

_TEXTS = ("texts.txt", "texts.json", "vectors.txt", "vectors.json")
_NAMES_OF_VECTORS = ("vector", "vectors", "embedding", "embeddings")
_NAMES_OF_TEXTS = ("text", "texts", "sentence", "sentences")
_BATCH = 1024  # rows
_SMALL = 256 << 20  # bytes to which any file may unpack
_RATIO = 64  # numbers hardly compress: a file may unpack to this multiple of its size
_DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


def open_vectors(spec: EncoderSpec) -> Precomputed:
    """Return the vectors in a file or folder; raises `HengyuError` if a folder has several."""
    path = user_path(spec.model)
    if path.is_dir():
        spec = _inside(path, spec)
    kinds = {".safetensors": SafetensorsVectors, ".parquet": ParquetVectors}
    return kinds.get(Path(spec.model).suffix, Precomputed)(spec)


def _inside(folder: Path, spec: EncoderSpec) -> EncoderSpec:
    """Return the spec of the vectors in a folder, named like the folder."""
    found = [folder / f"vectors{s}" for s in VECTOR_FILES if (folder / f"vectors{s}").exists()]
    if len(found) > 1:
        raise HengyuError(
            f"encoder '{spec.display_name}' ({folder}): contains {' and '.join(p.name for p in found)}; keep one, or name the file"
        )
    texts = spec.texts
    if not texts and found[0].suffix != ".parquet":
        texts = next((str(folder / name) for name in _TEXTS if (folder / name).is_file()), "")
        if not texts:
            raise HengyuError(
                f"encoder '{spec.display_name}' ({folder}): its texts are missing; put them in {folder / _TEXTS[0]}, one per line, "
                "in the order of the vectors"
            )
    return replace(spec, name=spec.display_name, model=str(found[0]), texts=texts)


class SafetensorsVectors(Precomputed):
    """The vectors (m, d) in a .safetensors file: its only matrix, or the one named ``vectors`` or ``embeddings``.

    Its texts are found like those of a .npy file.
    """

    @cached_property
    def vectors(self) -> NDArray[Any]:
        """The vectors (m, d), memory-mapped; raises `HengyuError` for any other content."""
        from safetensors import SafetensorError, safe_open

        _refuse_no_file(self.path, self.where)
        try:
            with safe_open(self.path, framework="np") as file:  # checks all offsets against the file's size
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            header = _header(self.path)
        except (SafetensorError, OSError, ValueError, RecursionError) as e:
            raise HengyuError(
                f"{self.where}: not a safetensors file ({first_line(e)}); write it with save_file"
            ) from None
        matrices = [name for name, shape in shapes.items() if len(shape) == 2]
        name = _choose(matrices, _NAMES_OF_VECTORS)
        if name is None:
            held = ", ".join(f"{n} {shapes[n]}" for n in sorted(shapes)[:5]) or "nothing"
            raise HengyuError(
                f"{self.where}: must hold one matrix (m, d), or one named 'vectors', not {held}; save one row per text"
            )
        kind, rows = header[1][name]["dtype"], shapes[name]
        if kind not in _DTYPES or not all(rows):
            raise HengyuError(
                f"{self.where}: '{name}' is {kind} {rows}; save floating-point vectors, float32 or float16"
            )
        start = header[0] + header[1][name]["data_offsets"][0]
        found = np.memmap(self.path, np.dtype(_DTYPES[kind]).newbyteorder("<"), "r", start, rows)
        return _checked(found, len(self.texts), self.where, self._beside.name)


class ParquetVectors(Precomputed):
    """The vectors (m, d) and texts (m,) in a parquet file: a column of lists of numbers, and one of strings.

    If there are several, those named ``vector`` or ``embedding``, and ``text`` or ``sentence``, are read.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        if spec.texts:
            raise HengyuError(f"{self.where}: texts does not apply to a parquet file, which has its own; remove it")

    @cached_property
    def _table(self) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        import pyarrow as pa

        _refuse_no_file(self.path, self.where)
        try:
            return self._read()
        except HengyuError:
            raise
        except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, TypeError, MemoryError) as e:
            raise HengyuError(
                f"{self.where}: damaged or cut short, or not a parquet file ({first_line(e)}); get the file again"
            ) from None

    def _read(self) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            schema = file.schema_arrow
            lists, strings = [], []
            for field in schema:
                kind = field.type
                if _is_list(kind) and pa.types.is_floating(kind.value_type):
                    lists.append(field.name)
                if pa.types.is_dictionary(kind):  # pandas' categories
                    kind = kind.value_type
                if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                    strings.append(field.name)
            vector, text = _choose(lists, _NAMES_OF_VECTORS), _choose(strings, _NAMES_OF_TEXTS)
            for name, found, wanted, known in (
                (vector, lists, "lists of floating-point numbers", "vector"),
                (text, strings, "strings", "text"),
            ):
                if name is None:
                    held = f"has {len(found)} columns of {wanted}" if found else f"has no column of {wanted}"
                    raise HengyuError(f"{self.where}: {held}; name the one to read '{known}'")
                if schema.names.count(name) > 1:
                    raise HengyuError(f"{self.where}: has two columns '{name}'; rename one of them")
            limit = max(_SMALL, _RATIO * self.path.stat().st_size)
            self._refuse_large(_declared(file.metadata, {vector, text}), limit)
        # strings stay in their dictionary, so that repetitions of a long one are not unpacked
        with pq.ParquetFile(self.path, read_dictionary=[text]) as file:
            blocks: list[NDArray[np.float32]] = []
            texts: list[str] = []
            size = 0
            for batch in file.iter_batches(_BATCH, columns=[vector, text]):
                blocks.append(self._matrix(batch.column(vector), sum(map(len, blocks))))
                texts += self._words(batch.column(text), limit - size)
                size += blocks[-1].nbytes + sum(4 * len(t) for t in texts[len(texts) - len(batch) :])
                self._refuse_large(size, limit)
                if blocks[-1].shape[1] != blocks[0].shape[1]:
                    raise HengyuError(f"{self.where}: vectors of several widths; give all rows the same")
        if not blocks:
            raise HengyuError(f"{self.where}: has no rows; write one per text")
        return _checked(np.concatenate(blocks), len(texts), self.where, self.path.name), tuple(texts)

    def _refuse_large(self, size: int, limit: int) -> None:
        if size > limit:
            raise HengyuError(
                f"{self.where}: would unpack to more than {limit >> 20} MiB; write it as .npy or .safetensors"
            )

    def _matrix(self, column: Any, before: int) -> NDArray[np.float32]:
        """Return lists of numbers as a matrix (n, d)."""
        if column.null_count or column.flatten().null_count:
            raise HengyuError(
                f"{self.where}: a vector after row {before} is missing or has a missing number; correct it"
            )
        lengths = (
            set(column.value_lengths().to_pylist()) if hasattr(column, "value_lengths") else {column.type.list_size}
        )
        if len(lengths) != 1 or 0 in lengths:
            raise HengyuError(f"{self.where}: vectors of several widths, or empty ones; give all rows the same")
        numbers: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        return numbers.reshape(len(column), -1)

    def _words(self, column: Any, room: int) -> list[str]:
        """Return strings (n,), unless they take more than a number of bytes."""
        import pyarrow.compute as pc

        if column.null_count:
            raise HengyuError(f"{self.where}: a text is missing (null); give every row its text")
        packed = hasattr(column, "dictionary")
        lengths = pc.binary_length(column.dictionary if packed else column)
        size = pc.sum(pc.take(lengths, column.indices) if packed else lengths).as_py() or 0
        self._refuse_large(size, room)
        found: list[str] = column.to_pylist()
        return found

    @cached_property
    def vectors(self) -> NDArray[Any]:
        """The vectors (m, d); raises `HengyuError` for any other content."""
        return self._table[0]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts (m,) in the order of the rows."""
        return self._table[1]

    def identity(self) -> dict[str, Any]:
        """What the vectors depend on besides the text: the bytes of the file."""
        width = self.vectors.shape[1]
        with open_regular(self.path) as file:
            total = hashlib.sha256(f"{width}\0".encode() + hashlib.file_digest(file, "sha256").digest())
        empty = {"tokens": "", "max_length": 0, "prompt": "", "pre_tokenizer": ""}
        return {"fingerprint": total.hexdigest()[:16], "dtype": "float32", "protocol": 1, **empty}

    def release(self) -> None:
        """Free the vectors; the texts that `stream` looks up stay."""
        self.__dict__.pop("vectors", None)
        self.__dict__.pop("_table", None)


def _refuse_no_file(path: Path, where: str) -> None:
    if not path.exists():
        raise HengyuError(f"{where}: no such file; check the path")
    if not path.is_file():  # reading a pipe or device might never end
        raise HengyuError(f"{where}: is not a regular file; save the vectors in one")


def _choose(names: Sequence[str], known: Sequence[str]) -> str | None:
    """Return the only name, else the only known name; None if neither exists."""
    if len(names) == 1:
        return names[0]
    familiar = [n for n in names if n.lower() in known]
    return familiar[0] if len(familiar) == 1 else None


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the offset of the data in a safetensors file, and its header, whose size the library has checked."""
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    return 8 + size, header


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _declared(metadata: Any, names: set[str | None]) -> int:
    """Return the unpacked size, in bytes, that a parquet file declares for columns."""
    total = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            column = row_group.column(number)
            if column.path_in_schema.split(".")[0] in names:
                total += max(column.total_uncompressed_size, 4 * column.num_values)
    return total


def _checked(found: NDArray[Any], texts: int, where: str, beside: str) -> NDArray[Any]:
    """Check that vectors (m, d) are finite and as many as their texts; raises `HengyuError` otherwise."""
    if len(found) != texts:
        raise HengyuError(f"{where}: {len(found)} vectors for the {texts} texts of {beside}; give one row per text")
    for start in range(0, len(found), _BATCH):
        wrong = ~np.isfinite(found[start : start + _BATCH]).all(axis=1)
        if wrong.any():
            raise HengyuError(f"{where}: row {start + int(wrong.argmax())} (from 0) is not finite; correct it")
    return found
