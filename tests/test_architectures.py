"""Every architecture of transformers that reads text: its native vectors are sentence-transformers', its poolings its states."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.families import FAMILIES, LEFT_OUT, POSITIONS, NotText, configuration, names, save_family

from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.huggingface import HuggingFace

TEXTS = ["今天气真好", "我们去公园散步吧，a不是b", "他", "今天气真好"]
LONG = "今天气真好我们去公园散步吧" * 4
POOLINGS = ["cls", "mean", "last", "weighted-mean", "first-last-mean", "embedding-last-mean", "last2-mean"]
CLOSE = 1e-6

MADE_UP = ("blenderbot", "blenderbot-small", "m2m_100", "marian", "pegasus", "pegasus_x", "prophetnet")
"""sentence-transformers loads the encoder of a whole model without its weights: two loads differ. Held against AutoModel."""

SLOW = {
    "kimi_linear",
    "falcon_h1",
    "big_bird",
    "nemotron_h",
    "qwen3_5_text",
    "qwen3_next",
    "qwen4_exp_text",
    "nystromformer",
}
"""Families whose long texts are left out: what they compute for one takes seconds without a GPU."""

RANDOM = {"reformer"}
"""Families whose long texts are hashed by random rotations: two passes of the library differ."""


@pytest.fixture(autouse=True)
def quiet() -> None:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def by_hand(model: Any, tokenizer: Any, text: str) -> dict[str, np.ndarray]:
    """Every pooling of one text, as the papers define it, from what the model gives."""
    import torch

    batch = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        output = model(**batch, output_hidden_states=True)
    whole = "encoder_last_hidden_state" in output
    last = output["encoder_last_hidden_state" if whole else "last_hidden_state"][0].double().numpy()
    layers = output.get("encoder_hidden_states" if whole else "hidden_states") or ()
    weight = np.arange(1, len(last) + 1)[:, None]
    rows = {
        "cls": last[0],
        "last": last[-1],
        "mean": last.mean(0),
        "weighted-mean": (last * weight).sum(0) / weight.sum(),
    }
    if len(layers) > 2:
        for name, at in (("first-last-mean", 1), ("embedding-last-mean", 0), ("last2-mean", -2)):
            layer = layers[at][0].double().numpy()
            if layer.shape == last.shape:
                rows[name] = (layer.mean(0) + last.mean(0)) / 2
    return rows


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family(name: str, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    save_family(tmp_path, name)
    encoder = open_encoder(EncoderSpec(str(tmp_path), device="cpu"))
    library = SentenceTransformer(str(tmp_path), device="cpu", local_files_only=True)
    model = library[0].auto_model
    if name in MADE_UP:
        from transformers import AutoModel

        model = AutoModel.from_pretrained(tmp_path).eval().get_encoder()
        library[0].model = model
    assert library[0].auto_model.dtype == torch.float32
    rows = [by_hand(model, library.tokenizer, text) for text in TEXTS]
    wanted = list(rows[0])
    ours = encoder.encode(TEXTS, ["native", *wanted])
    theirs = np.stack([library.encode(text, show_progress_bar=False) for text in TEXTS])
    assert np.abs(theirs[0] - theirs[1]).max() > 0.01, "the vectors of the library hardly differ: nothing is held"
    scale = max(1.0, float(np.abs(theirs).max()))  # MobileBERT's reach 1e4
    assert np.abs(ours["native"] - theirs).max() < CLOSE * scale
    assert {"cls", "mean", "last", "weighted-mean"} <= set(wanted)
    for pooling in wanted:
        assert np.abs(ours[pooling] - np.stack([row[pooling] for row in rows])).max() < 4 * CLOSE * scale, pooling
    if name not in SLOW | RANDOM:
        hold_long(encoder, library)


def hold_long(encoder: HuggingFace, library: Any) -> None:
    """A text longer than the positions is cut as the library cuts it, or where the library stops with an error."""
    longest, theirs = encoder.folder.max_length, library.max_seq_length
    if longest != theirs and theirs <= POSITIONS:
        assert longest < theirs
        with pytest.raises((IndexError, RuntimeError)):
            library.encode(LONG, show_progress_bar=False)
    library.max_seq_length = longest
    cut = library.encode(LONG, show_progress_bar=False)
    assert np.abs(encoder.encode([LONG], ["native"])["native"][0] - cut).max() < CLOSE


def test_no_family_is_forgotten() -> None:
    known, there = {*FAMILIES, *LEFT_OUT}, set(names())
    assert len(FAMILIES) >= 150
    for name in sorted(there - known):
        with pytest.raises(NotText):
            configuration(name)
