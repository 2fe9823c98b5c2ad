"""Ratios of speed over time, on made-up files in pytest-benchmark's form."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.ratios import hold
from perf import compare as program
from perf.compare import compare, load_timings

from hengyu.base.errors import HengyuError


def stored(
    folder: Path, day: int, ratios: dict[str, dict[str, Any]], cpu: str = "Some CPU", dirty: bool = False
) -> Path:
    """Write one run as pytest-benchmark does, with what is read of it."""
    path = folder / "Linux-CPython-3.11-64bit" / f"{day:04}_abc.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine_info": {"machine": "x86_64", "cpu": {"brand_raw": cpu, "count": 2}},
        "commit_info": {"id": f"{day:040x}", "dirty": dirty},
        "benchmarks": [{"name": "test_it", "extra_info": {"ratios": ratios}}, {"name": "test_other", "extra_info": {}}],
        "datetime": f"2026-01-{day:02}T00:00:00+00:00",
        "version": "5.3.1",
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def gain(value: float) -> dict[str, Any]:
    return {"theirs / ours": {"value": value, "at_least": 2.0, "at_most": None}}


def cost(value: float) -> dict[str, Any]:
    return {"many / one": {"value": value, "at_least": None, "at_most": 3.0}}


def run(*words: str) -> tuple[int, str]:
    """The program's exit code and what it prints, as `make perf` calls it."""
    command = [sys.executable, str(program.__file__), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def test_the_newest_is_compared_with_the_median_of_the_earlier_ones(tmp_path: Path) -> None:
    for day, (a, b) in enumerate([(3.0, 1.0), (5.0, 1.5), (4.0, 2.0), (2.0, 3.0)], 1):
        stored(tmp_path, day, gain(a) | cost(b))
    stored(tmp_path, 9, gain(100.0), cpu="Another CPU")
    stored(tmp_path, 10, gain(2.0) | cost(3.0))
    found = {c.name: c for c in compare(load_timings(tmp_path))}
    assert found["theirs / ours"].earlier == (3.0, 5.0, 4.0, 2.0)  # of this machine only, the oldest first
    assert found["theirs / ours"].median == 3.5
    assert found["theirs / ours"].worse == pytest.approx(0.75)  # more is better here: 3.5 / 2 - 1
    assert found["many / one"].worse == pytest.approx(3.0 / 1.75 - 1)  # less is better here
    assert found["theirs / ours"].ratio.kept and found["many / one"].ratio.kept


def test_the_program_prints_and_judges(tmp_path: Path) -> None:
    stored(tmp_path, 1, gain(4.0))
    code, said = run(str(tmp_path))
    assert code == 0
    assert "theirs / ours" in said and ">= 2" in said
    stored(tmp_path, 2, gain(3.0), dirty=True)
    code, said = run(str(tmp_path))
    assert code == 0
    assert "33.3% worse" in said and "000000000000-dirty" in said
    assert run(str(tmp_path), "--tolerance", "40")[0] == 0
    code, said = run(str(tmp_path), "--tolerance", "30")
    assert code == 1
    assert "theirs / ours: 3 is worse than before" in said
    stored(tmp_path, 3, gain(1.9))
    code, said = run(str(tmp_path))
    assert code == 1
    assert "theirs / ours: 1.9 is not >= 2" in said
    assert run(str(tmp_path), "--tolerance", "nan")[0] == 2


def test_a_file_that_is_not_a_stored_run_is_a_sentence(tmp_path: Path) -> None:
    code, said = run(str(tmp_path / "nowhere"))
    assert code == 2 and "no such folder; 'make perf' makes it" in said
    code, said = run(str(tmp_path))
    assert code == 2 and "holds no stored ratios" in said
    for ratios, reason in (
        ({"x": {"value": 1.0, "at_least": None, "at_most": None}}, "ratio 'x' must be positive and have one bound"),
        ({"x": {"value": 1.0, "at_least": 1.0, "at_most": 2.0}}, "ratio 'x' must be positive and have one bound"),
        ({"x": {"value": 0.0, "at_least": 1.0}}, "ratio 'x' must be positive and have one bound"),
    ):
        path = stored(tmp_path, 1, ratios)
        with pytest.raises(HengyuError, match=reason):
            load_timings(tmp_path)
    content = json.loads(stored(tmp_path, 1, gain(3.0)).read_text(encoding="utf-8"))
    content["benchmarks"].append(content["benchmarks"][0])
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HengyuError, match="two tests call a ratio 'theirs / ours'"):
        load_timings(tmp_path)
    for text in ("{", "[]", '{"commit_info": {}}', '{"commit_info": [], "machine_info": 1}'):
        path.write_text(text, encoding="utf-8")
        code, said = run(str(tmp_path))
        assert code == 2 and "Traceback" not in said, text
        assert f"{path}: not a file of pytest-benchmark" in said


def test_make_perf_is_red_where_the_tests_or_the_comparison_are(tmp_path: Path) -> None:
    """The recipe of the Makefile, with a stand-in for Python that ends as it is told to."""
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "python"
    stub.write_text(
        '#!/bin/sh\ncase "$*" in *pytest*) exit $TESTS;; *tests/perf/compare.py*) exit $COMPARED;; esac\nexit 99\n'
    )
    stub.chmod(0o755)
    (tmp_path / ".run").touch()
    (tmp_path / ".dev").touch()
    root = Path(program.__file__).resolve().parents[2]
    codes = {}
    for tests, compared in ((0, 0), (1, 0), (0, 1), (1, 1)):
        done = subprocess.run(
            ["make", "--silent", "--directory", str(root), "perf", f"VENV={tmp_path}"],
            env={**os.environ, "TESTS": str(tests), "COMPARED": str(compared)},
            capture_output=True,
            text=True,
            check=False,
        )
        codes[tests, compared] = done.returncode
    assert {pair: code != 0 for pair, code in codes.items()} == {pair: any(pair) for pair in codes}


def test_a_ratio_is_stored_before_it_is_judged(tmp_path: Path) -> None:
    class Fixture:
        extra_info: dict[str, Any] = {}

    hold(Fixture, "theirs / ours", 2.34567, at_least=2)
    with pytest.raises(AssertionError, match="1.5 is not at least 2"):
        hold(Fixture, "slow", 1.5, at_least=2)
    with pytest.raises(AssertionError, match="4 is not at most 3"):
        hold(Fixture, "costly", 4, at_most=3)
    stored(tmp_path, 1, Fixture.extra_info["ratios"])
    (timing,) = load_timings(tmp_path)
    assert {n: r.value for n, r in timing.ratios.items()} == {"theirs / ours": 2.3457, "slow": 1.5, "costly": 4.0}


def test_the_benchmarks_can_all_be_collected() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", "tests/perf"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    files = {path.name for path in (root / "tests" / "perf").glob("test_*.py")}
    assert done.returncode == 0, done.stdout
    assert files == {line.split("::")[0].rpartition("/")[2] for line in done.stdout.splitlines() if "::" in line}
