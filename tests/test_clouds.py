"""The clouds of a run: what a glimpse of every entry keeps, in the run's folder, on its page, in exports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import runs
from test_report import _in_chinese, _Page

from hengyu.base.errors import HengyuError
from hengyu.cards.relevance import Relevance
from hengyu.cli import main
from hengyu.methods.grammar import parse_entry
from hengyu.numerics.cloud import describe, random_histogram, unit_rows
from hengyu.numerics.cloud_sample import BINS, SAMPLE, CloudSample
from hengyu.numerics.sample import Sample
from hengyu.report.charts.angles import angles
from hengyu.report.charts.clouds import cloud_sheet, clouds_of
from hengyu.report.page.leaderboard import render
from hengyu.storage.records import Run, load_run
from hengyu.storage.records.checksums import seal
from hengyu.storage.records.clouds import load_clouds, save_clouds
from hengyu.storage.records.observations import Observation, load_observation, save_observation
from hengyu.tasks.pairs.vectors import StsVectors
from hengyu.tasks.search.vectors import RetrievalVectors

FLOATS = ("mean_norm", "anisotropy", "effective_rank", "uniformity", "hubness", "angle_mean", "angle_sd")


def cloud(n: int = 300, d: int = 24) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, d)) * np.geomspace(2, 0.2, d) + 0.4


def task(x: np.ndarray) -> StsVectors:
    n = len(x) // 2
    labels = (np.arange(n) % 3 == 0).astype(float)
    return StsVectors(x, np.arange(n), np.arange(n, 2 * n), {"target": Sample.of(x)}, labels, same=labels > 0.5)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    return load_run(runs.write_run(runs.make_run(), tmp_path))


def test_a_glimpse_of_few_rows_is_their_description_and_its_alignment_is_that_of_all_pairs() -> None:
    x = cloud()
    seen = task(x).observe(parse_entry("center"), (), "target", cloud_sample=CloudSample(7))
    assert seen.clouds is not None
    found, whole = seen.clouds["center"], describe(x - x.mean(axis=0), rows=SAMPLE["hub_rows"], seed=7)
    for name in FLOATS:
        # random pairs are fewer: their numbers have an error of chance
        close = {"rel": 1e-5} if name in ("mean_norm", "effective_rank", "hubness") else {"abs": 0.6}
        assert found[name] == pytest.approx(getattr(whole, name), **close), name
    unit = unit_rows(x - x.mean(axis=0))
    pairs = ((unit[:150] - unit[150:]) ** 2).sum(axis=1)[np.arange(150) % 3 == 0]
    assert found["alignment"] == pytest.approx(pairs.mean(), rel=1e-5)
    assert sum(found["angles"]) == pytest.approx(1, abs=1e-4) and found["angles"][0] > 0 < found["angles"][-1]
    assert task(x).observe(parse_entry("center"), (), "target").clouds is None


def test_each_dimension_of_a_sweep_is_described_as_if_it_were_alone() -> None:
    together = task(cloud()).observe(parse_entry("whitening"), (8, 16), "target", cloud_sample=CloudSample(0)).clouds
    assert together is not None and list(together) == ["whitening(dim=8)", "whitening(dim=16)"]
    for entry, found in together.items():
        alone = task(cloud()).observe(parse_entry(entry), (), "target", cloud_sample=CloudSample(0)).clouds
        assert alone is not None
        assert {k: v for k, v in found.items() if type(v) is not list} == pytest.approx(
            {k: v for k, v in alone[entry].items() if type(v) is not list}, rel=1e-4, abs=1e-9
        )
        assert found["effective_rank"] == pytest.approx(found["dim"], rel=1e-4)


@pytest.mark.parametrize("entry", ["simhash(bits=64)", "binary", "int8", "flyhash(expand=8)", "pq(m=4, bits=4)"])
def test_codes_have_a_cloud_too(entry: str) -> None:
    seen = task(cloud()).observe(parse_entry(entry), (), "target", 0, CloudSample(0))
    assert seen.clouds is not None
    (found,) = seen.clouds.values()
    assert found["dim"] == seen.dims[0] and 0 < found["effective_rank"] <= found["dim"] and "problem" not in found


def test_rows_are_sampled_alike_for_all_entries_and_wide_vectors_are_looked_at_in_fewer() -> None:
    rows = CloudSample(3).rows(10_000, 256)
    assert len(rows) == SAMPLE["rows"] == len(set(rows)) and (np.diff(rows) > 0).all()
    assert (rows == CloudSample(3).rows(10_000, 16)).all() and (rows != CloudSample(4).rows(10_000, 256)).any()
    assert len(CloudSample(3).rows(10_000, 5000)) == SAMPLE["wide_rows"]
    assert CloudSample(3).rows(5, 5000).tolist() == [0, 1, 2, 3, 4]


def test_what_cannot_be_described_says_why() -> None:
    (found,) = CloudSample(0).of(np.zeros((9, 4)), [4], [None])
    assert found == {"dim": 4, "problem": "0 vectors are non-zero; embedding geometry needs at least 2"}


def test_an_index_is_described_by_the_vectors_it_searches() -> None:
    x = cloud()
    n = len(x) // 2
    asked = Relevance.of(np.arange(n), np.arange(n, 2 * n), np.arange(n) % 3 == 0)
    vectors = RetrievalVectors(Sample.of(x[asked.corpus]), Sample.of(x[asked.queries]), asked, {"target": Sample.of(x)})
    found = vectors.observe(parse_entry("center > flat"), "target", cloud_sample=CloudSample(0)).cloud
    other = vectors.observe(parse_entry("center > hnsw"), "target", cloud_sample=CloudSample(0)).cloud
    assert found is not None and found == other and found["n"] == len(x)
    unit = unit_rows(x - x.mean(axis=0))
    assert found["mean_norm"] == pytest.approx(np.linalg.norm(unit.mean(axis=0)), rel=1e-4)
    same = ((unit[:n] - unit[n:]) ** 2).sum(axis=1)[np.arange(n) % 3 == 0]
    assert found["alignment"] == pytest.approx(same.mean(), rel=1e-4)
    assert vectors.observe(parse_entry("center > flat"), "target").cloud is None


def test_an_observation_under_another_sample_counts_as_one_without_clouds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_key = {"task": "A:test"}
    save_observation(tmp_path, Observation(cache_key, ("raw",), (4,), np.zeros((1, 3)), clouds={"raw": {"dim": 4}}))
    found = load_observation(tmp_path, cache_key)
    assert found is not None and found.clouds == {"raw": {"dim": 4}}
    monkeypatch.setitem(SAMPLE, "pairs", 1)
    found = load_observation(tmp_path, cache_key)
    assert found is not None and found.clouds is None


def test_clouds_are_kept_and_read_back(written: Run) -> None:
    found = load_clouds(written.path)
    weighed = {
        (r.task, *r.row)
        for r in written.records
        if r.metric == "spearman" and r.status == "ok" and r.on_board and r.card and r.pooling != "-"
    }
    assert {c.place for c in found} == weighed
    raw = next(c for c in found if c.entry == "raw")
    assert (raw.mean_norm, raw.effective_rank, raw.directions(0.9)) == (0.75, raw.dim / 4, 4)
    assert {c.problem for c in found if c.entry == "abtt(top=1)" and c.task == "STS-B:test"} != {""}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c | {"clouds": [1]}, r"key 'clouds\[0\]' is not as it was written .Expected object, got int"),
        (lambda c: c | {"schema": 2}, "schema"),
        (
            lambda c: c | {"clouds": [c["clouds"][0] | {"angles": ["x"]}]},
            r"'clouds\[0\]\.angles\[0\]' is not as .*float, got str",
        ),
        (lambda c: c | {"clouds": [c["clouds"][0] | {"angles_from": 89}]}, "beyond 90 bins"),
        (
            lambda c: c | {"clouds": [c["clouds"][0] | {"hubness": "high"}]},
            r"'clouds\[0\]\.hubness' is not as .*float \| null, got str",
        ),
        (lambda c: {"schema": 1}, "key 'sample' is missing"),
    ],
)
def test_a_file_that_is_none_is_a_sentence(written: Run, change, says: str) -> None:
    path = written.path / "clouds.json"
    path.write_text(json.dumps(change(json.loads(path.read_bytes()))), encoding="utf-8")
    with pytest.raises(HengyuError, match=says) as caught:
        load_clouds(written.path)
    assert str(path) in str(caught.value) and "run the suite again" in str(caught.value)


def test_the_seal_covers_them(written: Run) -> None:
    seal(written.path)
    load_run(written.path)
    path = written.path / "clouds.json"
    path.write_bytes(path.read_bytes().replace(b"0.75", b"0.76", 1))
    with pytest.raises(HengyuError, match=r"clouds\.json: has changed"):
        load_run(written.path)


def test_the_page_has_every_number_with_its_heading_explained(written: Run) -> None:
    page = _Page(render(written))
    sheet = cloud_sheet(clouds_of(written))
    assert len(sheet.rows) == len(load_clouds(written.path))
    for row in sheet.rows[:40]:
        assert all(text in page.text for text in row)
    explained = {a["title"] for t, a in page.tags if t == "abbr"}
    assert any("mean cosine of random pairs" in e for e in explained) and any("nearest" in e for e in explained)
    assert [text for text in dict.fromkeys(page.fixed) if not _in_chinese(text)] == []


def test_the_page_of_an_older_run_leaves_them_out(written: Run) -> None:
    (written.path / "clouds.json").unlink()
    with pytest.raises(HengyuError, match="clouds.json: is missing, though sums.json names it"):
        load_run(written.path)
    seal(written.path)
    text = render(load_run(written.path))
    assert 'id="clouds"' not in text and "chart-angles" not in text


def test_angles_are_drawn_before_and_after_beside_independent_directions(written: Run) -> None:
    chart = angles(load_clouds(written.path))
    assert chart is not None and chart.table.rows
    place = ("BQ:test", "hengyu-mini", "mean")
    mine = [g for g in chart.groups if tuple(g["same"][k] for k in ("task", "encoder", "pooling")) == place]
    raw = {g["same"]["rows"]: g["each"] for g in mine if g["same"]["stage"] == "raw"}
    white = {g["same"]["rows"]: g["each"] for g in mine if g["same"]["method"] == "whitening(dim=32), fit_on target"}
    assert set(raw) == {"raw", "independent directions"} and set(white) == {"after", "independent directions"}
    assert all(g["same"]["method"] is None for g in mine if g["same"]["stage"] == "raw")
    for each in (*raw.values(), *white.values()):
        assert sum(each["share"]) == pytest.approx(100, abs=0.5)
        assert min(each["share"]) == 0 == each["share"][0] == each["share"][-1]
    density = dict(zip(white["independent directions"]["angle"], white["independent directions"]["share"], strict=True))
    for i, share in enumerate(random_histogram(32, BINS)):
        if share > 1e-3:
            assert density[2 * i + 1] == pytest.approx(100 * share, abs=0.006)


def test_a_page_says_how_many_it_draws(written: Run) -> None:
    one = load_clouds(written.path)[0]
    many = [replace(one, entry=f"e{i}") for i in range(1500)]
    chart, sheet = angles(many), cloud_sheet(many)
    assert chart is not None and "The first 400 of 1,500" in chart.about and len(chart.table.rows) == 400
    assert "The first 1,000 of 1,500 rows" in sheet.about and len(sheet.rows) == 1000
    assert _in_chinese(chart.about) and _in_chinese(sheet.about)
    assert angles([replace(one, angles=())]) is None


def test_quantiles_of_angles_lie_where_the_pairs_do(written: Run) -> None:
    one = replace(load_clouds(written.path)[0], angles_from=10, angles=(0.5, 0.5), dim=1)
    chart = angles([one])
    assert chart is not None
    assert chart.table.rows[0][-5:] == ("20.2", "22.0", "23.8", "", "")


def test_entries_that_search_the_same_are_shown_once(tmp_path: Path) -> None:
    seen = [
        Observation(
            {"task": "A:test", "encoder": "m", "pooling": "mean", "fit_on": f}, (e,), clouds={e: {"dim": 4, "n": 9}}
        )
        for e, f in (("flat", "none"), ("hnsw", "none"), ("whitening > flat", "target"), ("whitening > lsh", "target"))
    ]
    save_clouds(tmp_path, seen, 0)
    run = replace(runs.make_run(), path=tmp_path, header={"run": "r", "suite": {"kind": "retrieval"}})
    assert [c.entry for c in clouds_of(run)] == ["raw", "whitening"]
    assert len(load_clouds(tmp_path)) == 4


def test_export_gives_them_as_csv_and_json(written: Run, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["export", written.id, "--clouds", "--format", "json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.output)
    assert len(rows) == len(load_clouds(written.path)) and rows[0]["mean_norm"] == 0.75
    done = CliRunner().invoke(main, ["export", written.id, "--clouds", "--out", str(tmp_path / "clouds.csv")])
    lines = (tmp_path / "clouds.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("task,encoder,pooling,entry,fit_on,dim") and len(lines) == len(rows) + 1
    done = CliRunner().invoke(main, ["export", written.id, "--clouds", "--format", "latex"])
    assert done.exit_code == 2 and "csv or json" in done.output
