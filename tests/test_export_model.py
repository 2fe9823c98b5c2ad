"""hengyu export-model: the folder is the pipeline, by our own vectors and by mteb's score; rows are found or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import runs
from helpers.byothers import mteb_score

from hengyu.base.errors import HengyuError
from hengyu.bench.run import run as weigh
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods import find_method, method_names
from hengyu.methods.grammar import parse_entry
from hengyu.numerics.affine import Affine, affine_of
from hengyu.storage.fits import FitStore
from hengyu.storage.records import Run, load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import Suite
from hengyu.tools.export_model.fitted import Places, refit
from hengyu.tools.export_model.row import choose
from hengyu.tools.export_model.state import restored, state_of

TASK = "some:valid"  # pairs of hengyu-sts: every test encodes them
PAIRS = 160  # more sentences than the encoder has dimensions
FLOW = "flow(levels=1, depth=1, steps=20)"
ENTRIES = (
    "raw",
    "whitening(dim=32)",
    "l2 > whitening(dim=16) > l2",
    "standardize > abtt > truncate(dim=64)",
    "linear-flow",
)
QUICK = ("raw", "whitening(dim=32)")  # the others are run weekly
PROJECTED = ("jl(dim=64)", "itq(bits=64)", "int8 > jl(dim=32, kind=srht)")
POOLINGS = ("native", "cls", "mean", "first-last-mean", "last2-mean", "embedding-last-mean")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("take")


@pytest.fixture(scope="module")
def cards(home: Path) -> Path:
    """A card with the first pairs of our own splits."""
    ours = load_cards()["hengyu-sts"]
    text = 'name = "some"\nlabels = { scale = [0, 5] }\n'
    folder = home / "cards"
    folder.mkdir()
    for split in ("valid", "train"):
        pairs = load_pairs(ours, split)
        rows = list(zip(pairs.first, pairs.second, pairs.labels, strict=True))[:PAIRS]
        lines = "".join(f"{a}\t{b}\t{y}\n" for a, b, y in rows)
        (folder / f"{split}.tsv").write_text(f"sentence1\tsentence2\tlabel\n{lines}", encoding="utf-8")
        text += f'[splits.{split}]\nfile = "{split}.tsv"\n'
    (folder / "some.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(home: Path, cards: Path) -> Run:
    """The built-in encoder on our own valid split, every pooling, affine and other entries."""
    entries = tuple(SuiteEntry(parse_entry(e)) for e in (*ENTRIES, *PROJECTED, f"whitening(dim=8) > {FLOW}"))
    suite = Suite("taken", Path("taken.toml"), (TASK,), entries, poolings=POOLINGS, baselines=("tfidf",), resamples=20)
    store, fits = VectorStore(home / "vectors"), FitStore(home / "fits")
    return load_run(weigh(make_plan(suite, datasets=[cards]), reports=home / "reports", store=store, fits=fits).folder)


NEEDS = {
    "jl": "dim",
    "simhash": "bits",
    "itq": "bits",
    "pq": "m",
    "opq": "m",
    "cross-flat": "model",
    "cross-rerank": "model",
    "cur": "model",
}  # methods with a parameter that has no default
_TAKEN: dict[tuple[str, ...], tuple[Path, str]] = {}


def taken(finished: Run, home: Path, *words: str) -> tuple[Path, str]:
    """Take a row home once, by the command; returns the folder and what the command said."""
    if words not in _TAKEN:
        out = home / f"taken-{len(_TAKEN)}"
        done = CliRunner().invoke(
            main, ["export-model", str(finished.path), "--row", words[0], "--out", str(out), *words[1:]]
        )
        assert done.exit_code == 0, done.output
        _TAKEN[words] = out, done.output
    return _TAKEN[words]


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests of this file share the vectors."""
    monkeypatch.setenv("HENGYU_CACHE", str(home))


def texts_and_labels() -> tuple[list[str], list[str], np.ndarray]:
    pairs = load_pairs(load_cards()["hengyu-sts"], "valid")
    return list(pairs.first)[:PAIRS], list(pairs.second)[:PAIRS], pairs.labels[:PAIRS]


def record_of(finished: Run, words: str) -> float:
    value = choose(finished, words).value_in(finished)
    assert value is not None
    return value


