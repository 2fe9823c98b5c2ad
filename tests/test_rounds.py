"""Samples of pairs and runs that grow them: laws, coverage of the intervals where a run stops, and one run as a user sees it."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.runs import make_run

from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.bench.rounds import FIRST, Limits, run_rounds, widest
from hengyu.bench.run import Outcome
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cards.sampling import as_read, sample_pairs, stratified_order
from hengyu.cli import main
from hengyu.evaluation.gate.findings import EXIT
from hengyu.evaluation.gate.gate import judge
from hengyu.evaluation.run_metrics import scores_of
from hengyu.numerics.metrics import spearman_many
from hengyu.report.exports.mteb import write_mteb
from hengyu.report.exports.table import FORMATS
from hengyu.report.page.reproduce import command_of_row
from hengyu.report.page.worst_pairs import mistakes
from hengyu.report.published import matching_published
from hengyu.storage.records import load_run, save_records, write_json
from hengyu.storage.records.checksums import seal

SUITE = """
tasks = ["hengyu-sts:valid", "hengyu-questions:valid"]
encoders = ["hengyu-static"]
entries = ["raw", "center"]
baselines = ["random"]
resamples = 100
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "some.toml"
    path.write_text(SUITE, encoding="utf-8")
    return path


def invoke(tmp_path: Path, *words: str | Path) -> str:
    done = CliRunner().invoke(main, [*map(str, words)], env={"HENGYU_REPORTS": str(tmp_path / "reports")})
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def runs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "reports" / "records").iterdir())


# --- laws ---


@pytest.mark.parametrize("grades", [2, 6, 1000])
def test_every_beginning_of_the_order_has_the_labels_in_their_shares(grades: int) -> None:
    rng = np.random.default_rng(grades)
    labels = np.floor(grades * rng.random(3000) ** 2)
    order = stratified_order(labels, 0, "a:test")
    assert np.array_equal(np.sort(order), np.arange(3000))
    cuts = np.unique(labels) if grades < 10 else np.unique(np.quantile(labels, [0.25, 0.5, 0.75]))
    for n in (20, 250, 1000):
        shares = [abs(np.mean(labels[order[:n]] <= cut) - np.mean(labels <= cut)) for cut in cuts]
        assert max(shares) <= 10 / n  # each of ten strata is at most one pair off
    assert not np.array_equal(order, stratified_order(labels, 1, "a:test"))
    assert not np.array_equal(order, stratified_order(labels, 0, "b:test"))
    assert np.array_equal(order, stratified_order(labels, 0, "a:test"))


def test_samples_are_nested_in_file_order_and_drawn_again_from_a_header() -> None:
    whole = load_pairs(load_cards()["hengyu-sts"], "valid")
    small, large = (sample_pairs(whole, n, 0) for n in (100, 400))
    rows = list(zip(whole.first, whole.second, strict=True))
    chosen = [rows.index(pair) for pair in zip(small.first, small.second, strict=True)]
    assert chosen == sorted(chosen) and len(set(chosen)) == 100
    assert set(zip(small.first, small.second, strict=True)) <= set(zip(large.first, large.second, strict=True))
    assert small.ratings is not None and whole.ratings is not None
    assert np.array_equal(small.ratings, whole.ratings[chosen], equal_nan=True)
    assert sample_pairs(whole, len(rows), 0) is whole  # all pairs are no sample, under the key of the whole task
    assert len({p.digest for p in (whole, small, large, sample_pairs(whole, 100, 1))}) == 4
    assert as_read(whole, {"n": 100, "of": len(rows), "sample_seed": 0}).digest == small.digest
    assert as_read(whole, {"n": len(rows)}) is whole


