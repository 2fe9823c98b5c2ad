"""Ratios of speed over time, on made-up files in pytest-benchmark's form."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers.ratios import hold

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.tools.speed import compare, load_timings


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


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["speed", *words], prog_name="hengyu")


def test_the_newest_is_held_against_the_median_of_the_earlier_ones(tmp_path: Path) -> None:
    for day, (a, b) in enumerate([(3.0, 1.0), (5.0, 1.5), (4.0, 2.0), (2.0, 3.0)], 1):
        stored(tmp_path, day, gain(a) | cost(b))
    stored(tmp_path, 9, gain(100.0), cpu="Another CPU")
    stored(tmp_path, 10, gain(2.0) | cost(3.0))
    found = {c.name: c for c in compare(load_timings(tmp_path))}
    assert found["theirs / ours"].earlier == (3.0, 5.0, 4.0, 2.0)  # of this machine only, the oldest first
    assert found["theirs / ours"].median == 3.5
    assert found["theirs / ours"].worse == pytest.approx(0.75)  # more is better here: 3.5 / 2 - 1
    assert found["many / one"].worse == pytest.approx(3.0 / 1.75 - 1)  # less is better here
    assert found["theirs / ours"].held and found["many / one"].held


def test_the_command_prints_and_judges(tmp_path: Path) -> None:
    stored(tmp_path, 1, gain(4.0))
    alone = run(str(tmp_path))
    assert alone.exit_code == 0
    assert "theirs / ours" in alone.output and ">= 2" in alone.output
    stored(tmp_path, 2, gain(3.0), dirty=True)
    both = run(str(tmp_path))
    assert both.exit_code == 0
    assert "33.3% worse" in both.output and "000000000000-dirty" in both.output
    assert run(str(tmp_path), "--tolerance", "40").exit_code == 0
    beyond = run(str(tmp_path), "--tolerance", "30")
    assert beyond.exit_code == 1
    assert "theirs / ours: 3 is worse than before" in beyond.output
    stored(tmp_path, 3, gain(1.9))
    below = run(str(tmp_path))
    assert below.exit_code == 1
    assert "theirs / ours: 1.9 is not >= 2" in below.output


def test_what_is_no_stored_run_is_a_sentence(tmp_path: Path) -> None:
    assert "no such folder; 'make perf' makes it" in run(str(tmp_path / "nowhere")).output
    assert run(str(tmp_path / "nowhere")).exit_code == 2
    assert "holds no stored ratios" in run(str(tmp_path)).output
    path = stored(tmp_path, 1, {"x": {"value": 1.0, "at_least": None, "at_most": None}})
    with pytest.raises(HengyuError, match="ratio 'x' must be positive and have one bound"):
        load_timings(tmp_path)
    for text in ("{", "[]", '{"commit_info": {}}', '{"commit_info": [], "machine_info": 1}'):
        path.write_text(text, encoding="utf-8")
        done = run(str(tmp_path))
        assert done.exit_code == 2, text
        assert f"{path}: not a file of pytest-benchmark" in done.output


def test_a_ratio_is_stored_before_it_is_held(tmp_path: Path) -> None:
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
