"""The gate's result as JUnit XML: one test case per cell and finding, so that a CI shows them as tests.

The elements and attributes are those of the Jenkins schema: the totals of a testsuites element have no ``skipped``.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from hengyu.base.escapes import xml
from hengyu.evaluation.gate.gate import Judgement, Verdict
from hengyu.report.board.board import percent
from hengyu.report.gate.text import summary

__all__ = ["error_junit", "gate_junit"]

_TOTALS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def gate_junit(judged: Judgement) -> str:
    """Return JUnit XML: fail is a failure, not measured and findings are errors, inconclusive and new are skipped.

    Under ``--strict`` inconclusive is a failure.
    """
    suite = ET.Element("testsuite", name=xml(f"hengyu gate {judged.current.suite}"))
    for v in judged.verdicts:
        case = _case(suite, f"{v.key.task}.{v.key.encoder}", f"{v.key.pooling} | {v.key.entry} | {v.key.fit_on}", v)
        word = _word(v, strict=judged.strict)
        if word == "skipped":  # older versions of the schema have no attributes here
            ET.SubElement(case, word).text = xml(f"{v.verdict}: {_story(v)}")
        elif word:
            ET.SubElement(case, word, message=xml(f"{v.verdict}: {_story(v)}"))
        else:
            ET.SubElement(case, "system-out").text = xml(_story(v))
    for f in judged.findings:
        _error(suite, "findings", f"{f.kind}: {f.where}", f"{f.kind}: {f.where}: {f.words}")
    ET.SubElement(suite, "system-out").text = xml("\n".join([summary(judged), *judged.notes]))
    return _document(suite)


def error_junit(kind: str, problems: Sequence[str]) -> str:
    """Return JUnit XML for a gate without anything to judge: one error per problem."""
    suite = ET.Element("testsuite", name="hengyu gate")
    for number, problem in enumerate(problems, 1):
        _error(suite, "findings", kind if len(problems) == 1 else f"{kind} {number}", f"{kind}: {problem}")
    return _document(suite)


def _document(suite: ET.Element) -> str:
    """Return a test suite as a document, with its totals."""
    root = ET.Element("testsuites")
    suite.set("tests", str(len(suite.findall("testcase"))))
    for word, plural in _TOTALS.items():
        suite.set(plural, str(len(suite.findall(f"testcase/{word}"))))
    for word in ("tests", "failures", "errors"):
        root.set(word, suite.get(word, "0"))
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _error(suite: ET.Element, group: str, name: str, message: str) -> None:
    case = ET.SubElement(suite, "testcase", classname=group, name=xml(name))
    ET.SubElement(case, "error", message=xml(message))


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
