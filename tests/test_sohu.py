"""The tasks of SOHU 2021, on tiny invented files in the layouts that people have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.fakehub import REVISION, FakeHub

from hengyu.base.errors import HengyuError
from hengyu.bench.task_inputs import make_training_data
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cards.hub import fetch
from hengyu.cli import main
from hengyu.storage.records import load_run
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

FOLDERS = {"ss": "短短", "sl": "短长", "ll": "长长"}
SHORT = ("地铁新线今天通车", "球队主场赢了比赛", "展览周末开幕", "新线通车市民试乘", "比赛主场获胜", "画展下周开始")
LONG = tuple(f"{text}，现场来了很多人。" * 12 for text in SHORT)
SIDES = {"ss": (SHORT, SHORT), "sl": (SHORT, LONG), "ll": (LONG, LONG)}


def rows(code: str, label: str) -> list[dict[str, str]]:
    first, second = SIDES[code]
    return [
        {"source": first[i], "target": f" {second[(i + 3) % 6 if i % 2 else (i + 1) % 6]} ", label: str(i % 2)}
        for i in range(6)
    ]


def competition(folder: Path) -> Path:
    for code, name in FOLDERS.items():
        for letter in "AB":
            place = folder / f"{name}匹配{letter}类"
            place.mkdir()
            lines = [json.dumps(r, ensure_ascii=False) for r in rows(code, f"label{letter}")]
            for split in ("train", "valid"):
                (place / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("code", FOLDERS)
@pytest.mark.parametrize("letter", "AB")
def test_the_six_are_read_as_the_competition_gives_them(code: str, letter: str, tmp_path: Path) -> None:
    card = load_cards()[f"SOHU-{code}-{letter}"]
    assert card.binary and ("same topic" if letter == "A" else "same event") in card.description
    for split in ("train", "valid"):
        pairs = load_pairs(card, split, competition(tmp_path) if split == "train" else tmp_path)
        assert pairs.labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert pairs.first[0] == SIDES[code][0][0] and SIDES[code][1][1] in pairs.second[0]


def test_the_pool_of_a_task_is_fetched_from_the_hub(hub: FakeHub) -> None:
    card = load_cards()["SOHU-sl-B"]
    assert card.hub is not None
    lines = [
        {"sentence1": r["source"], "sentence2": r["target"], "label": int(r["labelB"])} for r in rows("sl", "labelB")
    ]
    hub.repositories[card.hub.id] = {
        f"{name}.jsonl": "\n".join(json.dumps(line) for line in own).encode()
        for name, own in (("dca", lines[:4]), ("dcb", lines), ("ddb", lines[:2]))
    }
    (path,) = fetch(replace(card, hub=replace(card.hub, revision=REVISION)))
    assert path.is_file() and path.read_text(encoding="utf-8").count("\n") == 6


def test_a_file_that_is_not_the_public_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "SOHU").mkdir()
    (tmp_path / "SOHU" / "dd-test.jsonl").write_text(
        '{"sentence1": "a", "sentence2": "b", "label": 5}\n', encoding="utf-8"
    )
    with pytest.raises(HengyuError, match="sha256"):
        load_pairs(load_cards()["SOHU-dd"], "test", tmp_path)


def test_the_suite_reads_long_texts_three_ways(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    names = ("", " head-tail", " windows")
    words = [
        "run",
        "sohu-2021",
        "--data",
        str(competition(data)),
        "--entry",
        "raw",
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    for name in names:
        words += ["--encoder", f"hengyu-small{name}={tiny_bert}"]
    for code in FOLDERS:
        words += ["--task", f"SOHU-{code}-A:valid"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    run = load_run(Path(done.output.partition("records: ")[2].split("\n")[0]))
    values = {
        (r.encoder, r.task): r.value for r in run.records if r.metric == "spearman" and r.card and r.pooling != "-"
    }
    encoders = [f"hengyu-small{name}" for name in names]
    assert {e for e, _ in values} == set(encoders)
    short = {round(values[e, "SOHU-ss-A:valid"] or 0, 6) for e in encoders}
    assert len(short) == 1
    kept = {
        e["encoder"]: e["coverage"]["SOHU-ll-A:valid"]["truncated"] for e in run.header["encoders"] if "coverage" in e
    }
    assert kept == {"hengyu-small": 1, "hengyu-small head-tail": 1, "hengyu-small windows": 0}


def test_the_six_tasks_are_trained_on_together_and_apart(tmp_path: Path) -> None:
    for path in competition(tmp_path).glob("*/train.txt"):  # other pairs than those of valid
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([*lines[::-1], *lines]) + "\n", encoding="utf-8")
    suite = Path(__file__).parents[1] / "suites" / "multi-task-sohu.toml"
    plan = make_plan(load_suite(suite), data_dir=tmp_path)
    apart, together = "train", plan.suite.fit_on
    for task in plan.tasks:
        card = task.pairs.card.name
        assert plan.fits[task.name, apart].splits == (f"{card}:train",)
        data = make_training_data(plan.texts, task, plan.fits[task.name, together], plan.held.get(task.name))
        assert len(data.cards) == 6 and data.card == card and data.held is None  # so that all six share the training
        assert data.pairs is not None and data.pairs.groups is not None
        assert np.bincount(data.pairs.groups).tolist() == [12] * 6
