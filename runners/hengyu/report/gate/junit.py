"""What the gate says as JUnit XML: one test case a cell and a finding, so that a CI shows them as tests."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hengyu.base.escapes import xml
from hengyu.evaluation.gate.gate import Judgement, Verdict
from hengyu.report.board.board import percent
from hengyu.report.gate.text import summary

__all__ = ["gate_junit"]


def gate_junit(judged: Judgement) -> str:
    """Return JUnit XML: fail is a failure, not measured and findings are errors, inconclusive and new are skipped.

    Under ``--strict`` inconclusive is a failure.
    """
    suite = ET.Element("testsuite", name=xml(f"hengyu gate {judged.current.suite}"))
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    plural = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    for v in judged.verdicts:
        case = _case(suite, f"{v.key.task}.{v.key.encoder}", f"{v.key.pooling} | {v.key.entry} | {v.key.fit_on}", v)
        word = _word(v, strict=judged.strict)
        totals["tests"] += 1
        if word:
            totals[plural[word]] += 1
            ET.SubElement(case, word, message=xml(f"{v.verdict}: {_story(v)}"))
        else:
            ET.SubElement(case, "system-out").text = xml(_story(v))
    for f in judged.findings:
        case = ET.SubElement(suite, "testcase", classname="findings", name=xml(f"{f.kind}: {f.where}"))
        ET.SubElement(case, "error", message=xml(f"{f.kind}: {f.where}: {f.words}"))
        totals["tests"] += 1
        totals["errors"] += 1
    ET.SubElement(suite, "system-out").text = xml("\n".join([summary(judged), *judged.notes]))
    for word, number in totals.items():
        suite.set(word, str(number))
    root = ET.Element("testsuites", {k: str(n) for k, n in totals.items()})
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, group: str, name: str, v: Verdict) -> ET.Element:
    metric = "" if v.key.metric == "spearman" else f" | {v.key.metric}"
    return ET.SubElement(suite, "testcase", classname=xml(group), name=xml(name + metric))


def _word(v: Verdict, *, strict: bool) -> str:
    if v.verdict == "inconclusive" and strict:
        return "failure"
    return {"fail": "failure", "not measured": "error", "inconclusive": "skipped", "new": "skipped"}.get(v.verdict, "")


def _story(v: Verdict) -> str:
    before, now = (percent(n.value) if n else "-" for n in (v.before, v.now))
    change = f" ({percent(v.change.size, signed=True)}, {v.change.test})" if v.change else ""
    return f"{before} -> {now}{change}: {v.reason}"