@pytest.mark.parametrize("binary", [False, True], ids=["graded", "binary"])
def test_intervals_keep_their_level_where_a_run_stops_by_them(binary: bool) -> None:
    """Where made-up runs stop, their intervals cover the truth as often as they say; the look after each doubling costs nothing.

    The half-width hardly depends on the value, so that a stop by it does not choose among values.
    """
    reach, target, trials = 1.959964, 0.04, 300
    rng = np.random.default_rng(7)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        z = rng.standard_normal((2, n))
        labels = (z[0] > 0.5).astype(float) if binary else np.clip(np.round(2.5 + 1.5 * z[0]), 0, 5)
        return 0.75 * z[0] + np.sqrt(1 - 0.75**2) * z[1], labels

    truth = np.mean([_spearman(*drawn(100_000))[0] for _ in range(6)])
    covered = covered_whole = 0
    sizes = []
    for trial in range(trials):
        scores, labels = drawn(4000)
        order = stratified_order(labels, trial)
        n = FIRST
        while True:
            value, error = _spearman(scores[order[:n]], labels[order[:n]])
            if reach * error <= target or n == 4000:
                break
            n = min(2 * n, 4000)
        sizes.append(n)
        covered += abs(value - truth) <= reach * error
        covered_whole += abs(value - _spearman(scores, labels)[0]) <= reach * error
    assert len(set(sizes)) > 1 and max(sizes) < 4000  # chance has a say in where they stop
    assert 0.92 <= covered / trials <= 0.99  # 0.95, three standard errors of 300 trials to either side
    assert (
        covered_whole / trials >= 0.95
    )  # what is left out is at most the rest of the set, not all pairs there could be


