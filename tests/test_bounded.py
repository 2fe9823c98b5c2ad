"""Files from outside: only regular ones are opened, none is read beyond its bound, and names are looked at before work begins."""

from __future__ import annotations

import ast
import gzip
import io
import json
import lzma
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from helpers import runs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from test_fuzz import fuzz

import hengyu
from hengyu.base import bounded
from hengyu.base.bounded import map_npy, name_fault, open_regular, read_bytes, resolved, unpacked, user_path
from hengyu.base.errors import HengyuError
from hengyu.base.escapes import in_page, latex, markdown, plain
from hengyu.base.json_files import parse, read_json, write_bytes
from hengyu.base.text_lines import blocks
from hengyu.base.toml_tables import read_toml
from hengyu.cards import load_card, load_cards
from hengyu.cards.card import Columns
from hengyu.cards.rows import read_rows
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, find_encoder
from hengyu.encoders.precomputed import Precomputed
from hengyu.methods.grammar import parse_entry
from hengyu.report.exports.table import export
from hengyu.report.mteb_references import read_results
from hengyu.report.page.leaderboard import render
from hengyu.storage.records import load_run
from hengyu.storage.records.checksums import seal
from hengyu.suites.suite import find_suite, load_suite

PACKAGE = Path(hengyu.__file__).parent


@pytest.fixture(autouse=True)
def _alarm() -> Iterator[None]:
    """A test that waits for a pipe fails instead."""

    def late(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# --- regular files ---


def special(folder: Path) -> dict[str, Path]:
    """What is no regular file: a path of each kind, and a word of the sentence that refuses it."""
    folder.mkdir(exist_ok=True)
    found = {
        "named pipe": folder / "pipe",
        "socket": folder / "sock",
        "folder": folder / "folder",
        "symbolic": folder / "loop",
    }
    os.mkfifo(found["named pipe"])
    found["folder"].mkdir()
    found["symbolic"].symlink_to(found["symbolic"])
    here = Path.cwd()
    os.chdir(folder)  # a socket's path has room for a hundred bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("sock")
    finally:
        os.chdir(here)
    return found | {"device": Path("/dev/zero"), "no file name": folder / "a\0b"}


def test_nothing_but_a_regular_file_is_opened(tmp_path: Path) -> None:
    for word, path in special(tmp_path / "x").items():
        for read in (open_regular, read_bytes, map_npy):
            with pytest.raises(OSError) as e:
                read(path)
            assert word in str(e.value.strerror), (word, e.value)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"abc")
    assert read_bytes(tmp_path / "link") == b"abc"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 1000)
    assert len(read_bytes(path, 1000)) == 1000
    with pytest.raises(OSError, match="larger than"):
        read_bytes(path, 999)
    with path.open("r+b") as file:
        file.truncate(1 << 42)  # takes no room on the disk
    for read in (read_toml, lambda p: read_json(p, dict, "x")):
        with pytest.raises(HengyuError, match="larger than"):
            read(path)


