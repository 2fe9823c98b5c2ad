"""Distractors: documents that are searched too and relevant to nothing; encoded once, and part of every key."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers.words import sentences

from hengyu.base.errors import HengyuError
from hengyu.bench.estimate import estimate
from hengyu.bench.observe import every_key
from hengyu.bench.prepared_encoder import prepare_encoder
from hengyu.bench.run import run_key_of
from hengyu.bench.sources import splits_read
from hengyu.cards.distractors import read_distractors
from hengyu.cards.relevance import Relevance
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, find_encoder, open_encoder
from hengyu.report.page.leaderboard import render
from hengyu.report.retrieval.tables import make_tables
from hengyu.storage.identity import digest
from hengyu.storage.records import Run, load_run
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite
from hengyu.tasks.search.truth import Relevant

SUITE = """
kind = "retrieval"
tasks = ["toy:test", "judged:test"]
relevant = 4
resamples = 50
entries = ["flat", "whitening(dim=8) > flat"]
"""


@pytest.fixture(scope="module", autouse=True)
def hasty():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A card of pairs, a card of judgements that names a document its corpus lacks, a suite, a model, distractors."""
    root = tmp_path_factory.mktemp("distractors")
    rng = np.random.default_rng(7)
    pairs = sentences(rng, 60)
    lines = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in pairs)
    (root / "toy.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    (root / "toy.toml").write_text(
        'name = "toy"\nlabels = { scale = [0, 1], kind = "binary" }\n[splits.test]\nfile = "toy.tsv"\n',
        encoding="utf-8",
    )
    (root / "judged.toml").write_text(
        'name = "judged"\nkind = "retrieval"\nmalformed = "drop"\n'
        '[splits.test]\ncorpus = "c.jsonl"\nqueries = "q.jsonl"\nqrels = "r.tsv"\n',
        encoding="utf-8",
    )
    texts = [a for a, _, _ in sentences(rng, 30)]
    for name, some in (("c", texts[:24]), ("q", texts[24:])):
        content = "".join(
            json.dumps({"_id": f"{name}{i}", "text": t}, ensure_ascii=False) + "\n" for i, t in enumerate(some)
        )
        (root / f"{name}.jsonl").write_text(content, encoding="utf-8")
    judged = "".join(f"q{i}\tc{3 * i}\t1\n" for i in range(6)) + "q0\tlost\t2\n"
    (root / "r.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    others = [f"{a}，{i}" for i, (a, _, _) in enumerate(sentences(rng, 50))]
    # blank, repeated, equal to a document or query of either task
    written = [*others[:20], "", others[3], pairs[0][0], texts[0], texts[24], *others[20:]]
    (root / "lines.txt").write_text("\n".join(written) + "\n", encoding="utf-8")
    (root / "suite").mkdir()
    (root / "suite" / "toy.toml").write_text(SUITE, encoding="utf-8")
    shutil.copytree(tiny_bert, root / "model")
    return root


def hengyu(*words: object) -> Result:
    return CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)


def evaluate(folder: Path, *more: object) -> tuple[Run, str]:
    done = hengyu(
        *("run", folder / "suite" / "toy.toml", "--datasets", folder, "--encoder", folder / "model"),
        *("--out", folder / "out", "--store", folder / "store", "--quiet", *more),
    )
    assert done.exit_code == 0, done.output
    found = re.search(r"records: (.*)", done.stdout)
    assert found
    return load_run(Path(found[1])), done.stderr


@pytest.fixture(scope="module")
def bare(folder: Path) -> Run:
    return evaluate(folder)[0]


@pytest.fixture(scope="module")
def distracted(folder: Path, bare: Run) -> Run:
    return evaluate(folder, "--distractors", folder / "lines.txt")[0]


def value(run: Run, task: str, entry: str, metric: str = "ndcg@10") -> float:
    (found,) = (r for r in run.records if (r.task, r.entry, r.metric) == (task, entry, metric) and r.on_board)
    assert found.value is not None
    return found.value


def test_rows_keep_their_numbers_and_what_the_corpus_lacks_stays_beyond_it() -> None:
    own = Relevance.judged(
        *(np.arange(4), np.array([4, 5]), np.array([-1, -1]), np.array([0, 0, 1]), np.array([1, 4, 2])),
        np.array([1.0, 2.0, 1.0]),
    )
    more = Relevant("t", own).among(np.array([9, 2, 8, 4]), ["九", "二", "八", "四"])
    assert more.relevance.corpus.tolist() == [0, 1, 2, 3, 9, 8] and (more.distractors, more.left_out) == (2, 2)
    assert more.relevance.partners.tolist() == [1, 6, 2]  # 4 was beyond four rows, 6 is beyond six
    found = np.array([[4, 1], [5, 2]])
    assert more.relevance.gains(found).tolist() == [
        [0, 1],
        [0, 1],
    ]  # a distractor on the old number of the lost one gains none
    assert (more.relevance.best(2) == own.best(2)).all() and (more.relevance.groups == own.groups).all()


