"""Discovery of words: equal to the published steps in plain Python, laws of counting and cutting, and what users see."""

from __future__ import annotations

import lzma
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import save_grades
from hypothesis import given, settings
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.encoders.lexical import baseline_cosines
from hengyu.methods.grammar import parse_entry
from hengyu.numerics.words import COHESION, Segmenter, Tally, discover_words
from hengyu.storage.records import load_run
from hengyu.suites.suite import load_suite

VOCABULARY = [
    "我们",
    "喜欢",
    "数学",
    "共和国",
    "中华人民共和国",
    "的",
    "各",
    "项目",
    "天气",
    "很",
    "好",
    "北京",
    "大学",
    "iphone",
]


def corpus(n: int = 4000, seed: int = 0) -> list[str]:
    """Lines of words drawn at random, with punctuation."""
    rng = np.random.default_rng(seed)
    return [
        "".join(VOCABULARY[int(i)] for i in rng.integers(0, len(VOCABULARY), 6)) + "。" + VOCABULARY[k % 5]
        for k in range(n)
    ]


def published(lines: list[str], min_count: int, cohesion: tuple[float, ...] = COHESION) -> dict[str, int]:
    """The steps of kexue.fm 4256 and 6920, one piece at a time."""
    runs = [run for line in lines for run in re.split("[^\u4e00-\u9fff0-9a-z]+", line.lower()) if run]
    grams = Counter(run[i : i + n] for run in runs for n in range(1, 5) for i in range(len(run) - n + 1))
    total = sum(count for gram, count in grams.items() if len(gram) == 1)
    firm = {
        g
        for g, count in grams.items()
        if len(g) > 1
        and count >= min_count
        and min(math.log(total * count / (grams[g[:i]] * grams[g[i:]])) for i in range(1, len(g)))
        >= cohesion[len(g) - 2]
    }
    words: Counter[str] = Counter()
    for run in runs:
        joined = [False] * len(run)
        for i in range(len(run)):
            for n in range(2, 5):
                if run[i : i + n] in firm and i + n <= len(run):
                    joined[i + 1 : i + n] = [True] * (n - 1)
        start = 0
        for i in range(1, len(run) + 1):
            if i == len(run) or not joined[i]:
                words[run[start:i]] += 1
                start = i

    def real(word: str) -> bool:
        if len(word) < 3:
            return True
        return all(word[i : i + 4] in firm for i in range(len(word) - 3)) if len(word) > 4 else word in firm

    return {w: c for w, c in words.items() if c >= min_count and len(w) > 1 and real(w)}


@pytest.mark.parametrize(
    ("min_count", "cohesion"), [(32, COHESION), (5, (1.0, 3.0, 5.0)), (1, (0.0, 0.0, 0.0)), (100, (3.0, 3.0, 3.0))]
)
def test_words_are_those_of_the_published_steps(min_count: int, cohesion: tuple[float, ...]) -> None:
    lines = corpus(800)
    found = discover_words(
        lambda: ["\n".join(lines[i : i + 97]) for i in range(0, 800, 97)], min_count=min_count, cohesion=cohesion
    )
    assert dict(found.words) == published(lines, min_count, cohesion)
    assert found.lost == 0 and found.characters == sum(c not in "。" for line in lines for c in line)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("中国人a1。 \n𠀀Ａ", max_size=12), max_size=12), st.integers(1, 3))
def test_any_text_is_cut_like_the_published_steps(lines: list[str], min_count: int) -> None:
    from hengyu.numerics.words import plain_text

    found = discover_words(lambda: lines, min_count=min_count, cohesion=(0.5, 1.0, 1.5))
    plain = [plain_text(line) for line in lines]
    assert dict(found.words) == published(plain, min_count, (0.5, 1.0, 1.5))


def test_known_words_come_back_and_their_overlaps_do_not() -> None:
    found = discover_words(lambda: ["\n".join(corpus())], min_count=32)
    assert {"我们", "喜欢", "数学", "项目", "天气", "北京", "大学"} <= set(found.words)
    assert "各项目" not in found.words and "的天气" not in found.words
    counts = list(found.words.values())
    assert counts == sorted(counts, reverse=True)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=300), st.integers(4, 60), st.integers(1, 50))