@pytest.mark.parametrize(
    ("pooling", "entry"),
    [
        *(pytest.param("mean", e, marks=() if e in QUICK else pytest.mark.long) for e in ENTRIES),
        ("first-last-mean", "whitening(dim=32)"),
        *(
            pytest.param(p, "whitening(dim=32)", marks=pytest.mark.long)
            for p in ("cls", "last2-mean", "embedding-last-mean")
        ),
    ],
)
def test_the_folder_gives_our_vectors(finished: Run, home: Path, pooling: str, entry: str) -> None:
    from sentence_transformers import SentenceTransformer

    words = f"{pooling} | {entry}"
    out, _ = taken(finished, home, words)
    ours = refit(finished, choose(finished, words))
    some = ours.vectors[::4]
    theirs = SentenceTransformer(str(out), device="cpu").encode(list(ours.texts[::4]))
    assert theirs.shape == some.shape
    # a vector at length 1 is what a cosine sees; full-rank steps divide by the variance of noise, and float32 shows
    assert np.abs(unit(theirs) - unit(some)).max() < (1e-5 if "linear" not in entry else 1e-4)
    kinds = [m["type"] for m in json.loads((out / "modules.json").read_bytes())]
    assert all(k.startswith("sentence_transformers.") for k in kinds)
    assert sum(k.endswith(".Dense") for k in kinds) == (entry != "raw")
    assert not [p for p in out.rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_a_flow_comes_home_as_a_module_of_ours(finished: Run, home: Path) -> None:
    from sentence_transformers import SentenceTransformer

    words = f"mean | whitening(dim=8) > {FLOW}"
    out, said = taken(finished, home, words)
    assert "trust_remote_code" in said
    ours = refit(finished, choose(finished, words), fits=FitStore(home / "fits"))
    theirs = SentenceTransformer(str(out), device="cpu", trust_remote_code=True).encode(list(ours.texts[::4]))
    assert np.abs(unit(theirs) - unit(ours.vectors[::4])).max() < 1e-5
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(out), device="cpu")


@pytest.mark.parametrize(
    "words",
    [
        *("mean | raw", "first-last-mean | whitening(dim=32)", f"mean | whitening(dim=8) > {FLOW}"),
        *(pytest.param(f"mean | {entry}", marks=pytest.mark.long) for entry in PROJECTED),
    ],
)
def test_mteb_reports_our_spearman(finished: Run, home: Path, words: str) -> None:
    out, said = taken(finished, home, words)
    score = mteb_score(out, *texts_and_labels(), trust="trust_remote_code" in said)
    # float32 turns a few of the signs and steps of a code
    coded = "itq" in words or "int8" in words
    assert score == pytest.approx(record_of(finished, words), abs=1e-3 if coded else 1e-4)


@pytest.mark.parametrize(
    "words",
    ["first-last-mean | whitening(dim=32)", pytest.param(f"mean | whitening(dim=8) > {FLOW}", marks=pytest.mark.long)],
)
def test_hengyu_weighs_a_folder_as_it_weighed_the_row(finished: Run, home: Path, words: str) -> None:
    out, _ = taken(finished, home, words)
    first, second, labels = texts_and_labels()
    from hengyu.numerics import metrics
    from hengyu.numerics.similarity import cosines

    x = open_encoder(EncoderSpec(str(out))).encode([*first, *second], ["native"])["native"]
    n = len(first)
    score = metrics.spearman(cosines(x, np.arange(n), np.arange(n, 2 * n)), labels)
    assert score == pytest.approx(record_of(finished, words), abs=1e-4)


def test_the_pooler_comes_home_as_a_dense_layer(home: Path, tmp_path: Path, tiny_bert: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from hengyu.tools.export_model.pooled import pooled

    encoder = open_encoder(EncoderSpec(str(tiny_bert), max_length=6, prompt="大家"))
    texts = ["今天天气真好，我们去公园散步吧。", "他", "不是他，是她"]
    model = SentenceTransformer(modules=pooled(encoder, "pooler"), device="cpu")
    theirs = model.encode(texts, prompt="大家")
    assert np.abs(theirs - encoder.encode(texts, ["pooler"])["pooler"]).max() < 1e-5


@pytest.mark.parametrize(
    ("spec", "pooling", "reason"),
    [
        ({"dtype": "bfloat16"}, "mean", "evaluated in bfloat16"),
        ({"pre_tokenizer": "jieba"}, "mean", "jieba splits"),
        ({"dtype": "float16", "prompt": "“{text}”的意思是[MASK]"}, "mask", "evaluated in float16"),
    ],
)
def test_what_a_folder_cannot_say_is_refused(tiny_bert: Path, spec: dict[str, str], pooling: str, reason: str) -> None:
    from hengyu.tools.export_model.pooled import pooled

    with pytest.raises(HengyuError, match=reason):
        pooled(open_encoder(EncoderSpec(str(tiny_bert), **spec)), pooling)


def test_rows_are_named_by_number_or_by_words(finished: Run) -> None:
    best = choose(finished, "1")
    assert choose(finished, " | ".join(best.row)) == best
    assert choose(finished, "mean | whitening( dim = 32 )").row == (
        "hengyu-mini",
        "mean",
        "whitening(dim=32)",
        "target",
    )
    for words, reason in (
        ("whitening(dim=32)", "matches 5 rows"),
        ("mean | whitning(dim=32)", r"did you mean 'whitening\(dim=32\)'"),
        ("999", "only rows 1 to"),
        ("tfidf", "is a baseline"),
        ("maen | raw", "did you mean 'mean'"),
    ):
        with pytest.raises(HengyuError, match=reason):
            choose(finished, words)
    with pytest.raises(HengyuError, match="it has no random steps"):
        choose(finished, "mean | raw", seed=1)
    with pytest.raises(HengyuError, match="was evaluated with the seeds 0, not 5"):
        choose(finished, f"mean | whitening(dim=8) > {FLOW}", seed=5)


def test_a_row_of_several_tasks_asks_which() -> None:
    run = runs.make_run(sweep=False)
    with pytest.raises(HengyuError, match="choose one with --task: ATEC:test, BQ:test"):
        choose(run, "hengyu-mini | mean | whitening")
    with pytest.raises(HengyuError, match="did you mean 'BQ:test'"):
        choose(run, "hengyu-mini | mean | whitening", "BQ:tset")
    assert choose(run, "hengyu-mini | mean | whitening", "BQ:test").task == "BQ:test"
    assert choose(run, "hengyu-mini | mean | raw").task == "ATEC:test"


def test_nothing_is_overwritten_unasked(finished: Run, home: Path, tmp_path: Path) -> None:
    def take(out: Path, *more: str) -> Any:
        return CliRunner().invoke(
            main, ["export-model", str(finished.path), "--row", "mean | raw", "--out", str(out), *more]
        )

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    refused = take(tmp_path / "mine")
    assert refused.exit_code == 2 and "already exists" in refused.output
    refused = take(tmp_path / "mine", "--force")
    assert refused.exit_code == 2 and "does not replace it" in refused.output
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"
    assert take(tmp_path / "model").exit_code == 0
    assert take(tmp_path / "model").exit_code == 2
    assert take(tmp_path / "model", "--force").exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] == ".") == []