def test_the_numbers_are_those_of_a_plain_script(folder: Path, distracted: Run, bare: Run) -> None:
    documents, queries = (
        [json.loads(x)["text"] for x in (folder / f"{n}.jsonl").read_text("utf-8").splitlines()] for n in "cq"
    )
    lines = [x for x in (folder / "lines.txt").read_text("utf-8").splitlines() if x and x not in {*documents, *queries}]
    corpus = [*documents, *dict.fromkeys(lines)]
    encoder = open_encoder(EncoderSpec(str(folder / "model")))
    x, q = (encoder.encode(t, ["mean"])["mean"].astype(np.float64) for t in (corpus, queries))
    x, q = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, q))
    gains = []
    for i, query in enumerate(q):
        order = np.argsort(-np.round(x @ query, 7), kind="stable")[:10].tolist()
        ideal = 2 + 1 / np.log2(3) if i == 0 else 1
        gains.append((1 / np.log2(order.index(3 * i) + 2) if 3 * i in order else 0) / ideal)
    assert value(distracted, "judged:test", "flat") == pytest.approx(np.mean(gains), abs=1e-9)
    for task in ("toy:test", "judged:test"):
        for metric in ("ndcg@10", "recall@100"):
            assert value(distracted, task, "flat", metric) <= value(bare, task, "flat", metric)


def test_header_and_page_say_how_many_there_are(distracted: Run, bare: Run) -> None:
    heads = {t["task"]: t for t in distracted.header["tasks"]}
    before = {t["task"]: t for t in bare.header["tasks"]}
    # 50 lines of their own and the three texts of the tasks, of which one or two are of this task
    for task, left_out in (("toy:test", 1), ("judged:test", 2)):
        head = heads[task]
        assert (head["distractors"], head["distractors_left_out"]) == (53 - left_out, left_out)
        assert head["corpus"] == before[task]["corpus"] + 53 - left_out
        assert {k: head[k] for k in ("queries", "relevant", "groups")} == {
            k: before[task][k] for k in ("queries", "relevant", "groups")
        }
        assert "distractors" not in before[task]
    assert distracted.header["read"][-1]["task"] == "distractors"
    said = "toy:test: 52 distractors of lines.txt are searched, too; lines left out: 1 blank, 1 repeated, 1 equal to"
    assert any(w.startswith(said) for w in distracted.header["warnings"])
    page = render(distracted)
    assert "(52 of them distractors)" in page and "52 distractors of lines.txt" in page
    assert "(52 of them distractors)" in make_tables(distracted)[0].about
    assert "distractors)" not in render(bare)


def test_they_are_encoded_once_and_fits_do_not_know_of_them(folder: Path, distracted: Run, bare: Run) -> None:
    again, said = evaluate(folder, "--distractors", folder / "lines.txt", "--force")
    assert said.startswith("0 texts encoded") and again.header == distracted.header
    fits = [{k: f[k] for k in ("task", "entry", "n", "dim", "rank")} for f in bare.header["fits"]]
    assert [{k: f[k] for k in fits[0]} for f in distracted.header["fits"]] == fits
    shutil.copy(folder / "lines.txt", folder / "other.txt")
    with (folder / "other.txt").open("a", encoding="utf-8") as file:
        file.write("再来一句话\n")
    more, said = evaluate(folder, "--distractors", folder / "other.txt")
    assert said.startswith("1 texts encoded") and more.id != distracted.id


def keys(folder: Path, *files: Path) -> tuple[str, list[str], str]:
    suite = load_suite(folder / "suite" / "toy.toml").with_overrides(
        encoders=(str(folder / "model"),), distractors=files
    )
    plan = make_plan(suite, datasets=[folder])
    prepared = [prepare_encoder(plan, find_encoder(spec)) for spec in suite.encoders]
    return run_key_of(plan, prepared), [digest(k) for k in every_key(plan, prepared)], digest(prepared[0].key("mean"))


