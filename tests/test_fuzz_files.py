"""What `test_fuzz` and `test_fuzz_kept` do not reach: vectors, texts and results of other programs, packed files, words typed.

Read right or refused in a sentence, as there; HENGYU_SOAK=N multiplies the examples.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import math
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import runs
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz import NASTY, VALUES, as_parquet, broken, changed, fuzz, refused_or

from hengyu.base.bounded import map_npy, unpacked, user_path
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import parse
from hengyu.base.text_lines import blocks
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, find_encoder
from hengyu.report.mteb_references import read_results, with_references
from hengyu.storage.records import load_run
from hengyu.storage.records.costs import read_costs
from hengyu.storage.records.observations import load_labels
from hengyu.storage.tensor_file import read_metadata, read_sealed, save_sealed
from hengyu.tasks.search.relevance_file import load_relevance

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) + 1
TEXTS = ["甲", "乙\n丙", "丁", "é\u202e"]


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


# --- vectors ---

PIECES = [
    "{",
    "}",
    "(",
    ")",
    ",",
    ":",
    "'descr'",
    "'shape'",
    "'fortran_order'",
    "'<f4'",
    "'|O'",
    "True",
    "False",
    "2",
    "3",
]
PIECES += [
    "-1",
    "9" * 30,
    "L",
    "[",
    "]",
    '"',
    "'",
    " ",
    "\n",
    "\0",
    "('a', '<f4')",
    "4, 3",
    "{'descr': '<f4', 'fortran_order': ",
]


@fuzz(150)
@given(
    st.binary(max_size=40)
    | broken(saved(VECTORS))
    | st.lists(st.sampled_from(PIECES), max_size=14).map(
        lambda parts: (
            b"\x93NUMPY\x01\x00" + len("".join(parts)).to_bytes(2, "little") + "".join(parts).encode() + bytes(48)
        )
    )
)
def test_npy_files(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Every array that is mapped lies within the file, and what numpy reads is the same."""
    path = tmp_path_factory.getbasetemp() / "fuzz.npy"
    path.write_bytes(raw)
    try:
        found = map_npy(path)
    except ValueError as e:
        assert str(e) and not isinstance(e, HengyuError)
        return
    assert found.nbytes <= len(raw)
    try:
        known = np.load(path, allow_pickle=False)
    except Exception:  # it is stricter about white space, and raises whatever its parser does
        return
    assert known.dtype == found.dtype and known.shape == found.shape and known.tobytes() == found.tobytes()


@pytest.mark.parametrize("part", ["npy", "txt", "json"])
def test_precomputed_vectors(part: str, tmp_path: Path) -> None:
    wholes = {"npy": saved(VECTORS), "txt": "\n".join("甲乙丙丁").encode(), "json": json.dumps(TEXTS).encode()}
    beside = "json" if part == "json" else "txt"
    spec = EncoderSpec(str(tmp_path / "v.npy"), texts=str(tmp_path / f"v.{beside}"))
    for name in ("npy", beside):
        (tmp_path / f"v.{name}").write_bytes(wholes[name])
    assert find_encoder(spec).encode(["甲"], ["native"])["native"].tolist() == [[1.0, 2.0, 3.0]]

    @fuzz(100)
    @given(
        broken(wholes[part])
        | (changed(TEXTS).map(lambda c: json.dumps(c).encode()) if part == "json" else st.nothing())
    )
    def check(raw: bytes) -> None:
        (tmp_path / f"v.{part}").write_bytes(raw)
        encoder = find_encoder(spec)
        found = refused_or(lambda: (encoder.identity(), encoder.encode(["丁"], ["native"])["native"]))
        if found:
            assert found[1].shape[0] == 1 and np.isfinite(found[1]).all()

    check()


# --- results of mteb ---

RESULT: dict[str, Any] = {
    "task_name": "ATEC",
    "mteb_version": "2.0",
    "dataset_revision": "x",
    "evaluation_time": 1.5,
    "scores": {
        "test": [
            {"hf_subset": "default", "languages": ["cmn-Hans"], "cosine_spearman": 0.5, "cosine_pearson": 0.4, "x": [1]}
        ],
        "validation": [{"hf_subset": "default", "spearman": 0.1, "main_score": 0.1}],
    },
}
META = {"name": "owner/model", "revision": "abc", "languages": ["cmn-Hans"]}


@pytest.mark.parametrize("name", ["ATEC.json", "model_meta.json"])
def test_results_of_mteb(name: str, tmp_path: Path) -> None:
    run = load_run(runs.write_run(runs.make_run(sweep=False), tmp_path / "reports"))
    folder = tmp_path / "results" / "m" / "r"
    folder.mkdir(parents=True)
    wholes = {"ATEC.json": RESULT, "model_meta.json": META}
    for file, content in wholes.items():
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    assert {r.task for r in read_results(tmp_path)} == {"ATEC:test", "ATEC:valid"}

    written = count()

    @fuzz(100)
    @given(changed(wholes[name]).map(lambda c: json.dumps(c).encode()) | broken(json.dumps(wholes[name]).encode()))
    def check(raw: bytes) -> None:
        (folder / name).write_bytes(raw)
        for one in refused_or(lambda: read_results(tmp_path / "results")) or ():
            assert -1 <= one.value <= 1 and (one.pearson is None or math.isfinite(one.pearson))
            assert one.model.encode() and one.task.encode()
            if not next(written) % 20:  # it writes a run, flushed to the disk
                refused_or(lambda one=one: with_references(run, [one], tmp_path / "out"))

    check()


