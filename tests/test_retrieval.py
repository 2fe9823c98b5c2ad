"""Retrieval suites end to end: the numbers of a plain script, the same bytes again, every mistake in one sentence."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import sentences
from rich.console import Console
from test_report import _in_chinese, _Page

from hengyu.base.errors import HengyuError
from hengyu.bench.run import Outcome, run
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cards.relevance import Relevance
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.numerics.sample import Sample
from hengyu.report.exports.table import export
from hengyu.report.page.leaderboard import render
from hengyu.report.retrieval.tables import front, make_tables
from hengyu.report.terminal import print_board
from hengyu.storage.records import Record, Run, load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite
from hengyu.tasks.retrieval import Retrieval
from hengyu.tasks.search.ranking import QUALITY, scores
from hengyu.tasks.search.vectors import RetrievalVectors

TIMES = {"qps", "qps-batch", "qps-batch-threads", "build-seconds", "peak-memory"}
SIZES = {"bytes-per-vector", "index-bytes"}
SUITE = """
kind = "retrieval"
tasks = ["toy:test", "grades:test"]
relevant = 4
resamples = 200
compare = [["flat", "bm25"]]
entries = [
    "flat", "rrf(whitening(dim=8) > flat, bm25, depth=50)", "zsum(flat, bm25)",
    "lsh(bits=64)", "hnsw(m=4)", "whitening(dim=8) > flat", "l2 > whitening(dim=16) > binary-flat",
    { entry = "simhash-buckets(bits=4, tables=1, probes=3)", seeds = 3 }, "ivf(lists=10000)",
]
"""


@pytest.fixture(scope="module", autouse=True)
def hasty():
    """Take rates for a moment only: here they need to be there, not to be right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_bert: Path) -> Path:
    """A folder with two cards, a suite and a model."""
    root = tmp_path_factory.mktemp("retrieval")
    rng = np.random.default_rng(5)
    lines = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in sentences(rng, 150))
    (root / "toy.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    graded = "".join(json.dumps({"a": a, "b": b, "s": y}, ensure_ascii=False) + "\n" for a, b, y in sentences(rng, 120))
    (root / "grades.jsonl").write_text(graded, encoding="utf-8")
    (root / "toy.toml").write_text(
        'name = "toy"\nlabels = { scale = [0, 1], kind = "binary" }\n[splits.test]\nfile = "toy.tsv"\n',
        encoding="utf-8",
    )
    (root / "grades.toml").write_text(
        'name = "grades"\nlabels = { scale = [0, 5] }\ncolumns = { sentence1 = "a", sentence2 = "b", label = "s" }\n'
        '[splits.test]\nfile = "grades.jsonl"\n',
        encoding="utf-8",
    )
    (root / "suites").mkdir()
    (root / "suites" / "toy.toml").write_text(SUITE, encoding="utf-8")
    shutil.copytree(tiny_bert, root / "model")
    return root


def weigh(folder: Path, out: str, *, force: bool = False) -> Outcome:
    loaded = load_suite(folder / "suites" / "toy.toml").with_overrides(encoders=(EncoderSpec(str(folder / "model")),))
    loaded = replace(loaded, partial=())  # an entry that applies nowhere is a mistake, as in a suite's own run
    return run(
        make_plan(loaded, datasets=[folder]),
        reports=folder / out,
        store=VectorStore(folder / "store"),
        force=force,
    )


@pytest.fixture(scope="module")
def finished(folder: Path) -> Run:
    return load_run(weigh(folder, "shared").folder)


def find(run: Run, **wanted: object) -> Record:
    found = [r for r in run.records if r.on_board and all(getattr(r, k) == v for k, v in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


def test_flat_has_the_numbers_of_a_plain_script(folder: Path, finished: Run) -> None:
    pairs = load_pairs(load_cards([folder])["toy"], "test")
    texts = list(dict.fromkeys([*pairs.first, *pairs.second]))
    x = open_encoder(EncoderSpec(str(folder / "model"))).encode(texts, ["mean"])["mean"].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    partners: dict[str, set[str]] = {}
    for a, b, y in zip(pairs.first, pairs.second, pairs.labels, strict=True):
        if y == 1 and a != b:
            partners.setdefault(a, set()).add(b)
            partners.setdefault(b, set()).add(a)
    gains, firsts, recalls = [], [], []
    for query, wanted in partners.items():
        cosine = np.round(x @ x[texts.index(query)], 7)
        cosine[texts.index(query)] = -2
        hits = [texts[i] in wanted for i in np.argsort(-cosine, kind="stable")[:10]]
        ideal = sum(1 / np.log2(i + 2) for i in range(min(10, len(wanted))))
        gains.append(sum(h / np.log2(i + 2) for i, h in enumerate(hits)) / ideal)
        firsts.append(next((1 / (i + 1) for i, h in enumerate(hits) if h), 0.0))
        recalls.append(sum(hits) / len(wanted))
    for metric, values in (("ndcg@10", gains), ("mrr@10", firsts), ("recall@10", recalls)):
        record = find(finished, task="toy:test", entry="flat", metric=metric)
        assert record.value == pytest.approx(np.mean(values), abs=1e-9), metric
        assert record.n == len(partners)
        assert record.low is not None and record.high is not None and record.low < record.value < record.high


def test_flat_loses_nothing_of_exact_search_and_costs_stand_beside(finished: Run) -> None:
    for task in ("toy:test", "grades:test"):
        for entry in ("flat", "whitening(dim=8) > flat"):
            for k in (1, 10, 100):
                assert find(finished, task=task, entry=entry, metric=f"exact-recall@{k}").value == 1
        named = {r.metric for r in finished.records if r.task == task and r.entry == "flat"}
        assert named - {"peak-memory"} == {*QUALITY, *SIZES, *TIMES} - {"peak-memory"}
        rate = find(finished, task=task, entry="flat", metric="qps")
        assert (rate.low, rate.delta, rate.interval) == (None, None, "") and rate.value > 0
    assert find(finished, task="toy:test", entry="flat", metric="bytes-per-vector").value == 4 * 32
    assert find(finished, task="toy:test", entry="lsh(bits=64)", metric="bytes-per-vector").value == 8


def test_lexical_search_and_fusions_are_rows_with_paired_differences(finished: Run) -> None:
    for task in ("toy:test", "grades:test", "mean"):
        for encoder, entry in (("lexical", "bm25"), ("lexical", "tfidf"), ("model", "zsum(flat, bm25)")):
            record = find(finished, task=task, encoder=encoder, entry=entry, metric="ndcg@10")
            assert record.low < record.value < record.high
            flat = find(finished, task=task, entry="flat", metric="ndcg@10")
            assert record.delta == pytest.approx(record.value - flat.value) and record.delta_low <= record.delta
        # without vectors of their own there is no exact search to lose anything of
        named = {r.metric for r in finished.records if r.task == task and r.entry in ("bm25", "zsum(flat, bm25)")}
        assert {"recall@100", "mrr@10"} <= named and not any(m.startswith("exact") for m in named)
    assert [(d.entry, d.against, d.task) for d in finished.differences] == [
        ("flat", "bm25", task) for task in ("toy:test", "grades:test", "mean")
    ]
    bm25, flat = (find(finished, task="mean", entry=e, metric="ndcg@10").value for e in ("bm25", "flat"))
    assert finished.differences[-1].value == pytest.approx(flat - bm25)


def test_rows_are_held_against_flat_under_shared_resamples(finished: Run) -> None:
    flat = find(finished, task="toy:test", entry="flat", metric="ndcg@10")
    other = find(finished, task="toy:test", entry="hnsw(m=4)", metric="ndcg@10")
    assert flat.delta is None
    assert other.delta == pytest.approx(other.value - flat.value)
    assert other.delta_low <= other.delta <= other.delta_high
    # a graph that finds nearly all is nearly flat: paired, the difference is known far better than either
    assert other.delta_high - other.delta_low < 0.5 * (flat.high - flat.low)


def test_the_mean_is_that_of_the_tasks_and_a_hole_leaves_none(finished: Run) -> None:
    parts = [find(finished, task=t, entry="lsh(bits=64)", metric="ndcg@10").value for t in ("toy:test", "grades:test")]
    assert find(finished, task="mean", entry="lsh(bits=64)", metric="ndcg@10").value == pytest.approx(np.mean(parts))
    failed = find(finished, task="toy:test", entry="ivf(lists=10000)", metric="ndcg@10")
    assert (failed.status, failed.value) == ("failed", None)
    assert "more lists than" in failed.reason
    assert find(finished, task="mean", entry="ivf(lists=10000)", metric="ndcg@10").status == "incomplete"


def test_a_row_that_draws_is_the_mean_of_its_seeds(finished: Run) -> None:
    entry = "simhash-buckets(bits=4, tables=1, probes=3)"
    row = find(finished, task="toy:test", entry=entry, metric="ndcg@10")
    draws = [r for r in finished.records if r.task == "toy:test" and r.entry == entry and r.draw]
    assert row.seeds == len(draws) == 3
    assert row.value == pytest.approx(np.mean([d.value for d in draws]))
    assert row.spread == pytest.approx(np.std([d.value for d in draws], ddof=1))


def test_the_same_run_gives_the_same_bytes_and_goes_on_where_it_stopped(folder: Path, finished: Run) -> None:
    again = weigh(folder, "again")
    for name in ("records.json", "run.json", "clouds.json"):
        assert (again.folder / name).read_bytes() == (finished.path / name).read_bytes(), name
    stored = json.loads((again.folder / "records.json").read_bytes())["records"]
    assert not {r["metric"] for r in stored} & TIMES
    missing = next((again.folder / "observations").glob("*.safetensors"))
    missing.unlink()
    before = {(r.task, r.entry): r.value for r in load_run(again.folder).records if r.metric == "qps"}
    resumed = weigh(folder, "again")
    assert (resumed.observed, resumed.encoded) == (1, 0)
    assert (resumed.folder / "records.json").read_bytes() == (finished.path / "records.json").read_bytes()
    after = {(r.task, r.entry): r.value for r in load_run(again.folder).records if r.metric == "qps"}
    assert sum(before[key] != after[key] for key in before) <= 1


def test_numbers_follow_from_what_was_kept(folder: Path, finished: Run) -> None:
    from hengyu.storage.tensor_file import read_sealed

    plan = make_plan(load_suite(folder / "suites" / "toy.toml"), datasets=[folder])
    for path in (finished.path / "observations").glob("*.safetensors"):
        tensors, about = read_sealed(path)
        m = about["meaning"]
        if m["seed_of_draw"] is None:
            kept = scores(plan.truths[m["task"]].relevance, tensors["neighbours.ids"], tensors.get("neighbours.ranks"))
            for metric, values in kept.items():
                record = find(finished, task=m["task"], entry=m["entry"], metric=metric)
                assert record.value == pytest.approx(values.mean())


def test_what_is_found_does_not_depend_on_the_block_size() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(900, 6)) @ rng.normal(size=(6, 24)) + 0.2 * rng.normal(size=(900, 24))).astype(np.float32)
    task = Relevance.of(np.arange(0, 450), np.arange(450, 900), rng.random(450) < 0.5)
    for text in ("flat", "whitening(dim=16) > hnsw(m=8)", "pca(dim=12) > ivf(lists=8, probes=2)"):
        found = [
            RetrievalVectors(
                Sample.of(x), Sample.of(x[task.queries]), task, {"target": Sample.of(x)}, block=block
            ).observe(parse_entry(text), "target")
            for block in (100, 900)
        ]
        assert np.array_equal(found[0].ids, found[1].ids), text
        assert np.array_equal(found[0].ranks, found[1].ranks), text


def test_the_query_is_never_among_its_own_results() -> None:
    x = np.tile(np.random.default_rng(0).normal(size=(20, 8)), (6, 1)).astype(np.float32)  # every vector six times
    task = Relevance.of(np.arange(60), np.arange(60, 120), np.ones(60, bool))
    for text in ("flat", "lsh(bits=16)", "hnsw(m=8)", "simhash-buckets(bits=2, tables=2, probes=4)"):
        found = RetrievalVectors(Sample.of(x), Sample.of(x[task.queries]), task, {}).observe(parse_entry(text), "none")
        assert not (found.ids == task.own[:, None]).any(), text
        assert found.ids.shape == (120, 100)


def test_the_interval_knows_that_both_sentences_of_a_pair_ask(finished: Run, folder: Path) -> None:
    plan = make_plan(load_suite(folder / "suites" / "toy.toml"), datasets=[folder])
    task = plan.truths["toy:test"].relevance
    record = find(finished, task="toy:test", entry="flat", metric="recall@10")
    sizes = np.bincount(task.groups)
    assert sizes.max() > 1
    # by hand: the spread of a ratio of sums over groups
    rows = [p for p in (finished.path / "observations").glob("*.safetensors")]
    from hengyu.storage.tensor_file import read_sealed

    tensors = next(
        t for t, a in map(read_sealed, rows) if (a["meaning"]["entry"], a["meaning"]["task"]) == ("flat", "toy:test")
    )
    values = scores(task, tensors["neighbours.ids"], tensors["neighbours.ranks"])["recall@10"]
    residual = np.bincount(task.groups, weights=values) - record.value * sizes
    error = np.sqrt((residual**2).sum()) / sizes.sum()
    assert (record.high - record.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'kind = "retrieval"\nrelevant = 4\nentries = ["whitening"]',
            "'whitening' does not end in an index.*'whitening > flat'",
        ),
        ('kind = "retrieval"\nrelevant = 4\nentries = ["raw"]', "'raw' does not end in an index.*end it like 'flat'"),
        ('entries = ["whitening > flat"]', "'whitening > flat' ends in an index.*kind = \"retrieval\""),
        ('kind = "retrieval"\nentries = ["flat > l2"]', "flat is an index.*put nothing after it"),
        ('kind = "retrieval"\nrelevant = 4\nentries = ["simcse > flat"]', "'simcse > flat' trains the encoder"),
        (
            'kind = "search"',
            "'kind' must be 'sts' or 'retrieval' or 'reranking' or 'pair-classification', not 'search'",
        ),
        ("relevant = 4", "'relevant' is of retrieval suites"),
        ('kind = "retrieval"\nbaselines = ["flat"]', "'flat' needs an encoder; move it to entries"),
        ('kind = "retrieval"\nbaselines = ["bm26"]', "unknown method 'bm26'; did you mean 'bm25'"),
        ('kind = "retrieval"\ncompare = [["flat", "lsh"]]', "names 'lsh', no entry of this suite"),
        (
            'kind = "retrieval"\nentries = [{ entry = "bm25", encoders = ["hengyu-mini"] }]',
            "'bm25', which needs no encoder",
        ),
        (
            'kind = "retrieval"\nentries = ["l2 > bm25"]',
            "bm25 searches texts, so nothing can come before it; remove 'l2 >'",
        ),
        ('kind = "retrieval"\nentries = ["rrf(flat)"]', "rrf joins 2 entries, not 1"),
        ('kind = "retrieval"\nentries = ["rrf(l2, bm25)"]', "'l2' finds no neighbours; end it like 'l2 > flat'"),
        ('entries = ["rrf(flat, bm25)"]', 'ends in an index.*kind = "retrieval"'),
        (
            'kind = "retrieval"\nentries = [{ entry = "whitening > flat", dims = [8] }]',
            "does not fit 'whitening > flat'.*leave dims out",
        ),
        ('kind = "retrieval"\nentries = ["ivf(lists=8, probes=9)"]', "must lie in 1..8, the number of lists"),
    ],
)
def test_a_suite_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'tasks = ["hengyu-sts:test"]\n{text}\n', encoding="utf-8")
    with pytest.raises(HengyuError) as caught:
        load_suite(path)
    (problem,) = caught.value.problems
    assert re.search(said, problem), problem


