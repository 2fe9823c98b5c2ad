"""lora: what it trains, that the merged model is an ordinary one, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from test_tuning import training_data_of
from torch import Tensor, nn

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.methods.training.low_rank import add_updates, merge_updates
from hengyu.methods.training.model import TrainableEncoder
from hengyu.storage.tuned import TunedStore

PLAIN = "cosent(lr=1e-3, batch=16, epochs=1, dropout=0.0)"


def opened(folder: Path, *, dropout: float = 0.0) -> TrainableEncoder:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folder))), "mean")
    trainable.open(dropout=dropout, length=64)
    return trainable


def weights(trainable: TrainableEncoder) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trainable.model.named_parameters()}


def tuned(folder: Path, entry: str, n: int = 40) -> tuple[TrainableEncoder, dict[str, Tensor]]:
    """Return the model after a training, and what its weights were before."""
    before = weights(opened(folder))
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folder))), "mean")
    parse_entry(entry).steps[0].make().tune(trainable, training_data_of(n), lambda done: None)
    return trainable, before


def vectors(trainable: TrainableEncoder) -> np.ndarray:
    return trainable.vectors(trainable.tokens(list(training_data_of(40).texts)))


def test_without_a_step_vectors_are_those_of_the_model(tiny_bert: Path) -> None:
    trainable = opened(tiny_bert)
    before, names = vectors(trainable), set(weights(trainable))
    add_updates(trainable, ["all-linear"], rank=4, alpha=16.0, dropout=0.0)
    assert np.array_equal(vectors(trainable), before)
    assert trainable.parameters() and all(p.ndim == 2 and 4 in p.shape for p in trainable.parameters())
    merge_updates(trainable)
    assert np.array_equal(vectors(trainable), before) and set(weights(trainable)) == names


def test_merged_vectors_are_those_of_the_updates(tiny_bert: Path) -> None:
    trainable = opened(tiny_bert)
    add_updates(trainable, ["query", "value"], rank=4, alpha=16.0, dropout=0.0)
    generator = torch.Generator().manual_seed(1)
    for p in trainable.parameters():
        nn.init.normal_(p, std=0.1, generator=generator)
    apart = vectors(trainable)
    merge_updates(trainable)
    assert np.abs(vectors(trainable) - apart).max() < 1e-5
    assert np.abs(apart - vectors(opened(tiny_bert))).max() > 1e-2


def test_only_weight_matrices_change_and_by_no_more_than_the_rank(tiny_bert: Path) -> None:
    trainable, before = tuned(tiny_bert, f"lora({PLAIN}, rank=2)")
    after = weights(trainable)
    assert set(after) == set(before)
    moved = {name for name, w in after.items() if not torch.equal(w, before[name])}
    linear = {f"{name}.weight" for name, part in trainable.model.named_modules() if isinstance(part, nn.Linear)}
    assert moved == {name for name in linear if "pooler" not in name}
    ranks = [int(torch.linalg.matrix_rank((after[n] - before[n]).double(), rtol=1e-4)) for n in moved]
    assert max(ranks) == 2
    some, before = tuned(tiny_bert, f'lora({PLAIN}, modules="query, value")')
    assert all("query" in n or "value" in n for n, w in weights(some).items() if not torch.equal(w, before[n]))


def test_a_step_at_full_rank_is_the_step_of_the_whole_matrix(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With A = 1 and alpha = rank, W + BA has the gradients of W, so Adam's first step is the same."""
    inject = peft.inject_adapter_in_model

    def identity(config: peft.LoraConfig, model: nn.Module) -> nn.Module:
        found = inject(config, model)
        for name, p in found.named_parameters():
            if "lora_A" in name:
                nn.init.eye_(p)
        return found

    monkeypatch.setattr(peft, "inject_adapter_in_model", identity)
    one = "cosent(lr=1e-3, batch=64, epochs=1, dropout=0.0)"  # 40 pairs: one step
    low, before = tuned(tiny_bert, f'lora({one}, rank=32, alpha=32, modules="query value")')
    whole, _ = tuned(tiny_bert, one)
    names = [n for n in before if n.endswith(("query.weight", "value.weight"))]
    for name in names:
        torch.testing.assert_close(weights(low)[name], weights(whole)[name], atol=1e-6, rtol=0)
        assert float((weights(low)[name] - before[name]).abs().max()) == pytest.approx(1e-3, rel=1e-2)


def test_it_wraps_and_is_wrapped_and_the_folder_is_an_ordinary_one(tiny_bert: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    store = TunedStore(tmp_path / "tuned")
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    texts = list(training_data_of().texts[:10])
    found = []
    for entry in (
        'matryoshka(lora(mnrl(lr=1e-3, batch=16, epochs=1, positive=0.5), rank=4), dims="32 8")',
        'lora(matryoshka(mnrl(lr=1e-3, batch=16, epochs=1, positive=0.5), dims="32 8"), rank=4)',
        "lora(esimcse(lr=1e-3, batch=16, epochs=1), rank=4, dropout=0.1)",
    ):
        steps = parse_entry(entry).with_seed(1).steps
        made = TunedEncoderCache(store).tune(encoder, "mean", steps, training_data_of(), "here").encoder
        found.append(made.encode(texts, ["mean"])["mean"])
        assert sorted(p.name for p in made.folder.path.iterdir() if "adapter" in p.name) == []
        theirs = SentenceTransformer(str(made.folder.path), device="cpu").encode(texts)
        np.testing.assert_allclose(found[-1], theirs, atol=2e-5)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)  # the order of the two is of no account


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("lora(cosent, rank=0)", r"lora\(rank=0\) must lie in 1..4096"),
        ("lora(cosent, alpha=0)", "must lie in 0.001"),
        ('lora(cosent, modules="")', "is empty; name linear layers"),
        ("lora(cosent(fgm=0.1))", "leave fgm out"),
        ("lora(lora(cosent))", "lora cannot be nested in lora; keep one"),
        ("lora(r-drop(lora(cosent)))", "lora cannot be nested in lora; keep one"),
        ("lora(tsdae)", "trains a decoder that shares the model's weights; leave lora out"),
        ("lora(p-tuning)", "trains tokens of the prompt; leave lora out"),
        ("lora(sif)", "lora can only wrap a tuner that has a training loss"),
        ("lora", "lora wraps one tuner, not no tuner"),
    ],
)
def test_what_it_refuses(entry: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        parse_entry(entry)


def test_layers_that_the_model_does_not_have_are_said(tiny_bert: Path) -> None:
    with pytest.raises(
        ValueError, match=r"lora\(modules=q_proj\): the model has no such linear layers; it has dense, key"
    ):
        tuned(tiny_bert, f"lora({PLAIN}, modules=q_proj)")


def test_without_peft_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hengyu.methods.tuners.lora.find_spec", lambda name: None)
    with pytest.raises(HengyuError, match=r"lora needs peft; run: pip install 'hengyu\[peft\]'"):
        parse_entry("lora(cosent)")
