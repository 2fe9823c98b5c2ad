"""Test sentences in training data: all that is the same or nearly so, and scores without it."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.report.board.terminal import print_task_board
from hengyu.report.page.leaderboard import render
from hengyu.storage.records import Run, load_run
from hengyu.storage.records.audits import load_audits
from hengyu.tools.audit.effect import effects
from hengyu.tools.audit.overlap import FileLines, SplitLines, find_overlap
from hengyu.tools.distillation.contamination import NEAR, NearDuplicates

CARD = """name = "{name}"
columns = {{ sentence1 = "a", sentence2 = "b", label = "c" }}
labels = {{ scale = [0, 5] }}
[splits.test]
file = "{name}.test.tsv"
[splits.train]
file = "{name}.train.tsv"
"""
TEXTS = (
    "今天天气很好，我们去公园散步吧",
    "他不是这个学校的学生",
    "她晚上在家里看书",
    "这个问题非常重要，要先解决",
    "你明天下午有没有时间",
    "公园里有很多人在跑步",
    "学生们都在教室里看书",
    "天气不好的时候就在家里",
    "留给我们的时间不多了",
    "他们昨天都去公园了",
    "那个问题已经解决了",
    "家里没有人接电话",
)


USUAL = ("--entry", "raw", "--entry", "center")


def write(path: Path, rows: list[tuple[str, str, int]]) -> None:
    path.write_text("a\tb\tc\n" + "".join(f"{a}\t{b}\t{c}\n" for a, b, c in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A card whose train split holds some of the test sentences, and a run of its test split."""
    root = tmp_path_factory.mktemp("audit")
    data = root / "cards"
    data.mkdir()
    (data / "mine.toml").write_text(CARD.format(name="mine"), encoding="utf-8")
    test = [(TEXTS[i % 12], TEXTS[(i * 5 + 1 + i // 12) % 12] + "。" * (i // 12), (i * i + 3) % 6) for i in range(48)]
    write(data / "mine.test.tsv", test)
    train = [(TEXTS[1], "完全不同的一句话在这里", 3), ("她，晚上在家里看书！", "没有关系的另一句话", 2),
             ("你明天下午有没有时间呢", "还有一句没有关系的话", 1), (TEXTS[5], TEXTS[2], 0)]  # fmt: skip
    write(data / "mine.train.tsv", train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HENGYU_CACHE", str(root / "cache"))
        patch.setenv("HENGYU_REPORTS", str(root / "out"))
        evaluated(root, tiny_bert, *USUAL)
    return root


@pytest.fixture
def folder(tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the card and its run for a test of its own."""
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path / "out"))
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_each_sense_is_found_and_the_strictest_counts(folder: Path) -> None:
    card = load_cards([folder / "cards"])["mine"]
    test, train = (load_pairs(card, split) for split in ("test", "train"))
    small = [i for i in range(len(test.labels)) if i < 12]
    (found,) = find_overlap([test], [SplitLines(train)])
    exact = {TEXTS[1], TEXTS[2], TEXTS[5]}
    texts = set(test.first) | set(test.second)
    assert found.sentences == len(texts) and found.found["exact"] == len(exact & texts)
    # "。" at the end is no letter, so that copies of the same sentences with it are normalised
    assert found.found["normalised"] == sum(t.rstrip("。") in exact and t not in exact for t in texts)
    assert found.found["near"] == sum(t.rstrip("。") == TEXTS[4] for t in texts)
    seen = exact | {TEXTS[4]}
    wanted = [(test.first[i] in seen, test.second[i] in seen) for i in small]
    assert found.masks["any"][small].tolist() == [a or b for a, b in wanted]
    assert found.masks["both"][small].tolist() == [a and b for a, b in wanted]
    pair = {TEXTS[5], TEXTS[2]}
    together = [{a.rstrip("。"), b.rstrip("。")} == pair for a, b in zip(test.first, test.second, strict=True)]
    assert found.masks["together"].tolist() == together
    place = {(p, side): (sense, line) for p, side, sense, _, line in found.examples}
    assert place[1, 1] == ("exact", 1)  # the second pair begins with TEXTS[1], which is the first training pair


def test_a_corpus_is_read_line_by_line(folder: Path) -> None:
    corpus = folder / "corpus.txt"
    corpus.write_text("\n一行别的话\n他不是这个学校的学生\n", encoding="utf-8")
    test = load_pairs(load_cards([folder / "cards"])["mine"], "test")
    (found,) = find_overlap([test], [FileLines(corpus)])
    assert found.found["exact"] == 1 and "together" not in found.masks
    assert {e[3] for e in found.examples} == {"corpus.txt"}


letters = st.text(alphabet="今天气真好我们去公园", min_size=1, max_size=12)


@settings(deadline=None)
@given(st.lists(letters, max_size=12), letters)
def test_no_near_duplicate_is_missed(known: list[str], text: str) -> None:
    def pairs(x: str) -> set[str]:
        return {x[i : i + 2] for i in range(len(x) - 1)}

    def jaccard(a: str, b: str) -> float:
        return len(pairs(a) & pairs(b)) / len(pairs(a) | pairs(b))

    wanted = {x for x in known if min(len(x), len(text)) >= 4 and jaccard(x, text) >= NEAR}
    assert set(NearDuplicates(dict.fromkeys(known)).alike(text)) == wanted


def evaluated(folder: Path, model: Path, *more: str) -> Run:
    """Return the run that is there, or one with entries of its own."""
    if not more:
        return load_run(next(p for p in (folder / "out" / "records").iterdir()))
    words = ["run", "zh-sts", "--datasets", str(folder / "cards"), "--task", "mine:test", "--encoder", str(model), "--pooling",
             "mean", "--quiet", *more]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return load_run(Path(done.output.partition("records: ")[2].split("\n")[0]))


def test_scores_without_the_seen_pairs(folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert)
    card = load_cards([folder / "cards"])["mine"]
    seen = np.zeros(48, np.bool_)
    found = {e.key.entry: e for e in effects(run, "mine:test", seen, 64) if e.key.encoder == tiny_bert.name}
    for e in found.values():  # nothing was seen, nothing changes
        assert e.whole == e.unseen and e.change == (0, 0, 0)
    seen[:12] = True
    found = {e.key.entry: e for e in effects(run, "mine:test", seen, 64) if e.key.encoder == tiny_bert.name}
    raw, other = found["raw"], found["center"]
    assert raw.beyond is None and other.beyond is not None
    assert raw.change[0] == pytest.approx(raw.whole - raw.unseen)
    assert raw.change[1] <= raw.change[0] <= raw.change[2]
    assert other.beyond[0] == pytest.approx(other.change[0] - raw.change[0])
    # the score without the seen pairs is that of a card that holds the others alone
    lines = (folder / "cards" / "mine.test.tsv").read_text(encoding="utf-8").splitlines()
    (folder / "cards" / "mine.test.tsv").write_text("\n".join([lines[0], *lines[13:]]) + "\n", encoding="utf-8")
    rest = evaluated(folder, tiny_bert, "--entry", "raw")
    (value,) = (r.value for r in rest.records if r.metric == "spearman" and r.card and r.encoder == tiny_bert.name)
    assert value == pytest.approx(raw.unseen, abs=1e-9)
    assert card.name == "mine"


def invoked(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["audit", *words, "--quiet"])
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def test_the_command_counts_and_scores(folder: Path, tiny_bert: Path) -> None:
    cards = ["--datasets", str(folder / "cards")]
    code, said = invoked("mine:train", "--task", "mine:test", *cards)
    assert code == 0 and "seen as a pair" in said and "sentence 1 of pair 2 is in mine:train, 1 (exact)" in said
    assert not any(text in said for text in TEXTS)  # it names places and prints no sentence
    run = evaluated(folder, tiny_bert)
    out = folder / "audit.json"
    code, said = invoked("mine:train", "--run", run.id, "--json", str(out))
    assert code == 0 and "beyond raw" in said
    content: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    (task,) = content["tasks"]
    assert task["pairs"] == 48 and len(task["effects"]) >= 2 and task["seen"]["together"]


def test_what_a_tuner_saw_is_audited_without_being_named(folder: Path, tiny_bert: Path) -> None:
    rows = [
        tuple(line.split("\t"))
        for line in (folder / "cards" / "mine.train.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
    ]
    more = [
        (f"别的话说到{c}的时候", f"没有关系的{c}字", i % 6)
        for i, c in enumerate("先生看书学习今天明天上午下午公园学校")
    ]
    write(folder / "cards" / "mine.train.tsv", [*((a, b, int(c)) for a, b, c in rows), *more])
    plain = evaluated(folder, tiny_bert)
    run = evaluated(folder, tiny_bert, "--entry", "raw", "--entry", "cosent(epochs=1, batch=4)", "--fit-on", "train")
    code, said = invoked("--run", run.id)
    assert code == 0 and "mine:train" in said and "cosent" in said
    code, said = invoked("--run", plain.id)
    assert code == 2 and "no row was fine-tuned on another split" in said


def shown(run: Run) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_task_board(run, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_what_was_seen_stands_on_board_and_page(folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert)
    before = render(run)
    assert "also in a corpus.txt" not in before + shown(run)
    corpus = folder / "a corpus.txt"
    corpus.write_text("他不是这个学校的学生\n", encoding="utf-8")
    for words in (["mine:train"], [str(corpus)], ["mine:train"]):  # the third replaces the first
        code, said = invoked(*words, "--run", run.id)
        assert code == 0 and f"kept in {run.path / 'audit.json'}" in said
    card = load_cards([folder / "cards"])["mine"]
    test, train = (load_pairs(card, split) for split in ("test", "train"))
    (wanted,) = find_overlap([test], [SplitLines(train)])
    one, two = load_audits(run)
    assert (one.n, one.any, one.together) == (48, 8, None) and one.collections[0].name == "a corpus.txt"
    assert [two.any, two.both, two.together] == [int(wanted.masks[k].sum()) for k in ("any", "both", "together")]
    assert two.collections[0].sha256 == train.digest
    lines = [
        "pairs with a sentence that is also in a corpus.txt: 8 (16.7%), with both: 0 (0.0%)",
        f"pairs with a sentence that is also in mine:train: {two.any} ({two.any / 48:.1%}), with both: {two.both} "
        f"({two.both / 48:.1%}), as one pair: {two.together} ({two.together / 48:.1%})",
    ]
    page = render(load_run(run.path))
    for line in lines:
        assert f"mine:test: {line}\n" in shown(run)
        assert line in page
    assert f"{two.any} ({two.any / 48:.1%})</small>" in page
    # the same as any other text of the page: nothing of it holds a sentence
    assert not any(text in (run.path / "audit.json").read_text(encoding="utf-8") for text in TEXTS)


def test_a_kept_audit_of_another_run_or_other_pairs_is_not_used(folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert, *USUAL)  # again, for the card of this folder
    assert invoked("mine:train", "--run", run.id)[0] == 0
    kept = (run.path / "audit.json").read_bytes()
    other = evaluated(folder, tiny_bert, "--entry", "raw")
    (other.path / "audit.json").write_bytes(kept)
    assert load_audits(run) and not load_audits(other)
    tasks = [{**t, "digest": "0" * 64} for t in run.header["tasks"]]
    assert not load_audits(replace(run, header={**run.header, "tasks": tasks}))
    assert not load_audits(replace(run, header={**run.header, "key": "0" * 64}))
    # a card whose file has changed since is not audited for the run
    rows = (folder / "cards" / "mine.test.tsv").read_text(encoding="utf-8")
    (folder / "cards" / "mine.test.tsv").write_text(rows.replace("看书", "写字"), encoding="utf-8")
    code, said = invoked("mine:train", "--run", run.id)
    assert code == 2 and f"is not the file that run {run.id} read" in " ".join(said.split())
    assert (run.path / "audit.json").read_bytes() == kept


@pytest.mark.parametrize("damage", ["cut", "digit", "counts", "type"])
def test_a_damaged_audit_is_refused_in_a_sentence(damage: str, folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert)
    assert invoked("mine:train", "--run", run.id)[0] == 0
    path = run.path / "audit.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    one = content["audits"][0]
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        one["any"] = {"digit": one["any"] + 1, "counts": 49, "type": "8"}[damage]
        path.write_text(json.dumps(content), encoding="utf-8")
    for words in (["report", run.id], ["audit", "mine:train", "--run", run.id, "--quiet"]):
        done = CliRunner().invoke(main, words)
        said = " ".join(done.output.split())
        assert done.exit_code == 2 and str(path) in said and "delete it and run 'hengyu audit'" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name what may have been seen"),
        (["mine:train"], "name what may have been seen"),
        (["nowhere.txt", "--task", "hengyu-sts:test"], "'nowhere.txt': no such file"),
        (["nobody:train", "--task", "hengyu-sts:test"], "there is no dataset 'nobody'"),
    ],
)
def test_mistakes_are_sentences(words: list[str], said: str) -> None:
    code, output = invoked(*words)
    assert code == 2 and said in " ".join(output.split())
