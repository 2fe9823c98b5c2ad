"""Pretraining: what is left out, what a batch hides, the same weights again, killed or not, and a folder that is weighed."""

from __future__ import annotations

import gzip
import json
import lzma
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.words import sentences
from hypothesis import given, settings
from hypothesis import strategies as st

import hengyu
from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.tools.pretraining import job, loop
from hengyu.tools.pretraining.batches import batches, held_batches, hide
from hengyu.tools.pretraining.corpus import evaluation_sentences, read_corpus, substance
from hengyu.tools.pretraining.job import pretrain
from hengyu.tools.pretraining.precision import faster
from hengyu.tools.pretraining.recipe import Pretraining
from hengyu.tools.pretraining.vocabulary import MASK, SPECIAL, vocabulary

SMALL = Pretraining(
    layers=2, width=32, heads=4, length=32, steps=30, positions=512, lr=3e-3, warmup=5, held_out=30, seen=2
)
WORDS = ["--layers=2", "--width=32", "--length=32", "--positions=512", "--steps=8", "--warmup=2", "--dtype=float32"]
MADE = ("model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "pretraining.json", "modules.json")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [s for pair in sentences(np.random.default_rng(1), 200) for s in pair[:2]]
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join([*rows[:100], "", "  ", *rows[100:]]) + "\n", encoding="utf-8")
    return path


def made(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in MADE}


def run(*words: object) -> Any:
    return CliRunner().invoke(main, ["pretrain", *map(str, words)])


# --- laws of its parts ---


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(3, 32), min_size=1, max_size=80), st.integers(0, 9), st.integers(0, 30))
def test_batches_go_on_where_they_stopped_and_leave_no_line_out(lengths: list[int], seed: int, start: int) -> None:
    recipe = Pretraining(length=32, positions=64, seed=seed)
    of = np.array(lengths)
    whole = list(islice(batches(of, recipe), 40))
    rest = list(islice(batches(of, recipe, start), 40 - start if start < 40 else 0))
    for (w, rows), (v, same) in zip(whole[start:], rest, strict=True):
        assert w == v and (rows == same).all()
    for width, rows in whole:
        assert len(rows) == max(1, 64 // width)
        assert all(recipe.buckets[np.searchsorted(recipe.buckets, n)] == width for n in of[rows])
    held = np.concatenate([rows for _, rows in held_batches(of, recipe)])
    assert sorted(held) == list(range(len(of)))


def test_every_line_is_seen_once_an_epoch_but_for_those_that_wait() -> None:
    of = np.random.default_rng(0).integers(3, 33, 500)
    recipe = Pretraining(length=32, positions=64)
    counts = np.zeros(500, int)
    for _, rows in islice(batches(of, recipe), 2000):
        counts[rows] += 1
    assert counts.min() > 0 and counts.max() - counts.min() <= 2


def test_hiding_follows_the_shares_and_touches_no_special_token() -> None:
    x = torch.randint(0, 500, (200, 64), generator=torch.Generator().manual_seed(1))
    done = hide(x, 0.12, 500, seed=3)
    assert int(done.chosen.sum()) == int(0.12 * x.numel())
    assert (x[done.chosen] >= len(SPECIAL)).all() and (done.gold == x[done.chosen]).all()
    assert (done.shown == x)[~done.chosen].all() and (done.kept == (x != 0)).all()
    after = done.shown[done.chosen]
    assert float((after == MASK).float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((after == done.gold).float().mean()) == pytest.approx(0.1, abs=0.03)
    again = hide(x, 0.12, 500, seed=3)
    assert (again.shown == done.shown).all()
    assert (hide(x, 0.12, 500, seed=4).chosen != done.chosen).any()
    few = hide(torch.tensor([[2, 9, 3, 0, 0, 0, 0, 0]]), 0.9, 500, seed=0)  # one token can be predicted
    assert sorted(few.gold.tolist()) == [-100] * 6 + [9]
    assert few.shown[0, [0, 2, 3, 4, 5, 6, 7]].tolist() == [2, 3, 0, 0, 0, 0, 0]


def test_the_rate_rises_and_falls_along_lines() -> None:
    recipe = Pretraining(steps=100, warmup=10, lr=1e-2)
    assert recipe.rate(1) == pytest.approx(1e-3) and recipe.rate(5) == pytest.approx(5e-3 * 0.96)
    assert recipe.rate(51) == pytest.approx(5e-3) and recipe.rate(100) == pytest.approx(2e-4)
    assert Pretraining(warmup=0).rate(1) == 1e-3


def test_the_vocabulary_holds_the_commonest() -> None:
    lines = ["好好好 OK ok", "好天，", "天,，ok"]
    recipe = Pretraining(characters=1, seen=2, seen_words=3)
    found = vocabulary(lines, recipe)
    assert found[:5] == list(SPECIAL) and found[5] == "好"
    assert "天" not in found and "，" in found and "," not in found and "ok" in found and "##z" in found
    assert len(found) == len(set(found))


def test_the_faster_dtype_is_measured_and_bfloat16_must_be_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from hengyu.tools.pretraining import precision

    cost = {"float32": 10.0, "bfloat16": 5.0}
    now = [0.0]
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])

    def step(dtype: str) -> None:
        now[0] += cost[dtype]

    assert faster(step) == ("bfloat16", cost)
    cost["bfloat16"] = 9.8
    assert faster(step)[0] == "float32"


