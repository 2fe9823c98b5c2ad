"""The gate, baselines, comparisons and errors of retrieval runs: green for the same, red for an index that broke."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hengyu.cli import main
from hengyu.evaluation.gate.baselines import baseline_of, read_baseline, write_baseline
from hengyu.evaluation.observed import seen_in
from hengyu.evaluation.run_metrics import scores_of
from hengyu.methods.search.base import FaissIndex
from hengyu.storage.records import Run, load_run
from hengyu.tasks.search.ranking import QUALITY
from hengyu.tasks.search.relevance_file import load_relevance

ARGUMENTS = ["run", "retrieval", "--task", "hengyu-sts:valid", "--quiet", "--fresh"]
ENTRIES = ("flat", "hnsw", "lsh(bits=64)")
LEXICAL = ("bm25", "tfidf")  # rows of every retrieval suite; without vectors there is no exact search to compare with
CELLS = len(QUALITY) * len(ENTRIES) + sum(not m.startswith("exact") for m in QUALITY) * len(LEXICAL)
TASK = "hengyu-sts:valid"


def weigh(monkeypatch: pytest.MonkeyPatch, reports: Path) -> Run:
    monkeypatch.setenv("HENGYU_REPORTS", str(reports))
    done = CliRunner().invoke(main, [*ARGUMENTS, *(word for e in ENTRIES for word in ("--entry", e))])
    assert done.exit_code == 0, done.output
    return load_run(next((reports / "records").iterdir()))


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
        yield patch


@pytest.fixture(scope="module")
def before(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return weigh(patch, tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def broken(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Weigh with a graph that finds every second neighbour only."""
    real = FaissIndex.search

    def search(self: FaissIndex, q: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids, found = real(self, q, k)
        if type(self).__module__.endswith("hnsw"):
            ids = np.hstack([ids[:, ::2], np.full_like(ids[:, 1::2], -1)])
        return ids, found

    with pytest.MonkeyPatch.context() as change:
        change.setattr(FaissIndex, "search", search)
        return weigh(patch, tmp_path_factory.mktemp("broken"))


def test_a_baseline_keeps_quality_and_no_costs(before: Run, tmp_path: Path) -> None:
    kept, notes = baseline_of(before)
    assert notes == []
    assert {k.metric for k in kept.cells} == set(QUALITY) and len(kept.cells) == CELLS
    assert kept.blocks.keys() == kept.cells.keys()
    write_baseline(tmp_path / "b.json", kept)
    assert read_baseline(tmp_path / "b.json").cells == kept.cells
    assert (tmp_path / "b.json").stat().st_size < 850 * CELLS


def test_a_run_keeps_what_its_numbers_follow_from(before: Run) -> None:
    seen, notes = seen_in(scores_of(before), TASK)
    assert seen is not None and notes == [] and set(seen.cells) == set(scores_of(before).cells)
    relevance = load_relevance(before.path, TASK)
    (head,) = before.header["tasks"]
    assert relevance is not None
    assert (len(relevance.corpus), len(relevance.queries)) == (head["corpus"], head["queries"])
    # the replicates are those of the board: their interval is the record's
    for record in before.records:
        if record.metric == "ndcg@10" and record.on_board:
            (drawn,) = (
                seen.replicates([k], 1000, record.seed)[k]
                for k in seen.cells
                if k[1:5] == record.row and k.metric == "ndcg@10"
            )
            assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([record.low, record.high], abs=1e-9)


def test_the_same_run_is_green_and_a_broken_index_red(before: Run, broken: Run, tmp_path: Path) -> None:
    run = CliRunner().invoke
    file = str(tmp_path / "retrieval.json")
    assert run(main, ["baseline", str(before.path), "--out", file]).exit_code == 0
    same = run(main, ["gate", file, str(before.path)])
    assert same.exit_code == 0 and f"{CELLS} pass; exit code 0" in same.output
    for against in (file, str(before.path)):
        red = run(main, ["gate", against, str(broken.path), "--json", str(tmp_path / "found.json")])
        assert red.exit_code == 1, red.output
        assert re.search(r"cells: compared on the same data, [\d,]+ independent groups", red.output)
        found = json.loads((tmp_path / "found.json").read_bytes())
        assert {c["entry"] for c in found["cells"] if c["verdict"] == "fail"} == {"hnsw"}


def test_other_queries_are_not_compared(before: Run, patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    suite = tmp_path / "retrieval.toml"
    suite.write_text(
        f'name = "retrieval"\nkind = "retrieval"\ntasks = ["{TASK}"]\nrelevant = 5\nentries = ["flat"]\n',
        encoding="utf-8",
    )
    patch.setenv("HENGYU_REPORTS", str(tmp_path / "other"))
    done = CliRunner().invoke(main, ["run", str(suite), "--quiet"])
    assert done.exit_code == 0, done.output
    other = next((tmp_path / "other" / "records").iterdir())
    refused = CliRunner().invoke(main, ["gate", str(before.path), str(other)])
    assert refused.exit_code == 5 and re.search("different n: hengyu-sts:valid: queries", refused.output)
    unlike = CliRunner().invoke(main, ["compare", str(before.path), str(other)])
    assert unlike.exit_code == 2 and "suite.relevant is 5.0 where" in unlike.output


def test_two_runs_and_two_entries_are_compared_by_ndcg(before: Run, broken: Run) -> None:
    done = CliRunner().invoke(main, ["compare", str(before.path), str(broken.path), "--entry", "hnsw"])
    assert done.exit_code == 0 and "nDCG@10 x 100, first minus second" in done.output and "better" in done.output
    done = CliRunner().invoke(main, ["compare", str(before.path), "--entry", "flat", "--entry", "lsh(bits=64)"])
    values = {r.entry: r for r in before.records if r.metric == "ndcg@10" and r.on_board}
    delta = values["lsh(bits=64)"]
    assert done.exit_code == 0 and f"{-100 * (delta.delta or 0):+.2f}" in done.output
    assert "pair by pair, under the same 1,000 resamples" in done.output


def test_errors_are_the_queries_that_came_last(before: Run, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(before.path), "--errors", "3", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    section = page[page.index('id="errors"') : page.index('id="provenance"')]
    assert section.count("<tr>") == (len(ENTRIES) + len(LEXICAL)) * (1 + 3) and "&gt; 100" in section
    plain = CliRunner().invoke(main, ["report", str(before.path), "--out", str(tmp_path)])
    assert plain.exit_code == 0 and 'id="errors"' not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_runs_of_different_kinds_are_not_compared(before: Run, tmp_path: Path) -> None:
    words = [
        "run",
        "smoke",
        "--task",
        TASK,
        "--encoder",
        "hengyu-static",
        "--entry",
        "raw",
        "--quiet",
        "--out",
        str(tmp_path),
    ]
    assert CliRunner().invoke(main, words).exit_code == 0
    (pairs,) = (tmp_path / "records").iterdir()
    compared = CliRunner().invoke(main, ["compare", str(before.path), str(pairs)], prog_name="hengyu")
    assert compared.exit_code == 2 and compared.output.count("error: ") == 1
    assert f"of kind 'sts', and {before.path} of kind 'retrieval'" in compared.output
    baseline = tmp_path / "b.json"
    assert CliRunner().invoke(main, ["baseline", str(pairs), "--out", str(baseline)]).exit_code == 0
    gated = CliRunner().invoke(main, ["gate", str(baseline), str(before.path)], prog_name="hengyu")
    assert gated.exit_code == 2 and f"and {baseline} spearman: these cannot be compared" in gated.output


def test_an_error_of_an_option_names_the_option() -> None:
    for words, said in (
        (["--task", "hengyu-sts:nope"], "error: --task hengyu-sts:nope: "),
        (["--fit-on", "nope"], "error: --fit-on nope: entry 'whitening'"),
    ):
        done = CliRunner().invoke(main, ["run", "smoke", *words], prog_name="hengyu")
        assert done.exit_code == 2 and said in done.output
