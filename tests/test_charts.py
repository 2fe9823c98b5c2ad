"""The charts: every one has its table, and shows what the records and observations hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import observed, runs

from hengyu.numerics.moments import Moments
from hengyu.report.charts.distributions import classes, distributions
from hengyu.report.charts.forest import differences, places
from hengyu.report.charts.losses import losses
from hengyu.report.charts.page_charts import charts_of
from hengyu.report.charts.spectra import spectra
from hengyu.report.charts.training_curves import courses
from hengyu.storage.records import Difference

DIFFERENCES = (
    Difference("A:test", "m", "mean", "target", "flow", "whitening", 100, 0.012, 0.002, 0.02),
    Difference("A:test", "m", "cls", "target", "flow", "whitening", 100, -0.012, -0.03, -0.001),
    Difference("B:test", "m", "cls", "target", "flow", "raw", 100, 0.0, -0.03, 0.02),
)


def test_a_forest_has_a_line_for_every_difference_and_its_verdict():
    chart = differences(replace(runs.make_run(), differences=DIFFERENCES))
    assert [g["same"]["verdict"] for g in chart.groups] == ["better", "worse", "not significant"]
    assert [(g["same"]["low"], g["same"]["high"]) for g in chart.groups] == [(0.2, 2.0), (-3.0, -0.1), (-3.0, 2.0)]
    assert chart.table.rows[0] == ("A:test", "flow - whitening", "mean", "+1.20", "[+0.20, +2.00]", "", "", "better")
    layers = chart.spec["layer"]
    assert any("shape" in layer["encoding"] for layer in layers), "told without colour, too"
    assert differences(runs.make_run()) is None


def test_labels_of_lines_leave_out_what_all_lines_share():
    assert places([("m", "mean", "a"), ("m", "cls", "a")]) == ["mean", "cls"]
    assert places([("m", "mean")]) == ["m"]


def _seen(tmp_path, labels, low=0.2, high=0.8):
    rng = np.random.default_rng(0)
    x = np.where(labels > 0.5, high, low) + 0.05 * rng.normal(size=len(labels))
    rows = {("m", "mean", e, f): {"A:test": s * x} for e, f, s in (("raw", "none", 1), ("whitening", "target", -1))}
    return observed.write(tmp_path, "seen", {"A:test": labels}, rows)


def test_distributions_show_each_label_before_and_after(tmp_path):
    labels = (np.arange(300) % 3 == 0).astype(float)
    chart = distributions(_seen(tmp_path, labels))
    shown = {(g["same"]["stage"], g["same"]["label"]): g for g in chart.groups}
    assert set(shown) == {(s, n) for s in ("raw", "after") for n in ("low", "high")}
    assert shown["raw", "low"]["same"]["method"] is None
    assert shown["after", "low"]["same"]["method"] == "whitening, fit_on target"
    for (stage, _), group in shown.items():
        feet = {"raw": 1.0, "after": 0.0}
        assert min(group["each"]["height"]) == group["same"]["foot"] == feet[stage], "two ridges, raw above"
        assert max(group["each"]["height"]) <= feet[stage] + 0.9
        assert sum(group["each"]["share"]) == pytest.approx(100, abs=0.5)
    peak = {k: g["each"]["cosine"][int(np.argmax(np.abs(g["each"]["share"])))] for k, g in shown.items()}
    assert peak["raw", "low"] == pytest.approx(0.2, abs=0.06) and peak["raw", "high"] == pytest.approx(0.8, abs=0.06)
    assert peak["after", "high"] == pytest.approx(-0.8, abs=0.06)
    pairs = {(r[3], r[5]): r[6] for r in chart.table.rows}
    assert pairs["whitening", "high"] == "100" and pairs["whitening", "low"] == "200"


def test_no_observations_no_distributions(tmp_path):
    labels = (np.arange(30) % 3 == 0).astype(float)
    run = _seen(tmp_path, labels)
    (run.path / "labels.safetensors").unlink()
    assert distributions(run) is None
    assert distributions(runs.make_run()) is None


def test_graded_labels_are_shown_by_thirds_and_every_pair_once():
    labels = np.linspace(0, 5, 31)
    parts = dict(classes(labels, {"labels": "graded", "scale": [0, 5]}))
    assert list(parts) == ["low", "middle", "high"]
    assert (np.sum(list(parts.values()), axis=0) == 1).all()
    assert labels[parts["low"]].max() < 5 / 3 <= labels[parts["middle"]].min()


def test_losses_are_the_curves_of_each_fit():
    trained = {
        **{"name": "flow", "step": [10, 20, 30], "train_bits": [1.0, 0.5, 0.4], "held_out_bits": [1.1, 0.6, 0.7]},
        "linear_bits": 0.65,
    }
    fit = {"task": "A:test", "encoder": "m", "pooling": "mean", "entry": "flow", "fit_on": "target", "seed": 1}
    run = runs.make_run()
    run = replace(run, header={**run.header, "fits": [*run.header["fits"], {**fit, "trained": [trained]}]})
    chart = losses(run)
    curves = {g["same"]["rows"]: g["each"]["bits"] for g in chart.groups}
    assert curves == {"held out": [1.1, 0.6, 0.7], "trained on": [1.0, 0.5, 0.4], "best linear map": [0.65] * 3}
    assert chart.table.rows == (
        ("A:test", "m", "mean", "flow, fit_on target, seed 1", "30", "0.4000", "0.7000", "0.6000", "0.6500"),
    )
    assert losses(runs.make_run()) is None


def test_courses_are_the_curves_of_each_training_and_its_first_look_has_no_loss():
    seen = {
        "kind": "tuner",
        "name": "simcse",
        "step": [0, 2, 4, 6],
        "loss": [0.5, 0.25, 0.125],
        "effective_rank": [9.0, 8.0, 7.0, 6.0],
        "uniformity": [-1.0],
    }
    fit = {"task": "A:test", "encoder": "m", "pooling": "mean", "fit_on": "target", "seed": 1, "trained": [seen]}
    run = runs.make_run()
    fits = [{**fit, "entry": "simcse"}, {**fit, "entry": "simcse > center"}]  # one training, shown once
    chart = courses(replace(run, header={**run.header, "fits": fits}))
    curves = {g["same"]["label"]: g["each"] for g in chart.groups}
    assert curves == {
        "loss": {"step": [2, 4, 6], "value": [0.5, 0.25, 0.125]},
        "effective rank": {"step": [0, 2, 4, 6], "value": [9.0, 8.0, 7.0, 6.0]},
    }
    where = ("A:test", "m", "mean", "seed 1: simcse, fit_on target")
    assert chart.table.rows == (
        (*where, "0", "", "", "", "", "9.0000"),
        (*where, "2", "0.5000", "", "", "", "8.0000"),
        (*where, "4", "0.2500", "", "", "", "7.0000"),
        (*where, "6", "0.1250", "", "", "-1.0000", "6.0000"),
    )
    assert courses(run) is None
    lone = {**seen, "step": [0, 2], "loss": [0.5], "effective_rank": [9.0, 8.0]}
    assert courses(replace(run, header={**run.header, "fits": [{**fit, "trained": [lone]}]})) is None, "no lone dots"


def test_an_outline_keeps_powers_of_two_and_the_rank_and_falls_from_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 20)) * np.geomspace(1, 1e-3, 20)
    spectrum = Moments.of(np.hstack([x, x[:, :1]])).spectrum
    outline = spectrum.outline(8)
    assert {1, 2, 4, 8, 16, 20} <= set(outline["index"]) and max(outline["index"]) == spectrum.rank() == 20
    assert outline["share"][0] == 1.0 and outline["share"] == sorted(outline["share"], reverse=True)
    for i, share in zip(outline["index"], outline["share"], strict=True):
        assert share == pytest.approx(spectrum.values[i - 1] / spectrum.values[0], rel=0.01)
    assert Moments.of(np.ones((5, 3))).spectrum.outline() == {"index": [], "share": []}


def test_spectra_are_shown_once_for_what_entries_share():
    outline = {"index": [1, 2, 3], "share": [1.0, 0.5, 0.25]}
    fits = [
        {"task": "A:test", "encoder": "m", "pooling": "mean", "entry": e, "fit_on": f, "spectrum": outline}
        for e, f in (("center", "target"), ("whitening", "target"), ("whitening", "train"))
    ]
    run = runs.make_run()
    chart = spectra(replace(run, header={**run.header, "fits": fits}))
    assert [g["same"]["fit_on"] for g in chart.groups] == ["target", "train"]
    assert chart.groups[0]["each"] == outline
    assert chart.table.rows[0] == ("A:test", "m", "mean", "target", "1", "0.5")
    assert spectra(run) is None


def test_every_chart_stands_beside_its_table():
    for chart in charts_of(replace(runs.make_run(), differences=DIFFERENCES)):
        assert chart.table.rows and all(len(row) == len(chart.table.heads) for row in chart.table.rows)
        assert chart.groups and chart.about and chart.spec["width"] == "container"
