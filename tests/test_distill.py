"""Distillation: what the targets are, the student's pass, near duplicates, the same weights after a kill, and the card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.words import save_grades, sentences
from hypothesis import given, settings
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.cli import main
from hengyu.encoders import BUILT_IN, EncoderSpec, built_in_folder, open_encoder
from hengyu.numerics.imitation import fit_space, ridge, turned
from hengyu.tools.distillation import loop
from hengyu.tools.distillation.contamination import NEAR, Sentences, check
from hengyu.tools.distillation.job import distill
from hengyu.tools.distillation.recipe import Distillation, defaults
from hengyu.tools.distillation.static import frequent
from hengyu.tools.pretraining.corpus import substance

BERT = Distillation(
    layers=1, width=16, heads=2, length=24, steps=12, positions=256, lr=3e-3, warmup=2, held_out=20, most=0
)
STATIC = defaults("static", {"width": 8, "grams": 200, "steps": 20, "texts": 64, "warmup": 2, "held_out": 20})
MADE = ("model.safetensors", "config.json", "modules.json", "distillation.json")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [s for pair in sentences(np.random.default_rng(1), 200) for s in pair[:2]]
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def teacher(corpus: Path) -> EncoderSpec:
    """Return vectors of all lines but those that begin with the character of the first one."""
    texts = sorted(set(corpus.read_text(encoding="utf-8").split("\n")) - {""})
    letters = sorted({c for t in texts for c in t})
    rows = np.random.default_rng(3).normal(size=(len(letters), 12)).astype(np.float32)
    x = np.stack([np.mean([rows[letters.index(c)] for c in t], axis=0) for t in texts]) + 1
    path = corpus.with_name("vectors.npy")
    np.save(path, x)
    path.with_suffix(".txt").write_text("\n".join(texts), encoding="utf-8")
    return EncoderSpec(str(path))


def made(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in MADE}


# --- laws of its parts ---


def test_targets_are_centred_have_length_1_and_the_most_variance() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 6)) * [5, 3, 1, 0.1, 0.1, 0.1] + 4).astype(np.float32)
    space = fit_space(x, 3)
    y = space(x)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, atol=1e-5)
    centred = x - x.mean(axis=0)
    share = np.sort(np.linalg.eigvalsh(np.cov(centred.T)))[::-1]
    assert space.kept == pytest.approx(share[:3].sum() / share.sum(), rel=1e-4)
    wide = fit_space(x, 8)
    assert wide.axes.shape == (6, 8) and not wide.axes[:, 6:].any() and wide.kept == pytest.approx(1)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(wide(x) @ wide(x).T, unit @ unit.T, atol=1e-4)


def test_turning_keeps_cosines_and_is_the_procrustes_rotation() -> None:
    from scipy.linalg import orthogonal_procrustes

    rng = np.random.default_rng(1)
    x, student = rng.normal(size=(50, 5)).astype(np.float32), rng.normal(size=(50, 5)).astype(np.float32)
    space = fit_space(x, 5)
    y = space(x)
    after = turned(space, y, student)(x)
    np.testing.assert_allclose(after @ after.T, y @ y.T, atol=1e-5)
    best, _ = orthogonal_procrustes(y, student - student.mean(axis=0))
    np.testing.assert_allclose(after, y @ best, atol=1e-4)


def test_the_head_is_a_ridge_regression() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(80, 4)) + 2, rng.normal(size=(80, 3))
    weight, bias = ridge(x.astype(np.float32), y.astype(np.float32))
    spread = ((x - x.mean(axis=0)) ** 2).sum() / 4
    same = Ridge(alpha=1e-3 * spread).fit(x, y)
    np.testing.assert_allclose(weight, same.coef_, atol=1e-4)
    np.testing.assert_allclose(bias, same.intercept_, atol=1e-4)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_the_loss_is_what_it_says(kind: str) -> None:
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    loss, cosine = loop.loss_of(torch.tensor(x), torch.tensor(t), replace(BERT, loss=kind, similarity=0.5))
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    first = 1 - (u * t).sum() / 5 if kind == "cosine" else ((x - t) ** 2).sum() / 5
    pairs = sum((u[i] @ u[j] - t[i] @ t[j]) ** 2 for i in range(5) for j in range(5))
    assert float(cosine) == pytest.approx((u * t).sum() / 5)
    assert float(loss) == pytest.approx(first + 0.5 * pairs / 5)


def test_the_pass_of_the_student_is_that_of_transformers(corpus: Path, teacher: EncoderSpec, tmp_path: Path) -> None:
    done = distill(teacher, [corpus], tmp_path / "out", replace(BERT, steps=2), dtype="float32")
    encoder = open_encoder(EncoderSpec(str(done.folder)))
    from hengyu.encoders.pipeline import load_tokenizer
    from hengyu.tools.distillation.bert import BertStudent
    from hengyu.tools.pretraining.vocabulary import tokenize

    texts = ["红色的鲸鱼", "今天去公园散步", "好"]
    tokenizer, bert = load_tokenizer(encoder.folder), encoder.library(torch.float32)[0].auto_model
    student = BertStudent(bert, tokenize(tokenizer, texts, 24), tokenizer, 24)
    ours = encoder.encode(texts, ["mean"])["mean"]
    for row in range(3):
        np.testing.assert_allclose(student(np.array([row])).detach().numpy()[0], ours[row], atol=1e-5)
    student.dtype = torch.bfloat16
    near = student(np.array([1])).detach().numpy()[0]
    assert near @ ours[1] / np.linalg.norm(near) / np.linalg.norm(ours[1]) > 0.999


LETTERS = st.text(st.sampled_from("天气好坏"), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(LETTERS, max_size=8), st.lists(LETTERS, min_size=1, max_size=8))
def test_near_duplicates_are_those_of_a_comparison_with_every_sentence(known: list[str], lines: list[str]) -> None:
    def pairs(text: str) -> set[str]:
        return {text[i : i + 2] for i in range(len(text) - 1)}

    def sense(line: str) -> str:
        if line in known:
            return "exact"
        near = (
            len(a := pairs(line)) and len(b := pairs(t)) and len(a & b) / len(a | b) >= NEAR
            for t in known
            if min(len(line), len(t)) >= 4
        )
        return "near" if any(near) else ""

    counts, senses = check(lines, Sentences(frozenset(known), {}), silent)
    assert senses == [sense(line) for line in lines]
    assert (counts.exact, counts.near, counts.lines) == (senses.count("exact"), senses.count("near"), len(lines))


def test_width_case_and_punctuation_make_no_other_sentence() -> None:
    known = Sentences(frozenset(["今天ＡＢ，好吗？"]), {})
    assert substance("今天ab好吗") == substance("今天ＡＢ，好吗？")
    found, senses = check(["今天ab好吗", "今天ＡＢ，好吗？", "昨天"], known, silent)
    assert senses == ["normalised", "exact", ""] and (found.exact, found.normalised, found.near) == (1, 1, 0)


def test_the_commonest_n_grams_are_kept() -> None:
    found = frequent(["好好好", "好人", "大人"], most=3, seen=2, longest=2)
    assert found.tolist() == sorted([ord("好"), ord("人"), ord("好") + (ord("好") << 21)])
    with pytest.raises(HengyuError, match="no n-gram"):
        frequent(["好"], most=3, seen=2, longest=2)


# --- the whole ---


@pytest.mark.parametrize("recipe", [BERT, replace(BERT, head=True), STATIC], ids=["bert", "head", "static"])
def test_a_killed_one_goes_on_and_ends_with_the_same_bytes(
    corpus: Path, teacher: EncoderSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Distillation
) -> None:
    whole = distill(teacher, [corpus], tmp_path / "whole", recipe, dtype="float32")
    curve = whole.about["curve"]
    assert curve[-1]["held_out"] > curve[0]["held_out"] + 0.02, curve
    monkeypatch.setattr(loop, "_EVERY", 0.0)

    class Killed(BaseException):
        pass

    real, left = torch.nn.utils.clip_grad_norm_, [5]

    def dies(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", dies)
        with pytest.raises(Killed):
            distill(teacher, [corpus], tmp_path / "out", recipe, dtype="float32")
    assert (tmp_path / "out.part" / "checkpoint.safetensors").is_file()
    done = distill(teacher, [corpus], tmp_path / "out", recipe, dtype="float32")
    assert done.new and made(done.folder) == made(whole.folder)
    names = sorted(p.name for p in done.folder.iterdir())
    assert names == sorted(p.name for p in whole.folder.iterdir()) and "checkpoint.safetensors" not in names
    assert not distill(teacher, [corpus], tmp_path / "out", recipe, dtype="float32").new
    with pytest.raises(HengyuError, match="has a distillation with seed = 0 instead of 1"):
        distill(teacher, [corpus], tmp_path / "out", replace(recipe, seed=1), dtype="float32")
    found = open_encoder(EncoderSpec(str(done.folder))).encode(["红色的鲸鱼", "今天"], ["native"])["native"]
    assert found.shape == (2, 12 if recipe.head else recipe.width) and np.isfinite(found).all()


@pytest.mark.parametrize("recipe", [BERT, replace(BERT, head=True), STATIC], ids=["bert", "head", "static"])
def test_centring_subtracts_the_mean_of_the_texts_of_a_file(
    corpus: Path, teacher: EncoderSpec, tmp_path: Path, recipe: Distillation
) -> None:
    recipe = replace(recipe, steps=2, bits=8)
    texts = corpus.read_text(encoding="utf-8").split("\n")[:50]
    path = tmp_path / "kind.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    folders = [
        distill(teacher, [corpus], tmp_path / name, recipe, dtype="float32", centre=file).folder
        for name, file in (("plain", None), ("centred", path))
    ]
    plain, centred = (open_encoder(EncoderSpec(str(f))).encode(texts, ["native"])["native"] for f in folders)
    spread = np.abs(plain - plain.mean(axis=0)).max()
    np.testing.assert_allclose(centred, plain - plain.mean(axis=0), atol=0.03 * spread)
    assert "| centred on | kind.txt, 50 lines" in (folders[1] / "README.md").read_text(encoding="utf-8")


def test_a_model_is_a_teacher_and_a_start(corpus: Path, teacher: EncoderSpec, tmp_path: Path) -> None:
    first = distill(teacher, [corpus], tmp_path / "first", replace(BERT, steps=2), dtype="float32")
    spec = EncoderSpec(str(first.folder), prompt="今天")
    done = distill(spec, [corpus], tmp_path / "next", replace(BERT, steps=3), start=str(first.folder), dtype="float32")
    assert done.about["start"] == open_encoder(EncoderSpec(str(first.folder))).folder.fingerprint
    assert done.about["teacher"]["prompt"] == "今天" and done.about["corpus"]["untaught"] == 0
    config = json.loads((done.folder / "config.json").read_bytes())
    assert (
        config["hidden_size"] == 16
        and (done.folder / "vocab.txt").is_file()
        or (done.folder / "tokenizer.json").is_file()
    )


def test_the_command_writes_a_card_of_what_it_left_out(corpus: Path, teacher: EncoderSpec, tmp_path: Path) -> None:
    save_grades(tmp_path)
    card = tmp_path / "test.tsv"
    known = corpus.read_text(encoding="utf-8").split("\n")[7]
    with card.open("a", encoding="utf-8") as file:
        file.write(f"{known}！\t{known}\t5\n")
    other = tmp_path / "other.txt"
    other.write_text("没有向量的句子\n", encoding="utf-8")
    words = ["distill", teacher.model, corpus, other, "--out", tmp_path / "out", "--student", "static", "--steps", 3]
    words += ["--grams", 100, "--width", 8, "--exclude", "grades:test", "--datasets", tmp_path, "--licence", "mit"]
    words += ["--teacher-licence", "MIT | x", "--seen", 1]
    ran = CliRunner().invoke(main, list(map(str, words)))
    assert ran.exit_code == 0, ran.output
    assert "1 have no vector" in ran.stderr
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    about = json.loads((tmp_path / "out" / "distillation.json").read_bytes())
    found = about["contamination"]
    assert found["exact"] >= 1 and about["corpus"]["used"] == 400 - found["exact"] - found["normalised"]
    assert 'license: "mit"' in text and "MIT \\| x" in text and "grades:test" in text and str(tmp_path) not in text
    assert "hengyu distill vectors corpus.txt other.txt --out DIR --student static" in text
    assert f"| the same string | {found['exact']:,} | left out |" in text and "layers" not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loss", "mse", "--bits", "5"], "--bits 5 must be 4 or 8"),
        (["--width", "30"], "--width 30 must be a multiple of --heads 4"),
        (["--student", "static", "--start", "hengyu-mini"], "--start is for a BERT"),
        (["--steps", "0"], "--steps 0 must lie in 1"),
        (["--pooling", "mean"], "pooling 'mean' is not available"),
        (["--exclude", "nothing:test"], "nothing"),
        (["--start", "hengyu-static"], "the start must be a BERT"),
    ],
)
def test_what_is_typed_wrong_is_one_sentence(
    corpus: Path, teacher: EncoderSpec, tmp_path: Path, words: list[str], said: str
) -> None:
    ran = CliRunner().invoke(main, ["distill", teacher.model, str(corpus), "--out", str(tmp_path / "o"), *words])
    assert ran.exit_code == 2 and said in ran.stderr and "Traceback" not in ran.stderr, ran.output
    assert len(ran.stderr.strip().split("\n")) <= 2


def test_a_corpus_without_vectors_and_a_foreign_folder_are_refused(
    corpus: Path, teacher: EncoderSpec, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(f"句子{i}" for i in range(40)), encoding="utf-8")
    with pytest.raises(HengyuError, match="has no vector for any line"):
        distill(teacher, [other], tmp_path / "o", BERT)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(HengyuError, match="already exists with other content"):
        distill(teacher, [corpus], tmp_path / "full", BERT)


def test_the_defaults_of_the_command_are_those_of_the_recipe() -> None:
    from hengyu.cli.commands.distill import command

    given = {o.name: o for o in command.params}
    for key, value in Distillation().parameters().items():
        option: Any = given[key]
        if key not in ("student", "head"):
            shown = value if isinstance(value, str) else f"{value:g}"
            assert f"[default: {shown}" in option.help, key


# --- those that come with the package ---


def test_the_built_in_encoders_are_small_and_say_what_they_are() -> None:
    most = {"hengyu-mini": 14e6, "hengyu-small": 14e6, "hengyu-static": 8e6}
    for name in BUILT_IN:
        folder = built_in_folder(name)
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        assert size <= most[name]
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert name in card and "CC-BY-SA" in card
        encoder = open_encoder(EncoderSpec(name))
        assert encoder.id == name and encoder.native_is == "mean"
        assert encoder.encode(["今天天气真好"], ["mean"])["mean"].shape == (1, 256)