def test_every_key_but_that_of_vectors_and_fits_depends_on_texts_and_order(folder: Path, tmp_path: Path) -> None:
    text = (folder / "lines.txt").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    given = {
        "none": None,
        "as it is": text,
        "a line more": text + "多一句\n",
        "another order": "".join([lines[1], lines[0], *lines[2:]]),
        "another text": text.replace(lines[0].rstrip("\n"), "换一句"),
    }
    found = {}
    for name, content in given.items():
        path = tmp_path / f"{name}.txt"
        path.write_text(content or "", encoding="utf-8")
        found[name] = keys(folder, *([path] if content else []))
    assert len({run for run, _, _ in found.values()}) == len(given)
    for one in zip(*(cells for _, cells, _ in found.values()), strict=True):
        assert len(set(one)) == len(given)
    assert len({vectors for _, _, vectors in found.values()}) == 1
    # neither names, nor line ends, nor compression, nor blank and repeated lines matter
    with gzip.open(tmp_path / "packed.txt.gz", "wt", encoding="utf-8", newline="\r\n") as file:
        file.write(text + "\n\n" + lines[0])
    assert keys(folder, tmp_path / "packed.txt.gz") == found["as it is"]
    halves = tmp_path / "first.txt", tmp_path / "second.txt"
    for path, part in zip(halves, (lines[:9], lines[9:]), strict=True):
        path.write_text("".join(part), encoding="utf-8")
    assert keys(folder, *halves) == found["as it is"]


def test_a_file_encoded_before_is_not_encoded_again(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("".join(f"这是第{i}行\n" for i in range(40)), encoding="utf-8")
    store = tmp_path / "store"
    done = hengyu("encode", tmp_path / "lines.txt", "--encoder", folder / "model", "--pooling", "mean", "--out", store)
    assert done.exit_code == 0, done.output
    done = hengyu(
        *("run", folder / "suite" / "toy.toml", "--datasets", folder, "--encoder", folder / "model", "--quiet"),
        *("--out", tmp_path / "out", "--store", store, "--distractors", tmp_path / "lines.txt"),
    )
    encoded = int(re.match(r"(\d+) texts encoded", done.stderr)[1])  # type: ignore[index]
    bare = hengyu(
        *("run", folder / "suite" / "toy.toml", "--datasets", folder, "--encoder", folder / "model", "--quiet"),
        *("--out", tmp_path / "out", "--store", tmp_path / "bare"),
    )
    assert bare.stderr.startswith(f"{encoded} texts encoded")


def test_a_suite_names_them_from_its_own_folder(folder: Path, distracted: Run) -> None:
    path = folder / "suite" / "with.toml"
    for written in ('"../lines.txt"', '["../lines.txt", "../lines.txt"]'):
        path.write_text(f"{SUITE}distractors = {written}\n", encoding="utf-8")
        plan = make_plan(load_suite(path), datasets=[folder])
        assert (
            plan.truths["toy:test"].about["distractors_sha256"] == distracted.header["tasks"][0]["distractors_sha256"]
        )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("3", "'distractors' must be a text file or a list of them, not 3"),
        ("[3]", "must be a text file or a list of them"),
        ('"none.txt"', r"distractors: .*none\.txt: cannot be read \(No such file"),
        ('"empty.txt"', r"empty\.txt: has no line with a text in it"),
        ('"latin.txt"', r"latin\.txt: line 1 is not UTF-8"),
    ],
)
def test_what_is_no_file_of_texts_is_refused_in_one_sentence(folder: Path, written: str, said: str) -> None:
    (folder / "suite" / "empty.txt").write_text("\n \n", encoding="utf-8")
    (folder / "suite" / "latin.txt").write_bytes(b"caf\xe9\n")
    path = folder / "suite" / "wrong.toml"
    path.write_text(f"{SUITE}distractors = {written}\n", encoding="utf-8")
    with pytest.raises(HengyuError) as caught:
        make_plan(load_suite(path), datasets=[folder])
    (problem,) = caught.value.problems
    assert re.search(said, problem), problem


