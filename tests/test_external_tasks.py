"""A kind of task from outside the package: one file and an entry point, from the suite to the page, the gate and a comparison."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers.words import sentences
from sklearn.metrics import average_precision_score, roc_auc_score

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.evaluation.gate.baselines import read_baseline, write_baseline
from hengyu.storage.code_graph import Code
from hengyu.storage.records import Record, Run, find_run, load_run
from hengyu.storage.records.observations import kept_in
from hengyu.tasks import find_task, task_names
from hengyu.tasks.interface import registry

TOY = '''"""Pairs that mean the same or not, judged by the average precision of their cosine."""

from functools import partial

from hengyu.base.errors import HengyuError
from hengyu.tasks import Metric, PairLabels, PairTask
from hengyu.tasks.pairs.groups import pair_groups


class Toy(PairTask):
    name = "toy"
    metrics = (Metric("ap", "Precision of pairs"), Metric("auc", "Area under the curve"))
    main = "ap"
    compared = ("ap",)
    averaged = ("ap",)
    refused = {"cross_encoders": "is not for toys; leave it out"}

    def truth(self, task, thresholds, relevant):
        if not task.pairs.card.binary:
            raise HengyuError(f"task '{task.name}': its labels are graded, and a toy needs 0 and 1; name another task")
        groups = partial(pair_groups, task.first, task.second)
        return PairLabels(task.name, task.pairs.labels, groups, ("ap", "auc"), limit=1.0)
'''
CARD = """
name = "pairs"
labels = { scale = [0, 1], kind = "binary" }
[splits.test]
file = "test.tsv"
[splits.valid]
file = "valid.tsv"
"""
SUITE = """
name = "toys"
kind = "toy"
title = "Toys"
tasks = ["pairs:test", "pairs:valid"]
resamples = 200
entries = ["raw", "whitening(dim=16)", { entry = "simhash(bits=32)", seeds = 2 }]
compare = [["whitening(dim=16)", "raw"]]
"""


def install(folder: Path, value: str, name: str = "toy") -> None:
    about = folder / "their_package-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[hengyu.tasks]\n{name} = {value}\n", encoding="utf-8")


def forget() -> None:
    registry._points.cache_clear()
    registry._installed.cache_clear()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a card, a suite and an installed package that offers the kind."""
    root = tmp_path_factory.mktemp("toys")
    rng = np.random.default_rng(11)
    for split, n in (("test", 90), ("valid", 60)):
        lines = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in sentences(rng, n))
        (root / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    (root / "pairs.toml").write_text(CARD, encoding="utf-8")
    (root / "suites").mkdir()
    (root / "suites" / "toys.toml").write_text(SUITE, encoding="utf-8")
    site = root / "site-of-theirs"
    site.mkdir()
    (site / "their_toy.py").write_text(TOY, encoding="utf-8")
    install(site, "their_toy:Toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("HENGYU_CACHE", str(root / "cache"))
        patch.setenv("HENGYU_REPORTS", str(root / "reports"))
        forget()
        yield root
    forget()


def hengyu(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def printed(home: Path) -> str:
    """What a run prints."""
    done = hengyu("run", home / "suites" / "toys.toml", "--datasets", home)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def finished(home: Path, printed: str) -> Run:
    return load_run(find_run("latest", home / "reports"))


def find(run: Run, **wanted: object) -> Record:
    found = [r for r in run.records if r.on_board and all(getattr(r, k) == v for k, v in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


def test_the_numbers_are_those_of_scikit_learn(home: Path, finished: Run) -> None:
    assert finished.kind == "toy" and {r.metric for r in finished.records} == {"ap", "auc"}
    kept = kept_in(finished.path)
    for split in ("test", "valid"):
        rows = (home / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
        labels = np.array([int(row.rpartition("\t")[2]) for row in rows])
        for place in (p for p in kept if p[0] == f"pairs:{split}"):
            for metric, score in (("ap", average_precision_score), ("auc", roc_auc_score)):
                by_hand = np.mean([score(labels, one.read()) for one in kept[place]])
                record = find(
                    finished,
                    task=place[0],
                    row=place[1:],
                    metric=metric,
                )
                assert record.value == pytest.approx(by_hand, abs=1e-9), place
                assert record.low < record.value < record.high and record.interval == "logit"
                assert record.n == len(labels) and record.ceiling is None
    raw, white = (
        find(finished, task="pairs:test", entry=e, metric="ap", encoder="hengyu-mini")
        for e in ("raw", "whitening(dim=16)")
    )
    assert raw.delta is None and white.delta == pytest.approx(white.value - raw.value, abs=1e-12)


def test_means_differences_seeds_and_standings_are_of_the_main_metric(finished: Run) -> None:
    for row in {r.row for r in finished.records}:
        parts = [find(finished, task=t, row=row, metric="ap") for t in ("pairs:test", "pairs:valid")]
        assert find(finished, task="mean", row=row).value == pytest.approx(np.mean([p.value for p in parts]), abs=1e-12)
    drawn = [r for r in finished.records if r.draw]
    assert {r.metric for r in drawn} == {"ap"} and {r.seed for r in drawn} == {0, 1}
    (difference, *_) = [d for d in finished.differences if d.task == "pairs:test"]
    white = find(finished, task="pairs:test", entry="whitening(dim=16)", metric="ap")
    assert difference.value == white.delta
    best = {s.task: s.row for s in finished.standings if s.behind == 0}
    assert best["mean"] == max((r for r in finished.records if r.task == "mean"), key=lambda r: r.value).row


def test_board_page_and_exports_call_the_metric_by_its_name(home: Path, printed: str, finished: Run) -> None:
    assert "Precision of pairs x 100" in printed and "Spearman" not in printed and "whitening(dim=16)" in printed
    assert "the ceiling" not in printed  # no ties of labels bound this metric
    page = (home / "reports" / "site" / finished.id / "index.html").read_text(encoding="utf-8")
    value = f"{100 * find(finished, task='mean', entry='raw', encoder='hengyu-mini').value:.2f}"
    assert ">Precision of pairs</span>" in page and value in page
    assert "rank by the main column" in page
    listing = (home / "reports" / "site" / "index.html").read_text(encoding="utf-8")
    assert "Precision of pairs" in listing
    for format in ("csv", "json", "md", "latex"):
        done = hengyu("export", finished.path, "--format", format)
        assert done.exit_code == 0, done.output
        assert format in ("csv", "json") or "Precision of pairs x 100" in done.output.replace("$\\times$", "x")
    rows = json.loads(hengyu("export", finished.path, "--format", "json").output)
    assert {r["rank"] is not None for r in rows if r["metric"] == "ap" and not r["draw"]} == {True}


def test_gate_and_comparison_hold_the_main_metric(home: Path, finished: Run) -> None:
    baseline = home / "baseline.json"
    assert hengyu("baseline", finished.path, "--out", baseline).exit_code == 0
    done = hengyu("gate", baseline, finished.path)
    assert done.exit_code == 0 and "the same number as in the baseline" in done.output, done.output
    kept = read_baseline(baseline)
    assert {key.metric for key in kept.cells} == {"ap"} and kept.blocks.keys() == kept.cells.keys()
    gain = {k: min(0.3, 1.0 - v.value) for k, v in kept.cells.items()}
    higher = {k: replace(v, value=v.value + gain[k], low=None, high=None) for k, v in kept.cells.items()}
    better = replace(kept, cells=higher, blocks={k: b + gain[k] for k, b in kept.blocks.items()})
    write_baseline(baseline, better)
    done = hengyu("gate", baseline, finished.path)
    assert done.exit_code == 1 and "pairs:test ap" in done.output, done.output
    done = hengyu("compare", finished.path, "--entry", "whitening(dim=16)", "--entry", "raw")
    assert (
        done.exit_code == 0
        and "Precision of pairs x 100" in done.output.replace("$\\times$", "x")
        and "pair by pair" in done.output
    )


def test_its_code_is_in_the_key_of_what_it_observes(home: Path, finished: Run) -> None:
    whole, alone = find_task("toy").observing_code()
    assert "their_toy" in whole and "hengyu.tasks.pairs.vectors" in whole and "hengyu.tasks.pairs.observing" in alone
    file = home / "site-of-theirs" / "their_toy.py"
    before = Code().reached(*whole)[0]
    file.write_text(TOY.replace("limit=1.0", "limit=1.5"), encoding="utf-8")
    after = Code().reached(*whole)[0]
    file.write_text(TOY, encoding="utf-8")
    assert {m for m in after if before.get(m) != after[m]} == {"their_toy"}
    assert "their_toy" in find_task("toy").deriving_code()


def test_a_suite_says_what_its_kind_refuses(home: Path) -> None:
    suite = home / "suites" / "wrong.toml"
    suite.write_text(SUITE + 'cross_encoders = ["some/model"]\n', encoding="utf-8")
    done = hengyu("validate", suite, "--datasets", home)
    assert done.exit_code == 2 and "key 'cross_encoders' is not for toys" in done.output
    suite.write_text(SUITE.replace('"pairs:test", "pairs:valid"', '"hengyu-sts:test"'), encoding="utf-8")
    done = hengyu("run", suite, "--datasets", home)
    assert done.exit_code == 2 and "its labels are graded, and a toy needs 0 and 1" in done.output
    suite.write_text(SUITE.replace('kind = "toy"', 'kind = "their_toy:Toy"'), encoding="utf-8")
    done = hengyu("validate", suite, "--datasets", home)
    assert (
        done.exit_code == 2
        and "key 'kind' must be 'sts' or 'retrieval' or 'reranking' or 'pair-classification' or 'toy'" in done.output
    )
    suite.unlink()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Toy = 3", "must be a class derived from hengyu.tasks.Task"),
        ("1 / 0", "cannot be loaded (ZeroDivisionError"),
        (TOY.replace("    def truth", "    def other"), "Toy lacks truth"),
        (TOY.replace('    main = "ap"\n', ""), "Toy lacks main"),
        (TOY.replace('main = "ap"', 'main = "recall"'), "main one of its metrics"),
    ],
)
def test_a_package_without_a_whole_kind_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    (tmp_path / "their_wrong.py").write_text(text, encoding="utf-8")
    install(tmp_path, "their_wrong:Toy")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "their_wrong", raising=False)
    forget()
    try:
        with pytest.raises(HengyuError) as e:
            find_task("toy")
        assert says in str(e.value) and "entry point 'toy' of hengyu.tasks" in str(e.value)
    finally:
        forget()


def test_a_run_of_a_kind_that_is_not_installed_is_answered_with_a_sentence(
    home: Path, finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_points", dict)
    assert "toy" not in task_names()
    done = hengyu("report", finished.path)
    assert done.exit_code == 2 and "kind of task 'toy'" in done.output and "Traceback" not in done.output
