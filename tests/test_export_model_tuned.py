"""hengyu export-model of rows whose encoder was trained: the folder holds the trained weights and the steps after them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.byothers import library_vectors, mteb_score
from helpers.words import save_grades

import hengyu.methods.training.loop
from hengyu.base.errors import HengyuError
from hengyu.bench.run import run as weigh
from hengyu.bench.task_inputs import make_training_data
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.encoders import EncoderSpec
from hengyu.storage.records import Run, load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite
from hengyu.tools.export_model.fitted import refit
from hengyu.tools.export_model.row import choose

SHORT = "sentences=32, batch=16, lr=1e-3"
SIMCSE, COSENT = f"simcse({SHORT})", f"cosent({SHORT})"
SUITE = f"""
tasks = ["grades:test"]
poolings = ["mean", "first-last-mean"]
resamples = 20
seed = 3
baselines = []
entries = [
    {{ entry = "{SIMCSE}", seeds = 2, poolings = ["mean"] }},
    "{SIMCSE} > whitening(dim=8)",
    {{ entry = "esimcse({SHORT}) > sbert({SHORT}) > l2", fit_on = "valid", poolings = ["mean"] }},
    {{ entry = "{COSENT}", fit_on = "valid", poolings = ["mean"] }},
]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    here = tmp_path_factory.mktemp("take-tuned")
    save_grades(here)
    shutil.copytree(tiny_bert, here / "model")
    return here


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests of this file share vectors and tuned encoders."""
    monkeypatch.setenv("HENGYU_CACHE", str(home / "cache"))


def weighed(home: Path, text: str) -> Run:
    suites = home / "suites"
    suites.mkdir(exist_ok=True)
    (suites / "taken.toml").write_text(text, encoding="utf-8")
    suite = replace(load_suite(suites / "taken.toml"), encoders=(EncoderSpec(str(home / "model")),))
    plan = make_plan(suite, datasets=[home])
    return load_run(weigh(plan, reports=home / "reports", store=VectorStore(home / "cache" / "vectors")).folder)


@pytest.fixture(scope="module")
def finished(home: Path) -> Run:
    return weighed(home, SUITE)


def take(finished: Run, out: Path, words: str, *more: str) -> Any:
    command = ["export-model", str(finished.path), "--row", words, "--out", str(out), "--task", "grades:test", *more]
    return CliRunner().invoke(main, command)


@pytest.mark.parametrize(
    ("words", "seed"),
    [
        (f"mean | {SIMCSE}", 3),
        (f"mean | {SIMCSE}", 4),
        (f"first-last-mean | {SIMCSE} > whitening(dim=8)", 3),
        (f"mean | esimcse({SHORT}) > sbert({SHORT}) > l2", 3),
        (f"mean | {COSENT}", 3),
    ],
)
def test_the_folder_is_the_trained_encoder_with_its_steps(
    finished: Run, home: Path, tmp_path: Path, words: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("training it again")

    monkeypatch.setattr("hengyu.methods.training.loop.train", never)
    done = take(finished, tmp_path / "model", words, "--seed", str(seed))
    assert done.exit_code == 0, done.output
    choice = choose(finished, words, "grades:test", seed)
    ours = refit(finished, choice)
    theirs = library_vectors(tmp_path / "model", ours.texts)
    assert np.abs(theirs - ours.vectors).max() < 1e-5 * np.abs(ours.vectors).max()
    pairs = load_pairs(load_cards([home])["grades"], "test")
    score = mteb_score(tmp_path / "model", pairs.first, pairs.second, pairs.labels)
    assert score == pytest.approx(choice.value_in(finished), abs=1e-5)
    modules = [m["type"].rsplit(".", 1)[-1] for m in json.loads((tmp_path / "model" / "modules.json").read_bytes())]
    assert modules[0] == "Transformer" and ("Dense" in modules) == ("whitening" in words)
    assert ("Normalize" in modules) == ("l2" in words)
    assert not [p for p in (tmp_path / "model").rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert f"seed={seed}" in card and "32 examples, " in card
    assert ("with their labels" in card) == ("cosent" in words or "sbert" in words)
    assert "fine-tuned" in card


def test_another_seed_is_another_folder(finished: Run) -> None:
    one, two = (refit(finished, choose(finished, f"mean | {SIMCSE}", "grades:test", seed)) for seed in (3, 4))
    assert np.abs(one.vectors - two.vectors).max() > 1e-3
    with pytest.raises(HengyuError, match="was evaluated with the seeds 3, 4, not 5"):
        choose(finished, f"mean | {SIMCSE}", "grades:test", 5)


def test_a_trained_encoder_that_is_gone_is_trained_again(finished: Run, home: Path, tmp_path: Path) -> None:
    words = f"mean | {SIMCSE} > whitening(dim=8)"
    before = refit(finished, choose(finished, words, "grades:test")).vectors
    shutil.rmtree(home / "cache" / "tuned")
    done = take(finished, tmp_path / "model", words)
    assert done.exit_code == 0 and "tuned model, mean: simcse" in done.output
    assert np.array_equal(refit(finished, choose(finished, words, "grades:test")).vectors, before)


def test_a_training_that_comes_out_otherwise_is_refused(
    finished: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
    train = hengyu.methods.training.loop.train

    def other(trainable: Any, objective: Any, training_data: Any, recipe: Any, *more: Any) -> Any:
        """As another version of torch would, only more so."""
        return train(trainable, objective, training_data, replace(recipe, lr=0.01), *more)

    monkeypatch.setattr("hengyu.methods.training.loop.train", other)
    done = take(finished, tmp_path / "model", f"mean | {SIMCSE}")
    assert done.exit_code == 2 and "run the suite again with these versions, then export the row" in done.output
    assert not (tmp_path / "model").exists()


def test_other_sentences_train_another_encoder(finished: Run, tmp_path: Path) -> None:
    done = take(finished, tmp_path / "model", f"mean | {SIMCSE}", "--fit-on", "grades:valid")
    assert done.exit_code == 0, done.output
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "160 sentences of grades:valid" in card and "this folder was fitted on grades:valid" in card
    refused = take(finished, tmp_path / "other", f"mean | {COSENT}", "--fit-on", "grades:test")
    assert refused.exit_code == 2 and "labels it was trained on" in refused.output


@pytest.mark.parametrize("word", ["target", "train", "all"])
def test_a_lesson_does_not_depend_on_what_else_is_weighed(home: Path, word: str) -> None:
    """Tasks that share sentences number them differently in plans of one and of several tasks."""
    lessons = []
    for tasks in ('"grades:test"', '"grades:train", "grades:valid", "grades:test"'):
        (home / "suites").mkdir(exist_ok=True)
        (home / "suites" / "some.toml").write_text(
            f'tasks = [{tasks}]\nentries = [{{ entry = "{SIMCSE}", fit_on = "{word}" }}]', encoding="utf-8"
        )
        plan = make_plan(load_suite(home / "suites" / "some.toml"), datasets=[home])
        task = next(t for t in plan.tasks if t.name == "grades:test")
        lessons.append(make_training_data(plan.texts, task, plan.fits[task.name, word], plan.held.get(task.name)))
    one, two = lessons
    assert list(one.texts) == list(two.texts) and np.array_equal(one.counts, two.counts)
    assert one.digest(labelled=True) == two.digest(labelled=True)
    assert one.held_digest == two.held_digest
