"""Published suites run what is at hand, and say what is not and how to get it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from hengyu.base.errors import HengyuError, Missing
from hengyu.base.paths import share
from hengyu.cli import main
from hengyu.storage.records import load_run
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

PUBLISHED = ("whitening-2021", "simcse-2021", "cosent-2022", "interact-2022", "flow-2020", "cmteb-sts")


def suite(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "some.toml").write_text(text, encoding="utf-8")
    return folder / "some.toml"


def card(folder: Path) -> Path:
    """A binary card of which the valid split is there and the others are not."""
    folder.mkdir()
    lines = ['name = "mine"', 'labels = { scale = [0, 1], kind = "binary" }', "header = false"]
    lines += [f'[splits.{s}]\nfile = "{s}.tsv"' for s in ("train", "valid", "test")]
    (folder / "mine.toml").write_text("\n".join(lines), encoding="utf-8")
    rows = [f"今天天气真好{i}\t今天天气不错{i % 3}\t{i % 2}" for i in range(40)]
    (folder / "valid.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


TEXT = """
tasks = ["mine:train", "mine:valid", "hengyu-sts:valid"]
encoders = ["nobody/no-such-model", "hengyu-static"]
entries = ["raw", "whitening(dim=8)"]
fit_on = "all"
aggregate = "w-avg"
baselines = []
resamples = 20
"""


def test_what_is_not_at_hand_is_left_out_and_named(tmp_path: Path) -> None:
    path = suite(tmp_path / "s", "partial = true\n" + TEXT)
    run = ["run", str(path), "--datasets", str(card(tmp_path / "cards")), "--out", str(tmp_path)]
    done = CliRunner().invoke(main, run)
    assert done.exit_code == 0, done.output
    for said in (
        "left out: mine:train is not here",
        "--data DIR",
        "left out: encoder 'nobody/no-such-model'",
        "HF_HUB_OFFLINE",
    ):
        assert said in " ".join(done.output.split()), said
    [folder] = (tmp_path / "records").iterdir()
    finished = load_run(folder)
    assert [t["task"] for t in finished.header["tasks"]] == ["mine:valid", "hengyu-sts:valid"]
    left_out = [w for w in finished.header["warnings"] if w.startswith("left out: ")]
    assert len(left_out) == 2
    assert not any(str(tmp_path) in w for w in left_out)  # the page is for others
    assert {r.encoder for r in finished.records} == {"hengyu-static", "one rater (model)"}
    assert all(r.value is not None for r in finished.records if r.metric == "spearman" and r.task == "mean")


def test_without_partial_the_same_is_refused(tmp_path: Path) -> None:
    path = suite(tmp_path / "s", TEXT)
    cards = card(tmp_path / "cards")
    with pytest.raises(HengyuError, match="task 'mine:train': mine:train is not here"):
        make_plan(load_suite(path), datasets=[cards])


def test_what_is_named_on_the_command_line_is_never_left_out(tmp_path: Path) -> None:
    path = suite(tmp_path / "s", "partial = true\n" + TEXT)
    run = ["run", str(path), "--datasets", str(card(tmp_path / "cards")), "--out", str(tmp_path), "--quiet"]
    for more, reason in (
        (["--task", "mine:train", "--task", "mine:valid"], "mine:train is not here"),
        (["--encoder", "nobody/no-such-model", "--encoder", "hengyu-static"], "nobody/no-such-model"),
    ):
        done = CliRunner().invoke(main, [*run, *more])
        assert done.exit_code == 2 and reason in done.output


FITTED = """
partial = true
tasks = ["mine:valid", "hengyu-sts:valid"]
encoders = ["hengyu-static"]
entries = ["raw", { entry = "whitening(dim=8)", fit_on = "train" }, { entry = "center", fit_on = "train" }]
baselines = []
resamples = 20
"""


def test_what_cannot_be_fitted_is_a_cell_with_its_reason(tmp_path: Path) -> None:
    path = suite(tmp_path / "s", FITTED)
    run = ["run", str(path), "--datasets", str(card(tmp_path / "cards")), "--out", str(tmp_path)]
    done = CliRunner().invoke(main, run)
    assert done.exit_code == 0, done.output
    [folder] = (tmp_path / "records").iterdir()
    finished = load_run(folder)
    assert sum("fitted on 'train', on mine:valid" in w for w in finished.header["warnings"]) == 1
    white = {r.task: r for r in finished.records if r.metric == "spearman" and r.entry == "whitening(dim=8)"}
    assert white["mine:valid"].status == "unavailable"
    assert "mine:train is not here" in white["mine:valid"].reason and str(tmp_path) not in white["mine:valid"].reason
    assert white["hengyu-sts:valid"].status == "ok" and white["mean"].status == "incomplete"
    raw = {r.task: r.status for r in finished.records if r.metric == "spearman" and r.entry == "raw"}
    assert set(raw.values()) == {"ok"}
    for more in (["--entry", "whitening(dim=8)", "--fit-on", "train"],):  # what is asked for is never left out
        asked = CliRunner().invoke(main, [*run, *more, "--quiet"])
        assert asked.exit_code == 2 and "mine:train is not here" in asked.output


def test_a_task_of_ones_own_takes_the_entries_of_a_suite_that_fit_it(tmp_path: Path) -> None:
    """A card with a test split alone, in a suite that fits whitening on train: what a newcomer does first."""
    text = 'name = "own"\nlabels = { scale = [0, 1], kind = "binary" }\nheader = false\n[splits.test]\nfile = "valid.tsv"\n'
    cards = card(tmp_path / "cards")
    (cards / "own.toml").write_text(text, encoding="utf-8")
    entries = 'entries = ["raw", { entry = "whitening", fit_on = "train" }, "whitening"]\nresamples = 20\n'
    path = suite(
        tmp_path / "s", 'tasks = ["hengyu-sts:test"]\nencoders = ["hengyu-static"]\npoolings = ["mean"]\n' + entries
    )
    run = ["run", str(path), "--datasets", str(cards), "--task", "own:test", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, run)
    assert done.exit_code == 0, done.output
    assert "own has no split 'train'; give it one" in " ".join(done.output.split())
    finished = load_run(next((tmp_path / "records").iterdir()))
    own = [r for r in finished.records if r.task == "own:test" and r.metric == "spearman"]
    white = {r.fit_on: r.status for r in own if r.entry == "whitening"}
    assert white == {"target": "ok", "train": "unavailable"}
    asked = CliRunner().invoke(main, [*run, "--fit-on", "train", "--quiet"])
    assert asked.exit_code == 2 and "own has no split 'train'" in asked.output


def test_labels_that_are_weighed_are_refused_and_not_left_out(tmp_path: Path) -> None:
    path = suite(tmp_path / "s", FITTED.replace('"center", fit_on = "train"', '"cosent", fit_on = "target"'))
    with pytest.raises(HengyuError, match="labels it was trained on"):
        make_plan(load_suite(path), datasets=[card(tmp_path / "cards")])


def test_a_folder_stands_in_for_an_encoder_of_the_suite(tmp_path: Path) -> None:
    wober = "junnyu/wobert_chinese_plus_base"
    loaded = load_suite(share("suites", "whitening-2021.toml"))
    (spec,) = loaded.with_overrides(encoders=(f"{wober}={tmp_path}",)).encoders
    assert (spec.model, spec.name, spec.revision) == (str(tmp_path), wober, "")
    assert (spec.max_length, spec.pre_tokenizer) == (128, "jieba")
    (spec,) = loaded.with_overrides(encoders=("bert-base-chinese",)).encoders
    assert spec in loaded.encoders
    (spec,) = loaded.with_overrides(encoders=("nobody/other",)).encoders
    assert (spec.model, spec.max_length) == ("nobody/other", 0)
    with pytest.raises(HengyuError, match=f"did you mean '{wober}'"):
        loaded.with_overrides(encoders=(f"junnyu/wobert_chinese_base={tmp_path}",))
    with pytest.raises(HengyuError, match="write NAME=FOLDER"):
        loaded.with_overrides(encoders=(f"{wober}=",))
    (tmp_path / "a=b").mkdir()
    (spec,) = loaded.with_overrides(encoders=(str(tmp_path / "a=b"),)).encoders
    assert spec.model == str(tmp_path / "a=b")


def test_with_nothing_at_hand_it_is_refused(tmp_path: Path) -> None:
    cards = card(tmp_path / "cards")
    path = suite(tmp_path / "s", 'partial = true\ntasks = ["mine:train", "mine:test"]')
    with pytest.raises(HengyuError, match="task 'mine:test': mine:test is not here"):
        make_plan(load_suite(path), datasets=[cards])
    path = suite(tmp_path / "s", 'partial = true\ntasks = ["mine:valid"]\nencoders = ["nobody/no-such-model"]')
    done = CliRunner().invoke(main, ["run", str(path), "--datasets", str(cards), "--out", str(tmp_path)])
    assert done.exit_code == 2 and "none of its encoders is available; name one with --encoder" in done.output


def test_a_damaged_file_is_an_error_and_not_a_gap(tmp_path: Path) -> None:
    cards = card(tmp_path / "cards")
    (cards / "train.tsv").write_text("one field\n", encoding="utf-8")
    path = suite(tmp_path / "s", "partial = true\n" + TEXT)
    with pytest.raises(HengyuError) as e:
        make_plan(load_suite(path), datasets=[cards])
    assert not isinstance(e.value, Missing)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_suites_name_their_source_and_run_what_is_there(name: str) -> None:
    path = share("suites", f"{name}.toml")
    loaded = load_suite(path)
    assert loaded.partial == ("tasks", "encoders", "entries", "widths")
    text = path.read_text(encoding="utf-8")
    assert "kexue.fm" in text or "arXiv" in text or "embeddings-benchmark" in text
    assert all("/" in e.model or e.model == "bert-base-chinese" for e in loaded.encoders)
    assert all(len(e.revision) in (0, 40) for e in loaded.encoders)


@pytest.mark.long
@pytest.mark.real
def test_a_published_suite_runs_on_the_splits_at_hand(senteval: Path, tmp_path: Path) -> None:
    for split in ("valid", "test"):
        (tmp_path / "data" / "STS-B").mkdir(parents=True, exist_ok=True)
        shutil.copy(senteval / "STS-B" / f"STS-B.{split}.data", tmp_path / "data" / "STS-B")
    run = [
        "run",
        "whitening-2021",
        "--data",
        str(tmp_path / "data"),
        "--encoder",
        "hengyu-static",
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(main, [*run, "--entry", "whitening(dim=64)"])
    assert done.exit_code == 0, done.output
    finished = load_run(next((tmp_path / "records").iterdir()))
    assert [t["task"] for t in finished.header["tasks"]] == ["STS-B:valid", "STS-B:test"]
    assert sum("left out: " in w for w in finished.header["warnings"]) == 13
    average = next(r for r in finished.records if r.task == "STS-B:w-avg" and r.value is not None)
    assert average.split == "valid+test"