def _spearman(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    value, error = spearman_many(scores[None], labels)
    return float(value[0]), float(error[0])


# --- when to stop ---


def finished(folder: Path, sample: dict[str, int], half: dict[str, float]) -> Outcome:
    """Write what `run_rounds` reads of a run whose half-widths are ``half``, in points."""
    run = make_run(path=folder)
    tasks = list(half)
    heads = [{"task": t, "n": sample.get(t, 4000)} for t in tasks]
    first = next(r for r in run.records if r.metric == "spearman" and r.on_board and r.task == "ATEC:test" and r.low)
    records = [replace(first, task=t, low=0.5 - half[t] / 100, high=0.5 + half[t] / 100) for t in tasks]
    header = {**run.header, "run": folder.name, "tasks": heads}
    save_records(folder, records)
    write_json(folder / "run.json", header)
    seal(folder)
    return Outcome(folder, [], 1, 2, 3)


def grown(tmp_path: Path, limits: Limits, started: float = 0.0) -> tuple[list[dict[str, int]], Outcome]:
    """Return the samples that were run where half the width is 100 / sqrt(n) on one task, and twice as much on the other."""
    asked: list[dict[str, int]] = []

    def run(sample: Mapping[str, int]) -> Outcome:
        asked.append(dict(sample))
        n = {t: sample.get(t, 4000) for t in ("a:test", "b:test")}
        folder = tmp_path / "records" / "-".join(map(str, n.values()))
        return finished(folder, n, {"a:test": 100 / n["a:test"] ** 0.5, "b:test": 200 / n["b:test"] ** 0.5})

    out = run_rounds({"a:test": 4000, "b:test": 4000}, run, limits, tmp_path, silent, started=started)
    return asked, out


def test_each_task_grows_until_its_own_interval_is_narrow_enough(tmp_path: Path) -> None:
    now = time.monotonic()
    asked, out = grown(tmp_path, Limits(half_width=5.0), now)
    assert asked == [
        {"a:test": 250, "b:test": 250},
        {"a:test": 500, "b:test": 500},  # 100 / sqrt(500) = 4.5: enough for a
        {"a:test": 500, "b:test": 1000},
        {"a:test": 500, "b:test": 2000},  # 200 / sqrt(2000) = 4.5
    ]
    assert (out.encoded, out.observed, out.kept) == (4, 8, 12)
    assert [p.name for p in (tmp_path / "records").iterdir()] == ["500-2000"]  # those before it are gone
    asked, out = grown(tmp_path, Limits(half_width=1.0), now)
    assert asked[-1] == {} and len(asked) == 5  # 250 to 4,000, which are all pairs: no sample
    assert sorted(p.name for p in (tmp_path / "records").iterdir()) == ["4000-4000", "500-2000"]  # it was there before


def test_the_time_allows_one_round_at_least_and_none_that_would_end_too_late(tmp_path: Path) -> None:
    assert len(grown(tmp_path, Limits(seconds=1e-9), time.monotonic() - 1.0)[0]) == 1
    assert len(grown(tmp_path, Limits(seconds=1e6), time.monotonic())[0]) == 5
    assert widest(load_run(tmp_path / "records" / "4000-4000"))["b:test"].points == pytest.approx(200 / 4000**0.5)


# --- as a user sees it ---


def test_a_run_that_stops_says_how_many_pairs_and_is_never_taken_for_a_whole_one(suite: Path, tmp_path: Path) -> None:
    said = invoke(tmp_path, "run", suite, "--until", "10")
    assert "500 of 1,137 pairs, widest interval" in said and "all 298 pairs were taken" in said
    assert "n 500 of 1,137" in said
    [folder] = runs(tmp_path)
    run = load_run(folder)
    head = run.header["tasks"][0]
    assert (head["n"], head["of"], head["sample_seed"]) == (500, 1137, 0)
    assert {(r.n, r.of) for r in run.records if r.task == head["task"]} == {(500, 1137)}
    assert any("a random sample of 500 of its 1,137 pairs" in w for w in run.header["warnings"])
    assert not matching_published(run)
    command = command_of_row(run)(("hengyu-static", "mean", "raw", "none"))
    assert "--until" not in command and f"--sample {head['task']}=500" in command
    page = (tmp_path / "reports" / "site" / folder.name / "index.html").read_text(encoding="utf-8")
    assert "500 <" in page and "1,137" in page
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](run))))
    assert rows[0]["n"] == "500" and rows[0]["of"] == "1137"
    assert "n 500 of 1,137" in FORMATS["md"](run) and "500 of 1,137" in FORMATS["latex"](run)
    with pytest.raises(
        HengyuError, match=r"evaluated a sample of hengyu-sts:valid.* mteb's results are of whole tasks"
    ):
        write_mteb(run, tmp_path / "mteb")
    sizes = {t["task"]: t["of"] if "of" in t else t["n"] for t in run.header["tasks"]}
    raw = [r for r in run.records if r.row == ("hengyu-static", "mean", "raw", "none") and r.metric == "spearman"]
    values = {r.task: r.value for r in raw}
    mean = sum(values[t] * n for t, n in sizes.items()) / sum(sizes.values())  # tasks count by all their pairs
    assert values["w-mean"] == pytest.approx(mean)

    # the same sample by its size is the same run; all pairs are another, of which nothing is reused
    again = [w for t in run.header["tasks"] if "of" in t for w in ("--sample", f"{t['task']}={t['n']}")]
    assert " 0 results computed" in invoke(tmp_path, "run", suite, *again) and len(runs(tmp_path)) == 1
    assert " 0 reused" in invoke(tmp_path, "run", suite, "--task", "hengyu-sts:valid")
    [whole] = [p for p in runs(tmp_path) if p != folder]
    assert "of" not in load_run(whole).header["tasks"][0] and all(r.of is None for r in load_run(whole).records)
    assert '"of"' not in (whole / "records.json").read_text()
    judged = judge(scores_of(load_run(whole)), scores_of(run))
    assert judged.code == EXIT["different n"]
    assert any("pairs 1137 -> 500 of 1137, seed 0" in f.words for f in judged.findings)
    done = CliRunner().invoke(main, ["compare", str(whole), str(folder)])
    assert done.exit_code == 2 and "not comparable" in done.output
    assert [m.task for m in mistakes(run, 3)] == [
        "hengyu-sts:valid",
        "hengyu-questions:valid",
    ]  # its own pairs are drawn again


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--until", "0"], "--until 0: must be half the width"),
        (["--until", "nan"], "--until nan: must be half the width"),
        (["--budget", "soon"], "--budget soon: must be a time like 90s"),
        (["--sample", "5"], "--sample 5: must be a number of pairs from 20 up"),
        (["--sample", "hengyu-st:valid=50"], "has no task 'hengyu-st:valid'; did you mean 'hengyu-sts:valid'?"),
        (["--sample", "50", "--until", "3"], "leave one of them out"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], said: str, suite: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["run", str(suite), *words], env={"HENGYU_REPORTS": str(tmp_path)})
    assert done.exit_code == 2 and said in " ".join(done.output.split())


def test_retrieval_says_that_it_takes_no_sample(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["run", "smoke-retrieval", "--budget", "5s"], env={"HENGYU_REPORTS": str(tmp_path)})
    assert done.exit_code == 2 and "cannot be sampled: each query needs all documents" in " ".join(done.output.split())