READERS: dict[str, Callable[[Path], object]] = {
    "suite.toml": lambda path: load_suite(find_suite(str(path))),
    "card.toml": load_card,
    "run.json": lambda path: load_run(path.parent),
    "text.txt": lambda path: list(blocks(path, 10)),
    "vectors.npy": lambda path: Precomputed(EncoderSpec(str(path))).vectors,
    "mine.json": lambda path: read_results(path.parent),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_in_the_place_of_any_file_is_refused(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(HengyuError, match="it is a named pipe, not a regular file"):
        READERS[name](tmp_path / name)


def test_a_pipe_as_texts_as_data_and_in_a_model_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((2, 3), np.float32))
    os.mkfifo(tmp_path / "pipe")
    encoder = find_encoder(EncoderSpec(str(tmp_path / "v.npy"), texts=str(tmp_path / "pipe")))
    with pytest.raises(HengyuError, match="named pipe"):
        encoder.identity()
    card = 'name = "p"\nlabels = { scale = [0, 5] }\n[splits.test]\nfile = "a.tsv"\n'
    (tmp_path / "p.toml").write_text(card, encoding="utf-8")
    os.mkfifo(tmp_path / "a.tsv")
    from hengyu.cards.data import load_pairs

    with pytest.raises(HengyuError, match="named pipe"):
        load_pairs(load_card(tmp_path / "p.toml"), "test")
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")
    with pytest.raises(HengyuError, match="named pipe"):
        find_encoder(EncoderSpec(str(folder)))


def test_nothing_is_written_over_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(HengyuError, match="would be replaced"):
            write_bytes(path, b"x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


# these read files of our own package or of the system, or those of a folder that has been looked through for pipes
_OWN = {
    *("base/bounded.py", "base/environment.py", "base/memory.py", "storage/code_graph.py"),
    *("cli/__init__.py", "encoders/given.py"),  # the latter maps a file after `open_regular` has read its header
    *("report/page/page.py", "report/page/summaries.py", "encoders/__init__.py", "encoders/lexical.py"),
    *("tools/export_model/card.py", "tools/export_model/steps.py", "storage/vector_space.py", "storage/in_use.py"),
}


def test_files_from_outside_are_read_through_one_module() -> None:
    """Off the syntax tree: no other module opens, reads or expands what a user names."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() in _OWN:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                where = f"{path}:{node.lineno}"
                assert node.func.attr not in ("read_bytes", "read_text", "expanduser"), where
                assert ast.unparse(node.func) not in ("np.load", "np.fromfile", "np.memmap", "os.open"), where
                reads = [a.value for a in node.args if isinstance(a, ast.Constant)]
                assert not (node.func.attr == "open" and "rb" in reads), where


# --- packed files ---


def packers() -> dict[str, Callable[[bytes], bytes]]:
    return {"gz": gzip.compress, "xz": lzma.compress, "": lambda raw: raw}


@fuzz(60)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.sampled_from(sorted(packers())), st.integers(0, 3))
def test_unpacked_is_what_was_packed(parts: list[bytes], how: str, padding: int) -> None:
    """Streams one after the other too; xz pads them with fours of zeros."""
    pack = packers()[how]
    whole = b"".join(pack(part) + (b"\0" * 4 * padding if how == "xz" else b"") for part in parts)
    if not how and (whole.startswith(b"\x1f\x8b") or whole.startswith(b"\xfd7zXZ\x00")):
        return
    file, packed = unpacked(io.BytesIO(whole))
    assert packed == bool(how) and file.read() == b"".join(parts)
    if how == "xz":
        with pytest.raises((EOFError, lzma.LZMAError)):
            unpacked(io.BytesIO(pack(b"".join(parts) + b"x" * 99)[:-20]))[0].read()


def test_xz_that_asks_for_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "_XZ_MEMORY", 1 << 20)
    (tmp_path / "x.xz").write_bytes(lzma.compress("甲\n".encode(), preset=6))
    with pytest.raises(HengyuError, match="Memory usage limit"):
        list(blocks(tmp_path / "x.xz", 10))


def table_of(texts: list[str | None], labels: list[int], **how: object) -> bytes:
    out = pa.BufferOutputStream()
    table = pa.table(
        {"sentence1": pa.array(texts, pa.string()), "sentence2": pa.array(texts, pa.string()), "label": labels}
    )
    pq.write_table(table, out, **how)
    return out.getvalue().to_pybytes()


def read(raw: bytes | Path, form: str = "parquet") -> list[list[object]]:
    return [list(c) for c in read_rows(raw, "x", format=form, header=True, columns=Columns()).columns]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"use_dictionary": False},
        {
            "use_dictionary": False,
            "column_encoding": {"sentence1": "DELTA_BYTE_ARRAY", "sentence2": "DELTA_LENGTH_BYTE_ARRAY"},
        },
        {"compression": "zstd", "row_group_size": 7},
        {"data_page_version": "2.0"},
    ],
)
def test_parquet_of_any_encoding_is_read_as_pyarrow_reads_it(how: dict[str, object]) -> None:
    texts = [None if i % 11 == 3 else f"第{i % 40}句" for i in range(500)]
    raw = table_of(texts, [i % 2 for i in range(500)], **how)
    assert read(raw) == [c.to_pylist() for c in pq.read_table(pa.BufferReader(raw)).columns]


BOMBS: dict[str, Callable[[], bytes]] = {
    "one text a million times": lambda: table_of(["长" * 1000] * 20_000, [1] * 20_000),
    "texts that share their beginning": lambda: table_of(
        ["长" * 30_000] * 600,
        [1] * 600,
        compression="zstd",
        use_dictionary=False,
        column_encoding={"sentence1": "DELTA_BYTE_ARRAY", "sentence2": "DELTA_BYTE_ARRAY", "label": "PLAIN"},
    ),
    "packed zeros": lambda: table_of(["0" * 100_000] * 200, [1] * 200, compression="gzip", use_dictionary=False),
    "a number a million times": lambda: table_of(["a"] * 2_000_000, [1] * 2_000_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_parquet_bomb_is_refused_before_a_value_is_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "DATA", 8 << 20)
    raw = BOMBS[name]()
    assert len(raw) < 400_000

    def never(*_: object, **__: object) -> None:
        raise AssertionError("values were made")

    monkeypatch.setattr(bounded.ParquetColumns, "_ROWS", property(never))
    with pytest.raises(HengyuError, match="unpacks to more than 8 MiB"):
        read(raw)


def test_a_large_file_may_unpack_to_what_text_packs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound grows with the file: no corpus is refused for its size."""
    monkeypatch.setattr(bounded, "DATA", 1 << 10)
    rng = np.random.default_rng(3)
    lines = ["".join(map(chr, rng.integers(0x4E00, 0x9FA5, 30))) for _ in range(2000)]
    content = "sentence1\tsentence2\tlabel\n" + "".join(f"{a}\t{a}\t1\n" for a in lines)
    assert len(read(gzip.compress(content.encode()), "tsv")[0]) == 2000
    with pytest.raises(HengyuError, match="unpacks to more than"):
        read(gzip.compress(b"a" * (1 << 20)), "tsv")


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded.bounded_lines, "__defaults__", (None, 1 << 10))
    (tmp_path / "a.jsonl").write_bytes(b'{"sentence1": "' + b"a" * 5000)
    with pytest.raises(HengyuError, match="line 1 is longer than"):
        read(tmp_path / "a.jsonl", "jsonl")


def test_a_column_of_lists_in_lists_is_refused() -> None:
    out = pa.BufferOutputStream()
    pq.write_table(pa.table({"sentence1": [[["a"]]], "sentence2": ["b"], "label": [1]}), out)
    with pytest.raises(HengyuError, match="column 'sentence1' holds list"):
        read(out.getvalue().to_pybytes())


def test_lists_are_counted_by_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    out = pa.BufferOutputStream()
    many = [["a" * 1000] * 2000]  # one text, stored once
    pq.write_table(pa.table({"sentence1": many, "sentence2": many, "label": [[1] * 2000]}), out)
    content = out.getvalue().to_pybytes()
    assert len(content) < 20_000
    assert len(read(content)[0]) == 2000
    monkeypatch.setattr(bounded, "DATA", 1 << 20)
    with pytest.raises(HengyuError, match="unpacks to more than 1 MiB"):
        read(content)


# --- .npy ---


@fuzz(100)
@given(
    hn.arrays(
        st.sampled_from(["<f4", ">f2", "<f8", "i1", "<i8", "?", "<c8", "<U3"]), hn.array_shapes(min_dims=0, min_side=0)
    ),
    st.sampled_from([(1, 0), (2, 0), (3, 0)]),
    st.booleans(),
)
def test_a_mapped_array_is_what_numpy_loads(x: np.ndarray, version: tuple[int, int], turned: bool) -> None:
    import tempfile

    x = np.asfortranarray(x) if turned else x
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        with path.open("wb") as file:
            np.lib.format.write_array(file, x, version=version, allow_pickle=False)
        found, known = map_npy(path), np.load(path, allow_pickle=False)
        assert found.dtype == known.dtype and found.shape == known.shape and found.tobytes() == known.tobytes()
        assert not found.flags.writeable or not found.size


def npy(header: str, body: bytes = b"\0" * 64, magic: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    raw = header.encode("latin-1")
    return magic + len(raw).to_bytes(2, "little") + raw + body


WRONG_NPY = {
    "": "empty",
    "PK": "zip archive",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True, True), }": "does not describe an array",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }": "does not describe an array",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }": "does not describe an array",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 30 + ", 4), }": "impossible shape",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 18 + ", 4), }": "but the file has 64",
    "{'descr': '<f4', 'fortran_order': False, 'shape': ((((2, 3": "does not describe an array",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': '1'}": "does not describe an array",
    "{'descr': '<f4', 'fortran_order': False}": "does not describe an array",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }": "Python objects",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }": "does not describe an array",
    "(" * 900: "does not describe an array",
    "-" * 9000: "does not describe an array",
}


