"""What the gate refuses: rules that fit nothing, baselines half merged, runs that did not finish; and its JUnit file."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from helpers import runs
from test_gate import hostile, key, scores

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.evaluation.gate.baselines import baseline_of, read_baseline, write_baseline
from hengyu.evaluation.gate.findings import EXIT
from hengyu.evaluation.gate.gate import judge
from hengyu.evaluation.gate.rules import Rules, find_rules, parse_rule, read_rules
from hengyu.report.gate.junit import error_junit, gate_junit
from hengyu.storage.records import load_run
from hengyu.storage.records.unfinished import Unfinished, find_finished, mark_finished, mark_started


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("no-such-*=1", "'no-such-*' fits no cell"),
        ("T:tset=1", "did you mean 'T:test'"),
        ("whitenning*=1", "did you mean 'whitening'"),
    ],
)
def test_a_tolerance_that_fits_no_cell_is_refused_with_the_nearest_name(rule: str, words: str) -> None:
    before = scores({"whitening": 0.5})
    with pytest.raises(HengyuError) as caught:
        judge(before, before, Rules() + [parse_rule(rule)])
    assert words in str(caught.value) and f"--tolerance '{rule}'" in str(caught.value)


def test_a_rule_that_fits_no_cell_is_refused_with_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        '[[rules]]\ntask = "T:tset"\nfloor = 90\n[[rules]]\nentry = "raw"\nencoder = "n"\ntolerance = 3\n'
        '[[rules]]\nentry = "raw"\ntask = "T:*"\ntolerance = 3\n',
        encoding="utf-8",
    )
    before = scores({"raw": 0.5})
    with pytest.raises(HengyuError) as caught:
        judge(before, before, read_rules(path))
    first, second = caught.value.problems
    assert first == f"{path}: rules[0]: task = 'T:tset' fits no cell of the baseline or the run; did you mean 'T:test'?"
    assert second == f"{path}: rules[1]: encoder = 'n' fits no cell of the baseline or the run; known: m"
    both = replace(before, cells={**before.cells, key("pca", encoder="n"): before.cells[key("raw")]})
    with pytest.raises(
        HengyuError, match="no cell of the baseline or the run fits all of encoder = 'n', entry = 'raw'"
    ):
        judge(both, both, read_rules(path))
    path.write_text('[[rules]]\ntask = "T:*"\n', encoding="utf-8")
    with pytest.raises(HengyuError, match="sets neither a tolerance nor a floor"):
        read_rules(path)


def test_rules_are_found_beside_the_baseline_and_cards_are_left_alone(tmp_path: Path) -> None:
    baseline = tmp_path / "tiny.json"
    assert find_rules(baseline) == (None, [])
    other = tmp_path / "tiny.toml"
    other.write_text('name = "tiny"\n[splits.test]\nfile = "t.tsv"\n', encoding="utf-8")
    found, notes = find_rules(baseline)
    assert found is None and "holds no rules of the gate" in notes[0] and "tiny.rules.toml" in notes[0]
    other.write_text("tolerance = 3\n", encoding="utf-8")
    found, notes = find_rules(baseline)
    assert found == other and "rename it to tiny.rules.toml" in notes[0]
    own = tmp_path / "tiny.rules.toml"
    own.write_text("tolerance = 2\n", encoding="utf-8")
    assert find_rules(baseline) == (own, [])


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline of a finished run in the reports folder, one line a cell."""
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    run = runs.make_run(sweep=False)
    run = replace(run, records=tuple(r for r in run.records if r.status != "failed"))
    runs.write_run(run, tmp_path)
    path = tmp_path / "baselines" / "synthetic.json"
    write_baseline(path, baseline_of(load_run(find_finished("latest")))[0])
    return path


def cell_line(path: Path) -> tuple[list[str], int]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return lines, next(n for n, line in enumerate(lines) if '"value"' in line)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_merge_conflict_markers_are_named_with_their_lines(kept: Path, end: str) -> None:
    lines, n = cell_line(kept)
    lines[n : n + 1] = ["<<<<<<< HEAD", lines[n], "=======", lines[n], ">>>>>>> other"]
    kept.write_bytes(end.join(lines).encode())
    done = CliRunner().invoke(main, ["gate", "synthetic", "latest"])
    assert done.exit_code == 2 and f"has merge conflict markers (line {n + 1}, {n + 3}, {n + 5})" in done.output


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("name", ["cells", "tasks", "encoders"])
def test_what_stands_twice_is_refused_with_its_lines(kept: Path, name: str, sealed: bool) -> None:
    lines, _ = cell_line(kept)
    n = next(i for i, line in enumerate(lines) if line.startswith(f' "{name}"')) + 1
    lines.insert(n, lines[n].rstrip(",") + ",")
    lines = [line for line in lines if sealed or '"sha256": "' not in line or '"task"' in line]
    kept.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(HengyuError, match=f"'{name}' holds .* twice .lines {n + sealed}, {n + 1 + sealed}."):
        read_baseline(kept)


def test_a_run_that_did_not_finish_is_red_with_a_code_of_its_own(kept: Path, tmp_path: Path) -> None:
    folder = find_finished("latest")
    gate = ["gate", "synthetic", "latest"]
    assert CliRunner().invoke(main, gate).exit_code == 0
    mark_started(folder)  # `run --force`, killed half-way: the numbers are still those of the run before
    out = tmp_path / "g.xml"
    done = CliRunner().invoke(main, [*gate, "--junit", str(out)])
    assert done.exit_code == EXIT["unfinished run"] == 14
    assert f"{folder}: its last run was started" in done.output and "did not finish" in done.output
    assert valid_junit(out.read_text(encoding="utf-8"))["errors"] == 1
    assert CliRunner().invoke(main, ["gate", "synthetic", folder.name]).exit_code == 14
    assert CliRunner().invoke(main, ["baseline", "latest", "--show"]).exit_code == 2
    mark_finished(folder)
    assert CliRunner().invoke(main, gate).exit_code == 0