# --- packed files, texts ---


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bytes])
def test_text_files(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    whole = "\n".join(f"第{i}句" for i in range(40)).encode()

    @fuzz(100)
    @given(broken(pack(whole)) | st.binary(max_size=60))
    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        for block in refused_or(lambda: list(blocks(path, 7))) or ():
            assert len(block.texts) + block.blank <= 7
            assert all(t.strip() and t.encode("utf-8") for t in block.texts)

    check()


@fuzz(100)
@given(broken(lzma.compress(b"abc" * 50)) | broken(lzma.compress(b"a") + lzma.compress(b"b")))
def test_xz_gives_what_lzma_gives_or_refuses(raw: bytes) -> None:
    file, packed = unpacked(io.BytesIO(raw))
    try:
        found = file.read()
    except (lzma.LZMAError, EOFError):
        return
    if packed:
        try:
            known = lzma.decompress(raw)
        except lzma.LZMAError:  # zeros between streams that are no fours, which lzma takes for a third stream
            return
        assert found == known


@fuzz(60)
@given(broken(as_parquet()), st.integers(0, 400))
def test_parquet_whose_bytes_and_footer_lie(raw: bytes, cut: int) -> None:
    from hengyu.cards.rows import read_columns

    wanted = ("a", "b", "c")
    tail = as_parquet()[cut:]
    for content in (raw, raw[:cut] + tail):
        refused_or(lambda content=content: read_columns(content, "x", format="parquet", header=True, wanted=wanted))


# --- the binary files of a run, of the store ---


def test_sealed_arrays(tmp_path: Path) -> None:
    path = save_sealed(tmp_path, {"a": 1}, {"x": VECTORS, "y": np.arange(3)}, {"word": "é"})
    whole = path.read_bytes()
    assert read_sealed(path)[0]["x"].tolist() == VECTORS.tolist()

    @fuzz(100)
    @given(broken(whole))
    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        found = refused_or(lambda: read_sealed(path))
        assert found is None or found[0]["x"].tolist() == VECTORS.tolist()
        read_metadata(path)

    check()


def test_binary_files_of_a_run(tmp_path: Path) -> None:
    from safetensors.numpy import save

    labels = save({"t": np.arange(4.0)})
    relevance = save(
        {f"t {n}": np.arange(3) for n in ("own", "corpus", "queries", "asked", "answers", "grades", "size")}
    )

    @fuzz(100)
    @given(broken(labels), broken(relevance))
    def check(one: bytes, other: bytes) -> None:
        (tmp_path / "labels.safetensors").write_bytes(one)
        (tmp_path / "relevance.safetensors").write_bytes(other)
        assert all(y.dtype == np.float64 for y in load_labels(tmp_path).values())
        load_relevance(tmp_path, "t")

    check()


@fuzz(100)
@given(
    VALUES.map(lambda c: json.dumps(c).encode())
    | broken(b'{"costs": {"a": {"b": 1.5}}, "sha256": "x"}')
    | st.binary(max_size=20)
)
def test_json_of_any_kind(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "costs.json"
    path.write_bytes(raw)
    read_costs(path)
    try:
        found = parse(raw)
    except ValueError as e:
        assert str(e)
        return
    assert json.dumps(found, ensure_ascii=False, allow_nan=False).encode("utf-8")


# --- words ---

CHARS = st.text(st.characters(exclude_categories=()), max_size=12)
TYPED = (
    NASTY
    | CHARS
    | st.sampled_from(["~x/y", "~", "/", ".", "..", "-", "--", "/dev/null", "a" * 300, "[/b]", "a/b", "C:\\x", "://"])
)


@fuzz(60)
@given(TYPED, st.sampled_from(["", ".npy", "/x"]), TYPED)
def test_encoders_by_any_name(word: str, ending: str, texts: str) -> None:
    spec = EncoderSpec(word + ending, texts=texts if ending == ".npy" else "")
    refused_or(lambda: user_path(word))
    refused_or(lambda: spec.display_name)
    encoder = refused_or(lambda: find_encoder(spec, offline=True))
    if encoder is not None and ending == ".npy":
        refused_or(encoder.identity)


COMMANDS: list[Callable[[str], list[str]]] = [
    lambda word: ["export", "--", word],
    lambda word: ["gate", "--", word, word],
    lambda word: ["gate", "latest", "latest", f"--rules={word}"],
    lambda word: ["gate", "latest", "latest", f"--tolerance={word}"],
    lambda word: ["baseline", "--show", "--", word],
    lambda word: ["compare", "--", word, "latest"],
    lambda word: ["validate", "--", word],
    lambda word: ["run", "--quiet", "--", f"nosuch-{word}"],
    lambda word: ["run", "smoke", "--quiet", "--task=hengyu-sts:test", f"--entry={word}", "--data=/nosuch"],
    lambda word: ["run", "smoke", "--quiet", f"--task={word}:{word}"],
    lambda word: ["list", "datasets", f"--datasets={word}"],
    lambda word: ["fetch", "--", word],
    lambda word: ["reference", "latest", "--", word],
    lambda word: ["export", "latest", f"--out={word}/x"],
    lambda word: ["speed", "--", word],
]


def test_words_of_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is typed, it is done or refused: exit codes are those of the commands, and never that of a bug."""
    runs.write_run(runs.make_run(sweep=False), tmp_path / "reports")
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    @fuzz(100)
    @given(st.sampled_from(COMMANDS), TYPED.filter(lambda w: not w.startswith(("/", "..", "~"))))
    def check(command: Callable[[str], list[str]], word: str) -> None:
        words = command(word)
        done = CliRunner().invoke(main, words)
        assert done.exit_code != 70 and (done.exception is None or isinstance(done.exception, SystemExit)), (
            words,
            done.output,
        )
        assert not any(c in done.output for c in "\x1b\u202e"), words

    check()
