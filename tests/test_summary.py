"""What a page shows above its board: sentences, differences, ranks, and scores against costs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from string import Formatter

import pytest
from helpers import runs

from hengyu.base.paths import share
from hengyu.report.page.citation import citation_of
from hengyu.report.page.leaderboard import render
from hengyu.report.summary.findings import findings
from hengyu.report.summary.methods import summarise
from hengyu.report.summary.pictures import delta_scale, heatmap, rank_scale, scatter, scatters
from hengyu.report.summary.scales import linear, logarithmic

RUN = runs.make_run()
SUMMARY = summarise(RUN)


def test_every_method_has_its_best_row_and_the_difference_of_that_row():
    best: dict[tuple[str, str], float] = {}
    for r in RUN.records:
        if r.task == "mean" and r.metric == "spearman" and r.on_board and r.value is not None:
            key = (r.encoder, re.sub(r"\([^()]*\)", "", r.entry))
            best[key] = max(best.get(key, -1.0), r.value)
    assert {(x.row[0], x.family): x.value for x in SUMMARY.best} == best
    assert [x.value for x in SUMMARY.best] == sorted(best.values(), reverse=True)
    whitening = next(x for x in SUMMARY.best if x.family == "whitening")
    assert whitening.clear == 1 and whitening.delta == "+0.90 [+0.10, +1.70]"
    text = SUMMARY.sentence(whitening).text
    assert text == "significantly better than raw on the mean; better on 5 of 5 tasks"
    said = {SUMMARY.sentence(x).text for x in SUMMARY.best}
    assert "a baseline: it uses no model" in said and "the reference that the other methods are compared with" in said


def test_of_many_methods_the_best_and_the_baselines_are_kept_and_the_rest_is_counted():
    whole = summarise(runs.make_large(100))
    assert len(whole.best) == 24 and whole.left_out == 50 - 24
    assert "The leaderboard has 26 more." in whole.note.text
    assert not SUMMARY.left_out and "The leaderboard has" not in SUMMARY.note.text


def test_lexical_searches_are_baselines_with_names_of_their_own():
    line = next(x for x in SUMMARY.rows if x.baseline)
    assert line.name == line.row[0]
    assert replace(line, row=("lexical", "-", "bm25", "none")).name == "bm25"
    assert next(x for x in SUMMARY.rows if not x.baseline).name != line.name


def test_a_run_without_a_main_number_has_no_summary():
    empty = summarise(replace(RUN, records=()))
    assert empty.rows == () and findings(RUN, empty) == [] and heatmap(empty) is None
    assert scatters(replace(RUN, records=()), empty) == ()
    assert 'id="summary"' not in render(replace(RUN, records=()))


def test_findings_have_intervals_and_say_what_is_significant():
    found = [f.text for f in findings(RUN, most=9)]
    assert found[0].startswith("The best row is ")
    assert found[1].startswith("Whitening at its best significantly helps 2 of 2 encoders and hurts 0: ")
    assert all(re.search(r"\[[-+]?\d+\.\d\d, [-+]?\d+\.\d\d\]", text) for text in found)
    assert len(findings(RUN)) <= 4
    one = [r for r in RUN.records if r.encoder == "hengyu-mini"]
    sized = [replace(r, bytes=4 * (r.dim or 1)) for r in one if "cls" not in r.pooling]
    texts = [f.text for f in findings(replace(RUN, records=tuple(sized)), most=9)]
    assert texts[1].startswith("Whitening helps hengyu-mini: ") and "which is significant" in texts[1]
    assert texts[2].startswith("With ") and " bytes a vector instead of 512, no significant loss was found" in texts[2]
    worse = [replace(r, delta=-0.1, delta_low=-0.2, delta_high=-0.05) if r.delta is not None else r for r in sized]
    texts = [f.text for f in findings(replace(RUN, records=tuple(worse)), most=9)]
    assert texts[1].startswith("Whitening hurts hengyu-mini: even at its best")
    assert texts[2].startswith("Every vector smaller than 512 bytes loses significantly; the smallest loss is -10.00")


def test_a_flow_is_compared_with_whitening_only_where_that_is_known():
    flows = [replace(r, entry=r.entry.replace("center", "flow(seed=1)")) for r in RUN.records]
    texts = [f.text for f in findings(replace(RUN, records=tuple(flows)), most=9)]
    assert any(t.startswith("The flow flow(seed=1)") and "; whitening (" in t for t in texts), (
        "no observations were kept"
    )
    assert not any("flow" in f.text for f in findings(RUN, most=9))


def test_every_sentence_is_in_both_languages_with_the_same_parts():
    sentences = json.loads(share("reports", "templates", "words.json").read_text(encoding="utf-8"))["sentences"]
    for english, chinese in sentences.items():
        parts = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in (english, chinese)]
        assert parts[1] <= parts[0] and parts[0] - parts[1] <= {"reference"}, english
        assert re.search("[\u4e00-\u9fff]", chinese)


def test_the_axes_hold_all_numbers_and_zero():
    scale = delta_scale(SUMMARY.best)
    assert scale is not None and scale.low < -2.3 and scale.high > 1.7
    assert 0 < scale.at(0) < 100 and scale.at(-2.3) < scale.at(0) < scale.at(1.7)
    assert any(v == 0 for v, _ in scale.ticks) and 3 <= len(scale.ticks) <= 8
    ranks = rank_scale(SUMMARY)
    assert ranks is not None and all(v >= 1 for v, _ in ranks.ticks)
    assert rank_scale(summarise(replace(RUN, standings=()))) is None


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.3, 12.9), (5.0, 5.0), (0.001, 0.0013), (-40, 999)])
def test_a_linear_axis_has_round_ticks_within_it(low, high):
    scale = linear(low, high)
    assert scale.low < low <= high < scale.high and 2 <= len(scale.ticks) <= 9
    assert all(scale.low <= v <= scale.high and float(text) == pytest.approx(v, abs=1e-9) for v, text in scale.ticks)


@pytest.mark.parametrize(("low", "high"), [(1, 10), (64, 4096), (0.02, 30.0), (256, 256), (10**6, 10**9)])
def test_a_logarithmic_axis_has_few_ticks_within_it(low, high):
    scale = logarithmic(low, high)
    assert 0 < scale.at(low) <= scale.at(high) < 100 and 0 <= len(scale.ticks) <= 6
    assert all(0 <= scale.at(v) <= 100 for v, _ in scale.ticks)


def test_the_heatmap_is_methods_by_tasks_or_by_poolings_of_one_task():
    heat = heatmap(SUMMARY)
    assert heat is not None and heat.by == "task" and heat.columns == tuple(runs.TASKS)
    cells = [c for _, row in heat.rows for c in row]
    assert max(c.shade for c in cells) <= 3 and min(c.shade for c in cells) == -3
    assert all((c.shade > 0) == c.text.startswith("+") for c in cells if c.shade)
    one = [r for r in RUN.records if r.task == "BQ:test"]
    heads = [t for t in RUN.header["tasks"] if t["task"] == "BQ:test"]
    heat = heatmap(summarise(replace(RUN, records=tuple(one), header={**RUN.header, "tasks": heads})))
    assert heat is not None and heat.by == "pooling" and set(heat.columns) == set(runs.POOLINGS)


def test_the_front_is_what_no_other_row_beats():
    names = [("m", "mean", str(i), "none") for i in range(5)]
    found = scatter("S", "bytes", [50, 60, 70, 65, 40], [10, 20, 40, 80, 20], list("aabba"), names, list("54123"))
    assert found is not None
    assert [p.front for p in found.points] == [True, True, True, False, False]
    assert [p.label for p in found.points] == ["5", "4", "1", "", ""]
    assert found.groups == ("a", "b") and [p.group for p in found.points] == [0, 0, 1, 1, 0]
    assert len(found.path) == 2 and found.path[0][2:] == found.path[1][:2]
    more = scatter("S", "rate", [50, 60, 70], [10, 20, 40], list("aaa"), names[:3], list("321"), more=True)
    assert more is not None and [p.front for p in more.points] == [False, False, True]
    assert scatter("S", "bytes", [50, 60], [10, 20], list("ab"), names[:2], list("21")) is None, (
        "two points say nothing"
    )
    assert scatter("S", "bytes", [1, 2, 3], [9, 9, 9], list("abc"), names[:3], list("321")) is None


def test_costs_are_those_that_the_run_has():
    assert [s.cost for s in scatters(RUN, SUMMARY)] == [], "every row took as long, and no size is known"
    sized = replace(RUN, records=tuple(replace(r, bytes=4 * (r.dim or 1)) for r in RUN.records))
    heads = [{**e, "parameters": 10**6 * (i + 1)} for i, e in enumerate(RUN.header["encoders"]) if e["kind"] == "model"]
    sized = replace(sized, header={**RUN.header, "encoders": heads})
    assert [s.cost for s in scatters(sized, summarise(sized))] == ["bytes per vector", "parameters"]
    search = runs.make_search()
    assert [s.cost for s in scatters(search, summarise(search))] == ["queries/s", "bytes/vector"]


def test_a_citation_names_the_run_and_escapes_its_title():
    cited = citation_of(replace(RUN, header={**RUN.header, "suite": {"title": "50 % & {more}"}}))
    assert "50 \\% \\& \\{more\\}" in cited.bibtex and RUN.id in cited.bibtex
    assert cited.bibtex.count("{") == cited.bibtex.count("}")
    assert dict(cited.data)["BQ"] == "Liu et al., 2018"


@pytest.mark.parametrize("run", [RUN, runs.make_search()])
def test_a_page_lists_its_sections_and_leads_to_each(run):
    page = render(run)
    contents = page[page.index('<nav class="contents"') : page.index("</nav>")]
    ids = re.findall(r'href="#([\w-]+)"', contents)
    assert {"summary", "board-section", "provenance", "cite"} <= set(ids)
    assert all(page.count(f'id="{one}"') == 1 for one in ids)
