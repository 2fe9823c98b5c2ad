"""attention-pooling and whitening-layer: what they start from, that they learn, the folder that they leave, what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_tuning import training_data_of

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.attention import TokenAttention
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.cache import TunedEncoder, TunedEncoderCache
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.moments import Moments
from hengyu.storage.tuned import TunedStore

TUNER = "cosent(lr=1e-3, batch=16, epochs=1, dropout=0.0)"
NOTHING = "cosent(lr=1e-9, batch=64, epochs=1, dropout=0.0)"  # one step that moves nothing


def opened(folder: Path, pooling: str = "mean") -> TrainableEncoder:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folder))), pooling)
    trainable.open(dropout=0.0, length=64)
    return trainable


def prepared(folder: Path, entry: str, pooling: str = "mean") -> TrainableEncoder:
    """The opened model with what the outermost tuner of an entry adds to it."""
    trainable = opened(folder, pooling)
    parse_entry(entry).steps[0].make().prepare(trainable, training_data_of())
    return trainable


def vectors(trainable: TrainableEncoder) -> np.ndarray:
    return trainable.vectors(trainable.tokens(list(training_data_of().texts)))


def tuned(folder: Path, entry: str, store: Path, pooling: str = "mean") -> TunedEncoder:
    encoder = open_encoder(EncoderSpec(str(folder)))
    return TunedEncoderCache(TunedStore(store)).tune(
        encoder, pooling, parse_entry(entry).steps, training_data_of(), "here"
    )


def test_a_query_of_zeros_is_the_mean(tiny_bert: Path) -> None:
    before = vectors(opened(tiny_bert))
    trainable = prepared(tiny_bert, f"attention-pooling({TUNER})")
    np.testing.assert_allclose(vectors(trainable), before, atol=1e-6)
    assert trainable.attention is not None and trainable.attention.query.shape == (32,)


def test_weights_are_a_softmax_over_the_tokens_of_a_text() -> None:
    generator = torch.Generator().manual_seed(0)
    states, query = torch.randn(3, 5, 8, generator=generator), torch.randn(8, generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    found = TokenAttention(query, rate=10.0).weights(states, mask)
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    assert torch.equal(found > 0, mask > 0)
    for row, weights, kept in zip(states, found, mask.bool(), strict=True):
        torch.testing.assert_close(weights[kept], torch.softmax(row[kept] @ query, dim=0))
    # what is added to every product, or a token that is not attended to, changes nothing
    shifted = torch.cat([states, states[:, :1] * 100], dim=1)
    longer = TokenAttention(query).weights(shifted, torch.cat([mask, torch.zeros(3, 1, dtype=mask.dtype)], dim=1))
    torch.testing.assert_close(longer[:, :5], found)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_at_first_the_layer_is_the_whitening_of_the_training_sentences(tiny_bert: Path, pooling: str) -> None:
    data, raw = training_data_of(), vectors(opened(tiny_bert, pooling))
    for dim in (None, 8):
        want = Whitening(dim=dim).fit_moments(Moments.of(raw, data.counts))(raw.astype(np.float64))
        trainable = prepared(tiny_bert, f"whitening-layer({TUNER}, dim={dim or 0})", pooling)
        found = vectors(trainable)
        assert found.shape == want.shape and trainable.width == want.shape[1]
        np.testing.assert_allclose(found, want, atol=2e-3 * np.abs(want).max())
    moments = Moments.of(found, data.counts)
    np.testing.assert_allclose(moments.covariance, np.eye(8), atol=1e-2)


def test_the_folder_has_the_trained_vectors(tiny_bert: Path, tmp_path: Path) -> None:
    """Read by Hengyu and by sentence-transformers, with the attention, and with attention and layer."""
    from sentence_transformers import SentenceTransformer

    texts = list(training_data_of().texts[:12])
    before = open_encoder(EncoderSpec(str(tiny_bert))).encode(texts, ["mean"])["mean"]
    both = f"whitening-layer(attention-pooling({TUNER}), dim=8)"
    for entry in (f"attention-pooling({TUNER})", both):
        trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
        parse_entry(entry).steps[0].make().tune(trainable, training_data_of(), lambda done: None)
        want = trainable.vectors(trainable.tokens(texts))
        made = tuned(tiny_bert, entry, tmp_path)
        assert made.pooling == "native" and made.trained[0]["pooling"] == "native"
        found = made.encoder.encode(texts, ["native"])["native"]
        np.testing.assert_allclose(found, want, atol=1e-4)
        theirs = SentenceTransformer(str(made.encoder.folder.path), device="cpu", trust_remote_code=True)
        np.testing.assert_allclose(theirs.encode(texts), found, atol=1e-4)
        padded = made.encoder.encode_padded(texts, "".join(texts)[:40], ["native"])["native"]
        np.testing.assert_allclose(padded, found, atol=1e-4)
        assert found.shape[1] == (32 if entry.startswith("attention") else 8)
        if found.shape[1] == 32:
            assert np.abs(found - before).max() > 1e-2
        assert made.encoder.made_with == ("hengyu.encoders.attention",)  # its code is in the key of the vectors


def test_what_is_trained(tiny_bert: Path) -> None:
    def moved(entry: str) -> tuple[TrainableEncoder, bool]:
        trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
        parse_entry(entry).steps[0].make().tune(trainable, training_data_of(), lambda done: None)
        plain = opened(tiny_bert).model.state_dict()
        return trainable, any(not torch.equal(w, plain[name]) for name, w in trainable.model.state_dict().items())

    trainable, model = moved(f"attention-pooling({TUNER}, rate=10)")
    assert model and trainable.attention is not None
    assert (
        5e-3 < float(trainable.attention.query.detach().abs().max()) < 10 * 5 * 1e-3
    )  # five steps of Adam, ten times as far
    frozen, model = moved(f"whitening-layer({TUNER}, freeze=true)")
    start = prepared(tiny_bert, f"whitening-layer({TUNER})").layer
    assert not model and frozen.layer is not None and start is not None
    assert 1e-3 < float((frozen.layer.weight - start.weight).abs().max()) < 1e-2
    assert all(p.requires_grad for p in frozen.model.parameters())
    low = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
    parse_entry(f"lora(attention-pooling({TUNER}), rank=2)").steps[0].make().tune(
        low, training_data_of(), lambda done: None
    )
    assert low.attention is not None and bool(low.attention.query.any())


def test_what_has_modules_of_its_own_is_not_trained_again(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(HengyuError, match="cannot be trained; name a pooling"):
        tuned(tiny_bert, f"attention-pooling({NOTHING}) > simcse", tmp_path)


@pytest.mark.parametrize(
    ("entry", "pooling", "says"),
    [
        (
            "attention-pooling(cosent)",
            "cls",
            "attention-pooling weighs the tokens of the pooling mean, and this is 'cls'",
        ),
        (
            "whitening-layer(cosent)",
            "last2-mean",
            "whitening-layer needs one of the poolings mean, cls, last, weighted-mean",
        ),
        ("whitening-layer(cosent, dim=64)", "mean", "dim=64 is larger than the 32 the vectors have"),
    ],
)
def test_what_they_refuse_of_a_model(tiny_bert: Path, tmp_path: Path, entry: str, pooling: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tuned(tiny_bert, entry, tmp_path, pooling)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("attention-pooling(cosent, rate=0)", r"attention-pooling\(rate=0\) must lie in 0.001..10000"),
        ("attention-pooling(attention-pooling(cosent))", "attention-pooling cannot be nested"),
        ("whitening-layer(r-drop(whitening-layer(cosent)))", "whitening-layer cannot be nested"),
        ("redraw(redraw(cosent))", "redraw cannot be nested"),
        ("attention-pooling(whitening-layer(cosent))", r"write whitening-layer\(attention-pooling\(...\)\)"),
        ("whitening-layer(cosent(fgm=0.5), freeze=true)", "fgm acts on those"),
        ("whitening-layer(lora(cosent), freeze=true)", "trains the layer alone, and lora more"),
        ("whitening-layer(conditional(cosent), freeze=true)", "trains the layer alone, and conditional more"),
        ("lora(whitening-layer(cosent, freeze=true))", "whitening-layer trains its layer alone"),
        ("conditional(whitening-layer(cosent, freeze=true))", "whitening-layer trains its layer alone"),
        ("unshare(conditional(cosent))", r"write conditional\(unshare\(...\)\)"),
        ("cross-encoder(loss=cosent, vat=0.1)", "gives no probabilities, which vat moves"),
        ("attention-pooling(sif)", "can only wrap a tuner that has a training loss"),
        ("whitening-layer(cosent, shrink=2)", r"whitening-layer\(shrink=2\) must lie in 0..1"),
        ("whitening-layer(cosent, dim=-1)", r"whitening-layer\(dim=-1\) must lie in 0..65536"),
        ("whitening-layer(tsdae)", "also trains a decoder"),
        ("whitening-layer(cosent(gradient_penalty=1.0), freeze=true)", "gradient_penalty acts on those; leave one out"),
    ],
)
def test_what_they_refuse(entry: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        parse_entry(entry)


def test_a_damaged_query_is_said(tiny_bert: Path, tmp_path: Path) -> None:
    made = tuned(tiny_bert, f"attention-pooling({NOTHING})", tmp_path).encoder
    path = made.folder.path / "1_TokenAttention" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(HengyuError, match="not the query of an attention pooling"):
        open_encoder(EncoderSpec(str(made.folder.path))).encode(["今天"], ["native"])
