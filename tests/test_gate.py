"""The gate's verdicts, findings, exit codes and outputs, on made-up runs whose numbers are set by hand."""

from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import runs
from helpers import simulated as made
from rich.console import Console
from scipy.stats import t as student

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.evaluation.gate.baselines import baseline_of, find_scores, write_baseline
from hengyu.evaluation.gate.findings import EXIT, EXIT_WORDS
from hengyu.evaluation.gate.gate import VERDICTS, judge
from hengyu.evaluation.gate.rules import Rules, parse_rule, read_rules
from hengyu.evaluation.paired_test import PairedChange, holm, smallest_detectable, stored_error
from hengyu.evaluation.run_metrics import Key, MetricValue, RunMetrics
from hengyu.report.gate.annotations import gate_annotations
from hengyu.report.gate.junit import gate_junit
from hengyu.report.gate.text import gate_json, gate_markdown, print_gate, summary
from hengyu.storage.records import load_run

N = 10_000
ABOUT = {"task": "T:test", "n": N, "card_sha256": "card", "sha256": "data", "ceiling": 0.866}
ENCODER = {"encoder": "m", "fingerprint": "f", "tokens": "t", "protocol": 1, "max_length": 128, "dtype": "float32"}


def key(entry: str, **other: str) -> Key:
    return Key(**{"task": "T:test", "encoder": "m", "pooling": "mean", "entry": entry, "fit_on": "none", **other})


def scores(values: dict[str, float | None], half: float = 0.002, **other) -> RunMetrics:
    """Return scores of entry -> value, each with an interval of +-half."""
    cells = {
        key(e): MetricValue(v, v - half, v + half)
        if v is not None
        else MetricValue(None, status="failed", reason="broken")
        for e, v in values.items()
    }
    base = RunMetrics("made.json", "made", "made-1", "0", 1, 0, 1000, 0.95, {"T:test": ABOUT}, {"m": ENCODER}, cells)
    return replace(base, **other)


def verdicts(judged) -> dict[str, str]:
    return {v.key.entry: v.verdict for v in judged.verdicts}


def test_the_five_verdicts_in_one_gate():
    before = scores({"same": 0.5, "small": 0.5, "fell": 0.5, "noisy": 0.5, "gone": 0.5, "broken": 0.5, "better": 0.5})
    after = scores({"same": 0.5, "small": 0.497, "fell": 0.48, "broken": None, "better": 0.6, "extra": 0.1})
    after.cells[key("noisy")] = MetricValue(0.48, 0.43, 0.53)
    judged = judge(before, after)
    assert verdicts(judged) == {
        **{"same": "pass", "small": "pass", "better": "pass", "fell": "fail", "noisy": "inconclusive"},
        **{"gone": "not measured", "broken": "not measured", "extra": "new"},
    }
    assert [VERDICTS.index(v.verdict) for v in judged.verdicts] == sorted(
        VERDICTS.index(v.verdict) for v in judged.verdicts
    )
    assert {f.kind for f in judged.findings} == {"failed cell", "missing cell"}
    assert judged.code == EXIT["regression"]
    assert judged.counts == {"fail": 1, "not measured": 2, "inconclusive": 1, "new": 1, "pass": 3}


