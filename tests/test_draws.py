"""Entries that draw random numbers: seeds, spread, differences; and fits that are trained once and recalled."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.words import sentences

from hengyu.base.errors import HengyuError
from hengyu.bench.run import Outcome, run
from hengyu.encoders import EncoderSpec
from hengyu.evaluation.blocks import block_means
from hengyu.evaluation.gate.baselines import baseline_of
from hengyu.evaluation.gate.gate import judge
from hengyu.evaluation.paired import paired_differences
from hengyu.evaluation.run_metrics import scores_of
from hengyu.methods.grammar import parse_entry
from hengyu.methods.transforms.flow import Flow
from hengyu.numerics.influence import spearman_contributions
from hengyu.report.board.board import make_board
from hengyu.report.exports.table import tidy
from hengyu.report.page.leaderboard import render
from hengyu.report.summary.methods import summarise
from hengyu.report.summary.warnings import real_warnings
from hengyu.storage.fits import FitStore
from hengyu.storage.identity import parts_of
from hengyu.storage.records import Record, Run, load_run
from hengyu.storage.records.observations import kept_in, load_groups, load_labels
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

SUITE = """
tasks = ["grades:test", "grades:valid"]
resamples = 100
seed = 3
baselines = ["random"]
entries = [
    "raw", "whitening(dim=8)", "linear-flow", { entry = "flow(width=4, steps=40)", seeds = 3 }, "flow(seed=9, steps=20)",
    { entry = "linear-flow > truncate", dims = [8, 400] }, { entry = "flow(steps=20)", fit_on = "grades:valid" },
]
compare = [["flow(width=4, steps=40)", "whitening(dim=8)"], ["linear-flow", "raw"]]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A card of our own with two splits, a suite and a model, and what a first run left."""
    here = tmp_path_factory.mktemp("draws")
    rng = np.random.default_rng(7)
    for split in ("test", "valid"):
        text = "".join(f"{a}\t{b}\t{y}\n" for a, b, y in sentences(rng, 150))
        (here / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + text, encoding="utf-8")
    card = 'name = "grades"\nlabels = { scale = [0, 5] }\n'
    card += "".join(f'[splits.{s}]\nfile = "{s}.tsv"\n' for s in ("test", "valid"))
    (here / "grades.toml").write_text(card, encoding="utf-8")
    (here / "suites").mkdir()
    (here / "suites" / "drawn.toml").write_text(SUITE, encoding="utf-8")
    shutil.copytree(tiny_bert, here / "model")
    return here


def weigh(folder: Path, out: Path, fits: Path | None = None) -> Outcome:
    suite = replace(load_suite(folder / "suites" / "drawn.toml"), encoders=(EncoderSpec(str(folder / "model")),))
    plan = make_plan(suite, datasets=[folder])
    return run(plan, reports=out, store=VectorStore(folder / "store"), fits=FitStore(fits) if fits else None)


@pytest.fixture(scope="module")
def finished(folder: Path) -> Run:
    return load_run(weigh(folder, folder / "out", folder / "fits").folder)


def pick(finished: Run, **wanted: object) -> list[Record]:
    wanted = {"metric": "spearman"} | wanted
    return [r for r in finished.records if all(getattr(r, k) == v for k, v in wanted.items())]


def test_a_row_is_the_mean_over_its_seeds_with_their_spread(finished: Run) -> None:
    entry = "flow(width=4, steps=40)"
    (row,) = pick(finished, task="grades:test", entry=entry, draw=False)
    draws = pick(finished, task="grades:test", entry=entry, draw=True)
    assert [d.seed for d in draws] == [3, 4, 5]  # from the suite's seed on
    values = [d.value for d in draws]
    assert len(set(values)) == 3
    assert row.value == pytest.approx(np.mean(values))
    assert row.spread == pytest.approx(np.std(values, ddof=1))
    assert row.seeds == 3
    assert row.low is not None and row.low < row.value < row.high
    (mean,) = pick(finished, task="mean", entry=entry, draw=False)
    assert mean.seeds == 3 and mean.spread is not None
    (raw,) = pick(finished, task="grades:test", encoder="model", entry="raw")
    assert (raw.seeds, raw.spread) == (None, None)
    assert row.delta == pytest.approx(row.value - raw.value)


def test_a_single_seed_is_marked(finished: Run) -> None:
    rows = {r.entry: r for r in make_board(finished).rows if r.encoder == "model"}
    texts = {entry: row.cells[0].spread for entry, row in rows.items()}
    assert texts["flow(steps=20)"] == "1 seed"
    assert texts["flow(width=4, steps=40)"].endswith("over 3 seeds")
    assert texts["flow(steps=20, seed=9)"] == texts["linear-flow"] == ""  # nothing is left open
    assert len([r for r in rows if r.startswith("flow(width=4")]) == 1
    assert "over 3 seeds" in render(finished)
    assert {"draw", "seeds", "spread"} <= set(tidy(finished.records[0]))


def test_differences_are_paired_and_have_a_verdict(finished: Run) -> None:
    flows = [d for d in finished.differences if d.entry.startswith("flow")]
    assert [d.task for d in flows] == ["grades:test", "grades:valid", "mean"]
    (mine,) = pick(finished, task="grades:test", entry="flow(width=4, steps=40)", draw=False)
    (other,) = pick(finished, task="grades:test", entry="whitening(dim=8)")
    assert flows[0].value == pytest.approx(mine.value - other.value)
    assert flows[0].low <= flows[0].value <= flows[0].high
    assert flows[2].value == pytest.approx((flows[0].value + flows[1].value) / 2)
    # against raw, which is fitted on nothing: what the record's own delta says
    (linear,) = pick(finished, task="grades:test", entry="linear-flow")
    against_raw = next(d for d in finished.differences if d.against == "raw" and d.task == "grades:test")
    assert (against_raw.value, against_raw.low, against_raw.high) == pytest.approx(
        (linear.delta, linear.delta_low, linear.delta_high)
    )
    page = render(finished)
    for d in finished.differences:
        assert d.verdict == ("better" if d.low > 1e-9 else "worse" if d.high < -1e-9 else "not significant")
    assert "not significant" in page or "worse" in page


def test_dims_that_the_vectors_lack_fail_alone(folder: Path, finished: Run) -> None:
    (fits,) = pick(finished, task="grades:test", entry="linear-flow > truncate(dim=8)")
    (wide,) = pick(finished, task="grades:test", entry="linear-flow > truncate(dim=400)")
    assert (fits.status, fits.dim) == ("ok", 8)
    assert wide.status == "failed"
    assert "dim=400 is larger than the 31 the vectors have" in wide.reason
    again = weigh(folder, folder / "out", folder / "fits")
    assert any("dim=400" in f for f in again.failures)  # said again, though the rest is kept


def test_a_method_worse_than_raw_is_a_finding_and_no_warning(finished: Run) -> None:
    assert not any("raw" in w for w in finished.header["warnings"])
    assert summarise(finished).rows
    old = replace(
        finished,
        header={
            **finished.header,
            "warnings": ["A, m, cls, fit_on target: worse than raw, the 95 % interval leaving out 0: pca -2.1", "x"],
        },
    )
    assert real_warnings(old) == ["x"], "runs of before held findings among their warnings"


def test_what_a_fit_found_is_in_the_run(finished: Run) -> None:
    fit = next(f for f in finished.header["fits"] if f["entry"] == "flow(width=4, steps=40)" and f.get("seed") == 4)
    (trained,) = fit["trained"]
    assert len(trained["step"]) == len(trained["train_bits"]) == len(trained["held_out_bits"]) > 3
    assert trained["held_out_rows"] > 0
    assert trained["columns"] == 31  # of 32: a LayerNorm's output fulfils one equation
    assert set(trained["gaussianity"]) == {"kurtosis", "kurtosis_worst", "chi2_distance", "norm2_ratio"}
    timings = json.loads((finished.path / "timings.json").read_bytes())["seconds"]
    assert any(parts_of(key)[:2] == ("fit", "grades:test") for key in timings)
    assert "held-out bits" in render(finished)


def test_a_fit_is_trained_once_and_recalled(folder: Path, finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = (finished.path / "records.json").read_bytes(), (finished.path / "run.json").read_bytes()
    trained: list[int] = []
    fit_sample = Flow.fit_sample

    def counted(self: Flow, sample: object) -> Flow:
        trained.append(self.seed)
        return fit_sample(self, sample)  # type: ignore[arg-type]

    monkeypatch.setattr(Flow, "fit_sample", counted)
    other = weigh(folder, folder / "second", folder / "fits").folder
    assert not trained
    assert ((other / "records.json").read_bytes(), (other / "run.json").read_bytes()) == wanted
    alone = weigh(folder, folder / "third", folder / "fresh").folder
    # two tasks with 3 seeds, two with the seed of the entry, and one for both: they are fitted on the same sentences
    assert len(trained) == 2 * 3 + 2 + 1
    assert ((alone / "records.json").read_bytes(), (alone / "run.json").read_bytes()) == wanted


def test_a_damaged_fit_is_named_and_made_again(folder: Path, finished: Run) -> None:
    wanted = (finished.path / "records.json").read_bytes()
    shutil.copytree(folder / "fits", folder / "hurt")
    store = FitStore(folder / "hurt")
    assert store.verify() == []
    hurt = store.files()[0]
    content = bytearray(hurt.read_bytes())
    content[-5] ^= 1
    hurt.write_bytes(bytes(content))
    assert [d.path for d in store.verify()] == [hurt]
    again = weigh(folder, folder / "fourth", folder / "hurt").folder
    assert (again / "records.json").read_bytes() == wanted
    assert store.verify() == []  # the one that was damaged is whole again
    for path in store.files():
        path.write_bytes(b"nonsense")
    assert len(store.repair()) == len(store.verify()) + len(list((folder / "fits").glob("*")))
    assert store.files() == []


def test_seeds_stand_where_something_is_drawn() -> None:
    assert parse_entry("flow").stochastic
    assert not parse_entry("flow(seed=1)").stochastic
    assert not parse_entry("whitening").stochastic
    assert str(parse_entry("whitening > flow").with_seed(2)) == "whitening > flow(seed=2)"
    assert str(parse_entry("flow(seed=1)").with_seed(2)) == "flow(seed=1)"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('entries = [{ entry = "whitening", seeds = 3 }]', "nothing in it is drawn"),
        ('entries = [{ entry = "flow(seed=1)", seeds = 3 }]', "its seed is set"),
        ('entries = [{ entry = "flow", seeds = 0 }]', "must lie in 1..1000"),
        ('entries = ["flow(coupling=cubic)"]', "must be additive or affine"),
        ('entries = ["flow(level=2)"]', "did you mean 'levels'"),
        ('compare = [["raw", "flw"]]', "unknown method 'flw'"),
        ('compare = [["raw", "flow"]]', "no entry of this suite"),
        ('compare = ["raw"]', "must be two entries"),
    ],
)
def test_mistakes_in_a_suite_are_said(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'tasks = ["hengyu-sts:test"]\n{line}\n', encoding="utf-8")
    with pytest.raises(HengyuError, match=says):
        load_suite(path)


def test_a_sweep_can_be_compared_at_any_of_its_dims(tmp_path: Path) -> None:
    path = tmp_path / "swept.toml"
    path.write_text(
        'tasks = ["hengyu-sts:test"]\nentries = [{ entry = "whitening", dims = "all" }, "center"]\n'
        'compare = [["whitening(dim=64)", "center"]]\n',
        encoding="utf-8",
    )
    assert load_suite(path).compare == (("whitening(dim=64)", "center"),)


def test_the_gate_compares_a_row_of_several_seeds_pair_by_pair(finished: Run) -> None:
    scores = scores_of(finished)
    labels = load_labels(finished.path)["grades:test"]
    entry = "flow(width=4, steps=40)"
    (key,) = (k for k in scores.cells if k.entry == entry and k.task == "grades:test")
    seen = [x for x in (one.read() for one in kept_in(finished.path)[key[:5]]) if x is not None]
    assert [x.shape for x in seen] == [labels.shape] * 3
    kept = baseline_of(finished)[0]
    groups = np.arange(len(labels)) if (g := load_groups(finished.path).get("grades:test")) is None else g
    alone = [block_means(spearman_contributions(x, labels), groups) for x in seen]
    np.testing.assert_allclose(kept.blocks[key], np.mean(alone, axis=0), atol=5e-3)  # half precision in the file
    found, notes = paired_differences(kept, scores, ["grades:test"])
    assert notes == []
    assert found[key].error == pytest.approx(0.0, abs=5e-4)
    assert [v.change.test for v in judge(kept, scores).verdicts if v.key == key and v.change] == ["identical"]
