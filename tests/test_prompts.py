"""Prompts of queries and of documents: the library's own vectors on either side, and nothing encoded that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.folders import merge, pooled, router

from hengyu.base.errors import HengyuError
from hengyu.bench.run import Outcome, run
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, find_encoder, open_encoder
from hengyu.numerics.moments import Moments
from hengyu.report.page.provenance import sheets
from hengyu.storage.records import Run, load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

OWN = {"query": "查询：", "document": "文章：", "sts": "句子："}
BOTH = "今天我们去看海"  # a query and a document
DOCUMENTS = [BOTH, "学生在家学数学", "老人问路去公园", "他们打电话回家", "大家走路去月亮", "她白天看电影"]
QUERIES = ["海在哪里", "怎么学数学", BOTH, "公园怎么走"]
QRELS = [(0, 0), (1, 1), (2, 4), (3, 2)]
SUITE = """
name = "sides"
kind = "retrieval"
tasks = ["mine:test"]
entries = ["flat", "whitening(dim=4) > flat", "center > flat"]
resamples = 20
"""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)


@pytest.fixture
def model(tmp_path: Path, tiny_bert: Path) -> Path:
    """A sentence-transformers folder that names its prompts."""
    folder = pooled(tmp_path / "model", tiny_bert)
    merge(folder / "config_sentence_transformers.json", prompts=OWN)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a retrieval card, a card of pairs, and a suite of each."""
    root = tmp_path / "data"
    (root / "suites").mkdir(parents=True)

    def lines(name: str, rows: list[Mapping[str, Any]]) -> None:
        (root / name).write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")

    lines("c.jsonl", [{"_id": f"d{i}", "text": t} for i, t in enumerate(DOCUMENTS)])
    lines("q.jsonl", [{"_id": f"q{i}", "text": t} for i, t in enumerate(QUERIES)])
    rows = "".join(f"q{q}\td{d}\t1\n" for q, d in QRELS)
    (root / "r.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows, encoding="utf-8")
    (root / "mine.toml").write_text(
        'name = "mine"\nkind = "retrieval"\n[splits.test]\ncorpus = "c.jsonl"\nqueries = "q.jsonl"\nqrels = "r.tsv"\n',
        encoding="utf-8",
    )
    pairs = "".join(f"{a}\t{b}\t{i}\n" for i, (a, b) in enumerate(zip(DOCUMENTS[:4], QUERIES, strict=True)))
    (root / "pairs.tsv").write_text("sentence1\tsentence2\tlabel\n" + pairs, encoding="utf-8")
    (root / "pairs.toml").write_text(
        'name = "pairs"\nlabels = { scale = [0, 5] }\n[splits.test]\nfile = "pairs.tsv"\n', encoding="utf-8"
    )
    (root / "suites" / "sides.toml").write_text(SUITE, encoding="utf-8")
    (root / "suites" / "sts.toml").write_text(
        'name = "sts"\ntasks = ["pairs:test"]\nentries = ["raw"]\nbaselines = []\nresamples = 20\n', encoding="utf-8"
    )
    return root


def evaluate(place: Path, spec: EncoderSpec, suite: str = "sides", **changes: Any) -> Outcome:
    loaded = load_suite(place / "suites" / f"{suite}.toml").with_overrides(encoders=(spec,), poolings=("native",))
    loaded = replace(loaded, **changes)
    return run(make_plan(loaded, datasets=[place]), reports=place / "reports", store=VectorStore(place / "store"))


def numbers(outcome: Outcome) -> dict[tuple[str, str], float]:
    run = load_run(outcome.folder)
    wanted = ("ndcg@10", "mrr@10", "spearman")
    return {(r.entry, r.metric): r.value for r in run.records if r.metric in wanted and r.value is not None}


def head(run: Run) -> Mapping[str, Any]:
    (found,) = (e for e in run.header["encoders"] if not e.get("baseline"))
    return found


def library(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


SETTINGS: dict[str, dict[str, Any]] = {
    "both": {"prompts": OWN},
    "a default beside them": {"prompts": OWN, "default_prompt_name": "sts"},
    "queries alone": {"prompts": {"query": "查询："}},
    "documents alone": {"prompts": {"document": "文章："}, "default_prompt_name": "document"},
    "passage": {"prompts": {"query": "查询：", "passage": "文章："}},
    "corpus": {"prompts": {"query": "查询：", "corpus": "文章："}},
    "a default alone": {"prompts": {"sts": "句子："}, "default_prompt_name": "sts"},
    "none": {"prompts": {}},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_each_side_has_the_vectors_of_the_library(tmp_path: Path, tiny_bert: Path, settings: dict[str, Any]) -> None:
    folder = pooled(tmp_path / "model", tiny_bert)
    merge(folder / "config_sentence_transformers.json", **settings)
    encoder, theirs = open_encoder(EncoderSpec(str(folder))), library(folder)
    for side, encode in (("query", theirs.encode_query), ("document", theirs.encode_document), ("", theirs.encode)):
        ours = (encoder.side(side) if side else encoder).encode(DOCUMENTS, ["mean"])["mean"]
        assert np.abs(ours - encode(DOCUMENTS, batch_size=1)).max() < 1e-5, side


def test_a_router_takes_the_route_of_the_side(tmp_path: Path, tiny_bert: Path) -> None:
    folder = router(tmp_path / "model", tiny_bert)
    encoder, theirs = open_encoder(EncoderSpec(str(folder))), library(folder)
    (query, document) = (encoder.side(s).encode(QUERIES, ["native"])["native"] for s in ("query", "document"))
    assert np.abs(query - theirs.encode_query(QUERIES, batch_size=1)).max() < 1e-5
    assert np.abs(document - theirs.encode_document(QUERIES, batch_size=1)).max() < 1e-5
    assert np.abs(query - document).max() > 0.01
    assert encoder.side("query").identity() != encoder.side("document").identity()


@pytest.mark.parametrize("kind", ["prompts", "router"])
def test_a_retrieval_suite_has_the_numbers_of_the_library(
    place: Path, model: Path, tmp_path: Path, tiny_bert: Path, kind: str
) -> None:
    """nDCG of both sides' vectors, with and without a method that is fitted on documents and queries."""
    folder = model if kind == "prompts" else router(tmp_path / "routed", tiny_bert)
    theirs = library(folder)
    d = theirs.encode_document(DOCUMENTS, batch_size=1).astype(np.float64)
    q = theirs.encode_query(QUERIES, batch_size=1).astype(np.float64)
    mean = np.concatenate([d, q]).mean(axis=0)  # the text that is both counts once on each side

    def gain(d: Any, q: Any) -> float:
        cosine = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (d / np.linalg.norm(d, axis=1, keepdims=True)).T
        gains = []
        for query, document in QRELS:
            order = np.argsort(-cosine[query]).tolist()
            gains.append(1 / np.log2(order.index(document) + 2))
        return float(np.mean(gains))

    found = numbers(evaluate(place, EncoderSpec(str(folder))))
    assert found["flat", "ndcg@10"] == pytest.approx(gain(d, q), abs=1e-9)
    assert found["center > flat", "ndcg@10"] == pytest.approx(gain(d - mean, q - mean), abs=1e-9)


def test_a_fit_takes_the_vectors_of_each_side(place: Path, model: Path) -> None:
    """By blocks of any size, and with a text that is a query and a document."""
    from hengyu.bench.context import EncodeContext
    from hengyu.bench.encode_shards import encode_all
    from hengyu.bench.executors.local import Local
    from hengyu.bench.notes import Notes
    from hengyu.bench.prepared_encoder import prepare_encoder
    from hengyu.encoders import SIDES

    spec = EncoderSpec(str(model))
    loaded = load_suite(place / "suites" / "sides.toml").with_overrides(encoders=(spec,), poolings=("native",))
    plan = make_plan(loaded, datasets=[place])
    job, store = prepare_encoder(plan, find_encoder(spec)), VectorStore(place / "store")
    sides = {side: plan.texts_of(side) for side in SIDES}
    context = EncodeContext(encoders=(job,), store=store, texts=plan.texts, sides=sides)
    read = encode_all(Local(), context, 0, job.poolings, Notes())
    assert read.encoded == len(DOCUMENTS) + len(QUERIES)
    fit = job.fitted_on(plan.fits["mine:test", "target"])
    theirs = library(model)
    wanted = np.concatenate([theirs.encode_document(DOCUMENTS), theirs.encode_query(QUERIES)])
    for vectors in (read, context.vectors(0)):
        (pooling,) = job.poolings
        sample = vectors.sample(pooling, fit)
        assert np.abs(sample.rows(np.arange(len(sample))) - wanted).max() < 1e-5
        for size in (1, 3, 100):
            assert np.array_equal(
                np.concatenate([x for x, _ in sample.blocks(size)]), sample.rows(np.arange(len(sample)))
            )
    taken = Moments.of(sample)
    assert np.abs(taken.mean - wanted.mean(axis=0)).max() < 1e-5
    assert fit.counts.sum() == len(wanted)
    merged = plan.fits["mine:test", "target"]
    assert len(merged.ids) == len(wanted) - 1 and merged.digest != fit.digest


def test_a_second_run_encodes_nothing_and_one_side_is_encoded_alone(place: Path, model: Path) -> None:
    first = evaluate(place, EncoderSpec(str(model)))
    assert first.encoded == len(DOCUMENTS) + len(QUERIES)
    again = evaluate(place, EncoderSpec(str(model)))
    assert (again.encoded, again.observed, again.folder) == (0, 0, first.folder)
    # the folder's own prompts, said aloud, are the same vectors
    said = evaluate(place, EncoderSpec(str(model), query_prompt="查询：", document_prompt="文章："))
    assert (said.encoded, said.observed, said.folder) == (0, 0, first.folder)
    other = evaluate(place, EncoderSpec(str(model), query_prompt="问："))
    assert other.encoded == len(QUERIES) and other.folder != first.folder
    other = evaluate(place, EncoderSpec(str(model), document_prompt=""))
    assert other.encoded == len(DOCUMENTS) and other.folder != first.folder
    assert numbers(other) != numbers(first)


def test_the_same_prompt_on_both_sides_encodes_every_text_once(place: Path, model: Path) -> None:
    distinct = len({*DOCUMENTS, *QUERIES})
    one = evaluate(place, EncoderSpec(str(model), prompt="句子："))
    assert one.encoded == distinct
    assert head(load_run(one.folder)).get("query_prompt") is None
    same = evaluate(place, EncoderSpec(str(model), query_prompt="句子：", document_prompt="句子："))
    assert (same.encoded, same.folder) == (0, one.folder)
    none = evaluate(place, EncoderSpec(str(model), query_prompt="", document_prompt=""))
    assert none.encoded == distinct
    assert numbers(none) != numbers(evaluate(place, EncoderSpec(str(model))))


def test_which_prompt_stands_on_which_side_is_shown(place: Path, model: Path) -> None:
    found = load_run(evaluate(place, EncoderSpec(str(model))).folder)
    assert (head(found)["query_prompt"], head(found)["prompt"]) == ("查询：", "文章：")
    (sheet,) = [s for s in sheets(found) if s.title == "Encoders"]
    shown = dict(zip(sheet.heads, sheet.rows[0], strict=True))
    assert (shown["query prompt"], shown["document prompt"]) == ("查询：", "文章：")
    one = load_run(evaluate(place, EncoderSpec(str(model), prompt="句子：")).folder)
    (sheet,) = [s for s in sheets(one) if s.title == "Encoders"]
    assert dict(zip(sheet.heads, sheet.rows[0], strict=True))["prompt"] == "句子："


def test_sts_has_the_default_prompt_and_says_so(place: Path, model: Path) -> None:
    plain = evaluate(place, EncoderSpec(str(model)), "sts")
    sided = evaluate(place, EncoderSpec(str(model), query_prompt="甲", document_prompt="乙"), "sts")
    assert (sided.encoded, sided.observed, sided.folder) == (0, 0, plain.folder)
    assert numbers(sided) == numbers(plain)
    (warning,) = [w for w in load_run(sided.folder).header["warnings"] if "prompts" in w]
    assert warning.endswith("used in retrieval suites only; here every sentence is encoded without a prompt")


def test_pairs_in_a_retrieval_suite_are_documents_and_some_ask(place: Path, model: Path) -> None:
    """Every sentence of a pair is searched; only those that ask are encoded a second time."""
    changes = {"tasks": ("pairs:test",), "relevant": 2.0}
    found = evaluate(place, EncoderSpec(str(model)), **changes)
    head = load_run(found.folder).header["tasks"][0]
    assert found.encoded == head["corpus"] + head["queries"] and head["queries"] < head["corpus"]
    assert not found.failures


def test_a_pooling_that_one_side_lacks_is_unavailable(place: Path, model: Path) -> None:
    spec = EncoderSpec(str(model), query_prompt="“{text}”的意思是[MASK]。", document_prompt="")
    found = load_run(evaluate(place, spec, poolings=("mean", "mask")).folder)
    rows = {r.pooling: (r.status, r.reason) for r in found.records if r.entry in ("flat", "raw") and r.card}
    assert rows["mean"][0] == "ok"
    assert rows["mask"][0] == "unavailable" and "needs a prompt with a mask token" in rows["mask"][1]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ('{ query = "a", docment = "b" }', "key 'encoders[0].prompt.docment' is unknown; did you mean 'document'"),
        ('{ query = "a", passage = "b" }', "key 'encoders[0].prompt.passage' is unknown; known: document, query"),
        ("{ query = 3 }", "key 'encoders[0].prompt.query' must be a string, not 3"),
        ("{}", "key 'encoders[0].prompt' must hold query, document or both"),
        ("3", "key 'encoders[0].prompt' must be a string, not 3"),
        ('["a"]', "key 'encoders[0].prompt' must be a string"),
    ],
)
def test_a_mistake_in_a_suite_is_one_sentence(tmp_path: Path, prompt: str, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'tasks = ["a:test"]\nencoders = [{{ model = "m", prompt = {prompt} }}]\n', encoding="utf-8")
    with pytest.raises(HengyuError) as caught:
        load_suite(path)
    (problem,) = caught.value.problems
    assert said in problem


def test_a_suite_names_one_side_both_or_one_prompt_for_both(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    written = ['prompt = "x"', 'prompt = { query = "q" }', 'prompt = { query = "q", document = "" }', ""]
    models = ", ".join(f'{{ model = "m"{", " if more else ""}{more} }}' for more in written)
    path.write_text(f'tasks = ["a:test"]\nencoders = [{models}]\n', encoding="utf-8")
    found = [(e.prompt, e.query_prompt, e.document_prompt) for e in load_suite(path).encoders]
    assert found == [("x", None, None), ("", "q", None), ("", "q", ""), ("", None, None)]
    assert [(e.prompt_of("query"), e.prompt_of("document"), e.prompt_of("")) for e in load_suite(path).encoders] == [
        ("x", "x", "x"),
        ("q", None, None),
        ("q", "", None),
        (None, None, None),
    ]


def test_an_api_is_sent_each_side_with_its_prompt_and_nothing_twice(place: Path) -> None:
    from helpers.fakeapi import FakeApi

    api = FakeApi()

    def sent(**prompts: str) -> set[str]:
        before = len(api.asked)
        outcome = evaluate(place, EncoderSpec("m", api=api.url, allow_api=True, **prompts))
        assert not outcome.failures
        texts = [t for some in api.asked[before:] for t in some if any(own in t for own in (*DOCUMENTS, *QUERIES))]
        assert len(texts) == len(set(texts)) == outcome.encoded
        return set(texts)

    try:
        asked, searched = {f"问：{q}" for q in QUERIES}, {f"文：{d}" for d in DOCUMENTS}
        assert sent(query_prompt="问：", document_prompt="文：") == asked | searched
        requests = len(api.asked)
        assert sent(query_prompt="问：", document_prompt="文：") == set()
        assert len(api.asked) == requests  # not even the probe sentences
        assert sent(query_prompt="请问：", document_prompt="文：") == {f"请问：{q}" for q in QUERIES}
        assert sent() == {*DOCUMENTS, *QUERIES}
    finally:
        api.close()


EOL = ["这句话：“{text}”用一个词来概括是：“", 'This sentence : "{text}" means in one word:"']


@pytest.mark.parametrize("template", EOL)
def test_prompt_eol_is_the_state_of_the_templates_last_token(tmp_path: Path, template: str) -> None:
    """As docs/models.md gives them (arXiv 2307.16645), on a causal model whose tokenizer adds no special token."""
    import torch
    from helpers.families import save_family
    from transformers import AutoModel, AutoTokenizer

    assert template.replace('"', '\\"') in (Path(__file__).parents[1] / "docs" / "models.md").read_text(
        encoding="utf-8"
    )
    save_family(tmp_path, "qwen3", framed=False)
    merge(tmp_path / "config.json", max_position_embeddings=256)
    tokenizer, body = AutoTokenizer.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path).eval()
    ours = open_encoder(EncoderSpec(str(tmp_path), prompt=template)).encode(DOCUMENTS, ["last"])["last"]
    for text, vector in zip(DOCUMENTS, ours, strict=True):
        ids = tokenizer(template.replace("{text}", text), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            state = body(input_ids=ids).last_hidden_state[0, -1].numpy()
        assert np.abs(vector - state).max() < 1e-5
    plain = open_encoder(EncoderSpec(str(tmp_path))).encode(DOCUMENTS, ["last"])["last"]
    assert np.abs(ours - plain).max() > 1e-3


def test_given_vectors_take_no_prompt(tmp_path: Path) -> None:
    with pytest.raises(HengyuError, match="query_prompt does not apply to precomputed vectors"):
        find_encoder(EncoderSpec(str(tmp_path / "x.npy"), query_prompt="a"))


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 3])
def test_units_done_elsewhere_leave_the_same_numbers(place: Path, model: Path, tmp_path: Path, workers: int) -> None:
    from test_executors import Elsewhere

    loaded = load_suite(place / "suites" / "sides.toml").with_overrides(
        encoders=(EncoderSpec(str(model)),), poolings=("mean",)
    )
    plan = make_plan(loaded, datasets=[place])

    def made(name: str, **more: Any) -> tuple[Outcome, bytes]:
        own = tmp_path / name
        outcome = run(plan, reports=own / "reports", store=VectorStore(own / "store"), **more)
        return outcome, (outcome.folder / "run.json").read_bytes()

    here, there = made("here"), made("there", executor=Elsewhere(workers))
    assert here[1] == there[1] and numbers(here[0]) == numbers(there[0])
    assert here[0].encoded == there[0].encoded == len(DOCUMENTS) + len(QUERIES)
    again, _ = made("there", executor=Elsewhere(workers))
    assert (again.encoded, again.observed) == (0, 0)


