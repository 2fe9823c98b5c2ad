"""What somebody meets who uses Hengyu for the first time and gets something wrong: one sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from hengyu.base.progress import Progress
from hengyu.cli import main

CARD = """
name = "mine"
columns = { sentence1 = "question", sentence2 = "other", label = "same" }
labels = { scale = [0, 1], kind = "binary" }
[splits.test]
file = "%s"
"""
LINES = [("怎么改密码", "密码忘了怎么改", 1), ("怎么改密码", "怎么改地址", 0), ("几天发货", "什么时候发货", 1)]
HEAD = "question,other,same\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that they stand in, with data/mine.toml and data/mine.csv."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.toml").write_text(CARD % "mine.csv", encoding="utf-8")
    text = HEAD + "".join(f"{a},{b},{y}\n" for a, b, y in LINES)
    (tmp_path / "data" / "mine.csv").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def told(*words: str) -> str:
    done = CliRunner().invoke(main, ["run", *words, "--out", "out", "--quiet"])
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data/mine.toml",), "is the card of a dataset, not a suite; run a suite on it, like 'hengyu run smoke"),
        (("data/mine.csv",), "suite 'data/mine.csv': a suite is a .toml file, or the name of a shipped one"),
        (("smoke", "--datasets", "data/mine.csv"), "is a file; give its folder, 'data'"),
        (("smoke", "--encoder", "hengyu-mni"), "or give the model's folder; did you mean 'hengyu-mini'?"),
        (("smoke", "--encoder", "my-modle"), "did you mean 'my-model'?"),
        (("smoke", "--encoder", "./my-modle"), "no such folder; did you mean 'my-model'?"),
        (
            ("smoke", "--encoder", "my-model/model.safetensors"),
            "is a file; give its folder, 'my-model'",
        ),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(folder: Path, words: tuple[str, ...], said: str) -> None:
    (folder / "my-model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / "my-model" / name).write_text("{}", encoding="utf-8")
    assert said in told(*words)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("mine.xlsx", HEAD, "is an Excel workbook, 'mine.xlsx'; save its sheet as 'CSV UTF-8' and name that file"),
        (
            "x.csv",
            HEAD + "你好,吗,在吗,1\n",
            "line 2: a line must have 3 fields (a field with a comma needs quotes), not 4",
        ),
        (
            "x.csv",
            "a,b,c\n1,2,3\n",
            "the header has no column 'question'; known: a, b, c; give its name in the card's 'columns'",
        ),
    ],
)
def test_a_file_of_the_wrong_kind_is_told_how_to_become_one(folder: Path, file: str, text: str, said: str) -> None:
    (folder / "data" / "mine.toml").write_text(CARD % file, encoding="utf-8")
    (folder / "data" / file).write_text(text, encoding="utf-8")
    assert said in told("smoke", "--datasets", "data", "--task", "mine:test")


@pytest.mark.parametrize("given", [".", "senteval/LCQMC"])
def test_a_data_folder_one_level_off_is_told_which_one_is_meant(folder: Path, given: str) -> None:
    (folder / "senteval" / "LCQMC").mkdir(parents=True)
    (folder / "senteval" / "LCQMC" / "LCQMC.test.data").write_text("甲\t乙\t1\n", encoding="utf-8")
    assert "senteval holds it: give --data senteval" in told("zh-sts", "--data", given, "--task", "LCQMC:test")


def test_one_wrong_word_is_one_sentence_a_dataset_however_many_entries_it_is_for(folder: Path) -> None:
    said = told("smoke", "--fit-on", "trian")
    assert said.count("error:") == 2
    for name in ("hengyu-sts", "hengyu-questions"):
        assert f"--fit-on trian: entry 'whitening' (and 5 more): {name} has no split 'trian'" in said


def test_no_time_is_foretold_from_the_first_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch waits for the model to load; what it took says nothing of the others."""
    from hengyu.base import progress

    said: list[str] = []
    now = iter([0.0, 20.0, 40.0, 60.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    tick = Progress(None)._lines("encoding", 1000)
    monkeypatch.setattr(Progress, "say", lambda self, line: said.append(line))
    for done in (1, 500, 1000):
        tick(done)
    assert said == ["encoding: 1 of 1000", "encoding: 500 of 1000, about 20 s left"]