@pytest.mark.parametrize("header", WRONG_NPY)
def test_a_header_that_lies_is_a_sentence(header: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"" if not header else b"PK\x03\x04zip....." if header == "PK" else npy(header))
    (tmp_path / "x.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(ValueError, match=WRONG_NPY[header]):
        map_npy(path)
    with pytest.raises(HengyuError, match="not an array of numbers"):
        _ = Precomputed(EncoderSpec(str(path))).vectors


# --- names and paths ---


@pytest.mark.parametrize("word", ["~nosuchuser/x", "x" * 300, "/tmp/" + "长" * 100, "a\0b", "a/" * 3000, "\ud800"])
def test_a_path_that_cannot_be_is_a_sentence_of_every_command(word: str) -> None:
    with pytest.raises(HengyuError):
        user_path(word)
    if "\0" in word or "\ud800" in word:
        return
    commands = [
        ["run", word],
        ["run", f"{word}.toml"],
        ["run", "smoke", "--encoder", word],
        ["run", "smoke", "--encoder", f"{word}.npy"],
    ]
    commands += [
        ["run", "smoke", "--data", word],
        ["run", "smoke", "--datasets", word],
        ["export", word],
        ["report", word],
    ]
    commands += [
        ["gate", word, "latest"],
        ["compare", word, word],
        ["baseline", word],
        ["validate", word],
        ["encode", word],
    ]
    commands += [["selfcheck", word], ["cloud", word], ["distort", word], ["fetch", word]]
    for words in commands:
        done = CliRunner().invoke(main, words)
        assert done.exit_code in (2, 3), (words[0], done.output, done.exception)
        assert "bug" not in done.output, (words[0], done.output)


def test_a_loop_of_links_is_a_path_like_others(tmp_path: Path) -> None:
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    assert resolved(tmp_path / "loop.toml").name == "loop.toml"
    with pytest.raises(HengyuError, match="symbolic links"):
        load_cards((tmp_path,))
    with pytest.raises(HengyuError, match="symbolic links"):
        load_suite(find_suite(str(tmp_path / "loop.toml")))


def test_names_that_files_are_named_by_fit_into_a_file_name(tmp_path: Path) -> None:
    assert (
        name_fault("长" * 60) == "" and name_fault("a" * 180) == "" and name_fault("长" * 61) and name_fault("a" * 181)
    )
    (tmp_path / f".{'长' * 60}-0123abcd-mteb-0123abcd.json.12345678").touch()  # the longest that is made of one
    suite, card = tmp_path / "s.toml", tmp_path / "c.toml"
    for name, refused in (("长" * 60, False), ("长" * 200, True)):
        suite.write_text(f'name = "{name}"\ntasks = ["hengyu-sts:test"]\nentries = ["raw"]\n', encoding="utf-8")
        body = f'name = "{name}"\nlabels = {{ scale = [0, 5] }}\n[splits.{json.dumps(name)}]\nfile = "a.tsv"\n'
        card.write_text(body, encoding="utf-8")
        if not refused:
            assert load_suite(suite).name == name and name in load_card(card).splits
            continue
        with pytest.raises(HengyuError, match="key 'name' is 600 bytes long"):
            load_suite(suite)
        with pytest.raises(HengyuError) as e:
            load_card(card)
        assert len(e.value.problems) == 2


@pytest.mark.parametrize(
    "text", ["(" * 100_000, "raw>" * 100_000, " " * 100_000, "raw" + " " * 100_000 + "!", '"' * 100_001]
)
def test_a_long_entry_is_refused_at_once(text: str) -> None:
    with pytest.raises(HengyuError, match="characters long") as e:
        parse_entry(text)
    assert len(str(e.value)) < 300


# --- JSON ---


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udc00x": 1}', "surrogate"),
        (b'"\xed\xa0\x80"', "utf-8"),
        (b"9" * 5000, "out of range"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"NaN", "not a number"),
        (b"1e999", "out of range"),
    ],
)
def test_json_that_nothing_can_be_made_of_is_a_sentence(raw: bytes, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse(raw)


def test_json_that_only_looks_like_it_is_read() -> None:
    for content in ["😀", "\\ud800", {"a": [1, 2.5, None, True, "é\u202e"]}]:
        assert parse(json.dumps(content).encode()) == content


# --- what is shown ---

HIDDEN = "a\u202eb\u2066\u200b\x1b[31m\x9b\x00\u2028\ufeff\u00ad\u3164\U000e0041[/b]"


@fuzz(200)
@given(st.text(st.characters(exclude_categories=())))
def test_every_character_of_a_shown_text_is_seen(text: str) -> None:
    shown = plain(text)
    assert plain(shown) == shown
    joined = shown.replace("\u200d", "")
    assert not [c for c in joined if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    kept = [
        c
        for c in text
        if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Cn") and c not in "\u034f\u3164"
    ]
    assert [c for c in kept if c not in shown and unicodedata.category(c) not in ("Lo", "Mn")] == []


def test_what_is_shown_is_a_code_point() -> None:
    assert plain("invoice\u202egpj") == "invoice<U+202E>gpj" and plain("\x1b\ud800") == "<U+001B><U+D800>"
    for text in ("平假名 é\u3000ё", "👩\u200d💻", "🏳\ufe0f\u200d🌈", "\U00031350", "a\u00a0b"):
        assert plain(text) == text
    assert plain("a\u200db") == "a<U+200D>b"
    assert in_page("a\n\tb\u202e") == "a\n\tb<U+202E>" and plain("a\nb") == "a<U+000A>b"
    assert markdown("a\u202e") == r"a\<U+202E\>" and latex("a\u202e") == r"a\textless{}U+202E\textgreater{}"


def test_names_of_a_run_show_what_they_hold_in_every_format(tmp_path: Path) -> None:
    folder = runs.write_run(runs.make_run(sweep=False), tmp_path)
    for name in ("run.json", "records.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(
            text.replace("示例编码器", "示例" + json.dumps("a\u202eb\u2066")[1:-1]), encoding="utf-8"
        )
    seal(folder)
    run = load_run(folder)
    for kind in ("csv", "md", "latex"):
        text = export(run, kind)
        assert "U+202E" in text and not re.search("[\u202e\u2066]", text), kind
    page = render(run)
    assert "&lt;U+202E&gt;" in page and not re.search("[\u202e\u2066]", page)
    out = subprocess.run(
        [sys.executable, "-P", "-c", "from hengyu.cli import main; main()", "gate", str(folder), str(folder)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert out.returncode == 2  # one and the same


def test_the_store_shows_damaged_spaces_and_prompts_that_look_like_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path))
    whole = {"fingerprint": "f", "pooling": "[/b]", "prompt": HIDDEN, "max_length": 8, "dtype": "float32"}
    damaged = [b"", b"[1]", b"[" * 100_000, b'{"dtype": 1, "space": 5, "bytes": "x"}', json.dumps(whole).encode()]
    for number, raw in enumerate(damaged):
        segment = tmp_path / "vectors" / f"{number:032d}" / "segment"
        segment.mkdir(parents=True)
        (segment.parent / "space.json").write_bytes(raw)
        (segment / "keys.npy").write_bytes(
            [b"", b"\x93NUMPY", npy("(" * 500), npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()}"), b"PK"][
                number
            ]
        )
    tuned = tmp_path / "tuned" / "t"
    tuned.mkdir(parents=True)
    (tuned / "hengyu_tuned.json").write_bytes(b'{"meaning": [1]}')
    done = CliRunner().invoke(main, ["store", "info"])
    assert done.exit_code == 0, done.output
    assert "[/b]" in done.output and not re.search("[\u202e\x1b\x9b\u2066]", done.output)
    assert CliRunner().invoke(main, ["store", "verify"]).exit_code == 1


# --- the last line of defence ---


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], tuple[int, str]]:
    import hengyu.cli.commands.theory

    def run(error: BaseException) -> tuple[int, str]:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(hengyu.cli.commands.theory.command, "invoke", fail)
        done = CliRunner().invoke(main, ["theory", "angle", "--dim", "8"])
        return done.exit_code, done.output

    return run