@pytest.mark.parametrize("marked", [True, False])
def test_a_newer_run_that_did_not_finish_is_named_when_latest_is_asked_for(kept: Path, marked: bool) -> None:
    folder = find_finished("latest")
    newer = folder.parent / "synthetic-newer"
    (newer / "observations").mkdir(parents=True)
    if marked:
        mark_started(newer)
    done = CliRunner().invoke(main, ["gate", "synthetic", "latest"])
    assert done.exit_code == 14 and str(newer) in done.output and folder.name in done.output
    assert CliRunner().invoke(main, ["gate", "synthetic", folder.name]).exit_code == 0
    with pytest.raises(Unfinished, match="did not finish and has no numbers"):
        find_finished("synthetic-newer")
    old = (folder / "records.json").stat().st_mtime - 100
    for path in (*newer.iterdir(), newer):
        os.utime(path, (old, old))
    assert CliRunner().invoke(main, ["gate", "synthetic", "latest"]).exit_code == 0


# children in order, with how often each may stand; attributes, the first so many of them required
_SCHEMA: dict[str, tuple[list[tuple[str, int]], list[str], int]] = {
    "testsuites": ([("testsuite", 10**6)], ["name", "time", "tests", "failures", "disabled", "errors"], 0),
    "testsuite": (
        [("properties", 1), ("testcase", 10**6), ("system-out", 1), ("system-err", 1)],
        [
            "name",
            "tests",
            "failures",
            "errors",
            "time",
            "disabled",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
        ],
        2,
    ),
    "testcase": (
        [("skipped", 1), ("error", 10**6), ("failure", 10**6), ("system-out", 10**6), ("system-err", 10**6)],
        ["name", "assertions", "time", "classname", "status"],
        1,
    ),
    "error": ([], ["type", "message"], 0),
    "failure": ([], ["type", "message"], 0),
    "skipped": ([], [], 0),
    "system-out": ([], [], 0),
    "system-err": ([], [], 0),
}


def check_element(element: ET.Element) -> None:
    """Hold an element against the rules of the Jenkins JUnit schema."""
    children, attributes, required = _SCHEMA[element.tag]
    assert set(element.attrib) <= set(attributes), (element.tag, element.attrib)
    assert set(attributes[:required]) <= set(element.attrib), (element.tag, element.attrib)
    order = [name for name, _ in children]
    places = [order.index(child.tag) for child in element]
    assert places == sorted(places), (element.tag, [c.tag for c in element])
    for name, most in children:
        assert len(element.findall(name)) <= most, (element.tag, name)
    for child in element:
        check_element(child)


def valid_junit(text: str) -> dict[str, int]:
    """Return the totals of a JUnit document; fails where it is not as the schema says, or its totals do not add up."""
    root = ET.fromstring(text.split("\n", 1)[1])
    assert root.tag == "testsuites"
    check_element(root)
    (suite,) = root
    counts = {w: len(suite.findall(f"testcase/{t}")) for w, t in (("failures", "failure"), ("errors", "error"))}
    counts |= {"tests": len(suite.findall("testcase")), "skipped": len(suite.findall("testcase/skipped"))}
    assert {w: int(suite.get(w, "-1")) for w in counts} == counts
    assert all(int(root.get(w, "-1")) == counts[w] for w in ("tests", "failures", "errors"))
    return counts


def test_junit_is_valid_for_every_verdict() -> None:
    before = scores({"same": 0.5, "fell": 0.5, "noisy": 0.5, "gone": 0.5, "broken": 0.5})
    after = scores({"same": 0.5, "fell": 0.48, "broken": None, "extra": 0.1})
    after.cells[key("noisy")] = replace(before.cells[key("noisy")], value=0.48, low=0.43, high=0.53)
    counts = valid_junit(gate_junit(judge(before, after)))
    assert counts == {"tests": 8, "failures": 1, "errors": 4, "skipped": 2}
    assert valid_junit(gate_junit(judge(before, after, strict=True)))["failures"] == 2
    assert valid_junit(gate_junit(hostile()))["failures"] == 1
    assert valid_junit(error_junit("no baseline", ["a", "b"]))["errors"] == 2


def test_the_check_of_the_schema_can_fail() -> None:
    text = error_junit("no baseline", ["a"])
    for old, new in (
        ("<testsuites ", '<testsuites skipped="0" '),
        ("<error ", "<system-out /><error "),
        ('name="hengyu gate"', ""),
    ):
        assert old in text
        with pytest.raises((AssertionError, KeyError)):
            valid_junit(text.replace(old, new))


def test_cells_of_the_json_name_both_p_values(kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.json"
    assert CliRunner().invoke(main, ["gate", "synthetic", "latest", "--json", str(out)]).exit_code == 0
    cells = json.loads(out.read_bytes())["cells"]
    assert cells and all({"p", "p_raw", "groups", "groups_needed"} <= cell.keys() for cell in cells)


def test_a_run_without_checksums_is_red_with_a_code_of_its_own(kept: Path, tmp_path: Path) -> None:
    folder = find_finished("latest")
    (folder / "sums.json").unlink()
    out = tmp_path / "g.xml"
    done = CliRunner().invoke(main, ["gate", "synthetic", "latest", "--junit", str(out)])
    assert done.exit_code == EXIT["unverified run"] == 15
    assert "sums.json: is missing" in done.output
    assert valid_junit(out.read_text(encoding="utf-8"))["errors"] == 1
    assert CliRunner().invoke(main, ["baseline", "latest", "--show"]).exit_code == 2
