"""dtype=bfloat16 of a tuner: mixed precision stays near float32, and only the matrix products are rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_tuning import training_data_of

from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.model import TrainableEncoder

DRIFT = 0.02  # of the held-out Spearman, and of the loss relative to float32's


def tuned(folder: Path, entry: str) -> tuple[TrainableEncoder, dict[str, Any]]:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folder))), "mean")
    method = parse_entry(entry).steps[0].make()
    method.tune(trainable, training_data_of(80, held=True), lambda done: None)
    return trainable, method.report


@pytest.mark.parametrize(
    "entry", ["cosent(lr=3e-4, batch=16, epochs=2{})", "lora(mnrl(lr=1e-3, batch=16, epochs=2, positive=0.5{}))"]
)
def test_a_training_in_bfloat16_is_near_that_in_float32(tiny_bert: Path, entry: str) -> None:
    exact, want = tuned(tiny_bert, entry.format(""))
    rounded, found = tuned(tiny_bert, entry.format(", dtype=bfloat16"))
    np.testing.assert_allclose(found["loss"], want["loss"], rtol=DRIFT)
    np.testing.assert_allclose(found["held_out_spearman"], want["held_out_spearman"], atol=DRIFT)
    assert found["loss"] != want["loss"]  # the switch does something
    assert all(p.dtype == torch.float32 for p in rounded.model.parameters())
    rows = exact.tokens(list(training_data_of().texts[:30]))
    x, y = exact.vectors(rows), rounded.vectors(rows)  # evaluated in float32, both
    cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert cosines.mean() > 0.99 and cosines.min() > 0.95