def test_an_identical_run_is_green_and_an_empty_one_red():
    before = scores({"a": 0.5, "b": 0.4})
    assert judge(before, before).code == 0
    assert {v.change.test for v in judge(before, before).verdicts} == {"identical"}
    empty = replace(before, cells={}, tasks={}, encoders={})
    assert judge(before, empty).code == EXIT["nothing measured"]
    assert judge(empty, before).code == EXIT["nothing measured"]
    assert judge(empty, empty).code == EXIT["nothing measured"]
    failed = scores({"a": None, "b": None})
    assert judge(before, failed).code == EXIT["nothing measured"]
    assert {"failed cell", "nothing measured"} == {f.kind for f in judge(before, failed).findings}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("different n", {"tasks": {"T:test": ABOUT | {"n": N - 1}}}),
        ("different card", {"tasks": {"T:test": ABOUT | {"card_sha256": "other"}}}),
        ("different data", {"tasks": {"T:test": ABOUT | {"sha256": "other"}}}),
        ("different protocol", {"protocol": 2}),
        ("different protocol", {"encoders": {"m": ENCODER | {"protocol": 2}}}),
        ("different tokenizer", {"encoders": {"m": ENCODER | {"tokens": "other"}}}),
        ("different settings", {"encoders": {"m": ENCODER | {"dtype": "bfloat16"}}}),
    ],
)
def test_what_cannot_be_compared_is_a_finding_with_a_code_of_its_own(kind, change):
    before = scores({"a": 0.5})
    judged = judge(before, replace(before, **change))
    assert judged.code == EXIT[kind]
    assert kind in {f.kind for f in judged.findings}
    word = kind.removeprefix("different ")
    if word in ("protocol", "tokenizer", "settings"):
        accepted = judge(before, replace(before, **change), accept=(word,))
        assert accepted.code == 0 and any(f"accepted: {kind}" in note for note in accepted.notes)
    else:
        assert verdicts(judged) == {"a": "not measured"}


def test_other_weights_are_a_note_and_the_comparison_goes_on():
    before = scores({"a": 0.5})
    judged = judge(before, scores({"a": 0.4}, encoders={"m": ENCODER | {"fingerprint": "g"}}))
    assert verdicts(judged) == {"a": "fail"} and not judged.findings
    assert any("other weights" in note for note in judged.notes)


def test_exit_codes_are_distinct_documented_and_stable():
    assert dict(zip(EXIT_WORDS, range(16), strict=True)) == EXIT
    help_ = CliRunner().invoke(main, ["gate", "--help"]).output
    for word, code in EXIT.items():
        assert re.search(rf"^ +\* +{code}  {word}: ", help_, re.MULTILINE)


