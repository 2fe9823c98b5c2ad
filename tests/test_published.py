"""Published figures stand beside ours where the protocol is the same, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import runs

from hengyu.base.paths import share
from hengyu.cards import load_cards
from hengyu.methods.grammar import parse_entry
from hengyu.report.charts.published_points import figures
from hengyu.report.page.leaderboard import render
from hengyu.report.page.provenance import published_sheet
from hengyu.report.published import matching_published, published
from hengyu.suites.suite import load_suite

RUN = runs.make_run(sweep=False)
MODEL = "google-bert/bert-base-chinese"


def _as(record, **change):
    return replace(RUN, records=(replace(record, **change),))


def record(**change):
    one = next(r for r in RUN.records if r.task == "ATEC:test" and r.metric == "spearman" and r.status == "ok")
    base = {"encoder": MODEL, "pooling": "cls", "entry": "raw", "fit_on": "none", "value": 0.17}
    whole = {"task": "ATEC:w-avg", "card": "ATEC", "split": "train+valid+test"}
    return _as(one, **{**base, **whole, **change})


def test_every_figure_has_a_source_and_a_protocol_in_our_words():
    cards = load_cards(())
    assert len(published()) > 400
    for figure in published():
        assert figure.source and figure.protocol and figure.models
        assert figure.card in cards and figure.splits <= set(cards[figure.card].splits)
        assert figure.pooling in ("cls", "pooler", "mean", "first-last-mean", "native")
        assert -1 <= figure.value <= 1
        assert (figure.fit_on == "none") == (figure.entry == "raw")


@pytest.mark.parametrize(
    ("name", "source", "entry"),
    [
        ("whitening-2021", "8321", "whitening(floor=0)"),
        ("simcse-2021", "8348", "simcse"),
        ("cosent-2022", "8847", "cosent"),
        ("interact-2022", "8860", "cross-encoder"),
        ("interact-2022", "9341", "cross-encoder(loss=cosent, batch=64)"),
    ],
)
def test_published_suites_name_their_models_as_the_figures_do(name, source, entry):
    suite = load_suite(share("suites", f"{name}.toml"))
    entry = str(parse_entry(entry))
    (spec,) = (e for e in suite.entries if str(e.entry) == entry)
    called = {e.name or e.model for e in suite.encoders}
    cards = {task.split(":")[0] for task in suite.tasks}
    fit_on = spec.fit_on or suite.fit_on
    found = [f for f in published() if source in f.source and f.entry == entry and f.fit_on == fit_on]
    assert found and all(called & set(f.models) and f.card in cards for f in found)
    models = {m for f in found for m in f.models}
    assert called - models <= {"shibing624/text2vec-base-chinese"}  # trained by others, weighed as it is


def test_the_tables_over_all_splits_meet_the_mean_weighted_by_pairs():
    ((_, figure),) = matching_published(record())
    assert figure.value == pytest.approx(0.1659) and "8321" in figure.source
    ((_, white),) = matching_published(record(entry="whitening(dim=256)", fit_on="all"))
    assert white.value == pytest.approx(0.2558)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "ATEC:test", "split": "test"},
        {"task": "ATEC:avg"},
        {"split": "valid+test"},
        {"fit_on": "target", "entry": "whitening(dim=256)"},
        {"entry": "whitening", "fit_on": "all"},
        {"pooling": "native"},
        {"encoder": "hengyu-mini"},
        {"status": "failed", "value": None},
        {"sweep": True},
    ],
)
def test_another_protocol_has_no_counterpart(change):
    assert matching_published(record(**change)) == []


def test_the_page_shows_ours_theirs_and_the_difference():
    run = record()
    (row,) = published_sheet(run).rows
    assert row[5] == "17.00" and row[7:9] == ("16.59", "+0.41")
    assert "Published figures beside ours" in render(run)
    assert 'id="published"' not in render(RUN)


def test_the_chart_puts_each_figure_beside_our_number_and_its_interval():
    run = record(low=0.15, high=0.19)
    chart = figures(run)
    ours, theirs = (g["same"] for g in chart.groups)
    assert (ours["rows"], ours["value"], ours["low"], ours["high"]) == ("ours", 17.0, 15.0, 19.0)
    assert (theirs["rows"], theirs["value"], theirs["low"]) == ("published", 16.59, None)
    assert ours["place"] == theirs["place"] and "8321" in theirs["source"]
    assert chart.table.rows == (("ATEC:w-avg", ours["place"], "17.00", "[15.00, 19.00]", "16.59"),)
    assert 'id="chart-published"' in render(run)
    assert figures(RUN) is None


def test_accuracies_stand_beside_accuracies_and_never_beside_spearman():
    change = {"entry": "cross-encoder", "fit_on": "train", "task": "ATEC:test", "split": "test"}
    spearman = matching_published(record(**change))
    assert [(f.metric, f.value) for _, f in spearman] == [("spearman", pytest.approx(0.4801))]
    run = record(**change, metric="accuracy", value=0.85)
    assert [round(f.value, 4) for _, f in matching_published(run)] == [0.8549, 0.8538]  # of 8860, and of 9341
    assert [row[0] for row in published_sheet(run).rows] == ["ATEC:test, accuracy"] * 2
    assert figures(run).title.endswith("scores × 100")
