"""conditional: what a batch's card does to the norms, what is stored for which card, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.words import save_grades, sentences
from test_tuning import training_data_of
from torch import nn

from hengyu.base.errors import HengyuError
from hengyu.bench.run import run
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.methods.training.conditions import ConditionalLoss, add_conditions, fold_conditions, norms
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.gradients import backward
from hengyu.methods.training.model import TrainableEncoder
from hengyu.storage.records import load_run
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite
from hengyu.tools.export_model.fitted import card_of

TUNER = "cosent(lr=1e-3, batch=16, epochs=1, dropout=0.0)"
ENTRY = f"conditional({TUNER}, size=8)"
CARDS = ("apples", "pears")


def mixed(n: int = 64, card: str = "apples") -> TrainingData:
    """Pairs of two cards, in turns."""
    data = training_data_of(n)
    assert data.pairs is not None
    return replace(data, pairs=replace(data.pairs, groups=np.arange(n) % 2), cards=CARDS, card=card)


def opened(folder: Path) -> TrainableEncoder:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folder))), "mean")
    trainable.open(dropout=0.0, length=64)
    return trainable


def vectors(trainable: TrainableEncoder) -> np.ndarray:
    return trainable.vectors(trainable.tokens(list(training_data_of(40).texts)))


def test_before_training_every_condition_is_the_plain_encoder(tiny_bert: Path) -> None:
    trainable = opened(tiny_bert)
    before, names = vectors(trainable), dict(trainable.model.named_parameters())
    found = norms(trainable)
    assert len(found) == sum(isinstance(part, nn.LayerNorm) for part in trainable.model.modules())
    conditions = add_conditions(trainable, 3, size=8, std=1.0)
    added = [p for p in trainable.parameters() if not any(p is own for own in names.values())]
    assert sum(p.numel() for p in added) == 3 * 8 + 2 * len(found) * 32 * 8
    for number in (None, 0, 1, 2):
        conditions.choice.number = number
        assert np.array_equal(vectors(trainable), before)
    folded = fold_conditions(trainable, conditions, [0, 1])
    assert np.array_equal(vectors(trainable), before)
    assert dict(trainable.model.named_parameters()).keys() == names.keys()
    for weights in folded:
        assert all(torch.equal(w, names[name]) for name, w in weights.items()) and len(weights) == 2 * len(found)


def test_a_norm_has_the_scale_and_shift_of_the_formula(tiny_bert: Path) -> None:
    """Against the formula written out, on one norm; and a folded model equals the one with its condition."""
    trainable = opened(tiny_bert)
    plain = {
        name: (part.weight.detach().clone(), part.bias.detach().clone()) for name, part in norms(trainable).items()
    }
    conditions = add_conditions(trainable, 2, size=8, std=1.0)
    generator = torch.Generator().manual_seed(1)
    for p in trainable.parameters():
        if p.ndim == 2 and p.shape[1] == 8:
            nn.init.normal_(p, std=0.1, generator=generator)
    conditions.choice.number = 1
    name, part = next(iter(norms(trainable).items()))
    a, b = (part.parametrizations[key][0].map for key in ("weight", "bias"))  # type: ignore[index]
    gamma, beta = plain[name][0] + a @ conditions.table[1], plain[name][1] + b @ conditions.table[1]
    x = torch.randn(5, 32, generator=generator)
    hat = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + part.eps)  # type: ignore[operator]
    torch.testing.assert_close(part(x), gamma * hat + beta, atol=1e-5, rtol=1e-5)
    apart = []
    for number in (0, 1, None):
        conditions.choice.number = number
        apart.append(vectors(trainable))
    assert np.abs(apart[0] - apart[1]).max() > 1e-2
    trainable.variants = dict(zip("abc", fold_conditions(trainable, conditions, [0, 1, None]), strict=True))
    for key, want in zip("abc", apart, strict=True):
        trainable.take(key)
        np.testing.assert_allclose(vectors(trainable), want, atol=1e-6)


def test_a_batch_moves_the_embedding_of_its_own_card_alone(tiny_bert: Path) -> None:
    trainable, data = opened(tiny_bert), mixed()
    conditions = add_conditions(trainable, 2, size=8, std=1.0)
    for p in trainable.parameters():
        if p.ndim == 2 and p.shape[1] == 8:
            nn.init.normal_(p, std=0.1)
    inner = parse_entry(TUNER).steps[0].make().make(trainable, data)
    objective = ConditionalLoss(inner, inner.groups, conditions, None)
    batch = np.flatnonzero(inner.groups == 1)[:16]
    for chunk in (0, 8):
        trainable.model.zero_grad()
        backward(trainable, objective, batch, chunk)
        assert conditions.choice.number == 1
        moved = conditions.table.grad.abs().sum(1)  # type: ignore[union-attr]
        assert moved[0] == 0 and moved[1] > 0
        objective.after(batch)
        assert conditions.choice.number is None


def test_a_training_leaves_a_model_for_each_card_and_is_made_once(tiny_bert: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    store, said = TunedStore(tmp_path / "tuned"), []
    tuning = TunedEncoderCache(store)
    encoder, steps = open_encoder(EncoderSpec(str(tiny_bert))), parse_entry(ENTRY).steps
    made = {c: tuning.tune(encoder, "mean", steps, mixed(card=c), f"for {c}") for c in CARDS}
    said = [parts[3] for parts in tuning.seconds]
    assert said == ["for apples"] and len(store.folders()) == 2  # the other card's model was stored with it
    assert made["apples"].trained == made["pears"].trained
    texts = list(mixed().texts[:10])
    found = [made[c].encoder.encode(texts, ["mean"])["mean"] for c in CARDS]
    assert np.abs(found[0] - found[1]).max() > 1e-3
    prints = [made[c].encoder.identity()["fingerprint"] for c in CARDS]
    assert prints[0] != prints[1]  # so their vectors have keys of their own
    theirs = SentenceTransformer(str(made["pears"].encoder.folder.path), device="cpu").encode(texts)
    np.testing.assert_allclose(found[1], theirs, atol=2e-5)
    again = TunedEncoderCache(TunedStore(tmp_path / "again")).tune(encoder, "mean", steps, mixed(card="pears"), "here")
    assert np.array_equal(again.encoder.encode(texts, ["mean"])["mean"], found[1])  # whoever asks first
    other = replace(mixed(card="pears"), cards=("apples", "plums"))
    with pytest.raises(
        ValueError, match="was trained on apples, plums and has no condition for pears; add pears to fit_on"
    ):
        tuning.tune(encoder, "mean", steps, other, "here")


def test_an_unseen_card_may_have_the_mean(tiny_bert: Path, tmp_path: Path) -> None:
    store = TunedStore(tmp_path / "tuned")
    tuning, encoder = TunedEncoderCache(store), open_encoder(EncoderSpec(str(tiny_bert)))
    steps = parse_entry(f"conditional({TUNER}, size=8, unseen=mean)").steps
    found = [
        tuning.tune(encoder, "mean", steps, mixed(card=c), "here").encoder for c in ("apples", "plums", "cherries")
    ]
    assert len(store.folders()) == 3 and found[1].folder.path == found[2].folder.path != found[0].folder.path


def test_what_is_of_which_card_is_in_the_key() -> None:
    method = parse_entry(ENTRY).steps[0].make()
    one = mixed()
    assert one.pairs is not None
    groups = one.pairs.groups
    assert groups is not None
    other = replace(one, pairs=replace(one.pairs, groups=1 - groups))
    keys = [
        method.condition(d) for d in (one, other, replace(one, card="pears"), replace(one, cards=("apples", "figs")))
    ]
    assert all(a != b for i, a in enumerate(keys) for b in keys[:i])
    assert parse_entry(f"matryoshka({ENTRY})").steps[0].make().condition(one) == keys[0]
    assert one.digest(labelled=False) != other.digest(labelled=False)  # without labels, too


def test_whose_model_an_exported_one_is() -> None:
    steps = parse_entry(f"matryoshka({ENTRY[:-1]}, unseen=mean))").steps
    cards = mixed().cards
    assert [card_of(steps, mixed(card=card)) for card in cards] == list(cards)
    assert card_of(steps, mixed(card="plums")) == f"other cards: the mean of {', '.join(cards)}"
    assert card_of(parse_entry(TUNER).steps, mixed()) == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cards with a train and a test split each."""
    here = tmp_path_factory.mktemp("conditional")
    save_grades(here)
    for number, name in enumerate(("second", "third")):
        for split in ("train", "test"):
            rows = sentences(np.random.default_rng(10 * number + len(split)), 30)
            text = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in rows)
            (here / f"{name}-{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + text, encoding="utf-8")
        splits = "".join(f'[splits.{s}]\nfile = "{name}-{s}.tsv"\n' for s in ("train", "test"))
        card = f'name = "{name}"\nlabels = {{ scale = [0, 1], kind = "binary" }}\n{splits}'
        (here / f"{name}.toml").write_text(card, encoding="utf-8")
    return here


def test_a_suite_has_a_row_whose_tasks_share_a_training(
    folder: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "suite.toml"
    path.write_text(
        'tasks = ["second:test", "third:test"]\nbaselines = []\nresamples = 50\n'
        'fit_on = { "grades:train" = 0.5, "second:train" = 1 }\n'
        f'entries = ["matryoshka({ENTRY})"]\n',
        encoding="utf-8",
    )
    plan = make_plan(replace(load_suite(path), encoders=(EncoderSpec(str(tiny_bert)),)), datasets=[folder])
    tuned = TunedStore(folder / "tuned")
    outcome = run(plan, reports=folder / "out", store=VectorStore(folder / "vectors"), tuned=tuned)
    found: dict[str, Any] = {
        r.task: r
        for r in load_run(outcome.folder).records
        if r.metric == "spearman" and not r.draw and r.entry.startswith("matryoshka")
    }
    assert len(tuned.folders()) == 2
    assert found["second:test"].status == "ok" and found["third:test"].value is None
    assert "was trained on grades, second and has no condition for third" in found["third:test"].reason
    monkeypatch.setenv("HENGYU_CACHE", str(folder))
    asked = ["export-model", str(outcome.folder), "--task", "second:test", "--datasets", str(folder)]
    done = CliRunner().invoke(main, [*asked, "--row", f"matryoshka({ENTRY})", "--out", str(folder / "model")])
    assert done.exit_code == 0, done.output
    assert "| made for | second |" in (folder / "model" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("conditional(cosent, size=0)", r"conditional\(size=0\) must lie in 1..65536"),
        ("conditional(cosent, std=0)", "must lie in 1e-06..100"),
        ("conditional(cosent, unseen=guess)", r"conditional\(unseen=guess\) must be refuse or mean"),
        ("conditional(conditional(cosent))", "cannot be nested in conditional; keep one"),
        ("conditional(cosent(weissi=0.1))", "leave weissi out"),
        ("conditional(tsdae)", "also trains a decoder"),
        ("lora(conditional(cosent))", r"conditional trains scale and shift of the norms; write conditional\(lora"),
        ("conditional(sif)", "conditional can only wrap a tuner that has a training loss"),
    ],
)
def test_what_it_refuses(entry: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        parse_entry(entry)


def test_training_data_that_it_refuses(tiny_bert: Path, tmp_path: Path) -> None:
    tuning, encoder = TunedEncoderCache(TunedStore(tmp_path / "tuned")), open_encoder(EncoderSpec(str(tiny_bert)))
    with pytest.raises(ValueError, match="conditional needs the pairs of several cards; name them in fit_on"):
        tuning.tune(encoder, "mean", parse_entry(ENTRY).steps, training_data_of(), "here")
    patient = parse_entry("conditional(cosent(patience=2))").steps
    with pytest.raises(
        ValueError, match="pairs that are held out of a mixture are of several cards; leave patience out"
    ):
        tuning.tune(encoder, "mean", patient, mixed(400), "here")


def test_it_wraps_lora(tiny_bert: Path, tmp_path: Path) -> None:
    tuning, encoder = TunedEncoderCache(TunedStore(tmp_path / "tuned")), open_encoder(EncoderSpec(str(tiny_bert)))
    steps = parse_entry(f"conditional(lora({TUNER}, rank=2), size=8)").steps
    made = tuning.tune(encoder, "mean", steps, mixed(), "here").encoder
    assert np.isfinite(made.encode(["今天"], ["mean"])["mean"]).all()
