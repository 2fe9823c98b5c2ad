"""Baseline files: small, exact to six digits, one cell a line, and quiet about what no board would show."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import runs
from helpers import simulated as made

from hengyu.base.errors import HengyuError
from hengyu.base.paths import share
from hengyu.cli import main
from hengyu.evaluation.gate.baselines import baseline_of, changes, find_scores, read_baseline, settle, write_baseline
from hengyu.evaluation.paired import BLOCKS
from hengyu.evaluation.run_metrics import Key, MetricValue, scores_of
from hengyu.storage.records import load_run

RUN = runs.make_run()


@pytest.fixture
def simulated(tmp_path):
    """What a baseline keeps of a made-up run of 400 pairs and 3 entries."""
    rng = np.random.default_rng(3)
    z, labels = made.labelled(rng, 400, made.DESIGNS["graded 0..5"])
    seen = {f"entry{i}": made.versions(rng, z, (0.6, 0.5), 0.9)[0] for i in range(3)}
    return made.kept(made.scores(tmp_path / "run", labels, seen))


def test_a_file_comes_back_as_it_was_written(tmp_path, simulated):
    path = tmp_path / "made.json"
    write_baseline(path, simulated)
    again = read_baseline(path)
    assert again.cells == simulated.cells
    assert again.tasks == simulated.tasks
    assert set(again.blocks) == set(simulated.cells)
    for key, row in simulated.blocks.items():
        assert row.shape == (BLOCKS,)
        np.testing.assert_allclose(again.blocks[key], row, atol=5e-3)  # half precision of numbers up to 6
    before = path.read_bytes()
    write_baseline(path, again)
    assert path.read_bytes() == before


def test_one_cell_is_one_sorted_line_and_holes_sweeps_and_means_stay_out(tmp_path):
    kept, notes = baseline_of(RUN)
    write_baseline(tmp_path / "b.json", kept)
    lines = (tmp_path / "b.json").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if '"value"' in line]
    wanted = [
        r for r in RUN.records if r.metric == "spearman" and not r.sweep and r.task in runs.TASKS and r.status == "ok"
    ]
    assert len(rows) == len(wanted) == len(kept.cells)
    keys = [tuple(json.loads(row.rstrip(","))[w] for w in Key._fields) for row in rows]
    assert keys == sorted(keys)
    values = {k: json.loads(row.rstrip(","))["value"] for k, row in zip(keys, rows, strict=True)}
    assert all(values[(r.task, *r.row, "spearman")] == round(r.value, 6) for r in wanted)
    assert any("without a number are left out" in note for note in notes)
    assert any("keeps no labels" in note for note in notes)


def test_other_metrics_come_in_when_asked_for():
    kept, _ = baseline_of(RUN, ("spearman", "auc"))
    assert {k.metric for k in kept.cells} == {"spearman", "auc"}
    assert len(str(next(k for k in kept.cells if k.metric == "auc")).split(" | ")) == 6


def test_a_change_no_board_would_show_keeps_the_old_line(simulated):
    key, other, _ = sorted(simulated.cells)
    moved = dict(simulated.cells)
    moved[key] = replace(moved[key], value=moved[key].value + 4e-5)
    moved[other] = replace(moved[other], value=moved[other].value + 6e-5)
    new = replace(simulated, cells=moved)
    settled = settle(simulated, new)
    assert settled.cells[key] == simulated.cells[key]
    assert settled.cells[other] == moved[other]
    (line,) = changes(simulated, settled)
    assert line.startswith(str(other)) and line.endswith("(+0.01)")


def test_what_changed_is_told_the_largest_fall_first(simulated):
    first, second, third = sorted(simulated.cells)
    cells = {
        first: replace(simulated.cells[first], value=0.1),
        second: replace(simulated.cells[second], value=0.9),
        third._replace(entry="entry9"): MetricValue(0.5, 0.4, 0.6),
    }
    new = replace(simulated, cells=cells, seed=7, tasks={made.TASK: {**simulated.tasks[made.TASK], "n": 401}})
    told = changes(simulated, new)
    assert told[:2] == ["seed: 0 -> 7", f"task {made.TASK}: n 400 -> 401"]
    assert (
        told[2].endswith("gone, " + f"{100 * simulated.cells[third].value:.2f}")
        and "entry9 | none: new, 50.00" in told[3]
    )
    assert [line.split(" | ")[3] for line in told[4:]] == ["entry0", "entry1"]
    assert changes(simulated, simulated) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "it is not as it was written .Expected object, got array"),
        ('{"schema": 9}', "schema 9 where this version reads 1 and 2"),
        ('{"schema": 1}', "key 'suite' is missing"),
        ("{", "not JSON"),
    ],
)
def test_what_is_no_baseline_is_told_in_one_sentence(tmp_path, content, words):
    (tmp_path / "b.json").write_text(content, encoding="utf-8")
    with pytest.raises(HengyuError, match=words) as caught:
        find_scores(str(tmp_path / "b.json"))
    assert len(caught.value.problems) == 1 and "hengyu baseline" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("word", "bad", "words"),
    [
        ("value", "NaN", "NaN is not a number"),
        ("value", '"0.5"', r"key 'cells\[0\]\.value' is not as it was written .Expected float, got str"),
        ("value", "true", r"key 'cells\[0\]\.value' is not as it was written .Expected float, got bool"),
        ("low", "7", r"key 'cells\[0\]\.low' is not as it was written .Expected float <= 1"),
    ],
)
def test_a_cell_that_holds_no_score_is_refused(tmp_path, simulated, word, bad, words):
    path = tmp_path / "b.json"
    write_baseline(path, simulated)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][0][word] = json.loads(bad)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HengyuError, match=words):
        read_baseline(path)
    del content["sha256"]  # as written by earlier versions
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HengyuError, match=words):
        read_baseline(path)


def test_a_run_without_numbers_makes_no_baseline():
    with pytest.raises(HengyuError, match="has no number"):
        baseline_of(replace(RUN, records=()))


def test_the_command_proposes_and_says_what_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    folder = runs.write_run(RUN, tmp_path)
    file = tmp_path / "baselines" / "synthetic.json"
    shown = CliRunner().invoke(main, ["baseline", "latest", "--show"])
    assert (shown.exit_code, file.exists()) == (0, False)
    made_ = CliRunner().invoke(main, ["baseline", str(folder)])
    assert made_.exit_code == 0 and str(file) in made_.stdout
    before = file.read_bytes()
    again = CliRunner().invoke(main, ["baseline", "latest"])
    assert "nothing changed" in again.stdout and file.read_bytes() == before
    assert find_scores("synthetic").cells == baseline_of(load_run(folder))[0].cells
    unknown = CliRunner().invoke(main, ["baseline", "latest", "--metric", "aux"])
    assert unknown.exit_code == 2 and "did you mean 'auc'" in unknown.stderr


def test_the_shipped_baseline_is_of_the_shipped_suite_and_data():
    shipped = read_baseline(share("reports", "baselines", "smoke.json"))
    assert (shipped.suite, set(shipped.tasks)) == ("smoke", {"hengyu-sts:test", "hengyu-questions:test"})
    assert set(shipped.draws) | set(shipped.blocks) == set(shipped.cells)
    from hengyu.cards import load_cards
    from hengyu.cards.data import load_pairs

    for name in ("hengyu-sts", "hengyu-questions"):
        pairs = load_pairs(load_cards()[name], "test")
        about = shipped.tasks[f"{name}:test"]
        assert (about["n"], about["sha256"], about["card_sha256"]) == (
            len(pairs.labels),
            pairs.sha256,
            pairs.card.digest,
        )


def test_sweep_points_and_means_are_no_cells():
    cells = scores_of(RUN).cells
    assert {k.task for k in cells} == set(runs.TASKS)
    assert len(cells) == len({(r.task, *r.row) for r in RUN.records if not r.sweep and r.task in runs.TASKS})
