"""hengyu card and hengyu run --pairs: what is written in any usual layout is read back as it was."""

from __future__ import annotations

import csv
import io
import json
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hengyu.base.errors import HengyuError
from hengyu.cards import load_card, load_cards, pairs_card
from hengyu.cards.data import load_pairs
from hengyu.cards.guess import Wishes, guess
from hengyu.cli import main

Row = tuple[str, str, float]
TEXTS = [
    ("怎么修改登录密码", "登录密码忘了怎么改"),
    ("什么时候发货", "几天能发货"),
    ("可以开发票吗", "能不能给我开张发票"),
    ("订单怎么取消", "订单怎么合并"),
    ("会员有什么好处", "会员怎么取消"),
    ("你们几点上班", "你们什么时候上班"),
    ("东西坏了怎么办", "收到的商品是坏的"),
    ("怎么联系客服", "客服电话是多少"),
]
NAMES = [
    ("sentence1", "sentence2", "label"),
    ("text_a", "text_b", "score"),
    ("query", "title", "label"),
    ("问题1", "问题2", "标签"),
    ("Sentence A", "Sentence B", "Similarity Score"),
    ("premise", "hypothesis", "gold_label"),
    ("foo", "bar", "baz"),  # of which nothing can be known
    None,
]
KINDS = {
    "binary": ([float(i % 3 == 0) for i in range(8)], lambda y: f"{y:g}"),
    "true or false": ([float(i % 2) for i in range(8)], lambda y: str(bool(y))),
    "degrees": ([0.4 * i for i in range(8)], lambda y: repr(y)),
    "words": ([float(i % 2) for i in range(8)], lambda y: "相似" if y else "不相似"),
}
ORDERS = [(0, 1, 2), (2, 0, 1), (0, 2, 1)]


def layouts(kind: str) -> list[tuple[str, bytes, str]]:
    """Return files of the same rows in many layouts: what it is, its bytes, its name."""
    labels, shown = KINDS[kind]
    found = []
    marks = ["\t", ",", ";", "||", "\x01"]
    for number, (names, order, extra) in enumerate(product(NAMES, ORDERS, ((), ("id", "genre")))):
        mark = marks[number % len(marks)]
        head = [*extra, *([names[i] for i in order] if names else [])]
        rows = [
            [*([str(7 * n), ("news", "web")[n % 2]] if extra else []), *((*pair, shown(y))[i] for i in order)]
            for n, (pair, y) in enumerate(zip(TEXTS, labels, strict=True))
        ]
        table = [head, *rows] if names else rows
        text = "\n".join(mark.join(row) for row in table)
        encoding = ("utf-8", "utf-8-sig", "gb18030", "utf-16")[number % 4]
        found.append(
            (f"{names} {order} {extra} {mark!r}", text.encode(encoding), ("x.csv", "x.tsv", "x.txt", "x")[number % 4])
        )
        if names:
            objects = [dict(zip(head, row, strict=True)) for row in rows]
            found.append((f"{names} {order} {extra} JSON", json.dumps(objects).encode(), "x.json"))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_read_back(tmp_path: Path, kind: str) -> None:
    labels, _ = KINDS[kind]
    want = [(*pair, y) for pair, y in zip(TEXTS, labels, strict=True)]
    for what, content, name in layouts(kind):
        file = tmp_path / name
        file.write_bytes(content)
        pairs = load_pairs(pairs_card(file), "test")
        assert list(zip(pairs.first, pairs.second, pairs.labels.tolist(), strict=True)) == want, what


def write(file: Path, rows: list[Row], *, head: str = "", quoting: int = csv.QUOTE_MINIMAL) -> Path:
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="\n", quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    file.write_text(head + out.getvalue(), encoding="utf-8")
    return file


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_quoted_tsv(tmp_path: Path, quoting: int) -> None:
    rows = [('他说"好"', "好的", 1.0), ("两\n行", "一行", 0.0), ("甲乙", "丙丁", 1.0)]
    file = write(tmp_path / "my.tsv", rows, quoting=quoting)
    card = pairs_card(file)
    assert card.quoting == "csv"
    assert load_pairs(card, "test").first == tuple(a for a, *_ in rows)


