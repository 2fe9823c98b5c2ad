"""Tuners: what they are trained on, that they keep their word, and what they leave behind."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.words import save_grades, sentences

import hengyu.methods.training.loop
from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.bench.run import Outcome, run
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.methods.training.data import LabelledPairs, TrainingData
from hengyu.methods.training.model import TrainableEncoder
from hengyu.report.page.leaderboard import render
from hengyu.storage.identity import parts_of
from hengyu.storage.records import Record, Run, load_run
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

SUITE = """
tasks = ["grades:test"]
poolings = ["mean"]
resamples = 100
seed = 3
baselines = []
entries = [
    "raw",
    { entry = "simcse(lr=1e-3, sentences=64, batch=16)", seeds = 2 },
    "simcse(lr=1e-3, sentences=64, batch=16, seed=3) > whitening(dim=8)",
    "simcse(sentences=8, seed=1)",
]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A card with three splits, a copy of one under another name, a suite and a model."""
    here = tmp_path_factory.mktemp("tuning")
    save_grades(here)
    shutil.copyfile(here / "test.tsv", here / "copy.tsv")
    other = 'name = "copied"\nlabels = { scale = [0, 5] }\n[splits.train]\nfile = "copy.tsv"\n'
    (here / "copied.toml").write_text(other, encoding="utf-8")
    shutil.copytree(tiny_bert, here / "model")
    return here


def plan_of(folder: Path, text: str) -> Any:
    (folder / "suites").mkdir(exist_ok=True)
    path = folder / "suites" / "tuned.toml"
    path.write_text(text, encoding="utf-8")
    suite = replace(load_suite(path), encoders=(EncoderSpec(str(folder / "model")),))
    return make_plan(suite, datasets=[folder])


def weigh(folder: Path, out: str, *, store: str = "store", text: str = SUITE) -> Outcome:
    return run(
        plan_of(folder, text),
        reports=folder / out,
        store=VectorStore(folder / store / "vectors"),
        tuned=TunedStore(folder / store / "tuned"),
    )


@pytest.fixture(scope="module")
def finished(folder: Path) -> Run:
    return load_run(weigh(folder, "out").folder)


def pick(finished: Run, **wanted: object) -> list[Record]:
    wanted = {"metric": "spearman", "task": "grades:test", "pooling": "mean"} | wanted
    return [r for r in finished.records if all(getattr(r, k) == v for k, v in wanted.items())]


def training_data_of(n: int = 80, *, seed: int = 1, held: bool = False) -> TrainingData:
    rows = sentences(np.random.default_rng(seed), n)
    texts = list(dict.fromkeys(t for a, b, _ in rows for t in (a, b)))
    ids = [np.array([texts.index(row[k]) for row in rows]) for k in (0, 1)]
    counts = np.bincount(np.concatenate(ids), minlength=len(texts))
    pairs = LabelledPairs(ids[0], ids[1], np.array([y for *_, y in rows]), (0.0, 5.0), binary=False)
    return TrainingData(texts, counts, pairs, pairs if held else None)


def test_a_tuned_encoder_is_weighed_like_any_other(finished: Run) -> None:
    entry = "simcse(lr=0.001, batch=16, sentences=64)"
    (row,) = pick(finished, entry=entry, draw=False)
    draws = pick(finished, entry=entry, draw=True)
    assert (row.encoder, row.fit_on, row.status) == ("model", "target", "ok")
    assert [d.seed for d in draws] == [3, 4] and draws[0].value != draws[1].value
    assert row.value == pytest.approx(np.mean([d.value for d in draws]))
    (raw,) = pick(finished, entry="raw")
    assert row.delta == pytest.approx(row.value - raw.value)
    (cut,) = pick(finished, entry=f"{entry[:-1]}, seed=3) > whitening(dim=8)")
    assert (cut.status, cut.dim) == ("ok", 8)


def test_one_tuner_that_fails_fails_alone(finished: Run) -> None:
    (short,) = pick(finished, entry="simcse(sentences=8, seed=1)")
    assert (short.status, short.value) == ("degenerate", None)
    assert short.reason == "it is trained on 8 examples; it needs at least 16"
    assert all(r.status == "ok" for r in pick(finished) if r is not short)


def test_what_a_training_saw_is_in_the_run(finished: Run) -> None:
    fits = [f for f in finished.header["fits"] if f["entry"].startswith("simcse(lr=0.001") and f["pooling"] == "mean"]
    assert {f.get("seed") for f in fits} == {3, 4, None}
    for fit in fits:
        (trained,) = fit["trained"]
        assert (trained["kind"], trained["examples"], trained["steps"]) == ("tuner", 64, 4)
        assert len(trained["loss"]) == len(trained["step"]) - 1
        for name in ("uniformity", "effective_rank", "alignment", "held_out_spearman"):
            assert len(trained[name]) == len(trained["step"])
        assert trained["step"][0] == 0 and trained["step"][-1] == 4
        assert 1 <= fit["effective_rank"] <= 32
    timings = json.loads((finished.path / "timings.json").read_bytes())["seconds"]
    assert any(parts_of(key)[:3] == ("tune", "model", "mean") for key in timings)
    page = render(finished)
    assert "held-out Spearman" in page and "Training of the encoders" in page


def test_nothing_is_trained_twice_and_the_bytes_are_the_same(
    folder: Path, finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [(finished.path / name).read_bytes() for name in ("records.json", "run.json")]
    fresh = weigh(folder, "fresh", store="fresh-store").folder  # everything again from nothing
    assert [(fresh / name).read_bytes() for name in ("records.json", "run.json")] == wanted

    train = hengyu.methods.training.loop.train

    def never(trainable: TrainableEncoder, objective: Any, *rest: Any) -> dict[str, Any]:
        assert objective.size < 16, "training it again"  # the one that fails for being short is tried again
        return train(trainable, objective, *rest)

    monkeypatch.setattr("hengyu.methods.training.loop.train", never)
    again = weigh(folder, "again")  # the tuned encoders and their vectors are at hand
    assert again.encoded == 0
    assert [(again.folder / name).read_bytes() for name in ("records.json", "run.json")] == wanted
    assert weigh(folder, "out").observed <= 1  # a cell that failed is tried again, no other


def test_training_data_is_encoded_only_where_a_step_is_fitted_on_it(folder: Path) -> None:
    """And the bytes are the same, whichever of the two entries encoded the sentences of the task."""
    tuner = "cosent(lr=1e-3, epochs=1, seed=1)"
    head = 'tasks = ["grades:test"]\npoolings = ["mean"]\nresamples = 100\nbaselines = []\nfit_on = "train"\n'
    plain = f'{head}entries = ["{tuner}"]\n'
    fitted = f'{head}entries = ["{tuner} > center"]\n'
    values = {}
    for store, order in (("plain-first", (plain, fitted)), ("fitted-first", (fitted, plain))):
        held = []
        for number, text in enumerate(order):
            done = load_run(weigh(folder, f"{store}-{number}", store=store, text=text).folder)
            (row,) = (r for r in pick(done) if r.entry.startswith("cosent"))
            values[store, text] = row.value
            (fit,) = (f for f in done.header["fits"] if f["entry"] == row.entry)
            assert len(fit["trained"]) == 1 and ("effective_rank" in fit) is (text is fitted)
            held.append(_held(folder / store / "vectors"))
        plan = plan_of(folder, plain)
        ((_, data),) = plan.fits.items()
        own, others = plan.tuned_ids(plan.tasks[0], parse_entry(f"{tuner} > center"), data)
        base = len(plan.texts) * 2  # vectors and counts of the encoder itself
        assert len(others) and held[-1] - base == 2 * len({*own.tolist(), *others.tolist()})
        if store == "plain-first":
            assert held[0] - base == 2 * len(own)
    assert values["plain-first", plain] == values["fitted-first", plain]
    assert values["plain-first", fitted] == values["fitted-first", fitted]


def _held(store: Path) -> int:
    """Return how many rows all spaces of a store hold."""
    return sum(space["vectors"] for space in VectorStore(store).info())


@pytest.mark.parametrize("word", ["target", "test", "all", "copied:train", "all-distinct"])
def test_labels_that_a_cell_is_weighed_on_cannot_be_trained_on(folder: Path, word: str) -> None:
    for entry in ("cosent", "sbert > whitening", "simcse-sup"):
        with pytest.raises(HengyuError, match="evaluated on grades:test with labels it was trained on; write fit_on"):
            plan_of(folder, f'tasks = ["grades:test"]\nentries = [{{ entry = "{entry}", fit_on = "{word}" }}]\n')
    plan_of(folder, f'tasks = ["grades:test"]\nentries = [{{ entry = "simcse", fit_on = "{word}" }}]\n')


def test_the_order_of_unlabelled_and_labelled_entries_hides_nothing(folder: Path) -> None:
    with pytest.raises(HengyuError, match="learns from labels"):
        plan_of(folder, 'tasks = ["grades:test"]\nentries = ["whitening", "simcse", "cosent"]\n')


def test_a_training_is_watched_on_valid_only_where_that_is_another_split(folder: Path) -> None:
    from hengyu.bench.task_inputs import make_training_data

    text = 'tasks = ["grades:test", "grades:valid"]\nentries = ["simcse", { entry = "simcse", fit_on = "train" }]\n'
    plan = plan_of(folder, text)
    test, valid = plan.tasks
    alone = plan_of(folder, 'tasks = ["grades:test"]\nentries = ["simcse"]\n')
    assert alone.held and set(alone.texts) == set(test.pairs.first) | set(
        test.pairs.second
    )  # no vector of others is read
    for word, task, watched in (("target", test, True), ("train", test, True), ("target", valid, False)):
        training_data = make_training_data(plan.texts, task, plan.fits[task.name, word], plan.held.get(task.name))
        assert (training_data.held is not None) is watched
        if training_data.held is not None:  # its sentences stand behind those of the training, and are never drawn
            assert min(training_data.held.first.min(), training_data.held.second.min()) >= len(training_data.counts)
            drawn = training_data.draw(10**6, np.random.default_rng(0))
            assert np.array_equal(np.bincount(drawn), training_data.counts)
            want = plan.held[task.name]
            assert [training_data.texts[i] for i in training_data.held.first] == list(want.first)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("whitening > simcse", "simcse trains the encoder, so it must come before whitening"),
        ("simcse(dropout=0)", "makes the two passes of a sentence the same"),
        ("simcse(delete=0.95)", "must lie in 0..0.9"),
        ("simcse(lr=2.0)", "must lie in"),
        ("simcse(batch=1)", "must lie in 2..65536"),
        ("simcse(temperature=0.0)", "must lie in 0.001..10"),
        ("simcse(dtype=float16)", "must be float32 or bfloat16"),
        ("simcse(tau=0.1)", "has no parameter 'tau'"),
    ],
)
def test_mistakes_in_an_entry_are_said(entry: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        parse_entry(entry)


def test_the_folder_is_one_that_sentence_transformers_loads(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = open_encoder(EncoderSpec(str(folder / "model")))
    store = TunedStore(tmp_path / "tuned")
    training_data = training_data_of()
    for pooling in ("mean", "cls"):
        steps = parse_entry("simcse(lr=1e-3, sentences=64)").steps
        tuned = TunedEncoderCache(store, silent).tune(encoder, pooling, steps, training_data, "here").encoder
        texts = list(training_data.texts[:20])
        ours = tuned.encode(texts, [pooling])[pooling]
        theirs = SentenceTransformer(str(tuned.folder.path), device="cpu").encode(texts)
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        before = encoder.encode(texts, [pooling])[pooling]
        assert np.abs(ours - before).max() > 1e-2
        assert tuned.folder.max_length == encoder.folder.max_length
        assert tuned.identity()["tokens"] == encoder.identity()["tokens"]
        assert tuned.identity()["fingerprint"] != encoder.identity()["fingerprint"]
        config = json.loads((tuned.folder.path / "config.json").read_bytes())
        assert config["hidden_dropout_prob"] == 0.1  # that of the training is not the model's
        assert not [p for p in tuned.folder.path.rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]
    assert len(store.folders()) == 2 and not list(store.root.glob(".draft-*"))


def test_a_damaged_one_is_named_and_trained_again(folder: Path, tmp_path: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(folder / "model")))
    store = TunedStore(tmp_path / "tuned")
    steps = parse_entry("simcse(lr=1e-3, sentences=32, batch=16)").steps

    def vectors() -> np.ndarray[Any, Any]:
        tuned = TunedEncoderCache(store, silent).tune(encoder, "mean", steps, training_data_of(), "here").encoder
        return tuned.encode(list(training_data_of().texts[:5]), ["mean"])["mean"]

    first = vectors()
    assert store.verify() == []
    (made,) = store.folders()
    (row,) = store.info()
    assert row["step"] == "simcse(lr=0.001, batch=16, sentences=32)" and row["bytes"] > 1000
    weights = made / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(bytes(content))
    assert [d.path for d in store.verify()] == [weights]
    assert np.array_equal(vectors(), first)  # trained anew, to the same bits
    (made / "hengyu.json").write_text("nonsense", encoding="utf-8")
    assert len(store.repair()) == 1 and store.folders() == []
    vectors()
    assert store.gc(days=1) == 0
    assert store.gc(days=0) > 0 and store.folders() == []


def test_another_seed_recipe_lesson_or_pooling_is_another_encoder(folder: Path, tmp_path: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(folder / "model")))
    store = TunedStore(tmp_path / "tuned")
    tuning = TunedEncoderCache(store, silent)
    base = "simcse(sentences=32, batch=16)"
    for entry, pooling, seed in (
        (base, "mean", 1),
        (base, "mean", 1),  # the same again
        (base, "cls", 1),
        (base, "mean", 2),
        ("simcse(sentences=32, batch=16, seed=4)", "mean", 1),
        ("simcse(sentences=32, batch=8)", "mean", 1),
    ):
        tuning.tune(encoder, pooling, parse_entry(entry).steps, training_data_of(40, seed=seed), "here")
    assert len(store.folders()) == 5


def test_batches_hold_every_example_once_an_epoch(folder: Path) -> None:
    from hengyu.methods.training.loop import _batches
    from hengyu.methods.tuners.simcse import SimCse

    recipe = SimCse(batch=16, epochs=2)
    batches = list(_batches(49, recipe, np.random.default_rng(0)))
    assert len(batches) == recipe.total(49) == 6  # the 49th would be alone
    assert all(len(set(b.tolist())) == len(b) for b in batches)
    whole = list(_batches(50, recipe, np.random.default_rng(0)))
    assert np.array_equal(np.sort(np.concatenate(whole)), np.repeat(np.arange(50), 2))


def test_rows_keep_their_order_through_batches_by_length(folder: Path) -> None:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folder / "model"))), "mean")
    trainable.open(dropout=None, length=64)
    texts = [t * k for k, t in enumerate(("我们", "你", "今天去公园"), 1)] * 30
    rows = trainable.tokens(texts)
    want = open_encoder(EncoderSpec(str(folder / "model"))).encode(texts, ["mean"])["mean"]
    np.testing.assert_allclose(trainable.vectors(rows), want, atol=2e-5)
    assert torch.is_grad_enabled() and trainable.model.training


def test_a_tuned_encoder_that_another_process_kept_meanwhile_stays(tmp_path: Path) -> None:
    store, cache_key = TunedStore(tmp_path / "tuned"), {"step": "simcse"}

    def keep(words: bytes) -> None:
        draft = store.root / f".draft-{len(words)}"
        draft.mkdir(parents=True)
        (draft / "model.safetensors").write_bytes(words)
        store.keep(cache_key, {"loss": len(words)}, draft)

    weights = store.path(cache_key) / "model.safetensors"
    keep(b"first")
    inode = weights.stat().st_ino
    keep(b"the second")
    assert weights.read_bytes() == b"first" and weights.stat().st_ino == inode
    assert not list(store.root.glob(".draft-*"))
    weights.write_bytes(b"flipped")
    keep(b"the third one")  # a damaged one is replaced
    assert weights.read_bytes() == b"the third one" and not store.verify()
