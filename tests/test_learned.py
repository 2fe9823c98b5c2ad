"""Templates that are learned, and encoders trained by telling sentences again: what is trained, and that it can be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_losses import PROMPT, tuned
from test_tuning import training_data_of

from hengyu.base.progress import silent
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.methods.training.learned import learn_template
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.tuners.tsdae import Tsdae
from hengyu.storage.tuned import TunedStore

LEARNED = "[P1]{text}[P2][P3][P4][P5][P6][MASK][P7]"


def prompted(tiny_bert: Path, prompt: str = PROMPT) -> TrainableEncoder:
    return TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert), prompt=prompt)), "mask")


def test_before_it_has_learned_a_template_gives_the_vectors_of_its_words(tiny_bert: Path) -> None:
    trainable = prompted(tiny_bert)
    trainable.open(dropout=0.0, length=64)
    texts = ["今天去公园", "我们", "不是他"]
    rows = trainable.tokens(texts)
    before = trainable.vectors(rows)
    learn_template(trainable, alone=True)
    assert trainable.tokenizer.folder.prompt == LEARNED
    again = trainable.tokens(texts)
    assert [len(r) for r in again] == [len(r) for r in rows] and again != rows
    np.testing.assert_allclose(trainable.vectors(again), before, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    ["decay=true", "chunk=8, fgm=0.1, clip=1.0", "gradient_penalty=0.1, embedding_noise=0.1, weight_noise=0.01"],
)
def test_frozen_it_trains_the_template_and_nothing_else(tiny_bert: Path, options: str) -> None:
    start = prompted(tiny_bert)
    start.open(dropout=0.0, length=64)
    trainable = prompted(tiny_bert)
    report = tuned(trainable, f"p-tuning(lr=1e-2, batch=16, {options})", n=80)
    assert report["prompt"] == LEARNED and np.isfinite(report["loss"]).all()
    size = len(start.embeddings)
    assert len(trainable.embeddings) == size + 7
    for (name, before), (_, after) in zip(
        start.model.named_parameters(), trainable.model.named_parameters(), strict=True
    ):
        torch.testing.assert_close(after[: len(before)], before, rtol=0, atol=0, msg=name)
    vocabulary = start.tokenizer.vocabulary
    words = start.embeddings[[vocabulary[w] for w in "“”的意思是。"]]
    assert (trainable.embeddings[size:] - words).abs().sum(dim=1).min() > 1e-3


def test_a_learned_template_lets_sentences_be_found_better() -> None:
    trainable = TrainableEncoder(open_encoder(EncoderSpec("hengyu-mini", prompt=PROMPT)), "mask")
    report = tuned(trainable, "p-tuning(lr=1e-3, batch=16, epochs=2, dropout=0.0)", n=60)
    assert report["loss"][-1] < 0.7 * report["loss"][0]


def test_unfrozen_the_model_learns_too(tiny_bert: Path) -> None:
    start = prompted(tiny_bert)
    start.open(dropout=0.0, length=64)
    trainable = prompted(tiny_bert)
    tuned(trainable, "p-tuning(lr=1e-3, batch=16, freeze=false)", n=40)
    query = "encoder.layer.0.attention.self.query.weight"
    assert (trainable.model.state_dict()[query] - start.model.state_dict()[query]).abs().max() > 1e-4


def test_it_is_kept_as_a_plain_model_with_more_tokens_and_opened_with_its_prompt(
    tiny_bert: Path, tmp_path: Path
) -> None:
    encoder = open_encoder(EncoderSpec(str(tiny_bert), prompt=PROMPT))
    store, training_data = TunedStore(tmp_path / "tuned"), training_data_of(40)
    texts = list(training_data.texts[:10])
    step = "p-tuning(lr=1e-2, batch=16)"

    def kept(entry: str) -> Any:
        return (
            TunedEncoderCache(store, silent)
            .tune(encoder, "mask", parse_entry(entry).steps, training_data, "here")
            .encoder
        )

    first = kept(step)
    assert first.folder.prompt == LEARNED
    (row,) = first.tokenizer(["今天"])[0]
    assert sorted(row)[-7:] == list(range(max(row) - 6, max(row) + 1))
    vectors = first.encode(texts, ["mask"])["mask"]
    assert np.abs(vectors - encoder.encode(texts, ["mask"])["mask"]).max() > 1e-2
    assert np.array_equal(kept(step).encode(texts, ["mask"])["mask"], vectors)  # recalled, with its prompt
    # further training goes on from it, and a second template takes names that are free
    twice = kept(f"{step} > p-tuning(lr=1e-3, batch=16)")
    assert twice.folder.prompt == "[P8]{text}[P9][P10][P11][P12][P13][MASK][P14]"
    assert kept(f"{step} > promptbert(lr=1e-3, batch=16)").folder.prompt == LEARNED


@pytest.mark.parametrize(
    ("prompt", "pooling", "entry", "says"),
    [
        (PROMPT, "mean", "p-tuning", "p-tuning reads the vector at its prompt's .* use the pooling 'mask'"),
        ("[MASK]{text}", "mask", "p-tuning", "has no token to learn; add some words to"),
    ],
)
def test_what_cannot_be_learned_is_said(tiny_bert: Path, prompt: str, pooling: str, entry: str, says: str) -> None:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert), prompt=prompt)), pooling)
    with pytest.raises(ValueError, match=says):
        tuned(trainable, entry)


def test_the_loss_of_tsdae_is_the_librarys_with_the_same_weights_in_encoder_and_decoder(tiny_bert: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import DenoisingAutoEncoderLoss

    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
    trainable.open(dropout=0.0, length=64)
    training_data = training_data_of(40)
    torch.manual_seed(1)
    objective = Tsdae(dropout=0.0, delete=0.0).make(trainable, training_data)
    batch = np.arange(12)
    ours = objective.loss(trainable.embed(objective.rows(batch)), batch)
    library = SentenceTransformer(str(tiny_bert), device="cpu")
    torch.manual_seed(1)
    theirs: Any = DenoisingAutoEncoderLoss(library, tie_encoder_decoder=True).eval()
    theirs.decoder.load_state_dict(objective.criterion.decoder.state_dict())
    given = [objective.texts[i] for i in batch]
    want = theirs([dict(library.preprocess(given)), dict(library.preprocess(given))], None)
    assert float(ours.detach()) == pytest.approx(float(want.detach()), abs=1e-4)
    shared = {id(p) for p in trainable.parameters()}
    assert shared < {id(p) for p in objective.heads[0].parameters()}
    assert all(p.dtype == torch.float32 for p in trainable.parameters())


def test_tsdae_learns_to_tell_sentences_again_and_leaves_a_plain_encoder(tiny_bert: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    training_data = training_data_of(120)
    steps = parse_entry("tsdae(lr=3e-3, batch=16, epochs=4)").steps
    done = TunedEncoderCache(TunedStore(tmp_path / "tuned"), silent).tune(encoder, "mean", steps, training_data, "here")
    course = done.trained[0]["loss"]
    assert course[-1] < 0.8 * course[0]
    texts = list(training_data.texts[:10])
    ours = done.encoder.encode(texts, ["mean"])["mean"]
    folder = done.encoder.folder
    np.testing.assert_allclose(SentenceTransformer(str(folder.path), device="cpu").encode(texts), ours, atol=2e-5)
    assert not [name for name in folder.weight_names if "crossattention" in name or name.startswith("cls.")]
    assert np.abs(ours - encoder.encode(texts, ["mean"])["mean"]).max() > 1e-2
