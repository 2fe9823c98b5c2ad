"""Texts above the maximum length: cut, with both ends kept, or read in windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, find_encoder, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.encoders.long_texts import LONG, head_tail, weighted_means, window_blocks, windows
from hengyu.storage.identity import vectors_key
from hengyu.storage.records import load_run

CHARACTERS = "今天气真好我们去公园散步吧不是他她它的了在有人这中大来上个国和到说时要就出会可也你对生能而子那得于着"
SHORT = ["今天天气真好", "我们去公园", "他"]
LONG_TEXTS = [CHARACTERS[i % 7 :] + CHARACTERS[: 5 * i] for i in range(6)]
POOLINGS = ["mean", "cls", "first-last-mean", "weighted-mean", "last", "native"]
LENGTH = 16


def opened(folder: Path, long: str = "", **more: object) -> HuggingFace:
    return open_encoder(replace(EncoderSpec(str(folder), max_length=LENGTH, long=long), **more))


rows = st.lists(st.integers(10, 99), min_size=1, max_size=60)


@given(rows, st.integers(4, 20))
def test_windows_join_to_the_text_and_head_and_tail_are_its_ends(text: list[int], longest: int) -> None:
    frame = ([1], [2])
    row = [1, *text, 2]
    parts = windows(row, frame, longest)
    assert [t for part in parts for t in part[1:-1]] == text
    assert all(part[0] == 1 and part[-1] == 2 and len(part) <= longest for part in parts)
    assert all(len(part) == longest for part in parts[:-1])
    ends = head_tail(row, frame, longest)
    if len(row) <= longest:
        assert parts == [row] and ends == row
    else:
        assert len(ends) == longest
        last = (longest - 2) // 2
        assert ends == [1, *text[: longest - 2 - last], *text[len(text) - last :], 2]


def test_blocks_of_windows_are_the_same_for_any_run_of_whole_blocks() -> None:
    texts = {i: [[0]] * (1 + i * 37 % 300) for i in range(40)}
    blocks = list(window_blocks(texts))
    assert sorted(i for b in blocks for i in b) == list(range(40)) and len(blocks) > 3
    some = [i for b in blocks[1:3] for i in b]  # numbered anew, in this order, as a shard does it
    again = list(window_blocks({at: texts[i] for at, i in enumerate(some)}))
    assert [[some[at] for at in b] for b in again] == blocks[1:3]


def test_weighted_means_are_those_of_numpy() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    found = weighted_means(x, [[0, 1], [2, 3, 0]], [[5, 2], [1, 1, 1]])
    np.testing.assert_allclose(found[0], (5 * x[0] + 2 * x[1]) / 7, rtol=1e-6)
    np.testing.assert_allclose(found[1], (x[2] + x[3] + x[0]) / 3, rtol=1e-6)


@pytest.mark.parametrize("long", LONG)
def test_a_text_that_fits_has_the_same_vector_under_each(long: str, tiny_bert: Path) -> None:
    usual = opened(tiny_bert).encode(SHORT, POOLINGS)
    found = opened(tiny_bert, long).encode([*LONG_TEXTS, *SHORT], POOLINGS)
    for name in POOLINGS:
        np.testing.assert_allclose(found[name][len(LONG_TEXTS) :], usual[name], atol=1e-6)


@pytest.mark.parametrize("prompt", ["", "说：", "“{text}”的意思是："])
def test_windows_are_the_mean_of_their_vectors_weighted_by_tokens(prompt: str, tiny_bert: Path) -> None:
    encoder = opened(tiny_bert, "windows", prompt=prompt)
    room = LENGTH - sum(map(len, encoder.tokenizer.around))
    found = encoder.encode(LONG_TEXTS, POOLINGS)
    for i, text in enumerate(LONG_TEXTS):
        parts = [text[at : at + room] for at in range(0, len(text), room)]  # a token is a character here
        assert len(parts) > 1
        alone = opened(tiny_bert, prompt=prompt).encode(parts, POOLINGS)
        for name in POOLINGS:
            wanted = np.average(alone[name], axis=0, weights=list(map(len, parts)))
            np.testing.assert_allclose(found[name][i], wanted, atol=2e-6)


def test_head_and_tail_are_the_ends_encoded_as_one_text(tiny_bert: Path) -> None:
    found = opened(tiny_bert, "head-tail").encode(LONG_TEXTS, ["mean"])["mean"]
    ends = [text[:7] + text[-7:] for text in LONG_TEXTS]
    np.testing.assert_allclose(found, opened(tiny_bert).encode(ends, ["mean"])["mean"], atol=1e-6)


def test_counts_are_of_the_whole_text_in_windows(tiny_bert: Path) -> None:
    every = {long: next(iter(_counts(opened(tiny_bert, long)))) for long in LONG}
    assert every["truncate"] == every["head-tail"] == (LENGTH - 2, 1)
    assert every["windows"] == (len(LONG_TEXTS[0]), 0)


def _counts(encoder: HuggingFace) -> list[tuple[float, float]]:
    return [
        (float(c.counts[0, 0]), float(c.counts[0, 2])) for c in encoder.stream(LONG_TEXTS[:1], ["mean"], lambda _: True)
    ]


def test_skipped_texts_change_no_vector(tiny_bert: Path) -> None:
    texts = [*LONG_TEXTS, *SHORT]
    encoder = opened(tiny_bert, "windows")
    whole = encoder.encode(texts, ["mean"])["mean"]
    for chunk in encoder.stream(texts, ["mean"], lambda batch: 0 in batch):
        assert np.array_equal(chunk.vectors["mean"], whole[chunk.indices])


def test_the_default_has_the_key_it_had_and_the_others_have_their_own(tiny_bert: Path) -> None:
    keys = {long: vectors_key(opened(tiny_bert, long), "mean") for long in ("", *LONG)}
    assert keys[""] == keys["truncate"] and "long" not in keys[""]
    assert keys["windows"]["long"] == "windows" and keys["head-tail"]["long"] == "head-tail"
    static = [vectors_key(open_encoder(EncoderSpec("hengyu-static", long=long)), "mean") for long in LONG]
    assert static[0] == static[1] == static[2]  # it has no longest input


def test_what_cannot_be_is_refused_with_a_sentence(tiny_bert: Path) -> None:
    with pytest.raises(HengyuError, match="long 'window' is unknown; use one of truncate, head-tail, windows"):
        opened(tiny_bert, "window")
    with pytest.raises(HengyuError, match="long = 'windows' needs the model's tokens"):
        find_encoder(EncoderSpec("some.npy", long="windows"))
    with pytest.raises(HengyuError, match="pooling 'echo' is not available: it reads a text twice"):
        opened(tiny_bert, "windows").encode(SHORT, ["echo"])
    with pytest.raises(HengyuError, match="leaves no room for long = 'windows'"):
        opened(tiny_bert, "windows", prompt="今天气真好我们去公园散步吧不是：").encode(LONG_TEXTS, ["mean"])


CARD = """name = "{name}"
labels = {{ scale = [0, 1], kind = "binary" }}
{long}
[splits.test]
file = "pairs.tsv"
"""


def written(folder: Path, **longs: str) -> Path:
    lines = ["sentence1\tsentence2\tlabel"]
    lines += [
        f"{a}\t{b}\t{i % 2}" for i, (a, b) in enumerate(zip(LONG_TEXTS, (*LONG_TEXTS[2:], *SHORT[:2]), strict=True))
    ]
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, long in longs.items():
        key = f'long = "{long}"' if long else ""
        (folder / f"{name}.toml").write_text(CARD.format(name=name, long=key), encoding="utf-8")
    return folder


def test_a_card_says_how_its_texts_are_read_and_the_command_line_decides(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
    folder = written(tmp_path, one="windows", two="")
    usual = ["run", "zh-sts", "--datasets", str(folder), "--encoder", str(tiny_bert), "--pooling", "mean", "--entry", "raw",
             "--out", str(tmp_path / "out"), "--quiet"]  # fmt: skip
    found = {}
    for name, more in {"one": [], "two": [], "over": ["--long", "truncate"]}.items():
        task = "one" if name == "over" else name
        done = CliRunner().invoke(main, [*usual, "--task", f"{task}:test", *more])
        assert done.exit_code == 0, done.output
        run = load_run(Path(done.output.partition("records: ")[2].split("\n")[0]))
        (about,) = [e for e in run.header["encoders"] if e["kind"] == "model"]
        value = next(
            r.value for r in run.records if r.encoder == about["encoder"] and r.metric == "spearman" and r.card
        )
        found[name] = about.get("long"), value, about["coverage"][f"{task}:test"]["truncated"]
    assert found["one"][0] == "windows" and found["one"][2] == 0
    assert found["two"][0] is None and found["two"][2] > 0
    assert found["over"] == found["two"] and found["one"][1] != found["two"][1]
    both = [*usual, "--task", "one:test", "--task", "two:test"]
    refused = CliRunner().invoke(main, both)
    assert refused.exit_code == 2
    assert "want long texts treated differently ('windows' for one:test; 'truncate' for two:test)" in refused.output
    assert CliRunner().invoke(main, [*both, "--long", "head-tail"]).exit_code == 0


def test_a_suite_and_a_card_with_another_word_are_refused(tmp_path: Path) -> None:
    written(tmp_path, one="window")
    refused = CliRunner().invoke(main, ["run", "zh-sts", "--datasets", str(tmp_path), "--task", "one:test"])
    assert refused.exit_code == 2 and "long" in refused.output and "windows" in refused.output
    suite = tmp_path / "s.toml"
    suite.write_text('tasks = ["hengyu-sts:test"]\nentries = ["raw"]\nlong = "tail"\n', encoding="utf-8")
    refused = CliRunner().invoke(main, ["run", str(suite)])
    assert refused.exit_code == 2 and "key 'long' has the unknown value 'tail'" in refused.output
