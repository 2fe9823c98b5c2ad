"""Entries that want more columns than an encoder has: no number for it, and a mistake only where no encoder has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers.words import save_grades

from hengyu.cli import main
from hengyu.storage.records import Record, Run, load_run

SUITE = """
tasks = ["grades:test", "grades:valid"]
baselines = []
resamples = 50
encoders = [{ model = "wide.npy" }, { model = "narrow.npy" }]
entries = ["raw", "pca(dim=40)", { entry = "whitening", dims = [8, 30, 40] }, "abtt(top=45)", "jl(dim=30, kind=orthogonal)"]
"""
TOO_WIDE = ("pca(dim=40)", "whitening(dim=30)", "whitening(dim=40)", "abtt(top=45)", "jl(dim=30, kind=orthogonal)")
SEARCHED = """
kind = "retrieval"
relevant = 4
tasks = ["grades:test"]
resamples = 20
encoders = ["wide.npy", "narrow.npy"]
entries = ["flat", "pca(dim=40) > flat", "ivfpq(m=25, lists=8, bits=4)", "binary-hash(bits=12, tables=4)"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card of grades, and vectors of 50 and of 20 columns for its sentences."""
    folder = tmp_path_factory.mktemp("widths")
    save_grades(folder)
    lines = [path.read_text(encoding="utf-8").splitlines()[1:] for path in sorted(folder.glob("*.tsv"))]
    texts = sorted({text for part in lines for line in part for text in line.split("\t")[:2]})
    for name, width in (("wide", 50), ("narrow", 20)):
        np.save(folder / f"{name}.npy", np.random.default_rng(3).normal(size=(len(texts), width)).astype(np.float32))
        (folder / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (folder / "cards").mkdir()
    for path in (*folder.glob("*.tsv"), folder / "grades.toml"):
        path.rename(folder / "cards" / path.name)
    return folder


def weigh(folder: Path, out: Path, *more: str, text: str = SUITE) -> tuple[Result, Run]:
    (folder / "widths.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [
            "run",
            "widths.toml",
            "--datasets",
            "cards",
            "--out",
            str(out),
            "--store",
            str(folder / "store"),
            *more,
        ]
        done = CliRunner().invoke(main, words)
    (run,) = (out / "records").iterdir()
    return done, load_run(run)


def of(run: Run, encoder: str, metric: str = "spearman") -> dict[tuple[str, str], Record]:
    return {(r.task, r.entry): r for r in run.records if r.encoder == encoder and r.metric == metric}


@pytest.fixture(scope="module")
def both(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Run]:
    return weigh(folder, tmp_path_factory.mktemp("both"))


def test_what_one_encoder_is_wide_enough_for_is_no_mistake(both: tuple[Result, Run]) -> None:
    done, run = both
    assert done.exit_code == 0, done.output
    wide, narrow = of(run, "wide"), of(run, "narrow")
    assert {r.status for r in wide.values()} == {"ok"}
    assert {entry for _, entry in narrow} == {entry for _, entry in wide}  # nothing vanishes
    for (task, entry), r in narrow.items():
        if entry not in TOO_WIDE:
            assert r.status == "ok", (task, entry)
        elif task in ("grades:test", "grades:valid"):
            assert (r.status, r.value) == ("unavailable", None)
    reasons = {entry: narrow["grades:test", entry].reason for entry in TOO_WIDE}
    assert reasons["pca(dim=40)"] == "dim=40 is larger than the 20 the vectors have"
    assert reasons["whitening(dim=30)"] == "dim=30 is larger than the 20 the vectors have"
    assert reasons["abtt(top=45)"] == "top=45 leaves nothing of the 20 dimensions the vectors have"


def test_such_a_row_has_no_mean_no_rank_and_its_reason_on_the_board(both: tuple[Result, Run]) -> None:
    done, run = both
    mean = of(run, "narrow")["mean", "pca(dim=40)"]
    assert (mean.status, mean.value) == ("incomplete", None)
    assert not [s for s in run.standings if s.encoder == "narrow" and s.entry in TOO_WIDE]
    said = " ".join(done.output.split())
    assert "n/a [1]" in said and "unavailable: dim=40 is larger than the 20 the vectors have" in said


def test_a_run_with_such_rows_is_green_beside_itself(both: tuple[Result, Run], tmp_path: Path) -> None:
    _, run = both
    kept = tmp_path / "baseline.json"
    done = CliRunner().invoke(main, ["baseline", str(run.path), "--out", str(kept)])
    assert done.exit_code == 0, done.output
    judged = CliRunner().invoke(main, ["gate", str(kept), str(run.path)])
    assert judged.exit_code == 0, judged.output


def test_kept_cells_say_it_again(folder: Path, both: tuple[Result, Run]) -> None:
    _, run = both
    done, again = weigh(folder, run.path.parents[1])
    assert done.exit_code == 0 and again.records == run.records


def test_what_no_encoder_of_the_suite_is_wide_enough_for_is_a_mistake(folder: Path, tmp_path: Path) -> None:
    done, run = weigh(folder, tmp_path, text=SUITE.replace('"pca(dim=40)"', '"pca(dim=400)"'))
    assert done.exit_code == 2
    assert "entry 'pca(dim=400)' failed for wide, native: dim=400 is larger than the 50" in " ".join(
        done.output.split()
    )
    assert of(run, "wide")["grades:test", "pca(dim=400)"].status == "failed"
    narrow = of(run, "narrow")
    assert narrow["grades:test", "pca(dim=400)"].status == "failed"
    assert narrow["grades:test", "whitening(dim=40)"].status == "unavailable"
    assert narrow["mean", "raw"].status == "ok"  # the rest is weighed


def test_a_suite_takes_other_encoders_than_its_own_as_far_as_they_go(folder: Path, tmp_path: Path) -> None:
    done, run = weigh(folder, tmp_path, "--encoder", "narrow.npy")
    assert done.exit_code == 0, done.output
    assert {e for (_, e), r in of(run, "narrow").items() if r.status == "unavailable"} == set(TOO_WIDE)
    asked, _ = weigh(folder, tmp_path / "asked", "--encoder", "narrow.npy", "--entry", "pca(dim=40)")
    assert asked.exit_code == 2 and "dim=40 is larger than the 20" in " ".join(asked.output.split())


def test_every_dim_too_wide_is_one_reason(folder: Path, tmp_path: Path) -> None:
    text = SUITE.replace("dims = [8, 30, 40]", "dims = [30, 40]")
    done, run = weigh(folder, tmp_path, text=text)
    assert done.exit_code == 0, done.output
    narrow = of(run, "narrow")
    reason = "dim=30, 40 are larger than the 20 the vectors have"
    assert [narrow["grades:test", f"whitening(dim={d})"].reason for d in (30, 40)] == [reason, reason]


@pytest.mark.long
def test_an_index_that_does_not_fit_the_width_is_told_alike(folder: Path, tmp_path: Path) -> None:
    done, run = weigh(folder, tmp_path, text=SEARCHED)
    assert done.exit_code == 0, done.output
    found = {e: (r.status, r.reason) for (_, e), r in of(run, "narrow", "ndcg@10").items()}
    assert found["flat"] == ("ok", "")
    assert found["pca(dim=40) > flat"] == ("unavailable", "dim=40 is larger than the 20 the vectors have")
    assert found["ivfpq(lists=8, m=25, bits=4)"][0] == "unavailable"
    assert found["binary-hash"][0] == "unavailable"
    assert "n/a" in done.output
    assert {r.status for r in of(run, "wide", "ndcg@10").values()} == {"ok"}
    alone, _ = weigh(folder, tmp_path / "alone", text=SEARCHED.replace('"wide.npy", ', ""))
    assert alone.exit_code == 2
