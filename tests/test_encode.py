"""Large files of sentences: streamed, resumed, bounded, and told honestly what they take."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import sentences
from hypothesis import given, settings
from hypothesis import strategies as st
from test_killed import lay_out, surroundings

from hengyu.base.errors import HengyuError
from hengyu.base.memory import as_bytes, as_words
from hengyu.base.progress import silent
from hengyu.base.text_lines import blocks
from hengyu.bench import encode_file as job
from hengyu.bench import estimate as estimates
from hengyu.bench.encode import encode_missing
from hengyu.bench.encode_file import archive, block_size
from hengyu.bench.estimate import Estimate, estimate, refuse_what_cannot_fit
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.storage.identity import vectors_key
from hengyu.storage.vectors import VectorStore, text_keys
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [s for pair in sentences(np.random.default_rng(1), 200) for s in pair[:2]]
    rows[5:5] = ["", "  "]
    path = tmp_path / "corpus.txt"
    path.write_bytes("\ufeff".encode() + "\r\n".join(rows).encode())
    return path


def texts_of(path: Path) -> list[str]:
    return [t for block in blocks(path, 50) for t in block.texts]


def test_every_line_has_the_vector_of_its_text(
    corpus: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_BLOCK", 64)
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    store = VectorStore(tmp_path / "store")
    done = archive(corpus, encoder, ["mean", "cls"], store)
    texts = texts_of(corpus)
    assert (done.lines, done.blank, done.encoded) == (402, 2, len(set(texts)))
    assert not any(t.startswith("\ufeff") or t.endswith("\r") for t in texts)
    plain = encoder.encode(texts, ["mean", "cls"])
    for pooling in ("mean", "cls"):
        space = store.space(vectors_key(encoder, pooling))
        assert space.folder == done.spaces[pooling]
        np.testing.assert_allclose(space.get(text_keys(texts)), plain[pooling], atol=1e-5)
    again = archive(corpus, encoder, ["mean", "cls"], store)
    assert again.encoded == 0
    assert encode_missing(store, encoder, texts[:9], ["mean"], silent).encoded == 0  # runs find them


def test_an_interrupted_job_goes_on_and_ends_with_the_same_vectors(
    corpus: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_BLOCK", 64)
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    real, left = type(encoder)._forward, [10**6]

    def dies(self: object, *args: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(type(encoder), "_forward", dies)
    whole = archive(corpus, encoder, ["mean"], VectorStore(tmp_path / "whole"))
    store = VectorStore(tmp_path / "killed")
    left[0] = (10**6 - left[0]) // 2  # half of the passes that it takes
    with pytest.raises(KeyboardInterrupt):
        archive(corpus, encoder, ["mean"], store)
    monkeypatch.setattr(type(encoder), "_forward", real)
    rest = archive(corpus, encoder, ["mean"], store)
    assert 0 < rest.encoded < whole.encoded
    keys = text_keys(texts_of(corpus))
    cache_key = vectors_key(encoder, "mean")
    assert (store.space(cache_key).get(keys) == VectorStore(tmp_path / "whole").space(cache_key).get(keys)).all()


def test_gzip_is_read_and_mistakes_are_named_by_line(corpus: Path, tmp_path: Path) -> None:
    packed = tmp_path / "corpus.txt.gz"
    packed.write_bytes(gzip.compress(corpus.read_bytes()))
    assert texts_of(packed) == texts_of(corpus)
    packed.write_bytes(packed.read_bytes()[:-50])
    with pytest.raises(HengyuError, match="damaged or cut short"):
        texts_of(packed)
    bad = tmp_path / "bad.txt"
    bad.write_bytes("好\n坏".encode() + b"\xff\n")
    with pytest.raises(HengyuError, match=r"bad.txt: line 2 is not UTF-8 \(byte 4"):
        texts_of(bad)
    bad.write_bytes(b"x" * (2 << 20))
    with pytest.raises(HengyuError, match="line 1 is longer than 1 MiB"):
        texts_of(bad)


def test_the_command(corpus: Path, tiny_bert: Path, tmp_path: Path) -> None:
    words = ["encode", str(corpus), "--encoder", str(tiny_bert), "--out", str(tmp_path / "store")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "402 lines, 2 of them blank;" in done.stderr
    assert Path(re.search("mean: (.*)", done.stdout)[1]).is_dir()  # type: ignore[index]
    assert "; 0 sentences encoded" in CliRunner().invoke(main, words).stderr
    for more, said in (
        (["--pooling", "meen"], "did you mean 'mean'"),
        (["--pooling", "mask"], "needs a prompt"),
        (["--max-memory", "lots"], "must be a size like 512M"),
        (["--max-memory", "10M"], "allow that much, or split the file"),
    ):
        refused = CliRunner().invoke(main, [*words, *more])
        assert refused.exit_code == 2 and said in refused.stderr, refused.output
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"")
    assert CliRunner().invoke(main, ["encode", str(empty), *words[2:]]).exit_code == 0


def test_memory_decides_the_block(tiny_bert: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    assert block_size(encoder, ["mean"], 1e7, None) == block_size(encoder, ["mean"], 1e6, 64 << 30) == 65536
    with pytest.raises(HengyuError, match="lines need .* where --max-memory allows 1.0 GiB"):
        block_size(encoder, ["mean"], 1e7, 1 << 30)
    least = block_size(encoder, ["mean"], 1e6, 3 << 30)
    assert 1024 <= least <= 65536


def test_a_disk_without_room_is_told_after_the_first_batch(
    corpus: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "free_space", lambda folder: 1000)
    with pytest.raises(HengyuError, match="must be stored where 0 MiB are free; make room"):
        archive(corpus, open_encoder(EncoderSpec(str(tiny_bert))), ["mean"], VectorStore(tmp_path / "store"))
    assert not list((tmp_path / "store").rglob("vectors.npy"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=9))
def test_a_store_that_grows_by_small_segments_keeps_the_first_vector_of_each_text(
    tmp_path_factory: pytest.TempPathFactory, appended: list[list[int]]
) -> None:
    space = VectorStore(tmp_path_factory.mktemp("grown")).space({"a": 1})
    kept: dict[int, float] = {}
    for number, ids in enumerate(appended):
        distinct = list(dict.fromkeys(ids))
        space.append(text_keys([str(i) for i in distinct]), np.full((len(distinct), 2), number, np.float32))
        for i in distinct:
            kept.setdefault(i, number)
    keys = text_keys([str(i) for i in kept])
    for seen in (space, VectorStore(space.folder.parent).space({"a": 1})):
        assert len(seen) == len(kept)
        if kept:
            assert seen.get(keys)[:, 0].tolist() == list(kept.values())
        assert (seen.find(text_keys([str(i) for i in range(61, 70)])) == -1).all()


# --- what a run takes ---


def test_sizes_in_words() -> None:
    assert [as_bytes(t, "") for t in ("512M", "1.5GiB", "2 kb", "7")] == [512 << 20, 3 << 29, 2048, 7]
    assert (as_words(512 << 20), as_words(3 << 29)) == ("512 MiB", "1.5 GiB")
    for bad in ("", "x", "-1G", "1e9", "0", "9" * 40):
        with pytest.raises(HengyuError, match="must be a size"):
            as_bytes(bad, "--max-memory")


def test_what_cannot_fit_is_refused_with_what_would(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "resident", lambda: 900 << 20)
    here = lay_out(tmp_path / "here", tiny_bert)
    plan = make_plan(load_suite(here / "suite.toml"), datasets=[here / "cards"])
    encoders, poolings = [open_encoder(EncoderSpec(str(here / "model")))], [["mean", "cls"]]
    found = estimate(plan, encoders, poolings)
    refuse_what_cannot_fit(found, found.memory, plan, encoders, poolings)
    with pytest.raises(HengyuError, match=r"suite.toml: needs about .* what would fit: .*--task grades:test"):
        refuse_what_cannot_fit(found, found.memory - 1, plan, encoders, poolings)
    with pytest.raises(HengyuError, match="nothing smaller of this suite fits; allow"):
        refuse_what_cannot_fit(found, 1 << 20, plan, encoders, poolings)
    assert Estimate(10, 5, 7, 6, 0).costliest == "the evaluation"
    stored = sum(f.stat().st_size for f in _stored(here).rglob("*.npy"))
    assert stored <= found.disk <= 1.3 * stored


def _stored(here: Path) -> Path:
    from test_damage import weigh

    weigh(here, here / "own")
    return here / "own" / "vectors"


MEASURED = """
import sys
from pathlib import Path
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
try:
    main(sys.argv[1:], prog_name="hengyu")