def test_a_bounded_tally_never_counts_too_much_nor_loses_more_than_it_says(
    numbers: list[int], most: int, part: int
) -> None:
    tally, exact = Tally(most), Counter(numbers)
    for start in range(0, len(numbers), part):
        tally.add(np.array(numbers[start : start + part], np.uint64))
        tally.settle()
        assert len(tally.codes) <= most
    counts = tally.of(np.arange(41, dtype=np.uint64))
    for number in range(41):
        assert exact[number] - tally.lost <= counts[number] <= exact[number]
    if len(exact) <= most:
        assert tally.lost == 0


def test_less_memory_finds_fewer_words_and_says_so() -> None:
    parts = ["\n".join(corpus(800)[i : i + 100]) for i in range(0, 800, 100)]
    bounded = discover_words(lambda: parts, min_count=20, most=40)
    assert bounded.lost > 0 and set(bounded.words) <= set(discover_words(lambda: parts, min_count=20).words)


@settings(deadline=None, max_examples=60)
@given(st.text("我们喜欢数学abc1 。𠀀", max_size=15))
def test_segments_are_the_text_and_as_likely_as_any(text: str) -> None:
    words = {"我们": 5, "喜欢": 9, "欢数": 20, "数学": 4, "喜欢数学": 2}
    total = sum(words.values()) + 1
    segments = Segmenter(words)(text)
    assert "".join(segments) == re.sub(r"\s", "", text)

    def cost(pieces: list[str]) -> float:
        return sum(math.log(total / words.get(p, 1)) for p in pieces)

    for run in re.findall("[\u4e00-\u9fff]+", text):
        every = (
            [[]]
            if not run
            else [
                [run[i:j] for i, j in zip((0, *cuts), (*cuts, len(run)), strict=True)]
                for mask in range(1 << (len(run) - 1))
                for cuts in [tuple(i + 1 for i in range(len(run) - 1) if mask >> i & 1)]
            ]
        )
        best = min(cost(p) for p in every if all(len(w) == 1 or w in words for w in p))
        assert cost(Segmenter(words)(run)) == pytest.approx(best)


def test_one_segmentation() -> None:
    segmenter = Segmenter({"中华": 5, "人民": 6, "共和国": 4, "共和": 3, "中华人民共和国": 1})
    assert segmenter("中华人民共和国的ＩＰhone 15，好") == ["中华人民共和国", "的", "iphone", "15", ",", "好"]
    assert segmenter("") == []


