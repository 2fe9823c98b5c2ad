"""Regressions put in on purpose, on the shipped data with the built-in encoder: what the gate makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import sentences

import hengyu.suites.split_loader
from hengyu.bench.encode import Vectors
from hengyu.bench.run import run
from hengyu.cli import main
from hengyu.evaluation.gate.baselines import baseline_of, read_baseline, write_baseline
from hengyu.evaluation.gate.gate import Judgement, judge
from hengyu.evaluation.run_metrics import RunMetrics, scores_of
from hengyu.methods.transforms.whitening import Whitening
from hengyu.storage.records import load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

SUITE = """
tasks = ["hengyu-sts:valid"]
poolings = ["mean", "cls"]
baselines = ["tfidf"]
entries = ["raw", "center", "whitening", "whitening(dim=64)"]
"""


class Bench:
    """Weighs one small suite; the vectors are encoded once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.suite = root / "small.toml"
        self.suite.write_text(SUITE, encoding="utf-8")
        write_baseline(root / "small.json", baseline_of(load_run(self.weigh("baseline")))[0])
        self.baseline = read_baseline(root / "small.json")

    def weigh(self, out: str) -> Path:
        store = VectorStore(self.root / "store")
        return run(make_plan(load_suite(self.suite)), reports=self.root / out, store=store, force=True).folder

    def judge(self, out: str) -> Judgement:
        """Weigh anew and judge against the baseline file; a run's own observations must say the same."""
        now = scores_of(load_run(self.weigh(out)))
        judged = judge(self.baseline, now)
        assert {v.change.test for v in judged.verdicts if v.change} <= {"identical", "paired"}
        return judged

    def other(self) -> RunMetrics:
        return scores_of(load_run(next((self.root / "baseline" / "records").iterdir())))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def failing(judged: Judgement) -> set[tuple[str, str]]:
    return {(v.key.pooling, v.key.entry) for v in judged.verdicts if v.verdict == "fail"}


def patch_vectors(monkeypatch: pytest.MonkeyPatch, change: Callable[..., np.ndarray]) -> None:
    get = Vectors.get
    monkeypatch.setattr(Vectors, "get", lambda self, pooling, ids: change(get, self, pooling, ids))


def test_an_identical_run_is_green(bench: Bench) -> None:
    judged = bench.judge("again")
    assert judged.code == 0
    assert judged.counts["pass"] == len(judged.verdicts) == 9
    assert {v.change.test for v in judged.verdicts if v.change} == {"identical"}


def test_an_empty_run_is_red(bench: Bench) -> None:
    now = replace(bench.other(), cells={})
    judged = judge(bench.baseline, now)
    assert judged.code == 10
    assert {f.kind for f in judged.findings} == {"nothing measured", "missing cell"}


def test_a_method_broken_on_purpose_is_red(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Whitening.fit_moments

    def broken(self, moments):
        fit(self, moments)
        spectrum = moments.spectrum
        self.matrix = spectrum.vectors[:, : self.matrix.shape[1]] / spectrum.values[: self.matrix.shape[1]]  # no root
        return self

    monkeypatch.setattr(Whitening, "fit_moments", broken)
    judged = bench.judge("broken")
    assert judged.code == 1
    assert {entry for _, entry in failing(judged)} <= {"whitening", "whitening(dim=64)"}
    assert len(failing(judged)) >= 2


def test_a_wrong_pooling_is_red(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_vectors(monkeypatch, lambda get, self, pooling, ids: get(self, "cls", ids))
    judged = bench.judge("pooling")
    assert judged.code == 1
    assert ("mean", "raw") in failing(judged) and {pooling for pooling, _ in failing(judged)} == {"mean"}


def test_a_shuffled_label_column_is_red(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    load = hengyu.suites.split_loader.load_pairs

    def shuffled(card, split, data_dir=None):
        pairs = load(card, split, data_dir)
        return replace(pairs, labels=np.random.default_rng(1).permutation(pairs.labels))

    monkeypatch.setattr(hengyu.suites.split_loader, "load_pairs", shuffled)
    judged = bench.judge("shuffled")
    assert judged.code == 1
    assert ("mean", "raw") in failing(judged) and ("-", "raw") in failing(judged)
    unpaired = judge(bench.other(), judged.current)
    assert unpaired.code == 1 and any("different labels" in note for note in unpaired.notes)


def test_a_file_with_its_label_column_shuffled_is_other_data(bench: Bench) -> None:
    now = bench.other()
    about = {name: {**task, "sha256": "0" * 64} for name, task in now.tasks.items()}
    judged = judge(bench.baseline, replace(now, tasks=about))
    assert judged.code == 7
    assert {v.verdict for v in judged.verdicts} == {"not measured"}


def test_vectors_in_half_precision_stay_within_the_tolerance(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost to float16 is far below chance; an encoder that declares it is a finding ("different settings")."""
    patch_vectors(
        monkeypatch,
        lambda get, self, pooling, ids: get(self, pooling, ids).astype(np.float16).astype(np.float32),
    )
    judged = bench.judge("half")
    assert judged.code == 0
    moved = [abs(v.change.size) for v in judged.verdicts if v.change and v.change.test == "paired"]
    assert moved and max(moved) < 0.005


def test_paired_by_baseline_file_or_by_observations_agree(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_vectors(monkeypatch, lambda get, self, pooling, ids: np.round(get(self, pooling, ids), 1))
    by_file = bench.judge("rounded")
    by_run = judge(bench.other(), by_file.current)
    assert {v.change.groups for v in by_run.verdicts if v.change and v.change.test == "paired"} == {1137}
    errors = {v.key: v.change.error for v in by_run.verdicts if v.change}
    for v in by_file.verdicts:
        if v.change and v.change.test == "paired":
            assert v.change.error == pytest.approx(errors[v.key], rel=0.45)  # of 64 replicates in schema 1


def test_a_run_keeps_its_labels_and_says_its_protocol(bench: Bench) -> None:
    from hengyu.cards import load_cards
    from hengyu.storage.records.observations import load_labels

    folder = bench.other().folder
    assert folder is not None
    kept = load_labels(folder)
    pairs = hengyu.suites.split_loader.load_pairs(load_cards()["hengyu-sts"], "valid")
    assert set(kept) == {"hengyu-sts:valid"}
    np.testing.assert_array_equal(kept["hengyu-sts:valid"], pairs.labels)


def test_a_fresh_run_takes_nothing_from_the_store_or_from_observations(tmp_path: Path, tiny_bert: Path) -> None:
    lines = [f"{a}\t{b}\t{y}" for a, b, y in sentences(np.random.default_rng(2), 40)]
    (tmp_path / "toy.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *lines]) + "\n", encoding="utf-8")
    (tmp_path / "toy.toml").write_text(
        'name = "toy"\nlabels = { scale = [0, 5] }\n[splits.test]\nfile = "toy.tsv"\n', encoding="utf-8"
    )
    words = ["run", "smoke", "--quiet", "--datasets", str(tmp_path), "--task", "toy:test", "--encoder", str(tiny_bert)]
    words += ["--entry", "raw", "--entry", "center"]
    first, kept, fresh, again = (
        CliRunner().invoke(main, [*words, *more]).stderr.splitlines()[-1] for more in ([], [], ["--fresh"], [])
    )
    assert first == fresh != kept == again
    assert kept.startswith("0 texts encoded, 0 results computed")