finally:
    # not ru_maxrss, which a process takes over from the one that started it
    status = Path("/proc/self/status").read_text().splitlines()
    print("PEAK", 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")), file=sys.stderr)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "command", ["run", "run hengyu-mini", "run hengyu-static", "encode hengyu-mini", "encode hengyu-static"]
)
def test_the_estimate_of_memory_holds(tmp_path: Path, tiny_bert: Path, command: str) -> None:
    """In a process of its own, from the first import to the page: within a quarter of what was said."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the system has no /proc/self/status")
    kind, _, encoder = command.partition(" ")
    here = lay_out(tmp_path / "here", tiny_bert)
    if kind == "encode":
        pairs = load_pairs(load_cards()["hengyu-sts"], "test")
        (tmp_path / "lines.txt").write_text("\n".join([*pairs.first, *pairs.second]), encoding="utf-8")
        words = ["encode", str(tmp_path / "lines.txt"), "--out", str(tmp_path / "store")]
    elif encoder:
        words = ["run", "smoke", "--task", "hengyu-sts:test", "--entry", "whitening"]
    else:
        words = ["run", str(here / "suite.toml"), "--datasets", str(here / "cards")]
    words += ["--encoder", encoder or str(here / "model"), "--workers", "1"]
    environment = surroundings(HENGYU_CACHE=str(tmp_path / "cache"), HENGYU_REPORTS=str(tmp_path / "reports"))
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURED, *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = as_bytes(re.search("it takes about (.*?) of memory", done.stderr)[1], "")  # type: ignore[index]
    peak = int(re.search(r"PEAK (\d+)", done.stderr)[1])  # type: ignore[index]
    assert peak <= 1.25 * said and said <= 1.25 * peak, (said, peak)
