"""The newer training objectives: laws, equality with sentence-transformers' losses, and a training of each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_losses import Given, features
from test_triples import graded, plan_of, save_grades
from test_tuning import training_data_of
from torch import Tensor, nn

from hengyu.base.errors import HengyuError
from hengyu.bench.run import run
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.choices import DIRECTIONS
from hengyu.methods.training.losses import (
    angle,
    angle_similarity,
    cosent,
    embed_distill,
    relational,
    symmetric_kl,
)
from hengyu.methods.training.matryoshka import MatryoshkaLoss
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.ranking import gist, multiple_negatives_ranking
from hengyu.methods.training.rdrop import RDropLoss, in_batch_logits
from hengyu.storage.records import load_run
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore

CLOSE = 1e-6


def vectors(*seeds: int, n: int = 12, d: int = 16) -> list[Tensor]:
    """Return vectors in float64, each batch near the first one."""
    made = [torch.randn(n, d, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
    return [made[0], *(made[0] + 1.5 * x for x in made[1:])]


def value(found: Tensor) -> float:
    return float(found.detach())


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.randint(0, 6, (12,), generator=torch.Generator().manual_seed(9)).double()


# --- AnglE and CoSENT ---


@pytest.mark.parametrize("width", [16, 15])
def test_angle_and_cosent_are_those_of_sentence_transformers(labels: Tensor, width: int) -> None:
    from sentence_transformers import losses as reference

    a, b = vectors(1, 2, d=width)
    for ours, name in ((angle, "AnglELoss"), (cosent, "CoSENTLoss")):
        theirs: Any = getattr(reference, name)(Given(), scale=20.0)
        assert value(ours(a, b, labels)) == pytest.approx(value(theirs(features(a, b), labels)), abs=CLOSE)


def test_the_angle_is_that_of_complex_numbers_and_keeps_a_gradient_where_the_cosine_has_none() -> None:
    a, b = vectors(1, 2)
    x, y = (nn.functional.normalize(v, dim=1) for v in (a, b))
    z = (torch.complex(x[:, :8], x[:, 8:]) * torch.complex(y[:, :8], y[:, 8:]).conj()).sum(dim=1)
    torch.testing.assert_close(angle_similarity(a, b), (z.real + z.imag).abs())
    torch.testing.assert_close(z.real, nn.functional.cosine_similarity(a, b))
    gradients = {}
    for name, similarity in (("angle", angle_similarity), ("cosine", nn.functional.cosine_similarity)):
        moved = a.clone().requires_grad_()
        similarity(moved, a).sum().backward()
        assert moved.grad is not None
        gradients[name] = float(moved.grad.norm())
    assert gradients["cosine"] < 1e-12 < 0.1 < gradients["angle"]


# --- multiple negatives ranking ---


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 5.0, "directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"},
        {"directions": DIRECTIONS},
        {"hardness_mode": "in_batch_negatives", "hardness_strength": 9.0},
        {"hardness_mode": "hard_negatives", "hardness_strength": 5.0},
        {"hardness_mode": "all_negatives", "hardness_strength": 3.0, "directions": DIRECTIONS},
    ],
    ids=lambda o: "-".join(map(str, o)) or "plain",
)
def test_ranking_is_that_of_sentence_transformers_whole_and_in_rows(options: dict[str, Any], hard: bool) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    a, p, h = vectors(1, 2, 3)
    given = [part.requires_grad_() for part in ((a, p, h) if hard else (a, p))]
    theirs: Any = MultipleNegativesRankingLoss(Given(), **options)
    want = theirs(features(*given), None)
    negatives = h if hard else h[:0]
    for rows in (0, 5):
        owners = torch.arange(len(negatives))
        found = multiple_negatives_ranking(a, p, negatives, owners, rows=rows, **options)
        assert value(found) == pytest.approx(value(want), abs=CLOSE)
        for ours, reference in zip(
            torch.autograd.grad(found, given), torch.autograd.grad(want, given, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(ours, reference, atol=1e-9, rtol=1e-9)


def test_the_chunked_loss_is_the_cached_one_of_sentence_transformers() -> None:
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss

    class Listed(Given):
        def __getitem__(self, _: int) -> nn.Module:
            return nn.Identity()

    a, p, h = vectors(1, 2, 3)
    theirs: Any = CachedMultipleNegativesRankingLoss(Listed(), mini_batch_size=5)
    with torch.no_grad():
        want = theirs.calculate_loss([list(torch.split(part, 5)) for part in (a, p, h)])
    assert value(multiple_negatives_ranking(a, p, h, torch.arange(12), rows=5)) == pytest.approx(value(want), abs=CLOSE)


def test_what_has_the_same_meaning_is_told_from_in_no_direction() -> None:
    a, p, h = vectors(1, 2, 3)
    twice = [torch.cat([x, x[:1]]) for x in (a, p)]  # the first example again
    same = torch.eye(13, dtype=torch.bool)
    same[0, 12] = same[12, 0] = True
    excused = dict.fromkeys(DIRECTIONS, same)
    found = multiple_negatives_ranking(*twice, h[:0], torch.arange(0), directions=DIRECTIONS, excused=excused)
    alone = [
        multiple_negatives_ranking(a, p, h[:0], torch.arange(0), directions=DIRECTIONS, rows=rows) for rows in (0, 4)
    ]
    assert value(alone[0]) == pytest.approx(value(alone[1]), abs=1e-12)
    assert value(found) != pytest.approx(
        value(multiple_negatives_ranking(*twice, h[:0], torch.arange(0), directions=DIRECTIONS))
    )
    everything = dict.fromkeys(DIRECTIONS, torch.ones(13, 13, dtype=torch.bool))
    nothing = multiple_negatives_ranking(*twice, h[:0], torch.arange(0), excused=everything)
    assert value(nothing) == pytest.approx(0, abs=1e-12)


def test_ranking_at_scale_20_is_supervised_simcse(trainable: TrainableEncoder) -> None:
    batch = np.arange(24)
    old, new = (parse_entry(e).steps[0].make().make(trainable, graded()) for e in ("simcse-sup", "mnrl"))
    assert old.rows(batch) == new.rows(batch)
    x = trainable.embed(new.rows(batch)).detach()
    assert value(new.loss(x, batch)) == pytest.approx(value(old.loss(x, batch)), abs=1e-5)


# --- GISTEmbed ---


class Guide(Given):
    def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": given["guide"]}


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.05, "margin": 0.1},
        {"margin_strategy": "relative", "margin": 0.05, "contrast_anchors": False},
        {"contrast_positives": False},
    ],
    ids=lambda o: "-".join(map(str, o)) or "plain",
)
def test_gist_is_that_of_sentence_transformers(tiny_bert: Path, options: dict[str, Any], hard: bool) -> None:
    from sentence_transformers.losses import GISTEmbedLoss
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model, guide = Given(), Guide()
    for each in (model, guide):
        each.tokenizer, each.max_seq_length = tokenizer, 64  # type: ignore[assignment]
    theirs: Any = GISTEmbedLoss(model, guide, **options)
    parts, guides = vectors(1, 2, 3), vectors(4, 5, 6, d=8)
    if not hard:
        parts[2], guides[2] = parts[2][:0], guides[2][:0]
    given = [{"sentence_embedding": x, "guide": g} for x, g in zip(parts, guides, strict=True) if len(x)]
    found = gist(parts, guides, **options)
    assert value(found) == pytest.approx(value(theirs(given, None)), abs=CLOSE)
    assert value(found) < value(gist(parts, guides, **(options | {"margin": -9.0})))  # all candidates count then


# --- Matryoshka ---


class Fixed:
    """An objective whose loss is given."""

    heads: Any = ()
    heads_lr, size, groups = 0.0, 12, None

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def rows(self, batch: Any) -> list[list[int]]:
        return [[int(i)] for i in batch]

    def after(self, batch: Any) -> None:
        """Nothing."""


def test_matryoshka_is_that_of_sentence_transformers(labels: Tensor) -> None:
    from sentence_transformers import losses as reference

    a, b = vectors(1, 2)
    dims, weights = [16, 4, 8], [1.0, 0.5, 2.0]
    inner: Any = reference.CoSENTLoss(Given(), scale=20.0)
    theirs: Any = reference.MatryoshkaLoss(Given(), inner, dims, weights)
    inner.model = theirs.model
    want = theirs(features(a.clone(), b.clone()), labels)
    ours = MatryoshkaLoss(Fixed(lambda x, _: cosent(*x.chunk(2), labels)), dims, weights, -1, 0)
    both = torch.cat([a, b])
    assert value(ours.loss(both, np.arange(12))) == pytest.approx(value(want), abs=CLOSE)
    ranked: Any = reference.MultipleNegativesRankingLoss(Given())
    theirs = reference.MatryoshkaLoss(Given(), ranked, dims)
    ranked.model = theirs.model
    none = a[:0]

    def ranking(x: Tensor, _: Any) -> Tensor:
        return multiple_negatives_ranking(*x.chunk(2), none[:, : x.shape[1]], torch.arange(0))

    ours = MatryoshkaLoss(Fixed(ranking), dims, [1.0] * 3, -1, 0)
    want = theirs(features(a.clone(), b.clone()), None)
    assert value(ours.loss(both, np.arange(12))) == pytest.approx(value(want), abs=CLOSE)


def test_matryoshka_of_the_full_width_alone_is_the_loss_itself_and_draws_the_same_widths_for_a_batch() -> None:
    (x,) = vectors(1, n=24)
    inner = Fixed(lambda v, _: v.shape[1] * (v**2).sum())
    assert value(MatryoshkaLoss(inner, [16], [1.0], -1, 0).loss(x, np.arange(12))) == pytest.approx(16 * 24)
    drawn = MatryoshkaLoss(inner, [16, 8, 4], [1.0] * 3, 1, 0)
    batches = [np.arange(12) for _ in range(40)]
    once = [[value(drawn.loss(x, batch)) / 24 for _ in range(2)] for batch in batches]
    assert all(a == b for a, b in once) and {round(a) for a, _ in once} == {16, 8, 4}


# --- distillation ---


@pytest.mark.parametrize("metric", ["cosine", "mse", "l2"])
def test_distillation_is_that_of_sentence_transformers(metric: str) -> None:
    from sentence_transformers.losses import EmbedDistillLoss

    a, t = vectors(1, 2)
    theirs: Any = EmbedDistillLoss(Given(), distance_metric=metric)
    assert value(embed_distill(a, t, metric)) == pytest.approx(value(theirs(features(a), t)), abs=CLOSE)
    assert value(embed_distill(t, t, metric)) == pytest.approx(0, abs=1e-12)


def test_cosines_of_a_batch_are_compared_whatever_the_widths() -> None:
    a, b = vectors(1, 2)
    rotated = a @ torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64))[0]
    assert value(relational(a, 3 * rotated)) == pytest.approx(0, abs=1e-12)
    gaps = [
        (
            float(nn.functional.cosine_similarity(a[i], a[j], dim=0))
            - float(nn.functional.cosine_similarity(b[i], b[j], dim=0))
        )
        ** 2
        for i in range(12)
        for j in range(12)
    ]
    assert value(relational(a, torch.cat([b, 0 * b], dim=1))) == pytest.approx(sum(gaps) / 12)


def test_an_aligned_target_has_the_teachers_centred_cosines(trainable: TrainableEncoder, tmp_path: Path) -> None:
    data = training_data_of(40)
    (teacher,) = vectors(3, n=len(data.texts), d=20)
    np.save(tmp_path / "teacher.npy", teacher.numpy())
    (tmp_path / "teacher.txt").write_text("\n".join(data.texts) + "\n", encoding="utf-8")
    objective = parse_entry(f'distill(teacher="{tmp_path}/teacher.npy")').steps[0].make().make(trainable, data)
    rows = [data.texts.index(t) for t in objective.texts]
    x = teacher[rows] - teacher[rows].mean(dim=0)
    torch.testing.assert_close(
        objective.targets @ objective.targets.T,
        (nn.functional.normalize(x) @ nn.functional.normalize(x).T).float(),
        atol=1e-4,
        rtol=0,
    )
    narrow = f'distill(teacher="{tmp_path}/teacher.npy", align=false'
    with pytest.raises(ValueError, match="gives 20 columns, and the encoder has 32; set align=true"):
        parse_entry(f"{narrow})").steps[0].make().make(trainable, data)
    parse_entry(f"{narrow}, distance_metric=none)").steps[0].make().make(trainable, data)
    with pytest.raises(ValueError, match="no vector"):
        parse_entry(f'distill(teacher="{tmp_path}/teacher.npy")').steps[0].make().make(
            trainable, training_data_of(40, seed=2)
        )


# --- R-Drop ---


def test_rdrop_adds_the_divergence_of_two_passes() -> None:
    p, q = (torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64), torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64))
    want = sum(float((x * (x / y).log()).sum()) for x, y in ((p, q), (q, p))) / 2
    assert value(symmetric_kl(p.log(), q.log() + 3)) == pytest.approx(want) and want > 0
    assert value(symmetric_kl(p.log(), p.log())) == 0
    a, b = vectors(1, 2, n=24)
    batch = np.arange(12)
    inner = Fixed(lambda v, _: multiple_negatives_ranking(*v.chunk(2), v[:0], torch.arange(0)))
    assert RDropLoss(inner, 1.0, 20.0).rows(batch) == inner.rows(batch) * 2
    alone = [value(inner.loss(x, batch)) for x in (a, b)]
    both = torch.cat([a, b])
    assert value(RDropLoss(inner, 0.0, 20.0).loss(both, batch)) == pytest.approx(np.mean(alone))
    divergence = value(symmetric_kl(in_batch_logits(a, 12, 20.0), in_batch_logits(b, 12, 20.0)))
    assert value(RDropLoss(inner, 2.0, 20.0).loss(both, batch)) == pytest.approx(np.mean(alone) + 2 * divergence)
    assert value(RDropLoss(inner, 2.0, 20.0).loss(torch.cat([a, a]), batch)) == pytest.approx(alone[0])


def test_sentences_without_partners_are_compared_with_each_other() -> None:
    (x,) = vectors(1)
    logits = in_batch_logits(x, 12, 20.0)
    assert (logits.softmax(dim=1).diagonal() == 0).all()
    assert np.isfinite(value(symmetric_kl(logits, in_batch_logits(x + 0.1, 12, 20.0))))


# --- as tuners ---


def trained(entry: str, model: Path | str, n: int = 60) -> dict[str, Any]:
    method = parse_entry(entry).steps[0].make()
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(model))), "mean")
    method.tune(trainable, training_data_of(n, held=True), lambda done: None)
    report: dict[str, Any] = method.report
    return report


@pytest.mark.parametrize(
    "entry",
    [
        'matryoshka(r-drop(angle(lr=1e-3, batch=16, epochs=2)), dims="256 64")',
        pytest.param("mnrl(lr=1e-3, batch=16, epochs=4, positive=0.6, chunk=8)", marks=pytest.mark.long),
        "gist(lr=1e-3, batch=16, epochs=4, positive=0.6, guide=hengyu-static, temperature=0.05)",
    ],
)
def test_training_on_labels_learns_them(entry: str) -> None:
    course = trained(entry, "hengyu-mini", n=100)["held_out_spearman"]
    assert course[-1] > course[0] + 0.03


@pytest.mark.parametrize("more", ["", ", distance_metric=none, similarity=1, align=false"])
def test_a_distilled_encoder_comes_nearer_to_its_teacher(more: str, tiny_bert: Path) -> None:
    report = trained(f"distill(lr=3e-3, batch=16, epochs=5, teacher=hengyu-static{more})", tiny_bert)
    assert report["loss"][-1] < 0.9 * report["loss"][0]


@pytest.mark.parametrize(
    "entry",
    [
        "matryoshka(simcse(sentences=32, batch=16))",
        "matryoshka(esimcse(sentences=32, batch=16), n_dims_per_step=1)",
        "r-drop(sbert(loss=classify, sentences=32, epochs=1))",
        "r-drop(tsdae(sentences=32))",
        'matryoshka(r-drop(mnrl(batch=16, epochs=1, positive=0.5, fgm=0.1)), dims="32, 16", weights="1 2")',
        "matryoshka(distill(sentences=32, batch=16, teacher=hengyu-static), dims=16)",
    ],
)
def test_tuners_stand_around_each_other_and_repeat_to_the_bit(entry: str, tiny_bert: Path) -> None:
    assert str(parse_entry(str(parse_entry(entry)))) == str(parse_entry(entry))
    first, again = (trained(entry, tiny_bert) for _ in range(2))
    assert first == again and np.isfinite(first["loss"]).all()


@pytest.mark.parametrize(("outer", "inner"), [("matryoshka", "r-drop"), ("r-drop", "matryoshka")])
def test_the_outer_tuner_changes_the_loss_that_the_inner_one_has_changed(
    outer: str, inner: str, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"matryoshka": MatryoshkaLoss, "r-drop": RDropLoss}

    def look(trainable: Any, objective: Any, *rest: Any) -> dict[str, Any]:
        assert type(objective) is kinds[outer] and type(objective.inner) is kinds[inner]
        return {"held_out_spearman": [0.0, 1.0]}

    monkeypatch.setattr("hengyu.methods.training.loop.train", look)
    assert trained(f"{outer}({inner}(cosent))", tiny_bert)["held_out_spearman"] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("matryoshka", "matryoshka wraps one tuner, not no tuner; write matryoshka"),
        ("matryoshka(cosent, simcse)", "wraps one tuner, not 2 tuners"),
        ("matryoshka(whitening)", "wraps one tuner, and 'whitening' is not one"),
        ("matryoshka(cosent > l2)", "and 'cosent > l2' is not one"),
        ("matryoshka(dims=64, cosent)", "is written before its parameters"),
        ('matryoshka(cosent, dims="64 x")', r'dims=64 x\) must be whole numbers above 0, like dims="256 128 64"'),
        ('matryoshka(cosent, dims="64 64")', "names a dimension twice"),
        ('matryoshka(cosent, dims="64 32", weights=1)', "must be as many numbers as dims"),
        ('matryoshka(cosent, dims="64 32", weights="0 0")', "must be numbers of at least 0"),
        ("matryoshka(cosent, n_dims_per_step=0)", "must be -1, or lie in 1..64"),
        ("matryoshka(simsiam)", "simsiam has its predictor, which takes the full width"),
        ("matryoshka(r-drop(tsdae))", "has its decoder"),
        ("matryoshka(simcse(mlp=true))", "has the layer of mlp"),
        ("r-drop(cosent(dropout=0))", "needs two different dropout passes"),
        ("r-drop(cosent, alpha=-1.0)", r"r-drop\(alpha=-1\) must lie in 0..1000"),
        ("r-drop(cosent(lr=2.0))", "must lie in"),
        ("mnrl(directions=doc_to_query)", "must be query_to_doc, alone or joined by"),
        ("mnrl(directions=query_to_doc+query_to_doc)", "must be query_to_doc, alone"),
        ("mnrl(directions=query_to_doc+doc_to_doc, partition_mode=per_direction)", "needs directions that hold the positive"),
        ("mnrl(hardness_mode=all_negatives)", "hardness_mode and hardness_strength need each other"),
        ("mnrl(partition_mode=none)", "must be joint or per_direction"),
        ("mnrl(positive=0.1)", "the positive above the negative"),
        ("gist(margin_strategy=none)", "must be absolute or relative"),
        ('gist(guide="")', "is empty; name an encoder"),
        ("distill(distance_metric=dot)", "must be cosine, mse, l2 or none"),
        ("distill(distance_metric=none, similarity=0)", "has no loss"),
        ("whitening > angle", "must come before whitening"),
    ],
)  # fmt: skip
def test_mistakes_in_an_entry_are_said(entry: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        parse_entry(entry)


def test_too_many_columns_and_a_classifier_are_said(tiny_bert: Path) -> None:
    with pytest.raises(ValueError, match="dims=64.* exceeds the encoder's 32 columns"):
        trained("matryoshka(cosent, dims=64)", tiny_bert)
    data = replace(training_data_of(60))
    assert data.pairs is not None
    binary = replace(data.pairs, labels=(data.pairs.labels > 2).astype(float), scale=(0.0, 1.0), binary=True)
    method = parse_entry("matryoshka(sbert)").steps[0].make()
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
    with pytest.raises(ValueError, match="the loss of sbert has a layer of the full width"):
        method.tune(trainable, replace(data, pairs=binary), lambda done: None)


def test_what_a_tuner_reads_counts_in_its_key(tiny_bert: Path, tmp_path: Path) -> None:
    guide = shutil.copytree(tiny_bert, tmp_path / "guide")
    around = f'matryoshka(gist(guide="{guide}", guide_pooling=mean))'
    keys = [parse_entry(e).steps[0].key for e in (around, around, around.replace("mean", "cls"))]
    assert keys[0] == keys[1] != keys[2]
    weights = guide / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(bytes(content))
    assert parse_entry(around).steps[0].key != keys[0]
    shutil.rmtree(guide)
    with pytest.raises(HengyuError, match=r"gist\(guide=.*guide\): "):
        _ = parse_entry(around).steps[0].key
    with pytest.raises(
        HengyuError, match="nor in the local hub cache, and nothing is downloaded for it; give the model's folder"
    ):
        _ = parse_entry("gist(guide=nothere)").steps[0].key
    with pytest.raises(HengyuError, match="pooling 'nowhere' is not available"):
        _ = parse_entry("distill(teacher_pooling=nowhere)").steps[0].key


def test_a_tuner_inside_another_has_its_labels_and_its_seed() -> None:
    entry = parse_entry("matryoshka(r-drop(cosent))")
    assert entry.labelled and entry.stochastic and not parse_entry("matryoshka(simcse)").labelled
    seeded = entry.with_seed(7)
    assert str(seeded) == "matryoshka(r-drop(cosent(seed=7)))" and seeded.steps[0].make().core.seed == 7
    assert str(parse_entry('matryoshka(cosent, dims="64 32") > truncate(dim=32)')) == (
        'matryoshka(cosent, dims="64 32") > truncate(dim=32)'
    )


def test_rows_of_a_suite(tmp_path: Path, tiny_bert: Path) -> None:
    save_grades(tmp_path)
    entries = [
        'matryoshka(mnrl(lr=1e-3, batch=16, epochs=1, positive=0.6), dims=\\"32 8\\") > truncate(dim=8)',
        "gist(guide=hengyu-static, batch=16, epochs=1, positive=0.6)",
    ]
    own = ", ".join(f'{{ entry = "{e}", fit_on = "target" }}' for e in entries)
    with pytest.raises(HengyuError, match="evaluated on grades:test with labels it was trained on"):
        plan_of(tmp_path, own, tiny_bert)
    done = run(
        plan_of(tmp_path, own.replace("target", "train"), tiny_bert),
        reports=tmp_path / "out",
        store=VectorStore(tmp_path / "store" / "vectors"),
        tuned=TunedStore(tmp_path / "store" / "tuned"),
    )
    finished = load_run(done.folder)
    rows = [r for r in finished.records if r.metric == "spearman" and r.task == "grades:test" and r.fit_on == "train"]
    assert {r.status for r in rows} == {"ok"} and {(r.entry.split("(")[0], r.dim) for r in rows} == {
        ("matryoshka", 8),
        ("gist", 32),
    }


def test_the_list_shows_them() -> None:
    shown = CliRunner().invoke(main, ["list", "methods"])
    assert shown.exit_code == 0
    for name in ("angle", "mnrl", "gist", "distill", "matryoshka", "r-drop"):
        assert f"\n{name} " in shown.output or f"\n {name} " in shown.output
    assert "tuner, dims=" in " ".join(shown.output.split())