def test_other_kinds_have_none(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sts.toml").write_text('tasks = ["hengyu-sts:test"]\ndistractors = "lines.txt"\n', encoding="utf-8")
    with pytest.raises(HengyuError, match="'distractors' are documents that are searched too, which only retrieval"):
        load_suite(tmp_path / "sts.toml")
    done = CliRunner().invoke(main, ["run", "smoke", "--distractors", str(folder / "lines.txt")])
    assert done.exit_code == 2 and "which only retrieval suites do; leave them out" in done.stderr


def test_runs_with_other_distractors_are_not_compared(distracted: Run, bare: Run) -> None:
    done = CliRunner().invoke(main, ["compare", str(bare.path), str(distracted.path)])
    assert done.exit_code == 2 and "distractors_sha256" in done.stderr
    done = CliRunner().invoke(main, ["gate", str(bare.path), str(distracted.path)])
    assert done.exit_code != 0 and "distractors" in done.output + done.stderr


def test_the_estimate_of_memory_counts_them(folder: Path, tmp_path: Path) -> None:
    n = 20_000
    (tmp_path / "many.txt").write_text("".join(f"第{i}行\n" for i in range(n)), encoding="utf-8")
    (tmp_path / "few.txt").write_text("一行\n", encoding="utf-8")
    found = {}
    for model, width in (("hengyu-static", 256), ("hengyu-mini", 256)):
        for name in ("few", "many"):
            path = tmp_path / f"{name}.txt"
            suite = load_suite(folder / "suite" / "toy.toml").with_overrides(encoders=(model,), distractors=(path,))
            plan = make_plan(suite, datasets=[folder])
            found[name] = estimate(plan, [find_encoder(suite.encoders[0])], [("mean",)])
        more = found["many"].evaluating - found["few"].evaluating
        assert n * 4 * width < more < 3 * n * 4 * width, model
        assert n * 4 * width < found["many"].disk - found["few"].disk < 1.2 * n * 4 * width, model


def test_equal_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("甲\n\n乙\n甲\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("乙\n丙 \n丙\n", encoding="utf-8")
    found = read_distractors([tmp_path / "a.txt", tmp_path / "b.txt"])
    assert found.texts == ("甲", "乙", "丙 ", "丙") and (found.blank, found.repeated) == (1, 2)


CARD = 'labels = { scale = [0, 1], kind = "binary" }\n[splits.test]\nfile = "toy.tsv"\n'


def test_a_card_names_its_own_for_its_own_tasks(folder: Path, distracted: Run, tmp_path: Path) -> None:
    for name in ("toy.tsv", "lines.txt", "c.jsonl", "q.jsonl", "r.tsv", "judged.toml"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.txt").write_text("只有一行\n", encoding="utf-8")
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    bare = (folder / "toy.toml").read_text(encoding="utf-8")
    found = {}
    for name, key in (("none", ""), ("text", '"lines.txt"'), ("list", '["lines.txt", "more/one.txt"]')):
        card = bare.replace("labels", f"distractors = {key}\nlabels" if key else "labels")
        (tmp_path / "toy.toml").write_text(card, encoding="utf-8")
        found[name] = make_plan(load_suite(tmp_path / "suite.toml"), datasets=[tmp_path])
        assert "distractors" not in found[name].truths["judged:test"].about  # another card's task
    (head,) = (t for t in distracted.header["tasks"] if t["task"] == "toy:test")
    assert found["text"].truths["toy:test"].about["distractors_sha256"] == head["distractors_sha256"]
    assert found["list"].truths["toy:test"].about["distractors"] == head["distractors"] + 1
    assert len({plan.truths["toy:test"].digest for plan in found.values()}) == 3
    cards = {plan.tasks[0].pairs.card.digest for plan in found.values()}
    assert len(cards) == 1  # the card's digest is of the pairs; the lines have their own
    (read,) = (r for r in splits_read(found["list"]) if r["task"].startswith("distractors"))
    assert read["task"] == "distractors of toy:test" and read["rows"] == head["distractors"] + 2
    # those of the suite come after the card's, and the same file is read once
    (tmp_path / "suite.toml").write_text(f'{SUITE}distractors = ["more/one.txt", "lines.txt"]\n', encoding="utf-8")
    both = make_plan(load_suite(tmp_path / "suite.toml"), datasets=[tmp_path])
    assert both.truths["toy:test"].digest == found["list"].truths["toy:test"].digest
    assert both.distractors["judged:test"].files == ("one.txt", "lines.txt")
    sts = tmp_path / "sts.toml"
    sts.write_text('tasks = ["toy:test"]\nentries = ["raw"]\n', encoding="utf-8")
    assert not make_plan(load_suite(sts), datasets=[tmp_path]).distractors  # pairs are not searched
    done = hengyu("validate", tmp_path / "toy.toml")
    assert done.exit_code == 0 and "toy: 54 distractors of lines.txt, one.txt" in done.output, done.output


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('"../lines.txt"', "key 'distractors' must be a text file below the card's folder, not '../lines.txt'"),
        ("3", "'distractors' must be a list"),
        ('"none.txt"', r"toy\.toml: distractors: .*none\.txt: cannot be read \(No such file"),
        ('"link.txt"', r"key 'distractors' leads out of .* through a link; put the file into that folder"),
    ],
)
def test_a_wrong_path_in_a_card_is_one_sentence(folder: Path, tmp_path: Path, written: str, said: str) -> None:
    shutil.copy(folder / "toy.tsv", tmp_path)
    (tmp_path / "link.txt").symlink_to(folder / "lines.txt")
    (tmp_path / "toy.toml").write_text(f'name = "toy"\ndistractors = {written}\n{CARD}', encoding="utf-8")
    (tmp_path / "suite.toml").write_text(SUITE.replace(', "judged:test"', ""), encoding="utf-8")
    with pytest.raises(HengyuError) as caught:
        make_plan(load_suite(tmp_path / "suite.toml"), datasets=[tmp_path])
    (problem,) = caught.value.problems
    assert re.search(said, problem), problem
    done = hengyu("validate", tmp_path / "toy.toml")
    assert done.exit_code == 2 and re.search(said, done.stderr), done.output
