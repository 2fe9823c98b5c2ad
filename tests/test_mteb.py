"""mteb both ways: its result files written and read, its tasks as cards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import fakehub, runs
from helpers.fakehub import FakeHub
from test_hub import parquet

from hengyu.base.errors import HengyuError
from hengyu.cards import find_card, load_cards, parse_task
from hengyu.cards.mteb_cards import mteb_card, mteb_names
from hengyu.cli import main
from hengyu.report.board.board import make_board
from hengyu.report.exports.mteb import write_mteb
from hengyu.report.mteb_references import read_results, with_references
from hengyu.storage.records import Run, load_run
from hengyu.storage.records.checksums import is_verified

RUN = runs.make_run()
ROWS = [(f"天气好吗{i}", f"天气怎么样{i % 7}", i % 2) for i in range(80)]


def test_mteb_reads_what_is_exported_and_has_the_same_numbers(tmp_path: Path) -> None:
    import mteb

    files = write_mteb(RUN, tmp_path)
    assert len(files) == len(set(files))
    read = mteb.ResultCache(tmp_path).load_results(include_remote=False, tasks=["ATEC", "STSB", "PAWSX"])
    scores = {
        (m.model_name, t.task_name): t.scores["test"][0]["main_score"]
        for m in read.model_results
        for t in m.task_results
    }
    ours = [r for r in RUN.records if r.metric == "spearman" and r.on_board and r.value is not None]
    ours = [r for r in ours if r.task in ("ATEC:test", "STS-B:test", "PAWSX:test")]
    assert len(scores) == len(ours)
    assert sorted(scores.values()) == sorted(r.value for r in ours)


def test_a_result_file_is_one_of_mtebs(tmp_path: Path) -> None:
    import mteb

    path = next(p for p in write_mteb(RUN, tmp_path) if p.name == "STSB.json")
    result = mteb.TaskResult.model_validate(json.loads(path.read_bytes()))
    part = result.scores["test"][0]
    assert part["main_score"] == part["cosine_spearman"] == result.get_score()
    assert result.dataset_revision == load_cards()["STS-B"].hub.revision
    low, high = part["hengyu"]["interval"]
    assert low < part["main_score"] < high
    assert part["hengyu"]["fit_on"] in ("target", "none")


def test_hostile_names_lead_to_no_folder_of_their_own(tmp_path: Path) -> None:
    write_mteb(runs.make_run(hostile=True, sweep=False), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert {len(p.relative_to(tmp_path / "out").parts) for p in (tmp_path / "out").rglob("*.json")} == {4}


def test_what_is_exported_comes_back_as_reference_rows(tmp_path: Path) -> None:
    write_mteb(RUN, tmp_path / "mteb")
    folder, taken = with_references(RUN, read_results(tmp_path / "mteb"), tmp_path)
    both = load_run(folder)
    spearman = [r for r in RUN.records if r.metric == "spearman" and r.on_board and r.task in runs.TASKS]
    assert taken == sum(r.value is not None for r in spearman)
    whole = {r.row: r.value for r in RUN.records if r.task == "mean" and r.value is not None}
    theirs = [r for r in both.records if r.encoder.endswith("(mteb)") and r.task == "mean" and r.value is not None]
    assert sorted(r.value for r in theirs) == pytest.approx(sorted(whole.values()))
    assert {(r.low, r.high, r.delta, r.interval) for r in theirs} == {(None, None, None, "")}
    board = make_board(both)
    assert len(board.rows) == len(make_board(RUN).rows) + len({r.encoder for r in theirs}) + sum(
        r.status == "incomplete" for r in both.records if r.encoder.endswith("(mteb)") and r.task == "mean"
    )
    assert make_board(RUN).rows[0].key in {r.key for r in board.rows[:2]}


def result_file(folder: Path, task: str, scores: dict[str, Any], **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"task_name": task, "dataset_revision": "x", "mteb_version": "2.0.0", "scores": scores, **more}
    (folder / f"{task}.json").write_text(json.dumps(content))
    return folder / f"{task}.json"


def part(value: float, subset: str = "default") -> dict[str, Any]:
    return {"cosine_spearman": value, "main_score": value, "hf_subset": subset, "languages": ["cmn-Hans"]}


def test_results_as_mteb_publishes_them(tmp_path: Path) -> None:
    model = tmp_path / "BAAI__bge-small-zh" / "abc"
    result_file(model, "STSB", {"test": [part(0.77)], "validation": [part(0.7)]})
    result_file(model, "STS22.v2", {"test": [part(0.1, "en"), part(0.6, "zh")]})
    result_file(model, "T2Retrieval", {"dev": [{"ndcg_at_10": 0.8, "main_score": 0.8, "hf_subset": "default"}]})
    found = {(r.model, r.revision, r.task): r.value for r in read_results(tmp_path)}
    assert found == {
        ("BAAI/bge-small-zh", "abc", "STS-B:test"): 0.77,
        ("BAAI/bge-small-zh", "abc", "STS-B:valid"): 0.7,
        ("BAAI/bge-small-zh", "abc", "STS22-zh:test"): 0.6,
        ("BAAI/bge-small-zh", "abc", "T2Retrieval:dev"): 0.8,
    }
    (model / "model_meta.json").write_text(json.dumps({"name": "bge", "revision": None}))
    assert {r.model for r in read_results(tmp_path)} == {"bge"}
    folder, taken = with_references(RUN, read_results(tmp_path), tmp_path)
    assert taken == 1
    mean = next(r for r in load_run(folder).records if r.encoder == "bge (mteb)" and r.task == "mean")
    assert mean.status == "incomplete" and mean.value is None and "ATEC:test" in mean.reason


def test_results_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HengyuError, match="holds no result of an STS or retrieval task"):
        read_results(tmp_path)
    path = result_file(tmp_path / "m" / "r", "ATEC", {"test": [part(2.5)]})
    with pytest.raises(HengyuError, match="cosine_spearman of test is 2.5, not within"):
        read_results(tmp_path)
    path.write_text('{"task_name"')
    with pytest.raises(HengyuError, match="is no result file of mteb"):
        read_results(tmp_path)
    result_file(tmp_path / "m" / "r", "ATEC", {"test": [part(0.5)]})
    with pytest.raises(HengyuError, match="has none of the tasks"):
        with_references(Run(Path(), {**RUN.header, "tasks": []}, {}, ()), read_results(tmp_path), tmp_path)


NUMBERS = [
    ("true", "cosine_spearman of test is true, not a number"),
    ('"0.9"', 'cosine_spearman of test is "0.9", not a number'),
    ("null", "cosine_spearman of test is null, not a number"),
    ("[0.5]", r"cosine_spearman of test is \[0.5\], not a number"),
    ("NaN", "cosine_spearman of test is nan, not within -1..1"),
    ("1e400", "cosine_spearman of test is inf, not within -1..1"),
    ("-1.01", "cosine_spearman of test is -1.01, not within -1..1"),
    ("1" + 400 * "0", "cosine_spearman of test is a whole number of 1329 bits, not within -1..1"),
]


@pytest.mark.parametrize(("value", "sentence"), NUMBERS)
@pytest.mark.parametrize("key", ["cosine_spearman", "cosine_pearson", "ndcg_at_10"])
def test_scores_that_are_none_are_refused_with_file_and_key(
    tmp_path: Path, key: str, value: str, sentence: str
) -> None:
    path = result_file(tmp_path / "m" / "r", "ATEC", {"test": [{**part(0.5), key: 7.25}]})
    path.write_text(path.read_text().replace("7.25", value))
    sentence = sentence.replace("cosine_spearman", key)
    if key == "ndcg_at_10":
        sentence = sentence.replace("-1..1", "0..1")
    if (key, value) == ("cosine_pearson", "null"):  # mteb leaves it open
        assert [r.pearson for r in read_results(tmp_path)] == [None]
        return
    with pytest.raises(HengyuError, match=sentence) as caught:
        read_results(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("pearson", ["55", "1e300", "-1.5"])
def test_a_pearson_value_out_of_range_is_refused(tmp_path: Path, pearson: str) -> None:
    path = result_file(tmp_path / "m" / "r", "ATEC", {"test": [{**part(0.5), "cosine_pearson": 7.25}]})
    path.write_text(path.read_text().replace("7.25", pearson))
    with pytest.raises(HengyuError, match=r"cosine_pearson of test is .*, not within -1\.\.1"):
        read_results(tmp_path)


def test_what_stands_twice_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "m" / "r"
    path = result_file(folder, "ATEC", {"test": [part(0.5), part(0.9, "en"), part(0.9)]})
    with pytest.raises(HengyuError, match="subset 'default' occurs twice in the scores of test"):
        read_results(tmp_path)
    path.write_text(
        '{"task_name": "ATEC", "scores": {"test": [{"hf_subset": "default", "spearman": 0.5, "spearman": 0.9}]}}'
    )
    with pytest.raises(HengyuError, match="key 'spearman' occurs twice"):
        read_results(tmp_path)
    result_file(folder, "ATEC", {"dev": [part(0.5)], "validation": [part(0.6)]})  # one split of ours
    with pytest.raises(HengyuError, match="ATEC:valid of m is 0.6 here and 0.5 in"):
        read_results(tmp_path)
    result_file(folder, "ATEC", {"test": [part(0.5)]})
    again = folder.parent / "r" / "deeper" / "m" / "r"
    for value in (0.5, 0.7):
        other = result_file(again, "ATEC", {"test": [part(value)]})
        (again / "model_meta.json").write_text('{"name": "m", "revision": "r"}')
        if value == 0.5:
            assert len(read_results(tmp_path)) == 1, "the same number twice is one"
        else:
            with pytest.raises(HengyuError, match="keep one of them") as caught:
                read_results(tmp_path)
            assert str(path) in str(caught.value) and str(other) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"task_name": ["a"]}, r'task_name is \["a"\], not text'),
        ({"scores": {"test": "cosine_spearman"}}, "scores of test must be a list of objects"),
        ({"scores": {"test": ["x"]}}, "scores of test must be a list of objects"),
        ({"scores": {"test": [{"hf_subset": ["default"], "spearman": 1}]}}, "hf_subset of test is .*, not text"),
    ],
)
def test_shapes_that_are_none_are_refused(tmp_path: Path, content: dict[str, Any], sentence: str) -> None:
    path = result_file(tmp_path / "m" / "r", "ATEC", {"test": [part(0.5)]})
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
    with pytest.raises(HengyuError, match=sentence):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "meta", ['{"name": ["a"]}', '{"name": "m", "revision": {"b": 1}}', "[" * 100_000, '{"name": "\\ud800"}']
)
def test_a_model_that_has_no_name_is_refused(tmp_path: Path, meta: str) -> None:
    result_file(tmp_path / "m" / "r", "ATEC", {"test": [part(0.5)]})
    (tmp_path / "m" / "r" / "model_meta.json").write_text(meta)
    with pytest.raises(HengyuError, match="model_meta.json: cannot be read .*move it away"):
        read_results(tmp_path)


def test_imports_that_differ_in_anything_stand_beside_each_other(tmp_path: Path) -> None:
    base = part(0.5)
    contents: list[dict[str, Any]] = [
        {"test": [base]},
        {"test": [{**base, "cosine_pearson": 0.4}]},
        {"test": [{**base, "cosine_pearson": 0.3}]},
        {"test": [{**base, "pearson": 0.3}]},
        {"test": [{"spearman": 0.5, "hf_subset": "default"}]},
        {"test": [{**base, "cosine_spearman": 0.5000000001}]},
    ]
    results = [tmp_path / str(number) / "m" / "r" for number in range(len(contents) + 2)]
    for folder, scores in zip(results, contents, strict=False):
        result_file(folder, "ATEC", scores)
    result_file(results[-2], "ATEC", contents[0], dataset_revision="y")
    result_file(results[-1], "ATEC", contents[0])
    (results[-1] / "model_meta.json").write_text('{"name": "m", "revision": "r", "release_date": "2020-02-02"}')
    folders = [with_references(RUN, read_results(folder), tmp_path)[0] for folder in results]
    assert len(set(folders)) == len(results)
    again = with_references(RUN, read_results(results[0]), tmp_path)[0]
    assert again == folders[0]
    pearson = [
        {r.value for r in load_run(f).records if r.metric == "pearson" and "(mteb)" in r.encoder} for f in folders
    ]
    assert pearson[:4] == [set(), {0.4}, {0.3}, {0.3}]
    other = with_references(replace(RUN, records=RUN.records[1:]), read_results(results[0]), tmp_path)[0]
    assert other not in folders, "another run under the same name is another content"


def test_two_revisions_of_a_model_are_two_rows(tmp_path: Path) -> None:
    for revision, value in (("old", 0.5), ("new", 0.6)):
        result_file(tmp_path / "m" / revision, "ATEC", {"test": [part(value)]})
    folder, taken = with_references(RUN, read_results(tmp_path), tmp_path)
    rows = {
        r.encoder: r.value
        for r in load_run(folder).records
        if "mteb" in r.encoder and r.task == "ATEC:test" and r.metric == "spearman"
    }
    assert taken == 2 and rows == {"m @ old (mteb)": 0.5, "m @ new (mteb)": 0.6}


def test_the_run_with_references_has_checksums_and_says_what_it_was_made_of(tmp_path: Path) -> None:
    result_file(tmp_path / "m" / "r", "ATEC", {"test": [part(0.5)]})
    source = runs.write_run(RUN, tmp_path)
    folder, _ = with_references(load_run(source), read_results(tmp_path / "m"), tmp_path)
    assert is_verified(folder) and (folder / "clouds.json").is_file() and load_run(folder).unverified == ""
    (row,) = load_run(folder).header["references"]
    assert (row["task"], row["value"], len(row["content"]), row["path"]) == ("ATEC:test", 0.5, 64, "ATEC.json")
    (source / "sums.json").unlink()
    other, _ = with_references(load_run(source), read_results(tmp_path / "m"), tmp_path)
    assert other != folder and not is_verified(other) and "could not be verified" in load_run(other).unverified


def test_a_folder_of_another_import_is_not_overwritten(tmp_path: Path) -> None:
    result_file(tmp_path / "m" / "r", "ATEC", {"test": [part(0.5)]})
    folder, _ = with_references(RUN, read_results(tmp_path), tmp_path)
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"content": "', '"content": "0', 1))
    before = path.read_bytes()
    with pytest.raises(HengyuError, match="is of another import"):
        with_references(RUN, read_results(tmp_path / "m"), tmp_path)
    assert path.read_bytes() == before


def test_the_commands(tmp_path: Path) -> None:
    folder = str(runs.write_run(RUN, tmp_path))
    done = CliRunner().invoke(main, ["export", folder, "--format", "mteb", "--out", str(tmp_path / "mteb")])
    assert done.exit_code == 0, done.output
    missing = CliRunner().invoke(main, ["export", folder, "--format", "mteb"])
    assert missing.exit_code == 2 and "--out DIR" in missing.output
    laid = CliRunner().invoke(main, ["reference", folder, str(tmp_path / "mteb"), "--out", str(tmp_path)])
    assert laid.exit_code == 0, laid.output
    assert "(mteb)" in laid.output
    taken = CliRunner().invoke(
        main, ["export-model", "synthetic-0a1b2c3d-mteb", "--row", "1", "--out", str(tmp_path / "x")]
    )
    assert taken.exit_code == 2


def test_every_chinese_task_of_mteb_is_a_card() -> None:
    names = mteb_names()
    assert {"ATEC", "BQ", "LCQMC", "PAWSX", "STSB", "AFQMC", "QBQTC"} <= set(names)
    ours = load_cards()
    for name in names:
        card = mteb_card(name)
        assert card.hub is not None and len(card.hub.revision) == 40
        assert card.scale[0] < card.scale[1] and card.splits
    for name in ("ATEC", "BQ", "LCQMC"):
        assert (mteb_card(name).scale, mteb_card(name).label_kind) == (ours[name].scale, ours[name].label_kind)
        assert mteb_card(name).hub.id == ours[name].hub.id
    assert set(mteb_card("ATEC").splits) == {"valid", "test"}
    card, split = parse_task(ours, "mteb:atec")
    assert (card.name, split) == ("mteb-ATEC", "test")
    assert parse_task(ours, "mteb:ATEC:valid")[1] == "valid"
    assert find_card(ours, "mteb-STSB").scale == (0, 5)
    with pytest.raises(HengyuError, match="no Chinese STS, retrieval or reranking task 'ATCE'; did you mean 'ATEC'"):
        parse_task(ours, "mteb:ATCE")
    with pytest.raises(HengyuError, match="names no split"):
        parse_task(ours, "ATEC")


def test_an_mteb_task_is_fetched_and_weighed(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    card = mteb_card("ATEC")
    assert card.hub is not None
    monkeypatch.setattr(fakehub, "REVISION", card.hub.revision)
    hub.repositories["C-MTEB/ATEC"] = {
        "data/test-00000-of-00001.parquet": parquet(ROWS),
        "data/validation-00000-of-00001.parquet": parquet(ROWS[:40]),
    }
    early = CliRunner().invoke(main, ["run", "smoke", "--task", "mteb:ATEC", "--quiet"])
    assert early.exit_code == 2 and "hengyu fetch mteb-ATEC" in early.output
    done = CliRunner().invoke(main, ["fetch", "mteb:ATEC"])
    assert done.exit_code == 0, done.output
    weighed = CliRunner().invoke(
        main, ["run", "smoke", "--task", "mteb:ATEC", "--entry", "whitening(dim=8)", "--quiet"]
    )
    assert weighed.exit_code == 0, weighed.output
    folder = Path(weighed.output.split("records: ")[1].splitlines()[0])
    run = load_run(folder)
    assert [(t["task"], t["n"], t["threshold_on"]) for t in run.header["tasks"]] == [
        ("mteb-ATEC:test", 80, "mteb-ATEC:valid")
    ]
    assert {p.name for p in write_mteb(run, folder.parent / "out")} == {"ATEC.json"}


def test_without_mteb_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from hengyu.cards import mteb_cards

    mteb_cards._tasks.cache_clear()
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(HengyuError, match=r"pip install 'hengyu\[mteb\]'"):
        mteb_card("ATEC")
    mteb_cards._tasks.cache_clear()