def test_graded_labels_need_a_threshold(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "retrieval"\ntasks = ["hengyu-sts:test"]\n', encoding="utf-8")
    with pytest.raises(
        HengyuError, match="graded from 0 to 5; say from which on a pair is relevant, like relevant = 4"
    ):
        make_plan(load_suite(path))
    path.write_text('kind = "retrieval"\nrelevant = 5.5\ntasks = ["hengyu-sts:test"]\n', encoding="utf-8")
    with pytest.raises(HengyuError, match="no pair of two different sentences is relevant"):
        make_plan(load_suite(path))


@pytest.mark.parametrize(("suite", "entry"), [("retrieval", "whitening"), ("smoke", "hnsw")])
def test_an_entry_of_the_command_line_is_refused_as_well(suite: str, entry: str) -> None:
    done = CliRunner().invoke(main, ["run", suite, "--entry", entry])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_cloud_of_neighbours_is_refused() -> None:
    done = CliRunner().invoke(main, ["cloud", "hengyu-mini", "--entry", "whitening > flat"])
    assert done.exit_code == 2
    assert "'whitening > flat' ends in an index" in done.stderr


def test_flat_is_always_there_and_first(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "retrieval"\ntasks = ["a:b"]\nentries = ["lsh", "flat"]\n', encoding="utf-8")
    suite = load_suite(path)
    assert [str(e.entry) for e in suite.entries] == ["flat", "lsh"]
    assert suite.baselines == ("bm25", "tfidf")


def test_lexical_search_is_in_every_suite_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    head = 'kind = "retrieval"\ntasks = ["a:b"]\n'
    path.write_text(head + 'entries = ["rrf(bm25, tfidf)", "bm25(k1=2.0)", "rrf(flat, bm25)"]', encoding="utf-8")
    suite = load_suite(path)
    assert suite.baselines == ("bm25", "tfidf", "rrf(bm25, tfidf)", "bm25(k1=2.0)")
    assert [str(e.entry) for e in suite.entries] == ["flat", "rrf(flat, bm25)"]
    narrowed = suite.with_overrides(entries=("bm25(b=0.5)", "lsh"))
    assert "bm25(b=0.5)" in narrowed.baselines and "bm25" in narrowed.baselines
    assert [str(e.entry) for e in narrowed.entries] == ["flat", "lsh"]
    path.write_text(head + "baselines = []", encoding="utf-8")
    assert load_suite(path).baselines == ()


def test_the_front_holds_whom_nobody_beats(finished: Run) -> None:
    lines = make_tables(finished)[0].lines
    for cost, more in (("qps", True), ("bytes-per-vector", False)):
        best = front(lines, cost, quality="ndcg@10", more=more)
        points = {i: (x.value("ndcg@10"), (1 if more else -1) * x.value(cost)) for i, x in enumerate(lines) if x.rank}
        for i, (q, c) in points.items():
            beaten = any((a >= q and b >= c) and (a, b) != (q, c) for a, b in points.values())
            assert (i in best) == (not beaten)


def test_the_terminal_shows_every_row_and_no_row_is_cut(finished: Run) -> None:
    for width, terminal in ((400, False), (60, True)):
        out = io.StringIO()
        print_board(finished, Console(file=out, width=width, force_terminal=terminal, color_system=None))
        for entry in {r.entry for r in finished.records}:
            assert entry in out.getvalue()
        assert "failed" in out.getvalue() and "more lists than" in out.getvalue()


def hostile(run: Run) -> Run:
    name = "<script>alert(1)</script>|`*_\\&%$#{}~^"
    records = tuple(replace(r, encoder=name, entry=f"{name} > flat") if r.entry == "flat" else r for r in run.records)
    header = {**run.header, "suite": {**run.header["suite"], "title": name}}
    return replace(run, records=records, header=header)


def test_exports_hold_every_number(finished: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(export(finished, "csv"))))
    assert len(rows) == len(finished.records)
    key = ["task", "split", "encoder", "pooling", "entry", "fit_on", "metric", "draw", "seed"]
    assert len({tuple(row[k] for k in key) for row in rows}) == len(rows)
    assert {row["metric"] for row in rows} >= {*QUALITY, *SIZES, "qps"}
    for made in (finished, hostile(finished)):
        text = export(made, "md")
        tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("\n\n")]
        tables = [t for t in tables if t]
        assert len(tables) == 3
        for lines in tables:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert "<script" not in text.replace(r"\<script", "")
        body = export(made, "latex")
        assert body.count("\\toprule") == 3
        for line in body.splitlines():
            text = re.sub(r"\$(\^\\d?dagger|\\times)\$", "", line)  # signs that are ours
            assert line.startswith("%") or not re.search(r"(?<!\\)[#$%^~<>|]", text)