@pytest.mark.long
def test_moments_taken_elsewhere_are_those_of_each_side(
    place: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_executors import Elsewhere

    before = numbers(evaluate(place, EncoderSpec(str(model))))
    for module in ("hengyu.bench.observe", "hengyu.numerics.moments"):
        monkeypatch.setattr(f"{module}.LEAF", 2)
    loaded = load_suite(place / "suites" / "sides.toml").with_overrides(
        encoders=(EncoderSpec(str(model)),), poolings=("native",)
    )
    plan = make_plan(loaded, datasets=[place])
    own = tmp_path / "own"
    found = run(plan, reports=own / "reports", store=VectorStore(own / "store"), executor=Elsewhere(2))
    assert numbers(found) == pytest.approx(before, abs=1e-9)


def test_the_command_line(place: Path, model: Path) -> None:
    def run(*more: str) -> Mapping[str, Any]:
        options = ["--encoder", str(model), "--datasets", str(place), "--pooling", "native"]
        done = CliRunner().invoke(main, ["run", str(place / "suites" / "sides.toml"), *options, *more])
        assert done.exit_code == 0, done.output
        said.append(done.stderr.replace("\n", " "))
        return head(load_run(Path(done.output.split("records: ")[1].splitlines()[0])))

    said: list[str] = []
    own = run()
    assert (own["query_prompt"], own["prompt"]) == ("查询：", "文章：")
    assert "queries are encoded with the prompt '查询：', documents with the prompt '文章：'" in said[0]
    sides = run("--query-prompt", "问：", "--document-prompt", "")
    assert (sides["query_prompt"], sides["prompt"]) == ("问：", "")
    one = run("--prompt", "句子：")
    assert (one.get("query_prompt"), one["prompt"]) == (None, "句子：")
    mixed = run("--prompt", "句子：", "--query-prompt", "问：")
    assert (mixed["query_prompt"], mixed["prompt"]) == ("问：", "句子：")
