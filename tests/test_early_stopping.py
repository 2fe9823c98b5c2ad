"""patience: when a training ends, which weights it keeps, and where its held-out pairs come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_tuning import training_data_of

from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.loop import _Best
from hengyu.methods.training.model import TrainableEncoder
from hengyu.numerics.metrics import spearman


def tuned(folder: Path, entry: str, training_data: TrainingData) -> tuple[TrainableEncoder, dict[str, Any]]:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folder))), "mean")
    method = parse_entry(entry).steps[0].make()
    method.tune(trainable, training_data, lambda done: None)
    return trainable, method.report


def held_out_score(trainable: TrainableEncoder, training_data: TrainingData) -> float:
    held = training_data.held
    assert held is not None
    x, y = (
        trainable.vectors(trainable.tokens([training_data.texts[int(i)] for i in part]))
        for part in (held.first, held.second)
    )
    cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    return spearman(cosines, held.labels)


def test_it_ends_after_evaluations_without_a_gain_and_keeps_the_best_weights(tiny_bert: Path) -> None:
    training_data = training_data_of(160, held=True)
    entry = "cosent(lr={}, batch=8, epochs=3, dropout=0.0, patience={})"
    trainable, report = tuned(tiny_bert, entry.format(0.05, 2), training_data)  # a rate that ruins the model
    curve, places = report["held_out_spearman"], report["step"]
    best = int(np.argmax(curve))
    assert report["planned_steps"] == 60 and report["steps"] == places[-1] < 60
    assert report["kept_step"] == places[best] and len(curve) == best + 3
    assert held_out_score(trainable, training_data) == pytest.approx(curve[best], abs=1e-4)
    assert curve[best] > curve[-1]


def test_one_that_is_never_ended_is_the_training_without_patience(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_data = training_data_of(80, held=True)
    entry = "cosent(lr=2e-4, batch=16, epochs=1, dropout=0.1{})"
    plain, report = tuned(tiny_bert, entry.format(""), training_data)
    assert report["steps"] == 5 and "kept_step" not in report
    rising = iter(range(9))
    monkeypatch.setattr("hengyu.methods.training.loop._held_out", lambda found: next(rising))
    patient, report = tuned(tiny_bert, entry.format(", patience=9"), training_data)
    assert (report["steps"], report["planned_steps"], report["kept_step"]) == (5, 5, 5)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), patient.parameters(), strict=True))


def test_the_best_weights_are_those_of_the_first_of_equal_scores() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    best = _Best([weight], patience=2)
    ends = []
    for step, score in enumerate([0.1, 0.3, 0.3, 0.2]):
        with torch.no_grad():
            weight.fill_(float(step))
        ends.append(best.over(step, score))
    best.restore()
    assert ends == [False, False, False, True] and best.step == 1 and weight.tolist() == [1.0, 1.0]


def test_without_a_valid_split_a_tenth_of_the_labelled_pairs_is_held_out(tiny_bert: Path) -> None:
    whole = training_data_of(200)
    split = whole.holding_out(3, labelled=True)
    assert whole.pairs is not None and split.pairs is not None and split.held is not None
    assert (len(split.pairs), len(split.held)) == (180, 20)
    rows = [
        set(zip(p.first.tolist(), p.second.tolist(), p.labels.tolist(), strict=True)) for p in (split.pairs, split.held)
    ]
    own = set(zip(whole.pairs.first.tolist(), whole.pairs.second.tolist(), whole.pairs.labels.tolist(), strict=True))
    assert rows[0] | rows[1] == own
    assert np.array_equal(whole.holding_out(3, labelled=True).held.first, split.held.first)  # type: ignore[union-attr]
    assert not np.array_equal(whole.holding_out(4, labelled=True).held.first, split.held.first)  # type: ignore[union-attr]
    given = training_data_of(200, held=True)
    assert given.holding_out(3, labelled=True) is given
    _, report = tuned(tiny_bert, "cosent(lr=1e-3, batch=16, epochs=1, patience=3)", whole)
    assert report["examples"] == 180 and report["held_out_spearman"]


def test_labels_are_not_looked_at_by_what_learns_without_them(tiny_bert: Path) -> None:
    with pytest.raises(ValueError, match="it learns without labels to hold some out; leave patience out"):
        tuned(tiny_bert, "simcse(patience=2)", training_data_of(200))
    with pytest.raises(ValueError, match="the labelled pairs are too few to hold some out"):
        tuned(tiny_bert, "cosent(patience=2)", training_data_of(40))
    with pytest.raises(Exception, match=r"cosent\(patience=-1\) must lie in 0..1000"):
        parse_entry("cosent(patience=-1)")