def test_what_nobody_foresaw_is_called_a_bug(
    failing: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = failing(KeyError("x\u202e"))
    assert code == 70 and "this is a bug in Hengyu" in said and "KeyError" in said and "HENGYU_DEBUG=1" in said
    assert "Traceback" not in said and said.count("\n") == 1 and "\u202e" not in said
    monkeypatch.setenv("HENGYU_DEBUG", "1")
    code, said = failing(ValueError("x"))
    assert code == 70 and "Traceback" in said


def test_what_the_machine_refuses_is_a_sentence(failing: Callable[..., tuple[int, str]]) -> None:
    assert failing(OSError(28, "No space left on device")) == (
        2,
        "error: the output cannot be written (No space left on device); free some space, or write it elsewhere\n",
    )
    code, said = failing(PermissionError(13, "Permission denied", "/x/y"))
    assert code == 2 and said.startswith("error: /x/y: Permission denied;")
    code, said = failing(MemoryError())
    assert code == 2 and "memory" in said
    assert failing(BrokenPipeError(32, "Broken pipe"))[0] == 0
    assert failing(HengyuError("a", "b")) == (2, "error: a\nerror: b\n")


@pytest.mark.parametrize("where", [">/dev/full", ">&-", ">/dev/full 2>&-", ">/dev/full 2>/dev/full", "| true"])
@pytest.mark.parametrize("words", ["--version", "theory angle --dim 8", "list suites"])
def test_a_stream_that_takes_nothing_is_no_traceback(where: str, words: str) -> None:
    own = "from hengyu.cli import main; main(prog_name='hengyu')"
    program = f'"{sys.executable}" -P -c "{own}" {words} {where}; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    code = int(done.stdout.split()[-1])
    assert code == (2 if "true" not in where else code), (done.stdout, done.stderr)
    if "2>" not in where and "true" not in where:
        assert done.stderr.startswith("error: the output cannot be written"), done.stderr


def test_a_full_stderr_ends_no_work(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('tasks = ["hengyu-sts:test"]\nentries = ["raw"]\n', encoding="utf-8")
    own = "import sys; from hengyu.cli import main; sys.argv = ['hengyu', 'validate', 's.toml']; import click; "
    own += "import hengyu.cli.commands.validate as v; old = v.command.callback; "
    own += "v.command.callback = lambda **k: (click.echo('said', err=True), old(**k)); main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-c", own],
            stderr=full,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        )
    assert done.returncode == 0 and "valid: 1 suite" in done.stdout
