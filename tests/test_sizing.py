"""hengyu size: bytes as they are, seconds within what is said, verdicts that follow from both."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import sentences

from hengyu.cli import main
from hengyu.methods.grammar import parse_entry
from hengyu.methods.search.cost import queries_each_second, threads
from hengyu.numerics.curves import Extrapolated, extrapolate, extrapolate_line
from hengyu.storage.records import Run, load_run
from hengyu.tools.sizing.curves import Measured, Shape, draw, measure
from hengyu.tools.sizing.plan import CANNOT_TELL, FITS, FITS_NOT, NOT_MEASURED, Limits, size_rows
from hengyu.tools.sizing.text import as_json, notes

SIZES = [1000, 2000, 4000, 8000, 16000]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)


@pytest.mark.parametrize(
    ("law", "fit"),
    [("power", lambda n: 3e-6 * n**1.2), ("affine", lambda n: 5e-5 + 2e-9 * n), ("power", lambda n: n**0.2)],
)
def test_a_law_that_holds_is_found_and_its_range_holds_the_truth(law: str, fit) -> None:
    found = extrapolate(SIZES, [fit(n) for n in SIZES], 1e6)
    assert found.law == law and found.value == pytest.approx(fit(1e6), rel=1e-6)
    assert found.low <= fit(1e6) * np.exp(-0.19) and found.high >= fit(1e6) * np.exp(0.19)


def test_the_range_grows_with_the_distance_and_with_what_the_sizes_miss() -> None:
    noisy = [1e-6 * n * (1.3 if i % 2 else 1.0) for i, n in enumerate(SIZES)]
    smooth = [1e-6 * n for n in SIZES]

    def width(values: list[float], n: float) -> float:
        found = extrapolate(SIZES, values, n)
        return found.high / found.low

    assert width(noisy, 1e5) < width(noisy, 1e6) < width(noisy, 1e7)
    assert width(smooth, 1e6) < width(noisy, 1e6)
    assert width(smooth, 1e6) == pytest.approx(np.exp(0.4), rel=0.01)


def test_the_range_stays_within_what_can_grow() -> None:
    noisy = [1e-6 * n * (2.0 if i % 2 else 1.0) for i, n in enumerate(SIZES)]
    free, bound = extrapolate(SIZES, noisy, 1e6), extrapolate(SIZES, noisy, 1e6, (0.0, 1.25))
    assert bound.low == pytest.approx(max(free.low, noisy[-1] * np.exp(-0.2)))
    assert bound.high == pytest.approx(noisy[-1] * (1e6 / SIZES[-1]) ** 1.25 * np.exp(0.2))
    assert bound.high < free.high
    assert bound.low <= bound.value <= bound.high
    assert extrapolate(SIZES, noisy, 10_000, (0.0, 1.25)) == extrapolate(SIZES, noisy, 10_000)


def test_noise_of_timings_is_within_the_range() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(200):
        truth = 2e-5 + 3e-9 * np.array([*SIZES, 1e5])
        found = extrapolate(SIZES, list(truth[:-1] * np.exp(0.1 * rng.standard_normal(5))), 1e5)
        inside += found.low <= truth[-1] <= found.high
    assert inside >= 182


@pytest.mark.parametrize(
    ("sizes", "values"), [([1, 2], [1, 2]), ([1, 2, 2], [1, 2, 3]), ([1, 2, 3], [1, 0, 3]), ([1, 2, 3], [1, 2])]
)
def test_too_little_to_extrapolate_from_is_refused(sizes: list[float], values: list[float]) -> None:
    for way in (extrapolate, extrapolate_line):
        with pytest.raises(ValueError, match="at least 3 ascending sizes"):
            way(sizes, values, 10)


ENTRIES = (
    *("flat", "lsh(bits=64)", "binary-flat", "rabitq-flat", "rabitq-flat(bits=4)", "rabitq-flat > rescore(k=100)"),
    *("ivf(lists=8)", "ivfpq(lists=8, bits=4)", "ivfrabitq(lists=8)", "simhash-buckets(bits=4)", "hnsw(m=8)"),
)


@pytest.mark.parametrize("text", ENTRIES)
def test_bytes_at_another_size_are_those_of_the_index_built_there(text: str) -> None:
    entry, shape, n = parse_entry(text), Shape(32), 20_000
    found = extrapolate_line(*((m := measure(entry, shape, seconds=0.05, largest=8192)).sizes, m.bytes), n)
    steps = entry.with_seed(0).steps
    index = steps[-1].make()
    if len(steps) > 1:
        index = index.over(steps[-2].make())
    with threads(1):
        index.build(draw(shape, n, 9))
    if text.startswith("hnsw"):  # its links are drawn
        assert not found.exact and index.size() == pytest.approx(found.value, rel=0.01)
    else:
        assert found.exact and index.size() == found.value


def test_seconds_at_four_times_the_size_are_about_those_measured_there() -> None:
    shape, n = Shape(32), 1 << 16
    for text in ("flat", "lsh(bits=256)"):
        entry = parse_entry(text)
        m = measure(entry, shape, seconds=1.0, largest=n // 4)
        found = extrapolate(m.sizes, m.query_seconds, n)
        index = entry.steps[-1].make().build(draw(shape, n, 9))
        real = 1 / queries_each_second(index, draw(shape, 64, 8), 100, time.process_time)
        assert found.low / 2 < real < 2 * found.high, (text, real, found)  # twice, as other work may share the caches


def test_vectors_have_the_mean_and_spectrum_of_their_shape() -> None:
    shape = Shape(16, 0.6, (0.5, 0.7, 0.85, 0.95, 1.0))
    x = draw(shape, 20_000, 0).astype(np.float64)
    assert np.linalg.norm(x, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(x.mean(axis=0)) == pytest.approx(
        0.6, abs=0.06
    )  # the length of a vector varies before it is made 1
    assert shape.variances.sum() == pytest.approx(1) and shape.variances[0] == pytest.approx(0.5)
    assert shape.variances[:4].sum() == pytest.approx(0.85)
    assert np.array_equal(draw(shape, 50, 0)[:20], draw(shape, 20, 0))
    assert Shape(4).variances.tolist() == [0.25] * 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> list[Run]:
    """Runs of one suite with no, some and more distractors."""
    root = tmp_path_factory.mktemp("sizing")
    rng = np.random.default_rng(5)
    lines = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in sentences(rng, 150))
    (root / "toy.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    (root / "toy.toml").write_text(
        'name = "toy"\nlabels = { scale = [0, 1], kind = "binary" }\n[splits.test]\nfile = "toy.tsv"\n',
        encoding="utf-8",
    )
    (root / "suite").mkdir()
    (root / "suite" / "toy.toml").write_text(
        'kind = "retrieval"\ntasks = ["toy:test"]\nresamples = 50\nbaselines = ["bm25"]\n'
        'entries = ["flat", "whitening(dim=8) > lsh(bits=64)", "rrf(flat, bm25)"]\n',
        encoding="utf-8",
    )
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
        for n in (0, 200, 600):
            (root / "lines.txt").write_text("".join(f"{a}，{i}\n" for i, (a, _, _) in enumerate(sentences(rng, n))))
            words = ["run", str(root / "suite" / "toy.toml"), "--datasets", str(root), "--encoder", str(tiny_bert)]
            words += ["--out", str(root / "out"), "--store", str(root / "store"), "--quiet"]
            done = CliRunner().invoke(main, [*words, *(["--distractors", str(root / "lines.txt")] if n else [])])
            assert done.exit_code == 0, done.output
            folder = next(x for x in done.stdout.splitlines() if x.startswith("records: ")).removeprefix("records: ")
            found.append(load_run(Path(folder)))
    return found


def test_rows_stand_by_ndcg_and_say_what_is_not_known(runs: list[Run]) -> None:
    found = size_rows(runs[:1], Limits(10_000, 1 << 30, 1e-3), seconds=0.1, largest=8192)
    scores = [row.score.value for row in found.rows]
    assert scores == sorted(scores, reverse=True) and len(scores) == 4
    verdicts = {row.score.entry: row.verdict for row in found.rows}
    assert verdicts == {
        "flat": FITS, "whitening(dim=8) > lsh(bits=64)": FITS, "bm25": NOT_MEASURED, "rrf(flat, bm25)": NOT_MEASURED,
    }  # fmt: skip
    flat = next(row for row in found.rows if row.score.entry == "flat")
    assert flat.bytes is not None and flat.bytes.exact and flat.bytes.value == pytest.approx(10_000 * 32 * 4, abs=100)
    said = " ".join(notes(found))
    assert "was measured among" in said and "Among 10,000 it is lower" in said and "give 3 runs" in said
    assert "not counted" in said and "only a run at this size shows" in said
    json.dumps(as_json(found), allow_nan=False)


def test_lexical_search_is_read_from_three_runs(runs: list[Run]) -> None:
    found = size_rows(runs, Limits(5000), seconds=0.1, largest=8192)
    row = next(row for row in found.rows if row.score.entry == "bm25")
    sizes = [run.header["tasks"][0]["corpus"] for run in runs]
    assert row.largest == sizes[-1] > sizes[0] and row.qps is not None and row.bytes is not None
    measured = {r.metric: r.value for r in runs[-1].records if r.entry == "bm25"}
    assert row.bytes.value > (measured["index-bytes"] or 0) and row.qps.value < 2 * (measured["qps"] or 0)
    assert all(row.verdict == FITS for row in found.rows)  # nothing is asked for


def test_verdicts_follow_from_the_ranges(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    curve = Measured((1000, 2000, 4000), (1e6, 2e6, 4e6), (1e-3, 2e-3, 4e-3), (1.0, 2.0, 4.0))
    monkeypatch.setattr("hengyu.tools.sizing.plan.measure", lambda *a, **k: curve)

    def verdict(**limits: float) -> str:
        rows = size_rows(runs[:1], Limits(8000, **limits)).rows
        return next(row.verdict for row in rows if row.score.entry == "flat")

    assert (verdict(memory=8e6), verdict(memory=8e6 - 1)) == (FITS, FITS_NOT)  # 8 MB exactly
    assert (verdict(qps=90), verdict(qps=125), verdict(qps=200)) == (
        FITS,
        CANNOT_TELL,
        FITS_NOT,
    )  # 125, give or take 20 %
    busy = replace(curve, share=0.3)
    monkeypatch.setattr("hengyu.tools.sizing.plan.measure", lambda *a, **k: busy)
    assert (verdict(qps=60), verdict(qps=90), verdict(qps=300)) == (
        FITS,
        CANNOT_TELL,
        FITS_NOT,
    )  # 125, by a factor of two
    found = size_rows(runs[:1], Limits(8000))
    assert found.disturbed == 0.3 and any("a measurement got as little as 30 %" in note for note in notes(found))
    monkeypatch.setattr("hengyu.tools.sizing.plan.measure", lambda *a, **k: curve)
    assert not any("busy" in note for note in notes(size_rows(runs[:1], Limits(8000))))
    assert verdict(memory=1, qps=90) == FITS_NOT and verdict(memory=1e9, qps=125) == CANNOT_TELL
    few = replace(curve, sizes=(1000, 2000), bytes=(1e6, 2e6), query_seconds=(1.0, 2.0), build_seconds=(1.0, 2.0))
    monkeypatch.setattr("hengyu.tools.sizing.plan.measure", lambda *a, **k: few)
    assert verdict() == NOT_MEASURED
    assert Extrapolated(1, 1, 1, "line").exact


def test_the_command_prints_the_table_and_writes_json(runs: list[Run], tmp_path: Path) -> None:
    words = [
        "size",
        str(runs[0].path),
        "--n",
        "1e4",
        "--memory",
        "1GiB",
        "--qps",
        "0.01",
        "--seconds",
        "1",
        "--quiet",
    ]
    done = CliRunner().invoke(main, [*words, "--json", str(tmp_path / "x.json")])
    assert done.exit_code == 0, done.output
    assert "10,000 documents, 1.0 GiB of memory, 0.01 queries/s on one thread" in done.stdout
    assert "The best row that fits: " in done.stdout and "not measured" in done.stdout
    best = done.stdout.partition("The best row that fits: ")[2].partition(".\n")[0]
    assert " | " in best, "where encoders differ, the row is named with its own"
    assert "No limit was given" not in done.stdout
    rows = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["rows"]
    assert {"entry", "value", "low", "high", "bytes", "qps", "build_seconds", "verdict"} <= set(rows[0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--n", "many"), "--n many: must be a whole number of documents"),
        (("--n", "0.5"), "must be a whole number"),
        (("--n", "10", "--seconds", "0.1"), "--seconds 0.1: must lie in 1..3600"),
        (("--n", "nan"), "must be a whole number"),
        (("--n", "10", "--memory", "lots"), "--memory 'lots'"),
    ],
)
def test_mistakes_are_one_sentence(runs: list[Run], given: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(main, ["size", str(runs[0].path), *given])
    assert done.exit_code == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_run_without_search_is_refused(runs: list[Run]) -> None:
    other = replace(runs[0], header={**runs[0].header, "suite": {**runs[0].header["suite"], "kind": "sts"}})
    with pytest.raises(Exception, match="whose methods search nothing; give a retrieval run"):
        size_rows([other], Limits(10))