def test_the_defaults_of_the_command_are_those_of_the_recipe() -> None:
    from hengyu.cli.commands.pretrain import command

    given = {o.name: o.default for o in command.params}
    recipe = Pretraining().parameters()
    assert {f.name: given[f.name] for f in fields(Pretraining)} == {f.name: f.default for f in fields(Pretraining)}
    config = json.loads(
        (Path(hengyu.__file__).parent / "encoders" / "builtin" / "hengyu-mini" / "config.json").read_bytes()
    )
    kept = ("num_hidden_layers", "hidden_size", "num_attention_heads", "max_position_embeddings")
    assert [config[k] for k in kept] == [recipe[k] for k in ("layers", "width", "heads", "length")]


# --- the corpus ---


def test_packed_files_are_read_and_counted(corpus: Path, tmp_path: Path) -> None:
    whole = read_corpus([corpus], held_out=30, seed=0)
    assert (whole.sources[0].lines, len(whole.lines), len(whole.held)) == (400, 370, 30)
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress)):
        path = tmp_path / f"corpus.txt{suffix}"
        path.write_bytes(pack(corpus.read_bytes()))
        assert read_corpus([path], held_out=30, seed=0).lines == whole.lines
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(HengyuError, match="damaged or cut short"):
            read_corpus([path], held_out=30, seed=0)
    assert read_corpus([corpus], held_out=30, seed=1).lines != whole.lines
    assert len(read_corpus([corpus], held_out=10**6, seed=0).held) == 40  # at most a tenth


def test_lines_that_equal_an_evaluation_sentence_are_left_out(corpus: Path, tmp_path: Path) -> None:
    assert substance("Ａ b，「好」!") == substance("aB好") == "ab好"
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nlabels = { scale = [0, 1], kind = "binary" }\n[splits.test]\nfile = "mine.tsv"\n',
        encoding="utf-8",
    )
    (tmp_path / "mine.tsv").write_text(
        "sentence1\tsentence2\tlabel\n蓝色的鲸鱼！\t。。。\t1\n红色的，鲸鱼\t三只狗\t0\n", encoding="utf-8"
    )
    with corpus.open("a", encoding="utf-8") as file:
        file.write("蓝色的——鲸鱼\n红色的鲸鱼。\n红色的鲸鱼们\n！！！\n")
    unwanted, against = evaluation_sentences(["mine:test"], datasets=[tmp_path])
    assert unwanted == {"蓝色的鲸鱼", "红色的鲸鱼", "三只狗"} and list(against) == ["mine:test"]
    done = read_corpus([corpus], held_out=0, seed=0, unwanted=unwanted, against=against)
    assert (done.sources[0].lines, done.sources[0].excluded, done.excluded) == (404, 2, 2)
    assert {"红色的鲸鱼们", "！！！"} <= set(done.lines) and "红色的鲸鱼。" not in done.lines
    out = tmp_path / "out"
    ran = run(corpus, "--out", out, *WORDS, "--exclude", "mine:test", "--datasets", tmp_path)
    assert ran.exit_code == 0, ran.output
    assert "404 lines, 2 excluded as evaluation sentences" in ran.stderr
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| corpus.txt | 404 | 2 |" in card and "equal to a sentence of mine:test" in card
    assert "--exclude mine:test" in card


# --- the whole ---


def test_the_loss_falls_and_the_same_seed_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    done = pretrain([corpus], tmp_path / "a", SMALL, dtype="float32")
    assert torch.equal(torch.get_rng_state(), before)
    curve = done.about["curve"]
    assert [c["step"] for c in curve] == [3 * k for k in range(1, 11)]
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.5
    assert curve[-1]["held_out"] < curve[0]["held_out"] - 0.5
    assert not (tmp_path / "a.part").exists() and not (tmp_path / "a" / "checkpoint.safetensors").exists()
    pretrain([corpus], tmp_path / "b", SMALL, dtype="float32")
    assert made(tmp_path / "a") == made(tmp_path / "b")
    other = pretrain([corpus], tmp_path / "c", Pretraining(**{**SMALL.parameters(), "seed": 1}), dtype="float32")
    assert made(other.folder)["model.safetensors"] != made(tmp_path / "a")["model.safetensors"]
    stamp = (tmp_path / "a" / "README.md").stat().st_mtime_ns
    again = pretrain([corpus], tmp_path / "a", SMALL, dtype="float32")
    assert not again.new and (tmp_path / "a" / "README.md").stat().st_mtime_ns == stamp


