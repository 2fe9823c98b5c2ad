"""hengyu tune: what it reads, what it tries, what it keeps, and that it goes on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers import forked
from helpers.words import save_grades

import hengyu.suites.split_loader
from hengyu.base.errors import HengyuError
from hengyu.bench.run import run
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.methods.grammar import parse_entry
from hengyu.storage.records import load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite
from hengyu.tools.tuning.job import suite_lines
from hengyu.tools.tuning.search import Budget, Found, search
from hengyu.tools.tuning.space import Choice, Range, default_space, parse_search, seed_of, settings_of

pytest.importorskip("optuna")
ENTRY = "cosent(lr=1e-3, batch=16, epochs=1, sentences=32)"
SUITE = """
tasks = ["grades:test"]
encoders = [{{ model = "{model}", name = "tiny" }}]
baselines = []
fit_on = "{word}"
entries = ["raw", "{entry} > center"]
"""


@pytest.fixture
def home(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_grades(tmp_path)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "some.toml").write_text(SUITE.format(model=tiny_bert, word="train", entry=ENTRY))
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path / "reports"))
    return tmp_path


def words(home: Path, *more: str) -> list[str]:
    return ["tune", str(home / "suites" / "some.toml"), "--datasets", str(home), *more]


def tune(home: Path, *more: str) -> Result:
    return CliRunner().invoke(main, words(home, *more))


def table(home: Path) -> list[dict[str, Any]]:
    (path,) = (home / "reports" / "tuning").glob("*/trials.json")
    trials: list[dict[str, Any]] = json.loads(path.read_bytes())["trials"]
    return trials


# --- data ---


def test_the_first_trial_is_the_suites_entry_as_it_is_evaluated_on_valid(home: Path) -> None:
    done = tune(home, "--trials", "2", "--search", "lr", "--out", str(home / "suites" / "chosen.toml"))
    assert done.exit_code == 0, done.output
    first, second = table(home)
    suite = load_suite(home / "suites" / "some.toml")
    plan = make_plan(replace(suite, tasks=("grades:valid",)), datasets=[home])
    finished = load_run(run(plan, reports=home / "out", store=VectorStore(home / "store" / "vectors")).folder)
    (row,) = [
        r
        for r in finished.records
        if (r.metric, r.task, r.draw) == ("spearman", "grades:valid", False) and r.entry.startswith("cosent")
    ]
    assert first["score"] == pytest.approx(row.value, abs=1e-6) and first["seed"] == suite.seed
    assert first["values"] == {"lr": 1e-3} and second["values"] != first["values"]
    assert first["curve"] and first["seconds"] > 0 and not list(home.rglob(".trial-*"))
    # the chosen entry is a line of a suite that can be run
    text = (home / "suites" / "chosen.toml").read_text(encoding="utf-8")
    best = max((first, second), key=lambda t: t["score"])
    assert tomllib.loads(text)["entries"] == [{"entry": best["entry"], "fit_on": "train"}]
    assert f'"{best["entry"]}"' in done.output and str(home / "suites" / "chosen.toml") in done.output
    (home / "suites" / "next.toml").write_text('tasks = ["grades:test"]\n' + text, encoding="utf-8")
    assert str(load_suite(home / "suites" / "next.toml").entries[1].entry) == best["entry"]
    sheet = next((home / "reports" / "tuning").glob("*/trials.csv")).read_text().splitlines()
    assert sheet[0] == "trial,seed,state,score,seconds,lr,entry,reason" and len(sheet) == 3


def test_a_cross_encoder_is_scored_by_its_pairs(home: Path) -> None:
    entry = "cross-encoder(lr=1e-3, batch=16, epochs=1, sentences=32)"
    path = home / "suites" / "some.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(f"{ENTRY} > center", entry), encoding="utf-8")
    done = tune(home, "--trials", "1", "--search", "lr")
    assert done.exit_code == 0, done.output
    plan = make_plan(replace(load_suite(path), tasks=("grades:valid",)), datasets=[home])
    found = load_run(run(plan, reports=home / "out", store=VectorStore(home / "store" / "vectors")).folder)
    (row,) = [
        r
        for r in found.records
        if (r.metric, r.task, r.draw) == ("spearman", "grades:valid", False) and r.entry.startswith("cross")
    ]
    assert table(home)[0]["score"] == pytest.approx(row.value, abs=1e-6)


def test_a_score_is_the_mean_over_the_dims_of_the_entry(home: Path) -> None:
    text = (home / "suites" / "some.toml").read_text()
    scores = {}
    for dims in ([4], [16], [4, 16]):
        own = text.replace(f'"{ENTRY} > center"', f'{{ entry = "{ENTRY} > pca", dims = {dims} }}')
        (home / "suites" / "some.toml").write_text(own)
        done = tune(home, "--trials", "1", "--search", "lr", "--tables", str(home / str(dims)))
        assert done.exit_code == 0, done.output
        assert f"dims = {dims}" in done.output and "1 trial (1 new)" in done.output
        (path,) = (home / str(dims)).glob("*/trials.json")
        scores[len(dims), dims[0]] = json.loads(path.read_bytes())["trials"][0]["score"]
    assert scores[2, 4] == pytest.approx((scores[1, 4] + scores[1, 16]) / 2, abs=1e-6)
    assert scores[1, 4] != scores[1, 16]


def test_a_test_split_is_never_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def noted(card: Any, split: str, *rest: Any) -> Any:
        read.append(split)
        return load_pairs(card, split, *rest)

    monkeypatch.setattr(hengyu.suites.split_loader, "load_pairs", noted)
    (home / "test.tsv").write_text("not pairs at all", encoding="utf-8")
    for word in ("train", "all"):
        entry = ("--entry", "simcse(epochs=1, batch=16, sentences=32)") if word == "all" else ()
        assert tune(home, "--trials", "1", "--fit-on", word, *entry).exit_code == 0
    assert set(read) == {"train", "valid"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--task", "grades:test"], "settings are never chosen on a split that is reported; name grades:valid, or grades"),
        (["--task", "grades:train"], "never chosen on a split that is reported"),
        (["--fit-on", "test"], "a search reads no split but train and valid; write fit_on"),
        (["--fit-on", "grades:test-distinct"], "a search reads no split but train and valid"),
        (["--fit-on", "other:dev"], "a search reads no split but train and valid"),
        (["--fit-on", "valid"], "would be evaluated on grades:valid with labels it was trained on"),
        (["--task", "bare"], "bare has no split 'valid' to choose settings on"),
        (["--entry", "idf"], "'idf' has no parameter that is searched by default; name some with --search, like --search power="),
        (["--entry", "sif"], "'sif' has no parameter that is searched by default; name some with --search, like --search a=LOW"),
        (["--entry", "whitening"], "no entry trains an encoder, so there is nothing to tune"),
        (["--search", "temperature"], "has no parameter 'temperature'"),
        (["--search", "dropout"], "has no default range; write dropout=LOW..HIGH"),
        (["--search", "lr=1..2..3"], "must be two numbers, the lower one first"),
        (["--search", "lr=1e-3..2"], r"cosent\(lr=2.0\) must lie in"),
        (["--search", "batch=1.5..8"], "must be two whole numbers"),
        (["--search", "batch=16|x"], "'x' is not a value of it"),
        (["--search", "batch=16"], "at least two values"),
        (["--search", "seed=1|2"], "a seed is no setting"),
        (["--search", "lr", "--search", "lr"], "names 'lr' twice"),
        (["--search", "dtype=a..b"], "must be two numbers"),
        (["--budget", "soon"], "must be a time like 90s, 30min or 2h"),
        (["--trials", "0"], "needs a limit; give --budget"),
        (["--encoder", "hengyu-static"], "is not a transformer"),
        (["--entry", "cosent(epochs=1) by dot"], "settings are chosen by the cosine; leave 'by' and what follows out"),
    ],
)  # fmt: skip
def test_mistakes_are_said_before_anything_is_trained(home: Path, more: list[str], says: str) -> None:
    (home / "bare.tsv").write_text("a\tb\tlabel\nx\ty\t1\n", encoding="utf-8")
    (home / "bare.toml").write_text(
        'name = "bare"\nlabels = { scale = [0, 1], kind = "binary" }\n[splits.test]\nfile = "bare.tsv"\n'
    )
    done = tune(home, *(more if "--trials" in more else ["--trials", "1", *more]))
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert re.search(says, " ".join(done.output.split())), done.output
    assert not list(home.rglob("trials.json"))


def test_a_retrieval_suite_has_no_spearman(home: Path) -> None:
    (home / "suites" / "some.toml").write_text('kind = "retrieval"\ntasks = ["grades:test"]\nrelevant = 4.0\n')
    done = tune(home, "--trials", "1")
    assert done.exit_code == 2 and "takes suites of kind 'sts' alone: settings are chosen by Spearman" in done.output


# --- interruption ---


def test_a_killed_search_goes_on(home: Path) -> None:
    more = ("--trials", "3", "--search", "lr")
    process = forked.Process(words(home, *more, "--quiet"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 300
    while not forked.wrote(home, "trials.json") and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    _, said = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), said
    before = table(home)
    assert 1 <= len(before) <= 3
    (folder,) = (home / "reports" / "tuning").iterdir()
    (folder / ".trial-left").mkdir(exist_ok=True)
    resumed = tune(home, *more)
    assert resumed.exit_code == 0 and f"going on after {len(before)} trial" in resumed.output
    assert table(home)[: len(before)] == before and len(table(home)) == 3 and not list(folder.glob(".trial-*"))
    # nothing is left to do; a larger search goes on
    assert "(0 new)" in tune(home, *more).output


# --- the search itself, on scores that cost nothing ---


class Scored:
    """Stands for a subject: the score is a function of the settings."""

    encoder = SimpleNamespace(id="none")
    pooling, seed = "mean", 5
    lessons = [SimpleNamespace(task=SimpleNamespace(name="none:valid"), fit=SimpleNamespace(word="train", splits=()))]

    def __init__(self, score: Callable[[dict[str, Any]], float], entry: str = "simcse(lr=1e-4)") -> None:
        self.spec = SimpleNamespace(entry=parse_entry(entry), dims=(), seeds=1, poolings=(), encoders=())
        self.key = {"of": entry}
        self._score = score
        self.finished: list[dict[str, Any]] = []

    def score(self, entry: Any, look: Callable[[int, float], None], beat: Callable[[], None], scratch: Path) -> float:
        values = settings_of(entry)
        found = self._score(values)
        for place in (1, 2, 3):
            beat()
            look(place, found * place / 3)
        self.finished.append(values)
        return found


def found(subject: Any, root: Path, *searched: str, trials: int = 40, seconds: float = 0.0) -> Found:
    space = parse_search(searched, subject.spec.entry)
    return search(subject, space, Budget(seconds, trials), root)


def peak(values: dict[str, Any]) -> float:
    """A score that is highest, 0.8, at a learning rate of 5e-4 and batches of 128."""
    from math import log10

    return 0.8 - 0.2 * abs(log10(values["lr"] / 5e-4)) - 0.001 * abs(128 - values["batch"])


def test_the_search_finds_a_better_setting_and_prunes_bad_ones(tmp_path: Path) -> None:
    subject = Scored(peak)
    result = found(subject, tmp_path, "lr", "batch")
    trials = result.table.trials
    assert len(trials) == 40 and trials[0].values == {"lr": 1e-4, "batch": 64}
    assert result.best.score == max(t.score or 0 for t in trials) > peak({"lr": 1e-4, "batch": 64}) + 0.1
    assert result.best.values["batch"] == 128 and 2e-4 < float(result.best.values["lr"]) < 1e-3
    pruned = [t for t in trials if t.state == "pruned"]
    assert pruned and all(t.score is None and "below the median" in t.reason for t in pruned)
    assert len(subject.finished) == 40 - len(pruned)
    space = default_space(subject.spec.entry)
    assert all(space[name].holds(v) for t in trials for name, v in t.values.items())
    assert len({t.entry for t in trials}) == 40  # nothing is tried twice
    assert "lr=" in suite_lines([result]) and tomllib.loads(suite_lines([result]))["entries"][0]["fit_on"] == "train"


def test_an_interrupted_search_proposes_what_it_would_have(tmp_path: Path) -> None:
    whole = found(Scored(peak), tmp_path / "whole", "lr", trials=12).table.trials
    calls = 0

    def interrupted(values: dict[str, Any]) -> float:
        nonlocal calls
        calls += 1
        if calls % 4 == 0:
            raise KeyboardInterrupt
        return peak(values)

    for _ in range(6):
        try:
            result = found(Scored(interrupted), tmp_path / "parts", "lr", trials=12)
        except KeyboardInterrupt:
            continue
    parts = result.table.trials
    assert [(t.values, t.score, t.state, t.curve) for t in parts] == [
        (t.values, t.score, t.state, t.curve) for t in whole
    ]


def test_a_search_ends_with_its_time_its_trials_or_its_space(tmp_path: Path) -> None:
    assert len(found(Scored(peak), tmp_path / "a", "lr", trials=3).table.trials) == 3
    assert len(found(Scored(peak), tmp_path / "a", "lr", trials=5).table.trials) == 5
    assert found(Scored(peak), tmp_path / "a", "lr", trials=5).new == 0
    assert len(found(Scored(peak), tmp_path / "b", "batch=16|32").table.trials) == 3  # the own value, 64, and both

    def slow(values: dict[str, Any]) -> float:
        time.sleep(0.06)
        return peak(values)

    timed = found(Scored(slow), tmp_path / "c", "lr", trials=0, seconds=0.15)
    assert 2 <= len(timed.table.trials) <= 3 and timed.table.trials[0].state == "complete"
    once = found(Scored(slow), tmp_path / "d", "lr", trials=0, seconds=0.01)
    assert [t.state for t in once.table.trials] == ["complete"]  # the first one is always finished


def test_a_trial_that_the_budget_cut_short_is_made_again_with_a_larger_one(tmp_path: Path) -> None:
    def slow(values: dict[str, Any]) -> float:
        time.sleep(0.06)
        return peak(values)

    cut = found(Scored(slow), tmp_path, "batch=64|32", trials=0, seconds=0.1).table.trials
    assert [t.state for t in cut] == ["complete", "pruned"] and cut[1].reason == "the budget was spent"
    done = found(Scored(slow), tmp_path, "batch=64|32", trials=0, seconds=60.0).table.trials
    assert [t.state for t in done] == ["complete", "pruned", "complete"] and done[2].values == cut[1].values


def test_failed_trials_are_kept_with_their_reason(tmp_path: Path) -> None:
    def sometimes(values: dict[str, Any]) -> float:
        if values["lr"] > 3e-4:
            raise ValueError("the loss became NaN")
        return peak(values)

    trials = found(Scored(sometimes), tmp_path / "a", "lr", trials=20).table.trials
    failed = [t for t in trials if t.state == "failed"]
    assert failed and {t.reason for t in failed} == {"the loss became NaN"}

    def always(values: dict[str, Any]) -> float:
        raise ValueError("too few examples")

    with pytest.raises(HengyuError, match="the first 5 trials fail: too few examples"):
        found(Scored(always), tmp_path / "b", "lr")


def test_a_damaged_table_is_said_and_two_searches_do_not_share_one(tmp_path: Path) -> None:
    (root := tmp_path / "a").mkdir()
    found(Scored(peak), root, "lr", trials=2)
    path = next(root.glob("*/trials.json"))
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "trials": content["trials"][1:]}))
    with pytest.raises(HengyuError, match=r"trials.json: is of another search, or lacks trials; delete its folder"):
        found(Scored(peak), root, "lr", trials=2)
    path.write_text("{")
    with pytest.raises(HengyuError, match="trials.json: not JSON"):
        found(Scored(peak), root, "lr", trials=2)

    def inside(values: dict[str, Any]) -> float:
        found(Scored(peak), tmp_path / "b", "lr", trials=2)
        return 0.0

    with pytest.raises(HengyuError, match="the same search is running in another process"):
        found(Scored(inside), tmp_path / "b", "lr", trials=2)


# --- the space ---


def test_the_space_is_around_the_entrys_own_values_also_inside_another_tuner() -> None:
    entry = parse_entry("matryoshka(r-drop(gist(lr=1e-4, temperature=0.02), alpha=2.0)) > whitening(dim=8)")
    space = default_space(entry)
    assert list(space) == ["lr", "batch", "epochs", "temperature", "scale", "alpha"]
    assert space["lr"] == Range(1e-5, 1e-3, log=True) and space["batch"] == Choice((16, 32, 64, 128))
    assert all(part.holds(settings_of(entry)[name]) for name, part in space.items())
    changed = entry.with_training({"lr": 5e-4, "alpha": 1.5, "batch": 32})
    assert str(changed) == (
        "matryoshka(r-drop(gist(lr=0.0005, batch=32, temperature=0.02), alpha=1.5)) > whitening(dim=8)"
    )
    assert entry.with_training({}) == entry
    assert seed_of(entry) == 0 and seed_of(entry.with_seed(3)) == 3 and seed_of(parse_entry("simcse(seed=4)")) == 4


def test_what_a_search_may_be_asked_for() -> None:
    entry = parse_entry("mnrl")
    space = parse_search(
        ["hard=true|false", "dropout=0..0.3", "batch=8..512", "directions=query_to_doc|query_to_doc+doc_to_query"],
        entry,
    )
    assert space["hard"] == Choice((True, False)) and space["dropout"] == Range(0.0, 0.3)
    assert space["batch"] == Range(8.0, 512.0, whole=True, log=True)
    assert space["batch"].rounded(8.4) == 8 and Range(1e-5, 1e-3).rounded(1.23456e-4) == 1.23e-4
    assert not Range(1, 5, whole=True).holds(2.5) and Range(1, 5, whole=True).holds(2) and not Choice((1,)).holds(True)
