"""The vector store: what is put in comes out, a changed knob misses, and damage is found and named."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.bench.encode import encode_missing
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.storage.vectors import VectorStore, text_keys

MEANING = {"fingerprint": "abc", "pooling": "mean", "max_length": 64, "dtype": "float32", "prompt": ""}


def filled(root: Path, n: int = 40) -> VectorStore:
    store = VectorStore(root)
    space = store.space(MEANING)
    keys = text_keys([f"句子{i}" for i in range(n)])
    values = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    space.append(keys[: n // 2], values[: n // 2])
    space.append(keys[n // 2 :], values[n // 2 :])
    return store


def test_vectors_come_back_in_the_order_asked(tmp_path: Path) -> None:
    space = filled(tmp_path).space(MEANING)
    keys = text_keys([f"句子{i}" for i in range(40)])
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(40)
    assert (space.get(keys[order]) == values[order]).all()
    assert (space.find(text_keys(["没有的句子"])) == -1).all()
    with pytest.raises(KeyError):
        space.get(text_keys(["没有的句子"]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(), unique=True, min_size=1, max_size=30))
def test_any_text_is_a_key_of_its_own(texts: list[str]) -> None:
    keys = text_keys(texts)
    assert len({k.tobytes() for k in keys}) == len(texts)


@pytest.mark.parametrize("knob", sorted(MEANING))
def test_a_changed_knob_always_misses(tmp_path: Path, knob: str) -> None:
    store = filled(tmp_path)
    assert len(store.space(MEANING)) == 40
    assert len(store.space({**MEANING, knob: "other"})) == 0


def test_a_changed_encoder_setting_misses(tmp_path: Path, tiny_bert: Path) -> None:
    store = VectorStore(tmp_path)
    texts = ["今天天气真好", "我们去公园"]
    prompt = "“{text}”[MASK]"
    base = EncoderSpec(str(tiny_bert), prompt=prompt)

    def encoded(spec: EncoderSpec, pooling: str = "mean") -> int:
        return encode_missing(store, open_encoder(spec), texts, [pooling], silent).encoded

    assert encoded(base) == 2
    assert encoded(base) == 0
    for changed in (
        EncoderSpec(str(tiny_bert)),
        EncoderSpec(str(tiny_bert), prompt=prompt, max_length=12),
        EncoderSpec(str(tiny_bert), prompt=prompt, dtype="bfloat16"),
    ):
        assert encoded(changed) == 2, changed
    assert encoded(base, "cls") == 2
    other = tmp_path / "other-model"
    shutil.copytree(tiny_bert, other)
    from safetensors.numpy import load_file, save_file

    weights = load_file(other / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7, 0] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    assert encoded(EncoderSpec(str(other), prompt=prompt)) == 2
    tokenizer = other / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text().replace("64", "63"))
    assert encoded(EncoderSpec(str(other), prompt=prompt)) == 2


def test_a_flipped_byte_is_found_named_and_repaired(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert store.verify() == []
    victim = sorted(tmp_path.rglob("vectors.npy"))[0]
    content = bytearray(victim.read_bytes())
    content[-3] ^= 1
    victim.write_bytes(content)
    assert [d.path for d in store.verify()] == [victim]
    space = store.space(MEANING)  # to open a store reads the keys alone: these vectors may not be needed
    assert (space.dim, len(space)) == (3, 40)
    with pytest.raises(HengyuError, match="vectors.npy: has changed.*repair"):
        space.get(text_keys(["句子0"]))
    assert len(space.get(text_keys([f"句子{i}" for i in range(20, 40)]))) == 20  # those of the other segment are whole
    store.repair()
    assert store.verify() == []
    assert len(store.space(MEANING)) == 20


def test_two_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    one, two = store.space(MEANING), store.space(MEANING)
    keys = text_keys(["甲", "乙", "丙"])
    one.append(keys[:2], np.ones((2, 3), np.float32))
    two.append(keys, np.full((3, 3), 2, np.float32))
    seen = store.space(MEANING)
    assert len(seen) == 3
    assert seen.get(keys)[:, 0].tolist() == [1, 1, 2]


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)
    space = store.space(MEANING)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(HengyuError, match="No space left on device.*HENGYU_CACHE"):
        space.append(text_keys(["新句子"]), np.ones((1, 3), np.float32))
    monkeypatch.undo()
    assert len(VectorStore(tmp_path).space(MEANING)) == 40
    assert not list(tmp_path.rglob(".draft-*"))


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not finite"):
        filled(tmp_path).space(MEANING).append(text_keys(["x"]), np.array([[1, np.nan, 0]], np.float32))


def test_gc_deletes_old_spaces_and_stale_drafts_only(tmp_path: Path) -> None:
    store = filled(tmp_path)
    space = next(store.spaces())
    draft = space / ".draft-dead"
    draft.mkdir()
    (draft / "vectors.npy").write_bytes(b"x" * 100)
    assert store.gc(days=90) == 0
    long_ago = time.time() - 100 * 86400
    os.utime(draft, (long_ago, long_ago))
    assert store.gc(days=90) == 100
    assert len(store.space(MEANING)) == 40
    for segment in space.iterdir():
        os.utime(segment, (long_ago, long_ago))
    assert store.gc(days=90) > 0
    assert not list(store.spaces())
