"""The self-check: a sound model passes, every kind of unsound one is caught, and every number is a measured one."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from hengyu.base.errors import HengyuError
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.encoders.model_folder import ModelFolder
from hengyu.tools.selfcheck import variants
from hengyu.tools.selfcheck.change import Change, Excerpt, Yardstick, distances, take_excerpt
from hengyu.tools.selfcheck.report import print_findings
from hengyu.tools.selfcheck.run import Findings, selfcheck
from hengyu.tools.selfcheck.sensitivities import at_length, in_dtype, written_as
from hengyu.tools.selfcheck.subject import Check, Subject
from hengyu.tools.selfcheck.variants import full_width, half_width, traditional, upper_case

Vectors = dict[str, np.ndarray]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["selfcheck", *words, "--quiet"], prog_name="hengyu")


@pytest.fixture(scope="module")
def sample() -> Excerpt:
    return take_excerpt(load_pairs(load_cards()["hengyu-sts"], "test"), 16)


def check(kind: type[HuggingFace], sample: Excerpt, model: str = "hengyu-mini", pooling: str = "native") -> Findings:
    """The findings for a model whose encoder has been tampered with."""

    def opener(spec: EncoderSpec) -> HuggingFace:
        return kind(open_encoder(spec).folder)

    return selfcheck(Subject(EncoderSpec(model), opener, sample, pooling))


def by_name(findings: Findings) -> dict[str, Check]:
    return {c.name: c for c in (*findings.invariances, *findings.sensitivities)}


def test_the_built_in_encoder_passes(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "findings.json"
    done = run("hengyu-mini", "--limit", "24", "--json", str(out))
    assert done.exit_code == 0, done.output
    assert "invariances that could be checked hold" in done.output
    found = json.loads(out.read_bytes())
    assert (found["task"], found["pairs"], found["pooling"], found["broken"]) == ("hengyu-sts:test", 24, "native", [])
    status = {c["name"]: c["status"] for c in found["invariances"]}
    assert status.pop("threads") in ("holds", "not run")  # a machine may have one thread only
    assert set(status.values()) == {"holds"}
    for one in found["invariances"]:
        assert one["status"] == "not run" or one["change"]["largest"] < 1e-10, one
        assert one["status"] == "not run" or one["change"]["texts"] == found["texts"]
    noted = {c["name"]: c for c in found["sensitivities"]}
    assert 0 < noted["float16"]["change"]["mean"] < noted["bfloat16"]["change"]["mean"] < 1e-3
    assert noted["upper case"]["change"]["largest"] == 0  # its vocabulary has no capitals
    assert noted["half width"]["change"]["mean"] > 1e-6
    assert "128 tokens" in noted["own max length"]["verdict"]
    assert noted["max length 128"]["status"] == "not run"
    assert found["identity"]["tokens"] in noted["tokenizer"]["verdict"]


class OfItsBatch(HuggingFace):
    """As a model that centres over its batch."""

    def _forward(self, ids: Sequence[Sequence[int]], poolings: Sequence[str]) -> Vectors:
        return {p: x - 0.1 * x.mean(axis=0) for p, x in super()._forward(ids, poolings).items()}


class CountsPadding(HuggingFace):
    """As a model that ignores its attention mask."""

    def _rectangle(self, ids: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
        rows, kept = super()._rectangle(ids)
        return rows, [[1] * len(row) for row in kept]


class Restless(HuggingFace):
    """As a model with dropout left on, by so little that no score moves."""

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        self.rng = np.random.default_rng(0)

    def _forward(self, ids: Sequence[Sequence[int]], poolings: Sequence[str]) -> Vectors:
        found = super()._forward(ids, poolings)
        return {p: (x * self.rng.normal(1, 1e-6, x.shape)).astype(np.float32) for p, x in found.items()}


class OfItsThreads(HuggingFace):
    """As a library that reduces in another order on other numbers of threads, with far too large an effect."""

    def _forward(self, ids: Sequence[Sequence[int]], poolings: Sequence[str]) -> Vectors:
        import torch

        found = super()._forward(ids, poolings)
        return {
            p: x + np.float32(0.1 * torch.get_num_threads() * (np.arange(x.shape[1]) == 0)) for p, x in found.items()
        }


class OtherPipeline(HuggingFace):
    """As a pooling that is not the one in the model's folder."""

    def _forward(self, ids: Sequence[Sequence[int]], poolings: Sequence[str]) -> Vectors:
        found = super()._forward(ids, [*poolings, "cls"])
        return {p: found["cls"] if p == "native" else found[p] for p in poolings}


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (OfItsBatch, {"batch size 1", "shuffled order", "padding"}),
        (CountsPadding, {"padding"}),
        (Restless, {"determinism"}),
        (OfItsThreads, {"threads"}),
        (OtherPipeline, {"sentence-transformers"}),
    ],
)
def test_an_unsound_encoder_is_caught(
    kind: type[HuggingFace], broken: set[str], sample: Excerpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if kind is OfItsThreads:
        now = [2]
        monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
        monkeypatch.setattr(torch, "set_num_threads", lambda n: now.__setitem__(0, n))
    findings = check(kind, sample)
    # nothing else is accused; vectors that are off by as much are not those of the untouched library either
    off = {"sentence-transformers"} if kind in (OfItsBatch, OfItsThreads) else set()
    assert set(findings.broken) == broken | off
    if kind is OfItsThreads:
        assert now == [2]
    for name in broken:
        change = by_name(findings)[name].change
        assert change is not None and change.largest is not None and change.largest > 0
        assert (
            change.points is not None and change.low is not None and change.low <= change.points <= (change.high or 0)
        )


def test_a_model_that_depends_on_its_batch_gives_exit_code_1(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real model with code of its own, through the command line."""
    from transformers import dynamic_module_utils

    folder = tmp_path / "leaky"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoModel": "modeling_leaky.LeakyModel"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": own, "architectures": ["LeakyModel"]}))
    (folder / "modeling_leaky.py").write_text(
        "from transformers import BertModel\n\n\n"
        "class LeakyModel(BertModel):\n"
        "    def forward(self, *args, **kwargs):\n"
        "        out = super().forward(*args, **kwargs)\n"
        "        last = out.last_hidden_state\n"
        "        out.last_hidden_state = last - 0.3 * last.mean(0, keepdim=True)\n"
        "        return out\n"
    )
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = (str(folder), "--limit", "30", "--json", str(tmp_path / "found.json"))
    refused = run(*words)
    assert refused.exit_code == 2
    assert "--trust-remote-code" in refused.output
    done = run(*words, "--trust-remote-code")
    assert done.exit_code == 1, done.output
    assert "broken: batch size 1, shuffled order, padding" in done.output
    found = json.loads((tmp_path / "found.json").read_bytes())
    # the library encodes one text at a time, so that it differs, too
    assert found["broken"] == ["batch size 1", "shuffled order", "padding", "sentence-transformers"]


def test_bad_input_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    for words, part in (
        (("hengyu-mini", "--task", "hengyu-sts:tset"), "did you mean 'test'"),
        (("hengyu-mini", "--task", "hengyu-sts"), "names no split"),
        (("hengyu-mini", "--task", "LCQMC:test"), "LCQMC:test is not here"),
        (("hengyu-mini", "--pooling", "maen"), "did you mean 'mean'"),
        (("hengyu-mini", "--pooling", "pooler"), "the model's weights have no pooler"),
        (("hengyu-mini", "--device", "warp"), "device 'warp' cannot be used"),
        (("hengyu-mini", "--limit", "-1"), "--limit"),
        ((str(tmp_path),), "has no weights"),
        ((str(tmp_path / "nowhere"),), "no such folder"),
        (("somebody/some-model",), "the network is off"),
    ):
        done = run(*words)
        assert done.exit_code == 2, (words, done.output)
        assert part in done.output, (words, done.output)
        assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_vocabulary_that_knows_nothing_is_broken(tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import BertTokenizer

    folder = tmp_path / "latin"
    shutil.copytree(tiny_bert, folder)
    (folder / "tokenizer.json").unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "一"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    done = run(str(folder), "--limit", "20")
    assert done.exit_code == 1, done.output
    assert "use a model for Chinese" in done.output


def test_vectors_that_are_not_finite_are_refused(sample: Excerpt) -> None:
    class RemoteDamage(HuggingFace):
        def _forward(self, ids: Sequence[Sequence[int]], poolings: Sequence[str]) -> Vectors:
            return {p: x * np.float32(np.nan) for p, x in super()._forward(ids, poolings).items()}

    with pytest.raises(HengyuError, match="vectors are not finite"):
        check(RemoteDamage, sample)


@pytest.mark.long
def test_a_dtype_that_overflows_or_cannot_be_run_says_so(sample: Excerpt) -> None:
    class Overflows(HuggingFace):
        def _forward(self, ids: Sequence[Sequence[int]], poolings: Sequence[str]) -> Vectors:
            found = super()._forward(ids, poolings)
            if self.spec.dtype == "bfloat16":
                raise RuntimeError("\"addmm\" not implemented for 'BFloat16'\nmore")
            return {p: x * np.float32(np.inf) for p, x in found.items()} if self.spec.dtype == "float16" else found

    found = by_name(check(Overflows, sample))
    assert found["float16"].status == "note"
    assert "not finite" in found["float16"].verdict
    assert found["bfloat16"].status == "not run"
    assert "\"addmm\" not implemented for 'BFloat16'" in found["bfloat16"].verdict
    assert "more" not in found["bfloat16"].verdict


def test_half_precision_is_measured_as_a_plain_script_would(sample: Excerpt) -> None:
    subject = Subject(EncoderSpec("hengyu-mini"), open_encoder, sample, "mean")
    change = in_dtype("bfloat16")(subject).change
    texts = list(sample.texts)
    a, b = (
        open_encoder(EncoderSpec("hengyu-mini", dtype=d)).encode(texts, ["mean"])["mean"]
        for d in ("float32", "bfloat16")
    )

    def rho(x: np.ndarray) -> float:
        unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        return float(stats.spearmanr((unit[sample.first] * unit[sample.second]).sum(1), sample.labels).statistic)

    assert change is not None and change.points == pytest.approx(100 * (rho(b) - rho(a)), abs=1e-9)
    assert change.largest == pytest.approx(distances(a, b).max())
    assert change.low is not None and change.high is not None and change.low <= change.points <= change.high


def test_texts_cut_at_a_length_are_counted_and_only_they_move(sample: Excerpt) -> None:
    subject = Subject(EncoderSpec("hengyu-mini"), open_encoder, sample, "mean")
    lengths = np.array([len(row) for row in subject.encoder.tokenizer.bare(sample.texts)])
    limit = int(np.median(lengths))
    change = at_length(limit)(subject).change
    assert change is not None and change.texts == (lengths > limit).sum() > 0
    assert change.mean is not None and change.mean > 0
    none = at_length(int(lengths.max()))(subject)
    assert none.change is not None and none.change.texts == 0 and "nothing is truncated" in none.verdict
    assert at_length(128)(subject).status == "not run"


@pytest.mark.parametrize("tail", [("mean",), ("mean", "dense", "normalize")])
def test_padding_by_hand_gives_the_vectors_of_no_padding(
    tmp_path: Path, tiny_bert: Path, tail: tuple[str, ...]
) -> None:
    from sentence_transformers import SentenceTransformer, models

    make = {
        "mean": lambda: models.Pooling(32, pooling_mode="mean"),
        "dense": lambda: models.Dense(32, 8),
        "normalize": models.Normalize,
    }
    body = models.Transformer(str(tiny_bert))
    folder = tmp_path / "st"
    SentenceTransformer(modules=[body, *(make[t]() for t in tail)], device="cpu").save_pretrained(str(folder))
    encoder = open_encoder(EncoderSpec(str(folder)))
    texts = ["今天天气真好", "他", "", "学生们都在学习数学和语文"]
    plain = encoder.encode(texts, ["native", "cls", "first-last-mean"])
    padded = encoder.encode_padded(texts, "今天" * 40, ["native", "cls", "first-last-mean"])
    for pooling, vectors in plain.items():
        assert np.abs(vectors - padded[pooling]).max() < 1e-5, pooling


def test_a_tokenizer_without_padding_cannot_be_padded(tmp_path: Path, tiny_bert: Path, sample: Excerpt) -> None:
    class NoPadding(HuggingFace):
        def _rectangle(self, ids: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
            self.tokenizer._library.pad_token = None
            return super()._rectangle(ids)

    findings = check(NoPadding, sample, str(tiny_bert))
    found = by_name(findings)
    assert found["padding"].status == "not run"
    assert "no padding token" in found["padding"].verdict
    assert found["pooling"].status == "not run"
    assert found["sentence-transformers"].status == "holds"
    assert not findings.broken


def test_padding_is_not_green_where_nothing_is_padded(tiny_bert: Path) -> None:
    texts = ("今天" * 40, "天气" * 40, "公园" * 40, "散步" * 40)  # each more than the 64 tokens of the model
    full = Excerpt("made:up", texts, np.array([0, 0, 1]), np.array([1, 2, 3]), np.array([2.0, 1.0, 0.0]))
    short = Excerpt(
        "made:up", ("今天", "天气", "公园", "散步"), full.first, full.second, full.labels
    )  # all of one length
    assert by_name(check(CountsPadding, full, str(tiny_bert)))["padding"].status == "not run"
    assert by_name(check(CountsPadding, short, str(tiny_bert)))["padding"].status == "broken"
    assert by_name(check(HuggingFace, short, str(tiny_bert)))["padding"].status == "holds"


def test_distances_are_one_minus_cosine_and_keep_the_smallest() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50, 8)).astype(np.float32)
    cosine = (
        (a * b).sum(1, dtype=np.float64)
        / np.linalg.norm(a.astype(float), axis=1)
        / np.linalg.norm(b.astype(float), axis=1)
    )
    assert distances(a, b) == pytest.approx(1 - cosine, abs=1e-7)
    assert (distances(a, a) == 0).all()
    assert (distances(a, 3 * a) < 1e-13).all()
    tiny = np.array([[1, 0]], np.float32), np.array([[1, 1e-10]], np.float32)
    assert distances(*tiny)[0] == pytest.approx(0.5e-20, rel=1e-6)
    zero, one = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    assert [distances(zero, zero)[0], distances(zero, one)[0], distances(one, zero)[0]] == [0, 1, 1]


def test_a_change_is_counted_in_points() -> None:
    """Four pairs against one text at 0, whose angles rank as the labels do; the last two change places."""
    angles = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    sample = Excerpt("made:up", tuple("abcde"), np.zeros(4, np.int64), np.arange(1, 5), np.array([4.0, 3.0, 2.0, 1.0]))
    yardstick = Yardstick(sample, vectors)
    assert yardstick.spearman == pytest.approx(1)
    change = yardstick.compare(vectors[[0, 1, 2, 4, 3]])
    assert change.points == pytest.approx(-20)  # rho of one swap of neighbours among four: 1 - 6 * 2 / 60
    assert change.largest == pytest.approx(1 - np.cos(0.1), rel=1e-5)
    turned = np.stack([np.cos(angles + 0.15), np.sin(angles + 0.15)], axis=1).astype(np.float32)
    assert yardstick.compare(turned).points == pytest.approx(0)
    assert yardstick.compare(turned, second_only=True).points == pytest.approx(0)
    back = np.stack([np.cos(angles - 0.25), np.sin(angles - 0.25)], axis=1).astype(np.float32)
    expected = stats.spearmanr(np.cos(np.abs(angles[1:] - 0.25)), sample.labels).statistic
    assert yardstick.compare(back, second_only=True).points == pytest.approx(100 * (expected - 1))


def test_scores_that_do_not_exist_are_no_numbers() -> None:
    vectors = np.eye(3, dtype=np.float32)
    sample = Excerpt("made:up", tuple("abc"), np.array([0, 0, 0]), np.array([1, 2, 1]), np.ones(3))
    yardstick = Yardstick(sample, vectors)
    assert yardstick.spearman is None
    assert yardstick.no_score
    change = yardstick.compare(vectors[::-1])
    assert (change.points, change.low, change.largest) == (None, None, 1.0)


def test_a_sample_keeps_the_spread_of_its_file() -> None:
    pairs = load_pairs(load_cards()["hengyu-sts"], "test")
    whole, part = take_excerpt(pairs, 0), take_excerpt(pairs, 101)
    assert (len(whole.labels), len(part.labels)) == (len(pairs.labels), 101)
    assert [whole.texts[i] for i in whole.first] == list(pairs.first)
    assert [whole.texts[i] for i in whole.second] == list(pairs.second)
    assert len(set(whole.texts)) == len(whole.texts)
    assert (part.texts[part.first[0]], part.texts[part.second[-1]]) == (pairs.first[0], pairs.second[-1])
    assert take_excerpt(pairs, 10**9).texts == whole.texts


def test_ways_of_writing() -> None:
    ascii_ = "".join(map(chr, range(0x20, 0x7F)))
    assert half_width(full_width(ascii_)) == ascii_
    assert full_width("A1, b~") == "Ａ１， ｂ～"
    assert half_width("ＡＢＣ１２３，全角") == "ABC123,全角"
    assert upper_case("iPhone和é") == "IPHONE和é"
    pytest.importorskip("opencc")
    assert traditional("我们去公园") == "我們去公園"
    assert traditional("头发和发现") == "頭髮和發現"  # by word, not by character


def test_without_opencc_the_check_says_how_to_get_it(sample: Excerpt, monkeypatch: pytest.MonkeyPatch) -> None:
    variants._opencc.cache_clear()  # another test may have loaded it
    monkeypatch.setitem(sys.modules, "opencc", None)
    findings = check(HuggingFace, sample)
    found = by_name(findings)["traditional characters"]
    assert found.status == "not run"
    assert "pip install 'hengyu[opencc]'" in found.verdict
    assert not findings.broken


def changed_texts(sample: Excerpt, write: Callable[[str], str]) -> list[str]:
    return [text for text in sample.texts if write(text) != text]


def test_a_way_of_writing_is_measured_on_the_texts_it_changes(sample: Excerpt) -> None:
    subject = Subject(EncoderSpec("hengyu-mini"), open_encoder, sample, "mean")
    found = written_as("half width")(subject)
    texts = changed_texts(sample, half_width)
    assert found.change is not None and found.change.texts == len(texts) > 0
    a, b = subject.encode(texts), subject.encode([half_width(t) for t in texts])
    assert found.change.mean == pytest.approx(distances(a, b).mean())
    bare = Excerpt("made:up", ("好", "坏", "大"), np.array([0, 1]), np.array([1, 2]), np.array([0.0, 1.0]))
    probed: Any = written_as("upper case")(Subject(EncoderSpec("hengyu-mini"), open_encoder, bare, "mean"))
    assert "on the probe sentences" in probed.verdict
    assert probed.change.texts > 0 and probed.change.points is None


def test_a_way_of_writing_that_the_tokenizer_folds_moves_nothing(sample: Excerpt) -> None:
    texts = ("iPhone多少钱", "iPad多少钱", "苹果手机多少钱", "mac多少钱")
    made = Excerpt("made:up", texts, np.array([0, 0, 1]), np.array([1, 2, 3]), np.array([2.0, 1.0, 0.0]))
    found = written_as("upper case")(Subject(EncoderSpec("hengyu-mini"), open_encoder, made, "mean"))
    assert found.change == Change(3, 0.0, 0.0, 0.0)
    assert "the tokens are the same" in found.verdict


def test_findings_fit_every_terminal(sample: Excerpt) -> None:
    from rich.console import Console

    findings = check(CountsPadding, sample)
    for width in (60, 80, 200):
        file = io.StringIO()
        print_findings(findings, Console(file=file, force_terminal=True, width=width, color_system=None))
        text = file.getvalue()
        assert "…" not in text and "\ufffd" not in text
        for name, one in by_name(findings).items():
            assert name in text
            assert one.status in text or one.status == "note"
        assert "broken: padding" in text
        folded = "".join(text.split())
        if width < 130:
            assert all("".join(one.verdict.split()) in folded for one in by_name(findings).values())


def test_a_model_that_is_no_transformer_says_what_cannot_be_run(tmp_path: Path, sample: Excerpt) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    builtin = Path(open_encoder(EncoderSpec("hengyu-mini")).folder.path)
    static = StaticEmbedding(Tokenizer.from_file(str(builtin / "tokenizer.json")), embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(tmp_path / "static"))
    findings = check(HuggingFace, sample, str(tmp_path / "static"))
    assert not findings.broken
    status = {name: c.status for name, c in by_name(findings).items()}
    assert {n for n, s in status.items() if s == "holds"} >= {"batch size 1", "determinism", "sentence-transformers"}
    for name in ("padding", "tokenizer", "bfloat16", "max length 64"):
        assert status[name] == "not run"