def test_search_by_discovered_words_and_by_a_list(tmp_path: Path) -> None:
    texts = corpus(600)
    own = parse_entry("bm25(grams=words)").steps[-1].make().build(texts)
    words = discover_words(lambda: ["\n".join(dict.fromkeys(texts))]).words
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{w}\t{c}\n" for w, c in words.items()), encoding="utf-8")
    listed = parse_entry(f'bm25(grams=words, words="{path}")')
    for a, b in zip(own.search(texts[:20], 5), listed.steps[-1].make().build(texts).search(texts[:20], 5), strict=True):
        np.testing.assert_array_equal(a, b)
    before = listed.steps[-1].key
    path.write_text("数学\t3\n", encoding="utf-8")
    assert listed.steps[-1].key != before  # the content of the file is part of every key
    for text, says in (("数学 3\n", "line 1 is not a word, a tab and a count"), ("", "holds no words")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(HengyuError, match=says):
            listed.check_files()
    with pytest.raises(HengyuError, match="needs grams=words"):
        parse_entry("tfidf(words=list.txt)")
    missing = parse_entry("rrf(bm25, tfidf(grams=words, words=missing.txt))")  # a run with it can still be shown
    with pytest.raises(HengyuError, match="cannot be read .No such file or directory.; write a list of words"):
        missing.check_files()


def test_baselines_over_words_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = corpus(400)
    first, second = texts[:200], texts[200:]
    segmenter = Segmenter(discover_words(lambda: ["\n".join(dict.fromkeys(texts))]).words)
    rows = TfidfVectorizer(analyzer=segmenter, sublinear_tf=True).fit_transform(texts)
    found, dim = baseline_cosines("tfidf-words", first, second)
    np.testing.assert_allclose(found, np.asarray(rows[:200].multiply(rows[200:]).sum(axis=1)).ravel())
    assert dim == rows.shape[1] < baseline_cosines("tfidf", first, second)[1]


def test_paths_in_a_suite_count_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "list.txt").write_text("数学\t3\n", encoding="utf-8")
    listed = "bm25(grams=words, words=list.txt)"
    text = (
        f'kind = "retrieval"\ntasks = ["hengyu-sts:test"]\nrelevant = 4\nbaselines = ["{listed}"]\n'
        f'entries = ["flat", "rrf(flat, {listed})"]\ncompare = [["rrf(flat, {listed})", "{listed}"]]\n'
    )
    (tmp_path / "suite" / "s.toml").write_text(text, encoding="utf-8")
    for folder, place in ((tmp_path, "suite/list.txt"), (tmp_path / "suite", "list.txt")):
        monkeypatch.chdir(folder)
        suite = load_suite(Path(place).parent / "s.toml")
        placed = str(parse_entry(f'bm25(grams=words, words="{place}")'))
        assert suite.baselines == (placed,)
        assert [str(e.entry) for e in suite.entries] == ["flat", f"rrf(flat, {placed})"]
        assert suite.compare == ((f"rrf(flat, {placed})", placed),)
    (tmp_path / "suite" / "s.toml").write_text(text.replace("list.txt", "no.txt"), encoding="utf-8")
    with pytest.raises(HengyuError, match=r"no\.txt: cannot be read"):
        load_suite(Path("s.toml"))
    with pytest.raises(HengyuError, match="cannot hold a path with a quotation mark"):
        parse_entry(listed).from_folder(Path('a"b'))


def test_the_command_writes_a_list_that_a_suite_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_grades(tmp_path)
    lines = corpus(500)
    Path("a.txt.xz").write_bytes(lzma.compress("\n".join(lines[:250]).encode()))
    Path("b.txt").write_text("\n".join(lines[250:]), encoding="utf-8")
    run = CliRunner()
    done = run.invoke(main, ["words", "a.txt.xz", "b.txt", "--out", "list.txt", "--quiet"])
    assert done.exit_code == 0, done.output
    rows = [line.split("\t") for line in Path("list.txt").read_text(encoding="utf-8").splitlines()]
    assert {w: int(c) for w, c in rows} == published(lines, 32)
    assert done.output.startswith(f"list.txt: {len(rows)} words of ")
    rows = [line.split("\t")[:2] for line in Path("test.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    texts = sorted({text for row in rows for text in row})
    np.save("grades.npy", np.random.default_rng(0).normal(size=(len(texts), 8)).astype(np.float32))
    Path("grades.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    Path("s.toml").write_text(
        'kind = "retrieval"\nrelevant = 4\ntasks = ["grades:test"]\nresamples = 20\nencoders = ["grades.npy"]\n'
        'baselines = ["bm25", \'bm25(grams=words, words="list.txt")\']\nentries = ["flat"]\n',
        encoding="utf-8",
    )
    done = run.invoke(main, ["run", "s.toml", "--datasets", ".", "--out", "runs", "--store", "store"])
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "runs" / "records").iterdir()
    assert "bm25(grams=words, words=list.txt)" in {r.entry for r in load_run(folder).records}
    for words, says in (
        (["words", "missing.txt", "--out", "x"], "missing.txt"),
        (["run", "smoke-retrieval", "--entry", "bm25(grams=words, words=nowhere.txt)"], "nowhere.txt: cannot be read"),
        (["words", "b.txt", "--out", "x", "--min-count", "999999"], "no word occurs 999999 times"),
    ):
        done = run.invoke(main, words)
        assert done.exit_code == 2 and says in done.output, done.output