@pytest.mark.parametrize(
    ("rows", "kind", "scale", "meanings"),
    [
        (["1", "0"], "binary", (0, 1), {}),
        (["1", "-1"], "binary", (0, 1), {"1": 1, "-1": 0}),
        (["0.5", "1"], "graded", (0, 1), {}),
        (["4.5", "0"], "graded", (0, 5), {}),
        (["-0.5", "0.5"], "graded", (-1, 1), {}),
        (["87", "3"], "graded", (0, 100), {}),
        (["entailment", "contradiction"], "binary", (0, 1), {"entailment": 1, "contradiction": 0}),
        (["是", "否"], "binary", (0, 1), {"是": 1, "否": 0}),
    ],
)
def test_label_scales(
    tmp_path: Path, rows: list[str], kind: str, scale: tuple[float, float], meanings: dict[str, float]
) -> None:
    file = tmp_path / "my.tsv"
    file.write_text("".join(f"{a}\t{b}\t{rows[i % 2]}\n" for i, (a, b) in enumerate(TEXTS)), encoding="utf-8")
    found = guess(file)
    assert (found.kind, found.scale, found.label_map) == (kind, scale, meanings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (
            "一段话\t另一段话\n又一段\t再一段\n",
            "its lines have two columns (line 1 is '一段话\\t另一段话'); pairs need a third one, the label",
        ),
        ("一段话,另一段话\n又一段,再一段\n", "its lines have two columns"),
        ("一段话。\n另一段话。\n", "no separator gives all lines the same number of fields"),
        ("a\tb\tlabelA\tlabelB\n甲\t乙\t1\t0\n丙\t丁\t0\t1\n", "columns labelA, labelB could hold the label"),
        ("x\ty\tz\tlabel\n甲\t乙\t丙\t1\n丁\t戊\t己\t0\n", "columns x, y, z could hold the sentences"),
        ("".join(f"甲{i}\t乙{i}\t{'好坏'[i % 2]}\n" for i in range(8)), "the meaning of '坏', '好' is unknown"),
        ("版本\t说明\t备注\n一\t二\t三\n四\t五\t六\n", "no column looks like the label"),
    ],
)
def test_what_cannot_be_decided_is_said(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "my.tsv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(HengyuError) as e:
        guess(file)
    (problem,) = e.value.problems
    assert problem.startswith(str(file)) and said in problem
    if "could" in said:
        assert "--columns" in problem


def test_wishes_decide(tmp_path: Path) -> None:
    file = tmp_path / "my.tsv"
    file.write_text("x\ty\tz\tlabel\n甲\t乙\t丙\t1\n丁\t戊\t己\t0\n", encoding="utf-8")
    assert guess(file, Wishes(columns=("x", "z", "label"))).columns == ("x", "z", "label")
    assert guess(file, Wishes(columns=("0", "2", "3"))).columns == ("x", "z", "label")
    with pytest.raises(HengyuError, match="has no column 'lable'; did you mean 'label'"):
        guess(file, Wishes(columns=("x", "z", "lable")))
    graded = guess(file, Wishes(columns=("x", "z", "label"), kind="graded", scale=(0, 2)))
    assert (graded.kind, graded.scale) == ("graded", (0, 2))


# --- the commands


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, words)], prog_name="hengyu")


