"""The static n-gram encoder: which rows a text has, what rounding costs, and that nothing but its own files is read."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.ngrams import LONGEST, NgramEmbedding, keys_of, pack, unpack

TEXTS = st.lists(st.text(st.sampled_from("天气好Aa１ ，\0\ud800é\U0001f600"), max_size=6), min_size=1, max_size=5)


def grams_of(text: str, longest: int = LONGEST) -> list[int]:
    """Number the n-grams of a text one by one."""
    plain = unicodedata.normalize("NFKC", text.replace("\0", " ")).lower()
    found = []
    for i in range(len(plain)):
        for n in range(1, longest + 1):
            if i + n <= len(plain):
                found.append(sum(ord(c) << (21 * k) for k, c in enumerate(plain[i : i + n])))
    return found


def small(bits: int = 8, longest: int = LONGEST) -> NgramEmbedding:
    grams = np.unique([g for t in ("天气真好", "天气不好") for g in grams_of(t)])
    return NgramEmbedding(
        grams, np.random.default_rng(0).normal(size=(len(grams), 6)).astype(np.float32), bits, longest
    )


def folder_of(path: Path, model: NgramEmbedding) -> Path:
    path.mkdir()
    model.save(str(path))
    modules = [{"idx": 0, "name": "0", "path": "", "type": "hengyu.encoders.ngrams.NgramEmbedding"}]
    (path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    return path


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, LONGEST))
@example(["a\0b", "天"], 3)
@example(["", ""], 2)
def test_every_n_gram_of_every_text_is_found_and_none_spans_two(texts: list[str], longest: int) -> None:
    keys, text, lengths = keys_of(texts, longest)
    for number, one in enumerate(texts):
        own = keys[text == number]
        assert sorted(own[own > 0].tolist()) == sorted(grams_of(one, longest))
        assert lengths[number] == len(own)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_the_table_finds_each_of_its_n_grams_and_no_other(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grams = np.unique(rng.integers(1, 2**20, count))
    model = NgramEmbedding(grams, np.zeros((len(grams), 2), np.float32))
    asked = np.concatenate([grams, rng.integers(1, 2**62, 50), [0]])
    number = {int(g): i for i, g in enumerate(grams)}
    assert model.rows_of(asked).tolist() == [number.get(int(k), -1) for k in asked]


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_moves_a_number_by_half_a_step_at_most(bits: int) -> None:
    table = np.random.default_rng(1).normal(size=(40, 10)).astype(np.float32)
    table[3] = 0
    numbers, scale = pack(table, bits)
    again = unpack(numbers, scale)
    step = np.abs(table).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    assert numbers.nbytes == 40 * 10 * bits // 8
    assert (np.abs(again - table) <= 0.51 * step + 1e-6).all() and not again[3].any()


def test_a_vector_is_the_mean_of_the_rows_of_its_n_grams(tmp_path: Path) -> None:
    model = small()
    row = dict(zip(model.grams.tolist(), model.embedding.weight.numpy(), strict=True))
    texts = ["天气好", "我说：天气真好！", "xyz", ""]
    found, counts = model.vectors(texts)
    for text, vector, (characters, unknown, cut) in zip(texts, found, counts, strict=True):
        own = [row[g] for g in grams_of(text) if g in row]
        np.testing.assert_allclose(vector, np.mean(own, axis=0) if own else np.zeros(6), atol=1e-6)
        assert (characters, unknown, cut) == (len(text), sum(ord(c) not in row for c in text), 0)


def test_the_folder_is_one_of_sentence_transformers_and_gives_mean_and_native(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = folder_of(tmp_path / "own", small(bits=4))
    encoder = open_encoder(EncoderSpec(str(folder)))
    assert [p for p, reason in encoder.poolings.items() if not reason] == ["native", "mean"]
    assert encoder.native_is == "mean" and encoder.made_with == ("hengyu.encoders.ngrams",)
    texts = ["天气好", "今天天气真好", "好"] * 700
    ours = encoder.encode(texts, ["mean", "native"])
    library = SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
    assert np.array_equal(ours["mean"], library.encode(texts)) and np.array_equal(ours["mean"], ours["native"])
    prompted = open_encoder(EncoderSpec(str(folder), prompt="今天"))
    assert np.array_equal(
        prompted.encode(["天气好"], ["mean"])["mean"], encoder.encode(["今天天气好"], ["mean"])["mean"]
    )
    assert prompted.identity() != encoder.identity()
    before = encoder.identity()["fingerprint"]
    folder_of(tmp_path / "other", small(bits=8))
    (folder / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    assert open_encoder(EncoderSpec(str(folder))).identity()["fingerprint"] != before
    with pytest.raises(HengyuError, match="not a complete n-gram encoder"):  # 8 bits where config.json says 4
        open_encoder(EncoderSpec(str(folder))).encode(["好"], ["mean"])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _unordered(path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    held = load_file(path)
    save_file({**held, "grams": held["grams"][::-1].copy()}, path)


def _nan(path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    held = load_file(path)
    save_file({**held, "scale": np.full_like(held["scale"], np.nan)}, path)


@pytest.mark.parametrize("damage", [_cut, _unordered, _nan])
def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path, damage: Any) -> None:
    folder = folder_of(tmp_path / "own", small())
    damage(folder / "model.safetensors")
    with pytest.raises(HengyuError, match=r"model\.safetensors: not a complete n-gram encoder .*; get the model again"):
        open_encoder(EncoderSpec(str(folder))).encode(["好"], ["mean"])
