"""Losses and gradients: equal to sentence-transformers' and to the plain batch's; collapse shows where it happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_tuning import training_data_of
from torch import Tensor, nn

from hengyu.base.errors import Degenerate
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.curve import alignment, uniformity
from hengyu.methods.training.gradients import backward, embedded, perturbed
from hengyu.methods.training.losses import cosent, info_nce, negative_cosine
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.objectives import DropoutPairs, deleted, repeated
from hengyu.methods.training.prompts import Templates
from hengyu.methods.training.supervised import CosineSimilarityLoss, SoftmaxLoss
from hengyu.methods.tuners.esimcse import ESimCse
from hengyu.methods.tuners.promptbert import PromptBert
from hengyu.methods.tuners.sbert import SBert
from hengyu.methods.tuners.simcse import SimCse


class Given(nn.Module):
    """Stands for a model: the features are the vectors."""

    device = torch.device("cpu")

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features

    def get_sentence_embedding_dimension(self) -> int:
        return 16

    get_embedding_dimension = get_sentence_embedding_dimension


def features(*vectors: Tensor) -> list[dict[str, Tensor]]:
    return [{"sentence_embedding": v} for v in vectors]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    a = torch.randn(24, 16, generator=generator)
    b = a + torch.randn(24, 16, generator=generator)
    return a, b, torch.randint(0, 6, (24,), generator=generator).float()


def test_info_nce_is_multiple_negatives_ranking(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    a, b, _ = batch
    theirs: Any = MultipleNegativesRankingLoss(Given(), scale=20.0)
    assert float(info_nce(a, b, 0.05)) == pytest.approx(float(theirs(features(a, b), None)), abs=1e-5)
    more = torch.randn(24, 16, generator=torch.Generator().manual_seed(6))
    assert float(info_nce(a, b, 0.05, more=more)) == pytest.approx(float(theirs(features(a, b, more), None)), abs=1e-5)


def test_cosent_is_that_of_sentence_transformers(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    from sentence_transformers.losses import CoSENTLoss

    a, b, labels = batch
    theirs: Any = CoSENTLoss(Given(), scale=20.0)
    assert float(cosent(a, b, labels)) == pytest.approx(float(theirs(features(a, b), labels)), abs=1e-4)
    # a batch in the right order costs little, one of equal labels nothing
    cosines = torch.nn.functional.cosine_similarity(a, b)
    assert float(cosent(a, b, cosines)) < float(cosent(a, b, -cosines))
    assert float(cosent(a, b, torch.ones(24))) == 0


def test_a_repeated_sentence_is_no_negative_of_itself(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    a, b, _ = batch
    numbers = torch.tensor([*range(24), 0])
    again, other = torch.cat([a, a[:1]]), torch.cat([b, b[:1]])
    masked = info_nce(again, other, 0.05, same=numbers[:, None] == numbers[None, :])
    cosines = 20 * nn.functional.normalize(again, dim=1) @ nn.functional.normalize(other, dim=1).T
    cosines[0, 24] = cosines[24, 0] = -torch.inf
    assert float(masked) == pytest.approx(float(nn.functional.cross_entropy(cosines, torch.arange(25))), abs=1e-5)
    assert float(masked) < float(info_nce(again, other, 0.05))
    everywhere = torch.ones(24, 24, dtype=torch.bool)
    assert float(info_nce(a, b, 0.05, same=everywhere)) == 0  # nothing left to be told from


@pytest.fixture
def trainable(tiny_bert: Path) -> TrainableEncoder:
    return TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")


def test_the_losses_of_sbert_are_those_of_sentence_transformers(trainable: TrainableEncoder) -> None:
    from sentence_transformers import losses as reference

    trainable.open(dropout=0.0, length=64)
    training_data = training_data_of(40)
    vectors, numbers = torch.randn(24, 32, generator=torch.Generator().manual_seed(1)), np.arange(12)
    ours = CosineSimilarityLoss(trainable, training_data, SBert())
    theirs: Any = reference.CosineSimilarityLoss(Given())
    want = theirs(features(vectors[:12], vectors[12:]), ours.labels[:12])
    assert float(ours.loss(vectors, numbers)) == pytest.approx(float(want), abs=1e-6)
    classes = SoftmaxLoss(trainable, training_data, SBert())
    library: Any = reference.SoftmaxLoss(Given(), 32, int(classes.classes.max()) + 1)
    weight, bias = classes.head.weight.detach(), torch.zeros(len(classes.head.weight))
    library.classifier.load_state_dict({"weight": weight, "bias": bias})
    want = library(features(vectors[:12], vectors[12:]), classes.classes[:12])
    assert float(classes.loss(vectors, numbers)) == pytest.approx(float(want), abs=1e-5)


def gradients(trainable: TrainableEncoder, heads: Any = ()) -> list[Tensor]:
    parameters = [*trainable.parameters(), *(p for head in heads for p in head.parameters())]
    found = [p.grad.clone() for p in parameters if p.grad is not None]
    for p in parameters:
        p.grad = None
    return found


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.long), 0.3])
def test_a_batch_of_512_in_chunks_of_32_has_the_gradients_of_the_plain_batch(
    trainable: TrainableEncoder, dropout: float
) -> None:
    trainable.open(dropout=dropout, length=64)
    trainable.model.train()
    training_data = training_data_of(600)
    recipe = SimCse(sentences=512, batch=512)
    objective = DropoutPairs(trainable, training_data, recipe, 0.05, mlp=True)
    batch = np.arange(512)
    torch.manual_seed(3)
    cached_loss = backward(trainable, objective, batch, chunk=32)
    cached, after = gradients(trainable, objective.heads), torch.get_rng_state()
    torch.manual_seed(3)
    # the plain batch: one graph; its rows pass in the same chunks, so that they meet the same dropout
    loss = objective.loss(embedded(trainable, objective.rows(batch), 32), batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert cached_loss == pytest.approx(float(loss.detach()), abs=1e-6)
    plain = gradients(trainable, objective.heads)
    assert len(plain) == len(cached) > 30
    for a, b in zip(plain, cached, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6 + 1e-5 * float(a.abs().max()))
    assert torch.equal(after, torch.get_rng_state())  # what is drawn next is the same too
    if not dropout:
        backward(trainable, objective, batch)
        for a, b in zip(gradients(trainable, objective.heads), cached, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6 + 1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("pooling", ["mean", "first-last-mean", "cls"])
def test_bfloat16_gives_nearly_the_gradients_and_leaves_weights_and_vectors_in_float32(pooling: str) -> None:
    found = {}
    for dtype in ("float32", "bfloat16"):
        trainable = TrainableEncoder(open_encoder(EncoderSpec("hengyu-mini")), pooling)
        trainable.open(dropout=0.0, length=64, dtype=dtype)  # in another dtype other places would drop out
        trainable.model.train()
        objective = SimCse(delete=0.3).make(trainable, training_data_of(64))
        loss = backward(trainable, objective, np.arange(64))
        assert {p.dtype for p in trainable.parameters()} == {torch.float32}
        slopes = torch.cat([g.flatten() for g in gradients(trainable, objective.heads)])
        found[dtype] = (loss, slopes, trainable.vectors(objective.rows(np.arange(8))))
    (loss, slopes, vectors), (near, other, same) = found["float32"], found["bfloat16"]
    assert near == pytest.approx(loss, rel=0.05) and near != loss
    assert float(torch.cosine_similarity(slopes, other, dim=0)) > 0.97
    assert np.array_equal(vectors, same)  # looks at the model see what is weighed


def test_the_perturbation_goes_uphill_and_comes_back(trainable: TrainableEncoder) -> None:
    trainable.open(dropout=0.0, length=64)
    objective = CosineSimilarityLoss(trainable, training_data_of(60), SBert())
    batch = np.arange(32)
    plain = backward(trainable, objective, batch)
    before, gradient = trainable.embeddings.detach().clone(), gradients(trainable)
    assert gradient
    backward(trainable, objective, batch)
    with perturbed(trainable.embeddings, 0.5):
        moved = (trainable.embeddings - before).detach().norm()
        assert float(moved) == pytest.approx(0.5, rel=1e-4)
        assert backward(trainable, objective, batch) > plain
    assert torch.equal(trainable.embeddings, before)


def tuned(trainable: TrainableEncoder, entry: str, *, held: bool = False, n: int = 200) -> dict[str, Any]:
    method = parse_entry(entry).steps[0].make()
    method.tune(trainable, training_data_of(n, held=held), lambda done: None)
    report: dict[str, Any] = method.report
    return report


def test_simsiam_does_not_collapse_and_shows_it_where_it_does(tiny_bert: Path) -> None:
    def course(more: str) -> dict[str, Any]:
        trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
        return tuned(trainable, f"simsiam(lr=1e-3, batch=32, epochs=10, sentences=0, dropout=0.5, {more})")

    whole, broken = course("hidden=32"), course("hidden=0, stop=false")
    assert whole["uniformity"][0] == broken["uniformity"][0] < -1
    assert broken["uniformity"][-1] > -0.1  # every sentence nearly the same vector
    assert whole["uniformity"][-1] < -0.3
    assert broken["effective_rank"][-1] < 1.2 < whole["effective_rank"][-1]


@pytest.mark.long
def test_a_predictor_of_simsiam_that_learns_faster_keeps_the_rank_of_the_built_in_encoder() -> None:
    def rank(more: str) -> list[float]:
        trainable = TrainableEncoder(open_encoder(EncoderSpec("hengyu-mini")), "mean")
        ranks: list[float] = tuned(trainable, f"simsiam(lr=1e-4, batch=16, sentences=0, {more})")["effective_rank"]
        return ranks

    slow, fast = rank("epochs=1"), rank("epochs=1, predictor_lr=1e-2, decay=true")
    assert slow[0] == fast[0]
    assert fast[-1] > slow[-1]


@pytest.mark.parametrize(
    "entry",
    ["cosent(lr=1e-3, epochs=3)", "sbert(lr=1e-3, epochs=3)", "simcse-sup(lr=1e-3, batch=16, epochs=6, positive=0.6)"],
)
def test_training_on_labels_learns_them(entry: str) -> None:
    report = tuned(TrainableEncoder(open_encoder(EncoderSpec("hengyu-mini")), "mean"), entry, held=True)
    course = report["held_out_spearman"]
    assert course[-1] > course[0] + 0.05
    assert report["loss"][-1] < report["loss"][0]


@pytest.mark.parametrize(
    "options",
    [
        "decay=true, clip=1.0, fgm=0.1, chunk=8",
        "mlp=true, temperature=0.1",
        "sentences=0, epochs=2",
        "delete=0.3, dropout=0, chunk=8",
        "dtype=bfloat16, chunk=8",
    ],
)
def test_every_option_trains_and_repeats_to_the_bit(tiny_bert: Path, options: str) -> None:
    def weights() -> Tensor:
        trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
        tuned(trainable, f"simcse(lr=1e-3, batch=16, {options})", n=40)
        return torch.cat([p.detach().flatten() for p in trainable.parameters()])

    first = weights()
    assert torch.isfinite(first).all()
    torch.rand(3)
    assert torch.equal(first, weights())


def test_a_loss_that_is_no_number_is_said(trainable: TrainableEncoder) -> None:
    trainable.open(dropout=0.1, length=64)
    trainable.open = lambda **_: None  # type: ignore[method-assign]
    with torch.no_grad():
        trainable.embeddings.fill_(float("nan"))
    with pytest.raises(ValueError):
        tuned(trainable, "simcse(lr=1e-3, batch=16)")


def test_labels_that_are_all_the_same_cannot_be_learned(trainable: TrainableEncoder) -> None:
    training_data = training_data_of(40)
    assert training_data.pairs is not None
    training_data.pairs.labels[:] = 1.0
    with pytest.raises(Degenerate, match="all training labels are the same"):
        parse_entry("cosent").steps[0].make().tune(trainable, training_data, lambda done: None)


def test_alignment_and_uniformity() -> None:
    east, north = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert alignment(east, east) == 0
    assert alignment(east, north) == pytest.approx(2.0)
    assert uniformity(np.repeat(east, 5, axis=0)) == 0  # collapsed
    assert uniformity(np.concatenate([east, -east])) == pytest.approx(-8.0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 64))
    assert uniformity(x / np.linalg.norm(x, axis=1, keepdims=True)) < -3.5


def test_negative_cosine_stops_the_gradient_of_its_target() -> None:
    a = torch.randn(4, 3, requires_grad=True)
    b = torch.randn(4, 3, requires_grad=True)
    negative_cosine(a, b).backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None and b.grad is None
    assert float(negative_cosine(a, a).detach()) == pytest.approx(-1)


def test_word_repetition_repeats_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    tokens = list(range(20))
    lengths = set()
    for _ in range(300):
        more = repeated(tokens, 0.32, rng)
        assert list(dict.fromkeys(more)) == tokens and sorted(more) == more
        assert max(more.count(t) for t in tokens) <= 2
        lengths.add(len(more))
    assert lengths == set(range(20, 27))  # 0 to 0.32 * 20 of them twice
    assert repeated(tokens, 0.0, rng) == tokens
    assert {len(repeated([1], 0.32, rng)) for _ in range(50)} == {1, 2}
    assert repeated([], 0.32, rng) == []


def test_word_deletion_deletes_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    tokens = list(range(20))
    many = [deleted(tokens, 0.3, rng) for _ in range(2000)]
    assert all(kept and sorted(set(kept)) == kept and set(kept) <= set(tokens) for kept in many)
    assert np.mean([len(kept) for kept in many]) == pytest.approx(14, abs=0.2)  # of 20; its standard error is 0.05
    assert deleted(tokens, 0.0, rng) == tokens
    assert {len(deleted([1, 2], 0.9, rng)) for _ in range(100)} == {1, 2}  # never nothing
    assert deleted([], 0.5, rng) == []


def test_both_passes_lose_tokens_of_their_own_and_a_batch_asked_for_again_the_same(trainable: TrainableEncoder) -> None:
    trainable.open(dropout=0.1, length=64)
    objective = SimCse(batch=16, sentences=64, delete=0.4).make(trainable, training_data_of(80))
    batch = np.arange(16)
    rows = objective.rows(batch)
    assert objective.rows(batch) == rows and objective.rows(batch.copy()) != rows
    whole = [objective.tokens[i] for i in batch]
    assert rows[:16] != rows[16:] and whole not in (rows[:16], rows[16:])
    for row, full in zip(rows, whole * 2, strict=True):
        assert (row[0], row[-1]) == (full[0], full[-1])
        rest = iter(full)
        assert all(token in rest for token in row)  # in their order


def test_the_queue_holds_the_newest_vectors_and_the_slow_copy_follows(trainable: TrainableEncoder) -> None:
    recipe = ESimCse(batch=16, sentences=64, momentum=0.5, dropout=0.0)
    trainable.open(dropout=0.0, length=64)
    objective = recipe.make(trainable, training_data_of(80))
    assert objective.slow is not None
    start = trainable.embeddings.detach().clone()
    with torch.no_grad():
        trainable.embeddings.add_(1.0)
    sizes = []
    for step in range(4):
        batch = np.arange(16 * step % 64, 16 * step % 64 + 16)
        rows = objective.rows(batch)
        assert rows[:16] == [objective.tokens[i] for i in batch] and objective.rows(batch) == rows
        assert all(r[0] == o[0] and r[-1] == o[-1] for r, o in zip(rows[16:], rows[:16], strict=True))
        objective.after(batch)
        sizes.append(len(objective.queue))
    assert sizes == [16, 32, 40, 40]
    assert not objective.queue.requires_grad
    slow = objective.slow.get_input_embeddings().weight
    torch.testing.assert_close(slow, start + 1 - 0.5**4)
    newest = trainable.model
    trainable.model = objective.slow.eval()
    np.testing.assert_allclose(objective.queue[:16].numpy(), trainable.vectors(rows[:16]), atol=1e-4)
    trainable.model = newest


PROMPT = "“{text}”的意思是[MASK]。"


def test_promptbert_reads_the_mask_and_takes_the_template_away(tiny_bert: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(tiny_bert), prompt=PROMPT))
    trainable = TrainableEncoder(encoder, "mask")
    trainable.open(dropout=0.0, length=64)
    trainable.model.eval()
    objective = Templates(trainable, training_data_of(40), PromptBert(), 0.05, "“{text}”，这句话的意思是[MASK]。")
    batch = np.arange(8)
    rows = objective.rows(batch)
    vocabulary = trainable.tokenizer._library.get_vocab()
    pad, mask = vocabulary["[PAD]"], vocabulary["[MASK]"]
    assert all(row.count(mask) == 1 for row in rows)
    seen: list[Any] = []
    forward = trainable.forward

    def spy(given: Any, **more: Any) -> Tensor:
        seen.append((given, more))
        return forward(given, **more)

    trainable.forward = spy  # type: ignore[method-assign]
    own = objective.own(rows)
    ((bare, more),) = seen
    assert more == {"hidden": pad} and len(bare) == len({(i >= 8, len(r)) for i, r in enumerate(rows)})
    for given in bare:  # the [MASK] stands where it stands with a sentence, behind as many [PAD] as that has tokens
        twin = next(r for r in rows if len(r) == len(given) and r.index(mask) == given.index(mask))
        assert [t for t in given if t != pad] == [t for t, p in zip(twin, given, strict=True) if p != pad]
    assert own.shape == (16, 32)
    # what padding holds makes no difference, since it is hidden
    with torch.no_grad():
        trainable.model.get_input_embeddings().weight[pad] += 1.0
    torch.testing.assert_close(objective.own(rows), own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("entry", "pooling"), [("esimcse(lr=1e-3, batch=16)", "mean"), ("promptbert(lr=1e-3, batch=16)", "mask")]
)
def test_their_gradients_can_be_cached_and_perturbed(tiny_bert: Path, entry: str, pooling: str) -> None:
    def course(options: str) -> dict[str, Any]:
        encoder = open_encoder(EncoderSpec(str(tiny_bert), prompt=PROMPT if pooling == "mask" else ""))
        return tuned(TrainableEncoder(encoder, pooling), f"{entry[:-1]}, {options})", n=40)

    plain, cached = course("dropout=0.0"), course("dropout=0.0, chunk=5")
    np.testing.assert_allclose(plain["loss"], cached["loss"], rtol=2e-2, atol=2e-3)
    assert all(np.isfinite(course("fgm=0.5, chunk=8")["loss"]))


def test_promptbert_wants_the_pooling_of_its_prompt(trainable: TrainableEncoder) -> None:
    with pytest.raises(ValueError, match="use the pooling 'mask'"):
        tuned(trainable, "promptbert")