def test_the_help_with_its_codes_imports_nothing_heavy():
    code = (
        "import sys\nfrom hengyu.cli import main\n"
        "for word in ('gate', 'baseline'):\n    try: main([word, '--help'])\n    except SystemExit: pass\n"
        "print(sorted({'numpy', 'scipy', 'numba', 'torch', 'pandas'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip().endswith("[]"), done.stdout


def test_of_several_findings_the_lowest_code_is_the_gates():
    before = scores({"a": 0.5, "b": 0.5})
    other = scores({"a": 0.4}, encoders={"m": ENCODER | {"tokens": "x", "dtype": "float16"}})
    assert judge(before, other).code == EXIT["regression"]
    calm = replace(other, cells={key("a"): before.cells[key("a")]})
    assert judge(before, calm).code == EXIT["different tokenizer"]


def test_strict_turns_inconclusive_red():
    before, after = scores({"a": 0.5}, half=0.05), scores({"a": 0.46}, half=0.05)
    assert (judge(before, after).code, judge(before, after, strict=True).code) == (0, EXIT["inconclusive"])


def test_a_floor_is_red_whatever_the_baseline_says():
    before = scores({"a": 0.5}, half=0.05)
    rules = Rules() + [replace(parse_rule("a=40"), tolerance=None, floor=0.495)]
    assert verdicts(judge(before, scores({"a": 0.49, "b": 0.1}, half=0.05), rules)) == {"a": "fail", "b": "new"}
    assert verdicts(judge(before, before, rules)) == {"a": "pass"}


def test_a_stated_tolerance_tighter_than_chance_is_refused_with_the_figure():
    before, after = scores({"a": 0.5}, half=0.015), scores({"a": 0.49}, half=0.015)
    error = 0.015 / 1.959964
    least = (2.575829 + 1.644854) * math.sqrt(2) * error  # one cell, stored intervals, 99 % and 95 %
    assert smallest_detectable(stored_error(before.cells[key("a")], 0.95), cells=1, level=0.99) == pytest.approx(
        least, 1e-5
    )
    with pytest.raises(HengyuError, match=f"{100 * least:.2f} points.*10,000 pairs, 1 cells, by the stored intervals"):
        judge(before, after, Rules() + [parse_rule("0.5")])
    assert judge(before, after, Rules() + [parse_rule(f"{100 * least + 0.01}")]).code == 0
    assert judge(before, after).code == 0  # the default promises nothing


def test_a_paired_gate_can_tell_less_than_stored_intervals(tmp_path):
    rng = np.random.default_rng(5)
    z, labels = made.labelled(rng, 2000, made.DESIGNS["binary balanced"])
    first, second = made.versions(rng, z, (0.6, 0.5), 0.97)
    before = made.scores(tmp_path / "before", labels, {"entry": first})
    now = made.scores(tmp_path / "now", labels, {"entry": second})
    errors = {}
    for name, base in (("runs", before), ("file", made.kept(before)), ("stored", made.without_observations(before))):
        change = judge(base, now).verdicts[0].change
        errors[name] = change.error
        assert change.test == ("stored" if name == "stored" else "paired") and change.groups == 2000
    assert errors["file"] == pytest.approx(errors["runs"], rel=1e-3)  # block means are kept in half precision
    assert errors["stored"] > 2 * errors["runs"]


def test_labels_or_observations_that_do_not_fit_fall_back_with_a_note(tmp_path):
    rng = np.random.default_rng(6)
    z, labels = made.labelled(rng, 500, made.DESIGNS["graded 0..5"])
    first, second = made.versions(rng, z, (0.6, 0.6), 0.9)
    before = made.scores(tmp_path / "before", labels, {"entry": first})
    now = made.scores(tmp_path / "now", labels, {"entry": second})
    (tmp_path / "now" / "labels.safetensors").unlink()
    judged = judge(before, now)
    assert judged.verdicts[0].change.test == "stored"
    assert any("keeps no labels" in note for note in judged.notes)
    other = made.scores(tmp_path / "other", rng.permutation(labels), {"entry": second})
    assert any("different labels" in note for note in judge(before, other).notes)
    stale = replace(other, cells={k: replace(v, value=0.123) for k, v in other.cells.items()})
    assert any("no observation that gives their number" in note for note in judge(before, stale).notes)


def test_holm_is_the_textbook_procedure():
    found = holm([0.01, 0.04, 0.03, 0.005], 0.95)
    assert [round(p, 6) for p, _ in found] == [0.03, 0.06, 0.06, 0.02]
    assert [round(1 - level, 6) for _, level in found] == [0.016667, 0.025, 0.025, 0.0125]
    assert holm([], 0.95) == []


def test_an_interval_excludes_zero_exactly_where_the_adjusted_p_is_small():
    rng = np.random.default_rng(8)
    for _ in range(200):
        changes = [PairedChange(float(d), 0.01, 63, "paired", 64) for d in rng.normal(0, 0.03, 7)]
        for change, (p, level) in zip(changes, holm([c.p for c in changes], 0.99), strict=True):
            low, high = change.interval(level)
            assert (p <= 0.01) == (low > 0 or high < 0)


def test_a_paired_change_uses_students_t():
    change = PairedChange(-0.02, 0.01, 63, "paired")
    assert change.p == pytest.approx(2 * student.sf(2, 63))
    assert change.interval(0.99)[0] == pytest.approx(-0.02 - 0.01 * student.ppf(0.995, 63))


def test_rules_are_read_later_ones_win_and_mistakes_are_told_at_once(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(
        'tolerance = 1\n[[rules]]\ntask = "T:*"\nentry = "whitening*"\ntolerance = "2%"\nfloor = 30\n', encoding="utf-8"
    )
    rules = read_rules(path)
    assert rules.tolerance(key("raw")).of(0.5) == 0.01
    assert rules.tolerance(key("whitening(dim=16)")).of(0.5) == 0.01
    assert rules.tolerance(key("whitening")).of(0.4) == pytest.approx(0.008)
    assert (rules.floor(key("whitening")), rules.floor(key("raw"))) == (0.3, None)
    assert (rules + [parse_rule("whitening(dim=16)=3")]).tolerance(key("whitening(dim=16)")).of(0.5) == 0.03
    assert (rules + [parse_rule("* | mean | *=3")]).tolerance(key("raw")).of(0.5) == 0.03
    path.write_text('tolerance = -1\n[[rules]]\nentri = "x"\nfloor = "low"\n', encoding="utf-8")
    with pytest.raises(HengyuError) as caught:
        read_rules(path)
    text = "\n".join(caught.value.problems)
    assert "'tolerance' must be points" in text and "did you mean 'entry'" in text and "'rules[0].floor'" in text
    for bad in ("x", "=1", "a=", "nan", "-1"):
        with pytest.raises(HengyuError, match="--tolerance"):
            parse_rule(bad)


def test_the_metrics_a_baseline_file_holds_are_gated_without_being_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    run = runs.make_run(sweep=False)
    run = replace(run, records=tuple(r for r in run.records if r.status != "failed"))
    runs.write_run(run, tmp_path)
    write_baseline(tmp_path / "b.json", baseline_of(run, ("spearman", "auc"))[0])
    out = tmp_path / "g.json"
    done = CliRunner().invoke(main, ["gate", str(tmp_path / "b.json"), "latest", "--json", str(out)])
    assert done.exit_code == 0, done.output
    assert {c["metric"] for c in json.loads(out.read_bytes())["cells"] if c["verdict"] == "pass"} == {"spearman", "auc"}


HOSTILE = 'e|x\n::error::<script>*_`"&\x1b[31m\x00]]>%,'


def hostile():
    before = scores({"a": 0.5, "b": 0.5})
    after = scores({"a": 0.4, "b": None})
    swap = {key("a"): key("a", encoder=HOSTILE), key("b"): key(HOSTILE)}
    before, after = (replace(s, cells={swap[k]: v for k, v in s.cells.items()}) for s in (before, after))
    return judge(
        replace(before, encoders={HOSTILE: ENCODER}), replace(after, encoders={HOSTILE: ENCODER | {"tokens": HOSTILE}})
    )


def test_markdown_holds_hostile_names_in_one_table():
    text = gate_markdown(hostile())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<script" not in text.replace(r"\<script", "")


def test_junit_is_xml_whatever_the_names_are():
    judged = hostile()
    suite = ET.fromstring(gate_junit(judged).split("\n", 1)[1]).find("testsuite")
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.get("tests")) == len(judged.verdicts) + len(judged.findings)
    assert len(suite.findall("testcase/failure")) == int(suite.get("failures")) == 1
    assert len(suite.findall("testcase/error")) == int(suite.get("errors")) == 1 + len(judged.findings)
    assert "::error::<script>" in cases[0].get("classname")


def test_annotations_are_single_lines_and_escaped():
    lines = gate_annotations(hostile())
    assert len(lines) == 2 + len(hostile().findings)
    for line in lines:
        assert "\n" not in line and "\r" not in line
        title = re.fullmatch(r"::error title=([^:,]*)::.*", line, re.DOTALL)
        assert title and "%25" in "".join(lines)
    assert gate_annotations(judge(scores({"a": 0.5}), scores({"a": 0.5}))) == []
    many = scores({f"e{i}": 0.5 for i in range(30)})
    fell = scores({f"e{i}": 0.4 for i in range(30)})
    assert len(gate_annotations(judge(many, fell))) == 10


def test_json_holds_every_cell():
    judged = hostile()
    content = json.loads(gate_json(judged))
    assert content["exit_code"] == judged.code == 1
    assert [c["verdict"] for c in content["cells"]] == [v.verdict for v in judged.verdicts]
    assert content["cells"][0]["change"] == pytest.approx(-0.1)
    assert {f["kind"]: f["exit_code"] for f in content["findings"]}["failed cell"] == EXIT["failed cell"]


@pytest.mark.parametrize(("width", "terminal"), [(60, True), (300, True), (60, False)])
def test_the_table_is_whole_at_any_width_and_names_steer_no_terminal(width, terminal):
    out = io.StringIO()
    print_gate(hostile(), Console(file=out, width=width, force_terminal=terminal, color_system=None))
    text = out.getvalue()
    for whole in (
        "50.00",
        "40.00",
        "-10.00",
        "fell beyond the tolerance, and the fall is significant",
        "[-10.43, -9.56]",  # 10 -+ 2.5758 sqrt(2) 0.2 / 1.96 = 0.37, and what skewed values could hide
    ):
        assert whole in text
    assert "\x1b" not in text and "\x00" not in text
    assert text.splitlines()[-1].startswith("red: ")
    assert not any(line.startswith("::") for line in text.splitlines())


def test_the_summary_says_colour_counts_and_code():
    assert summary(judge(scores({"a": 0.5}), scores({"a": 0.5}))).startswith("green:")
    assert summary(hostile()).startswith("red: a cell fell") and "exit code 1" in summary(hostile())


def test_the_command_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    run = runs.make_run(sweep=False)
    folder = runs.write_run(run, tmp_path)
    file = tmp_path / "baselines" / "synthetic.json"
    missing = CliRunner().invoke(main, ["gate", str(file), "latest"])
    assert missing.exit_code == EXIT["no baseline"] and "hengyu baseline latest" in missing.stderr
    assert CliRunner().invoke(main, ["gate", "no-such-run", "latest"]).exit_code == EXIT["no baseline"]
    assert CliRunner().invoke(main, ["gate", "latest", "no-such-run"]).exit_code == 2
    itself = CliRunner().invoke(main, ["gate", "latest", str(folder)])
    assert itself.exit_code == 2 and "is both BASELINE and CURRENT" in itself.stderr

    write_baseline(file, baseline_of(load_run(folder))[0])
    # two of its cells failed when the baseline was made as well; what fails is never green
    made_run = CliRunner().invoke(main, ["gate", "synthetic", "latest"])
    assert made_run.exit_code == EXIT["failed cell"]
    whole = replace(run, records=tuple(r for r in run.records if r.status != "failed"))
    runs.write_run(whole, tmp_path)
    outputs = ["--markdown", "g/g.md", "--junit", "g/g.xml", "--json", "g/g.json", "--all"]
    outputs = [str(tmp_path / w) if w.startswith("g/") else w for w in outputs]
    green = CliRunner().invoke(main, ["gate", "synthetic", "latest", *outputs])
    assert green.exit_code == 0 and green.stdout.splitlines()[-1].startswith("green:")
    assert (tmp_path / "g" / "g.md").read_text(encoding="utf-8") in (tmp_path / "summary.md").read_text(
        encoding="utf-8"
    )
    assert json.loads((tmp_path / "g" / "g.json").read_bytes())["counts"]["fail"] == 0

    worse = tuple(replace(r, value=r.value - 0.2) if r.entry == "center" and r.value else r for r in whole.records)
    runs.write_run(replace(whole, records=worse), tmp_path)
    red = CliRunner().invoke(main, ["gate", "synthetic", "latest"])
    assert red.exit_code == 1 and "::error title=gate%3A fail::" in red.stdout
    (tmp_path / "baselines" / "synthetic.toml").write_text(
        '[[rules]]\nentry = "center"\ntolerance = 30\n', encoding="utf-8"
    )
    assert CliRunner().invoke(main, ["gate", "synthetic", "latest"]).exit_code == 0
    assert CliRunner().invoke(main, ["gate", "synthetic", "latest", "--tolerance", "center=0.001"]).exit_code == 2
    assert find_scores("synthetic").source == str(file)