def test_another_encoder_than_the_weighed_one_is_refused(finished: Run, tiny_bert: Path) -> None:
    with pytest.raises(HengyuError, match="its fingerprint is .* so it is not the evaluated one"):
        refit(finished, choose(finished, "mean | raw"), places=Places(encoder=str(tiny_bert)))
    header = json.loads(json.dumps(finished.header))
    header["tasks"][0] |= {"sha256": "0" * 64, "digest": "0" * 64}
    with pytest.raises(HengyuError, match="is not the file that run"):
        refit(replace(finished, header=header), choose(finished, "mean | raw"))


def test_a_fit_on_other_sentences_says_so_in_the_card(finished: Run, home: Path) -> None:
    out, _ = taken(finished, home, "mean | whitening(dim=32)", "--fit-on", "some:train")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"{2 * PAIRS} sentences of some:train" in card
    assert "this folder was fitted on some:train" in card
    other = refit(finished, choose(finished, "mean | whitening(dim=32)"), "some:train")
    assert np.abs(other.vectors - refit(finished, choose(finished, "mean | whitening(dim=32)")).vectors).max() > 0.1


def test_the_card_has_scores_fit_licence_and_the_way_back(finished: Run, home: Path) -> None:
    words = "mean | whitening(dim=32)"
    out, _ = taken(finished, home, words)
    card = (out / "README.md").read_text(encoding="utf-8")
    record = next(r for r in finished.records if r.row == choose(finished, words).row and r.metric == "spearman")
    assert f"| {100 * record.value:.2f} | {100 * record.low:.2f} to {100 * record.high:.2f} |" in card
    assert 'license: "apache-2.0"' in card
    assert f"{2 * PAIRS} sentences of {TASK}" in card
    assert (
        f"hengyu export-model {finished.id} --row 'hengyu-mini | mean | whitening(dim=32) | target' --task {TASK}"
        in card
    )


@pytest.mark.parametrize("name", method_names())
def test_every_method_is_affine_as_it_says_or_keeps_its_state(name: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12)
    given = {f: v for f, v in (("dim", 4), ("bits", 8), ("m", 2), ("model", "x")) if name in NEEDS and f == NEEDS[name]}
    method = find_method(name)(**given)
    if not callable(method):
        pytest.skip("does not map vectors to vectors")
    step = str(parse_entry(f"{name}({', '.join(f'{k}={v}' for k, v in given.items())})"))
    method.fit(x)
    wanted = np.asarray(method(x), np.float64)
    affine = affine_of(method, 12)
    if affine is not None:
        assert np.abs(x @ affine.weight + affine.bias - wanted).max() < 1e-9 * np.abs(wanted).max()
    again = restored(step, state_of(method, step))
    assert np.array_equal(np.asarray(again(x)), np.asarray(method(x)))


def test_affine_maps_compose() -> None:
    rng = np.random.default_rng(1)
    one, two = (Affine(rng.normal(size=s), rng.normal(size=s[1])) for s in ((5, 4), (4, 3)))
    x = rng.normal(size=(7, 5))
    both = one.then(two)
    assert np.allclose(x @ both.weight + both.bias, (x @ one.weight + one.bias) @ two.weight + two.bias)