def test_the_page_holds_every_number_speaks_chinese_and_runs_only_its_own_scripts(finished: Run) -> None:
    for made in (finished, hostile(finished)):
        page = render(made)
        policy = _Page(page).meta("Content-Security-Policy")
        assert policy.startswith("default-src 'none'") and "unsafe-eval" not in policy
        scripts = [code for a, code in _Page(page).scripts if a.get("type") != "application/json"]
        hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts]
        assert re.findall(r"'sha256-([^']+)'", policy) == hashes and len(hashes) == 3
        assert [text for text in dict.fromkeys(_Page(page).fixed) if not _in_chinese(text)] == []
        assert page.count('<figure class="scatter"') == 10, "two qualities against two costs; the mean has no rates"
        shown = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)  # Chinese words stand there for every title
        for column in Retrieval.metrics:
            assert (column.title in shown) == (column.name != "calls"), "no row calls a cross-encoder"
        assert "more lists than" in page


@pytest.mark.browser
def test_the_page_sorts_each_table_searches_all_and_speaks_chinese(chromium, finished: Run, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(render(finished), encoding="utf-8")
    chromium.get_log("browser")
    chromium.get((tmp_path / "page.html").as_uri())
    column = """const tables = [...document.querySelectorAll("table[data-task]")];
        const at = tables.find((t) => t.tHead.textContent.includes("queries/s"));
        const place = [...at.tHead.rows[0].cells].findIndex((c) => c.textContent.startsWith('queries/s'));
        if (arguments[0]) at.tHead.rows[0].cells[place].click();
        return [...at.tBodies[0].rows].map((r) => r.cells[place].dataset.order).filter(Boolean).map(Number)"""
    assert chromium.execute_script(column, True) is not None
    rates = chromium.execute_script(column, False)
    assert len(rates) > 2 and rates == sorted(rates, reverse=True)
    rows = "return document.querySelectorAll('table.sorted tbody th.entry').length"
    before = chromium.execute_script(rows)
    chromium.find_element("id", "search").send_keys("whitening")
    assert 0 < chromium.execute_script(rows) < before
    chromium.find_element("id", "language").click()
    assert "质量与代价" in chromium.find_element("tag name", "main").text
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


@pytest.mark.browser
def test_the_pictures_are_seen(chromium, finished: Run, tmp_path: Path) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    (tmp_path / "page.html").write_text(render(finished), encoding="utf-8")
    chromium.get((tmp_path / "page.html").as_uri())
    drawn = "figure.scatter svg[role=img]"
    WebDriverWait(chromium, 20).until(lambda _: len(chromium.find_elements("css selector", drawn)) == 10)
    pictures = chromium.find_elements("css selector", drawn)
    assert all(p.is_displayed() and p.size["height"] > 200 and p.size["width"] > 200 for p in pictures)
    for picture in pictures:
        assert 3 <= len(picture.find_elements("css selector", "path.mark")) <= len(make_tables(finished)[0].lines)


def test_the_shipped_suite_is_of_the_embedded_default() -> None:
    suite = load_suite(Path(__file__).parents[1] / "suites" / "retrieval.toml")
    plan = make_plan(suite)
    assert [t.name for t in plan.tasks] == ["hengyu-sts:test"]
    assert len(plan.truths["hengyu-sts:test"].relevance.queries) > 700
