"""Vectors that are there already as safetensors, as parquet, and in a folder; those of .npy files are in test_api.py."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec, find_encoder

TEXTS = ["甲", "乙", "丙"]
X = np.arange(12, dtype=np.float32).reshape(3, 4)


def texts(path: Path, lines: list[str] = TEXTS) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def safetensors(folder: Path, **tensors: Any) -> Path:
    save_file(tensors or {"anything": X}, folder / "mine.safetensors")
    texts(folder / "mine.txt")
    return folder / "mine.safetensors"


def parquet(folder: Path, vectors: Any = None, words: Any = None, **more: Any) -> Path:
    table = {"text": TEXTS if words is None else words, "vector": X.tolist() if vectors is None else vectors, **more}
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not False}), folder / "mine.parquet")
    return folder / "mine.parquet"


def encode(path: Path, **more: Any) -> np.ndarray:
    encoder = find_encoder(EncoderSpec(str(path), **more))
    encoder.identity()
    return encoder.encode(["丙", "甲", "丙"], ["native"])["native"]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_safetensors_are_read_in_every_precision(tmp_path: Path, kind: Any) -> None:
    path = safetensors(
        tmp_path, vectors=X.astype(kind), other=np.zeros((2, 2), np.float32), bias=np.zeros(5, np.float32)
    )
    found = encode(path)
    assert found.dtype == np.float32 and np.array_equal(found, X[[2, 0, 2]])
    assert find_encoder(EncoderSpec(str(path))).id == "mine"


@pytest.mark.parametrize(
    "column",
    [
        X.tolist(),
        pa.array(X.tolist(), pa.list_(pa.float32(), 4)),
        pa.array(X.tolist(), pa.large_list(pa.float64())),
        pa.array(X.astype(np.float16).tolist(), pa.list_(pa.float16())),
    ],
)
@pytest.mark.parametrize("words", [TEXTS, pa.array(TEXTS, pa.large_string()), pa.array(TEXTS).dictionary_encode()])
def test_parquet_is_read_in_every_kind_of_list(tmp_path: Path, column: Any, words: Any) -> None:
    path = parquet(tmp_path, column, words, number=[1, 2, 3])
    assert np.array_equal(encode(path), X[[2, 0, 2]])
    encoder = find_encoder(EncoderSpec(str(path)))
    encoder.encode(["甲"], ["native"])
    encoder.release()
    assert np.array_equal(encoder.encode(["乙"], ["native"])["native"], X[[1]])


def test_the_named_columns_are_read_where_there_are_several(tmp_path: Path) -> None:
    path = parquet(tmp_path, title=["x", "y", "z"], sparse=[[0.5], [0.5], [0.5]])
    assert np.array_equal(encode(path), X[[2, 0, 2]])


def test_parquet_of_many_rows_is_read_in_batches(tmp_path: Path) -> None:
    many = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    path = parquet(tmp_path, many.tolist(), [f"t{i}" for i in range(3000)])
    found = find_encoder(EncoderSpec(str(path))).encode(["t2999", "t0"], ["native"])["native"]
    assert np.array_equal(found, many[[2999, 0]])


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet"])
@pytest.mark.parametrize("beside", ["texts.txt", "vectors.txt", "texts.json"])
def test_a_folder_of_vectors_is_called_by_its_name(tmp_path: Path, kind: str, beside: str) -> None:
    folder = tmp_path / "bge-m3"
    folder.mkdir()
    if kind == "npy":
        np.save(folder / "vectors.npy", X)
    elif kind == "safetensors":
        safetensors(folder).rename(folder / "vectors.safetensors")
    else:
        parquet(folder).rename(folder / "vectors.parquet")
    if kind != "parquet":
        (folder / beside).write_text(
            json.dumps(TEXTS) if beside.endswith("json") else "\n".join(TEXTS), encoding="utf-8"
        )
    encoder = find_encoder(EncoderSpec(str(folder)))
    assert encoder.id == "bge-m3"
    assert np.array_equal(encoder.encode(["丙", "甲", "丙"], ["native"])["native"], X[[2, 0, 2]])


def test_a_folder_that_says_too_much_or_too_little_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    np.save(folder / "vectors.npy", X)
    with pytest.raises(HengyuError, match="its texts are missing; put them in .*texts.txt"):
        find_encoder(EncoderSpec(str(folder)))
    parquet(folder).rename(folder / "vectors.parquet")
    with pytest.raises(HengyuError, match="contains vectors.npy and vectors.parquet; keep one"):
        find_encoder(EncoderSpec(str(folder)))
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert EncoderSpec(str(folder)).kind == "model"


def test_vectors_of_every_kind_that_changed_have_another_address(tmp_path: Path) -> None:
    for write in (safetensors, parquet):
        before = find_encoder(EncoderSpec(str(write(tmp_path)))).identity()
        assert find_encoder(EncoderSpec(str(write(tmp_path)))).identity() == before
        path = safetensors(tmp_path, v=X + 1) if write is safetensors else parquet(tmp_path, (X + 1).tolist())
        assert find_encoder(EncoderSpec(str(path))).identity() != before


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"a": X, "b": X}, r"must hold one matrix .m, d., or one named 'vectors', not a"),
        ({"vectors": X, "embeddings": X}, "must hold one matrix"),
        ({"a": X[0]}, "must hold one matrix"),
        ({"a": X.astype(np.int32)}, r"'a' is I32 .3, 4.; save floating-point vectors"),
        ({"a": X[:, :0]}, "save floating-point vectors"),
        ({"a": X[:2]}, "2 vectors for the 3 texts of mine.txt"),
        ({"a": np.where(X == 5, np.nan, X)}, "row 1 .from 0. is not finite"),
    ],
)
def test_safetensors_that_do_not_fit_are_one_sentence(tmp_path: Path, tensors: Any, reason: str) -> None:
    with pytest.raises(HengyuError, match=reason):
        find_encoder(EncoderSpec(str(safetensors(tmp_path, **tensors)))).identity()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 8) + b"[" * 8,
        struct.pack("<Q", 70) + b'{"a":{"dtype":"F32","shape":[3,4],"data_offsets":[0,48000000000]}}    ' + bytes(48),
        struct.pack("<Q", 66) + b'{"a":{"dtype":"F32","shape":[4000000000,4],"data_offsets":[0,48]}}' + bytes(48),
    ],
)
def test_a_damaged_safetensors_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = safetensors(tmp_path)
    path.write_bytes(content)
    with pytest.raises(HengyuError, match="not a safetensors file|must hold one matrix"):
        find_encoder(EncoderSpec(str(path))).identity()


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"vectors": False}, "has no column of lists of floating-point numbers; name the one to read 'vector'"),
        ({"words": False}, "has no column of strings; name the one to read 'text'"),
        ({"vectors": [[1], [2], [3]]}, "has no column of lists of floating-point numbers"),
        ({"vectors": False, "a": X.tolist(), "b": X.tolist()}, "has 2 columns of lists"),
        ({"vectors": [[1.0, 2.0], [1.0], [1.0, 2.0]]}, "vectors of several widths"),
        ({"vectors": pa.array([[], [], []], pa.list_(pa.float32()))}, "empty ones"),
        ({"vectors": [[1.0], None, [1.0]]}, "is missing or has a missing number"),
        ({"vectors": [[1.0], [None], [1.0]]}, "is missing or has a missing number"),
        ({"vectors": [[1.0], [float("nan")], [1.0]]}, "row 1 .from 0. is not finite"),
        ({"words": ["甲", None, "丙"]}, "a text is missing"),
        ({"vectors": pa.array([], pa.list_(pa.float32())), "words": pa.array([], pa.string())}, "has no rows"),
    ],
)
def test_parquet_that_does_not_fit_is_one_sentence(tmp_path: Path, table: Any, reason: str) -> None:
    with pytest.raises(HengyuError, match=reason):
        find_encoder(EncoderSpec(str(parquet(tmp_path, **table)))).identity()


def test_a_damaged_parquet_file_is_one_sentence(tmp_path: Path) -> None:
    whole = parquet(tmp_path).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), 1 + number % 4):
            content[at] ^= 1 << int(rng.integers(8))
        if number % 5 == 0:
            content = content[: int(rng.integers(len(whole)))]
        (tmp_path / "mine.parquet").write_bytes(bytes(content))
        try:
            encode(tmp_path / "mine.parquet")
        except HengyuError as e:
            assert len(e.problems) == 1
    (tmp_path / "mine.parquet").write_bytes(b"")
    with pytest.raises(HengyuError, match="damaged or cut short, or not a parquet file"):
        encode(tmp_path / "mine.parquet")


def test_parquet_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    from hengyu.base.memory import status

    rows = 1 << 15
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * 2080, np.float32)), 2080)
    pq.write_table(pa.table({"text": ["甲"] * rows, "vector": wide}), tmp_path / "zeros.parquet", compression="zstd")
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["长" * 100_000]))
    pq.write_table(pa.table({"text": long, "vector": [[1.0]] * rows}), tmp_path / "long.parquet")
    del wide, long
    before = status("VmRSS") or 0
    for name in ("zeros", "long"):
        path = tmp_path / f"{name}.parquet"
        assert path.stat().st_size < 4 << 20
        with pytest.raises(HengyuError, match="would unpack to more than 256 MiB; write it as .npy or .safetensors"):
            find_encoder(EncoderSpec(str(path))).identity()
    assert (status("VmRSS") or 0) - before < 600 << 20


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("mine.safetensors", "mine.parquet"):
        os.mkfifo(tmp_path / name)
        texts(tmp_path / "mine.txt")
        with pytest.raises(HengyuError, match="is not a regular file"):
            find_encoder(EncoderSpec(str(tmp_path / name))).identity()


def test_what_belongs_to_no_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HengyuError, match="texts does not apply to a parquet file"):
        find_encoder(EncoderSpec(str(parquet(tmp_path)), texts="x.txt"))
    for path in (parquet(tmp_path), safetensors(tmp_path)):
        with pytest.raises(HengyuError, match="prompt does not apply"):
            find_encoder(EncoderSpec(str(path), prompt="查询："))
        with pytest.raises(HengyuError, match="no such file"):
            find_encoder(EncoderSpec(str(path.with_stem("gone")))).identity()


@pytest.mark.parametrize("model", ["a\0b", "x" * 300, "~nosuchuser/x", "", "/dev/null", "甲" * 200])
def test_a_path_that_cannot_be_is_no_file_of_vectors(model: str) -> None:
    assert EncoderSpec(model).kind == "model"
    assert EncoderSpec(f"{model}.npy").kind == "vectors"