def test_a_card_is_written_once(tmp_path: Path) -> None:
    file = write(tmp_path / "my pairs.tsv", [(*t, float(i % 2)) for i, t in enumerate(TEXTS)])
    done = run("card", file)
    assert done.exit_code == 0, done.output
    card = tmp_path / "my pairs.toml"
    for part in (
        "separator  tab: 3 fields per line",
        "header     no",
        TEXTS[0][0],
        f"card: {card}",
        "8 pairs, labels 0 (4)",
    ):
        assert part in done.output, done.output
    assert load_card(card).name == "my-pairs"
    again = run("card", file)
    assert again.exit_code == 2 and "already exists; --force replaces it" in again.output
    assert run("card", file, "--force", "--columns", "1,0,2").exit_code == 0
    assert load_card(card).columns.sentence1 == 1
    assert pairs_card(file).columns.sentence1 == 1  # the card beside a file counts, and not the guess
    shown = run("card", file, "--out", "-")
    assert shown.exit_code == 0 and 'name = "my-pairs"' in shown.stdout and "separator" not in shown.stdout
    elsewhere = tmp_path / "cards" / "other.toml"
    elsewhere.parent.mkdir()
    done = run("card", file, "--out", elsewhere, "--map", "1.0=1,0.0=0")
    assert done.exit_code == 0 and f"--data {tmp_path}" in done.output, done.output
    assert load_card(elsewhere).label_map == {"1.0": 1.0, "0.0": 0.0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--encoding", "gb18031"), "did you mean 'gb18030'?"),
        (("--columns", "a,b"), "name three different columns"),
        (("--map", "x"), "write each label of the file and its value"),
        (("--scale", "5", "0"), "give the lowest label first"),
        (("--out", "."), ".: already exists"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    file = write(tmp_path / "my.tsv", [(*t, float(i % 2)) for i, t in enumerate(TEXTS)])
    done = run("card", file, *words)
    assert done.exit_code == 2 and said in done.output and "Traceback" not in done.output, done.output


def test_mistakes_of_the_data_are_named_and_the_card_is_there_to_edit(tmp_path: Path) -> None:
    file = write(tmp_path / "my.tsv", [(*t, float(i % 2)) for i, t in enumerate(TEXTS)])
    file.write_text(file.read_text(encoding="utf-8") + "坏\n", encoding="utf-8")
    done = run("card", file)
    assert done.exit_code == 2 and "line 9: a line must have 3 fields" in done.output
    assert (tmp_path / "my.toml").is_file()


def test_a_name_that_ships_is_not_taken(tmp_path: Path) -> None:
    file = write(tmp_path / "LCQMC.tsv", [(*t, float(i % 2)) for i, t in enumerate(TEXTS)])
    assert pairs_card(file).name == "LCQMC-pairs"
    assert {"LCQMC", "LCQMC-pairs"} <= set(load_cards((file,)))


def test_run_on_pairs(tmp_path: Path) -> None:
    file = write(tmp_path / "my.tsv", [(*t, float(i % 2)) for i, t in enumerate(TEXTS)])
    words = ("--entry", "raw", "--pooling", "mean", "--out", tmp_path / "out")
    done = run("run", "--pairs", file, *words)
    assert done.exit_code == 0, done.output
    assert "columns    sentence1 = 0 (position)" in done.stderr
    (folder,) = (tmp_path / "out" / "records").iterdir()
    head = json.loads((folder / "run.json").read_bytes())
    assert [t["task"] for t in head["tasks"]] == ["my:test"]
    assert head["tasks"][0]["n"] == len(TEXTS)
    # with the card that is written beside it, the same numbers
    assert run("card", file).exit_code == 0
    again = run("run", "--pairs", file, *words)
    assert again.exit_code == 0 and f"read with the card {tmp_path / 'my.toml'}" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "name a suite, like 'hengyu run smoke'"),
        (("run", "--pairs", "nowhere.tsv"), "nowhere.tsv: no such file"),
        (("run", "--pairs", "."), ".: is a folder"),
        (("run", "my.tsv"), "hengyu run --pairs my.tsv"),
        (("card", "my.toml"), "is a card or a suite, not a file of pairs"),
    ],
)
def test_words_in_the_wrong_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my.tsv", "my.toml"):
        (tmp_path / name).write_text("", encoding="utf-8")
    done = run(*words)
    assert done.exit_code == 2 and said in done.output and "Traceback" not in done.output, done.output