def test_dropout_is_that_of_the_training_alone(corpus: Path, tmp_path: Path) -> None:
    seen = {}
    for rate in (0.1, 0.0):
        recipe = replace(SMALL, steps=3, dropout=rate)
        drops = [m.p for m in loop.make_model(recipe, 60).modules() if isinstance(m, torch.nn.Dropout)]
        assert set(drops) == {rate}
        folder = pretrain([corpus], tmp_path / str(rate), recipe, dtype="float32").folder
        config = json.loads((folder / "config.json").read_bytes())
        assert (config["hidden_dropout_prob"], config["attention_probs_dropout_prob"]) == (0.1, 0.1)
        seen[rate] = (folder / "model.safetensors").read_bytes()
    assert seen[0.1] != seen[0.0]


@pytest.mark.parametrize(("dtype", "every"), [("float32", 0.0), ("bfloat16", 0.0), ("float32", 1e9)])
def test_a_killed_one_goes_on_and_ends_with_the_same_bytes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, every: float
) -> None:
    """Killed in the middle of a step, of a checkpoint, and of the writing of the folder; and before any checkpoint."""
    pretrain([corpus], tmp_path / "whole", SMALL, dtype=dtype)
    monkeypatch.setattr(loop, "_EVERY", every)

    class Killed(BaseException):
        pass

    def dies(place: Any, name: str, calls: int) -> None:
        real, left = getattr(place, name), [calls]

        def wrapped(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(place, name, wrapped)
            with pytest.raises(Killed):
                pretrain([corpus], tmp_path / "out", SMALL, dtype=dtype)
        assert not (tmp_path / "out").exists()

    from hengyu.tools.pretraining import card, checkpoint, folder

    dies(loop, "_loss", 9)
    if not every:
        dies(checkpoint, "write_bytes", 4)
    dies(torch.nn.utils, "clip_grad_norm_", 12)
    dies(folder, "write_modules", 0)
    dies(card, "_exclusion", 0)
    dies(job, "write_json", 0)
    assert (tmp_path / "out.part" / "checkpoint.safetensors").is_file()
    (tmp_path / "out.part" / ".checkpoint.safetensors.x1y2").write_bytes(b"half")  # as SIGKILL leaves it
    done = pretrain([corpus], tmp_path / "out", SMALL, dtype=dtype)
    assert done.new and made(done.folder) == made(tmp_path / "whole")
    assert sorted(p.name for p in done.folder.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())


def test_other_dtype_on_the_way_is_noted(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_EVERY", 0.0)
    real = loop._look

    def stops(loop_: Any, trained: Any, *rest: Any) -> None:
        real(loop_, trained, *rest)
        if trained.step > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_look", stops)
    stopped = run(corpus, "--out", tmp_path / "out", *WORDS)
    assert stopped.exit_code == 130 and "the same command continues from there" in stopped.stderr
    monkeypatch.setattr(loop, "_look", real)
    ran = run(corpus, "--out", tmp_path / "out", *WORDS[:-1], "--dtype=bfloat16")
    assert ran.exit_code == 0 and "the weights will differ from those of an uninterrupted training" in ran.stderr, (
        ran.output
    )
    legs = json.loads((tmp_path / "out" / "pretraining.json").read_bytes())["legs"]
    assert [(leg["step"] > 0, leg["dtype"]) for leg in legs] == [(False, "float32"), (True, "bfloat16")]
    assert "; bfloat16, 1 thread, cpu from step" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_the_folder_is_one_of_sentence_transformers_and_is_weighed(corpus: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from sentence_transformers import SentenceTransformer

    out = tmp_path / "own"
    ran = run(corpus, "--out", out, *WORDS)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.strip() == str(out) and "step 8 of 8: loss" in ran.stderr
    with safe_open(str(out / "model.safetensors"), "pt") as file:
        assert {str(file.get_tensor(k).dtype) for k in file.keys()} == {"torch.float16"}  # noqa: SIM118
    model = SentenceTransformer(str(out), device="cpu", local_files_only=True).float()
    texts = ["今天去公园散步", "我们在家学习ok"]
    vectors = model.encode(texts)
    assert vectors.shape == (2, 32) and np.isfinite(vectors).all() and model.max_seq_length == 32
    from hengyu.encoders import EncoderSpec, open_encoder

    ours = open_encoder(EncoderSpec(str(out))).encode(texts, ["native", "mean"])
    np.testing.assert_allclose(ours["native"], vectors, atol=1e-5)
    np.testing.assert_allclose(ours["mean"], vectors, atol=1e-5)
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nlabels = { scale = [0, 5] }\n[splits.test]\nfile = "mine.tsv"\n', encoding="utf-8"
    )
    rows = "".join(f"{a}\t{b}\t{grade}\n" for a, b, grade in sentences(np.random.default_rng(5), 60))
    (tmp_path / "mine.tsv").write_text("sentence1\tsentence2\tlabel\n" + rows, encoding="utf-8")
    words = ["--encoder", str(out), "--task", "mine:test", "--datasets", str(tmp_path), "--entry", "whitening(dim=8)"]
    weighed = CliRunner().invoke(main, ["run", "smoke", *words])
    assert weighed.exit_code == 0, weighed.output
    card = (out / "README.md").read_text(encoding="utf-8")
    import hashlib

    assert f"| corpus.txt | 400 | 0 | {hashlib.sha256(corpus.read_bytes()).hexdigest()} |" in card
    assert "hengyu pretrain corpus.txt --out DIR --layers 2" in card and str(tmp_path) not in card
    said = json.loads((out / "pretraining.json").read_bytes())
    assert (
        f"| tokens | {said['tokens']:,} (" in card and f"| held-out loss | {said['curve'][-1]['held_out']:.3f}" in card
    )
    again = run(corpus, "--out", out, *WORDS)
    assert again.exit_code == 0 and "nothing was done" in again.stderr


def test_what_is_typed_wrong_is_one_sentence(corpus: Path, tmp_path: Path) -> None:
    empty, bad, twin = tmp_path / "empty.txt", tmp_path / "bad.txt", tmp_path / "twin.txt"
    empty.write_bytes(b"\n \n")
    bad.write_bytes("好\n".encode() + "坏天气".encode("gb18030") + b"\n")
    twin.write_bytes(corpus.read_bytes())
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    done, part = tmp_path / "done", tmp_path / "half.part"
    pretrain([corpus], done, Pretraining(**{**SMALL.parameters(), "steps": 2}), dtype="float32")
    part.mkdir()
    (part / ".thesis.txt").write_text("mine")
    out = tmp_path / "out"
    for words, said in (
        ((empty, "--out", out), "empty.txt: 0 training lines, but at least 32 are needed"),
        ((tmp_path / "none.txt", "--out", out), "none.txt: cannot be read (No such file"),
        ((tmp_path, "--out", out), "cannot be read (it is a folder"),
        ((bad, "--out", out), "bad.txt: line 2 is not UTF-8"),
        ((corpus, twin, "--out", out), "is the same file as corpus.txt"),
        ((corpus, "--out", full), "already exists with other content"),
        ((corpus, "--out", corpus), "already exists with other content"),
        ((corpus, "--out", done, *WORDS), "steps = 2 instead of 8"),
        ((corpus, "--out", tmp_path / "half"), "half.part: is needed for work in progress"),
        ((corpus, "--out", out, "--width", 30), "must be a multiple of --heads"),
        ((corpus, "--out", out, "--steps", 0), "--steps 0 must lie in 1.."),
        ((corpus, "--out", out, "--exclude", "LCQMK:test"), "did you mean 'LCQMC'"),
        ((corpus, "--out", out, "--exclude", "LCQMC:test"), "LCQMC:test is not here"),
        ((corpus, "--out", out, *WORDS, "--device", "cuda:77"), "device 'cuda:77' cannot be used here"),
        ((corpus, "--out", corpus / "below", *WORDS), "cannot be written"),
    ):
        refused = run(*words)
        assert refused.exit_code == 2, (words, refused.output, refused.exception)
        assert said in refused.stderr, refused.stderr
        assert len([line for line in refused.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert [p.name for p in (*full.iterdir(), *part.iterdir())] == ["thesis.txt", ".thesis.txt"] and not out.exists()


def test_a_damaged_checkpoint_is_refused(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "write_bytes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pretrain([corpus], tmp_path / "out", SMALL, dtype="float32")
    path = tmp_path / "out.part" / "checkpoint.safetensors"
    good = path.read_bytes()
    for content in (
        b"",
        b"{}",
        good[:-5],
        b"\xff" * 64 + good[64:],
        good.replace(b"model.bert", b"madel.bert"),
        good.replace(b'step\\": 30', b'step\\": 29'),
        good[:-4000] + bytes([good[-4000] ^ 1]) + good[-3999:],
    ):
        assert content != good
        path.write_bytes(content)
        with pytest.raises(HengyuError, match="checkpoint.safetensors: .*; delete the folder"):
            pretrain([corpus], tmp_path / "out", SMALL, dtype="float32")
