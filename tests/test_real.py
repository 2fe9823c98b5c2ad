"""The five published tasks: equality with mteb, the published whitening, and known baselines. Read where they lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import save_random_bert
from scipy.stats import spearmanr

from hengyu.cards import load_cards
from hengyu.cards.data import Pairs, load_pairs
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.lexical import baseline_cosines
from hengyu.methods.grammar import parse_entry
from hengyu.numerics import metrics
from hengyu.numerics.sample import Sample
from hengyu.numerics.similarity import cosines
from hengyu.tasks.pairs.vectors import StsVectors, restrict

pytestmark = pytest.mark.real


def pairs_of(senteval: Path, name: str, split: str = "test") -> Pairs:
    return load_pairs(load_cards()[name], split, senteval)


def untrained(folder: Path) -> Path:
    """Save a model of random weights with the built-in vocabulary, cls pooling and normalisation."""
    from sentence_transformers import SentenceTransformer, models
    from transformers import AutoTokenizer

    builtin = open_encoder(EncoderSpec("hengyu-mini")).folder.path
    tokenizer = AutoTokenizer.from_pretrained(builtin)
    tokenizer.save_pretrained(folder / "plain")
    save_random_bert(
        folder / "plain",
        seed=3,
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        intermediate_size=96,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    parts = [models.Transformer(str(folder / "plain")), models.Pooling(48, pooling_mode="cls"), models.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(folder / "model"), safe_serialization=True)
    return folder / "model"


def observed(pairs: Pairs, x: np.ndarray, entry: str) -> np.ndarray:
    """The similarities that the bench sees for vectors x (2 n, d) of both columns."""
    number = {t: i for i, t in enumerate(dict.fromkeys([*pairs.first, *pairs.second]))}
    first, second = (np.array([number[t] for t in column]) for column in (pairs.first, pairs.second))
    rows = np.zeros((len(number), x.shape[1]), np.float32)
    rows[first], rows[second] = x[: len(first)], x[len(first) :]
    counts = np.bincount(np.concatenate([first, second]))
    ids, (a, b) = restrict([first, second])
    vectors = StsVectors(rows[ids], a, b, {"target": Sample.of(rows[ids], counts)}, pairs.labels)
    return vectors.observe(parse_entry(entry), (), "target").similarity[0]


@pytest.mark.parametrize(
    ("name", "trained"),
    [*(pytest.param(n, True, marks=pytest.mark.long) for n in ("STS-B", "PAWSX")), ("STS-B", False)],
)
def test_spearman_is_mtebs(senteval: Path, tmp_path: Path, name: str, trained: bool) -> None:
    import torch
    from mteb.similarity_functions import pairwise_cos_sim
    from sentence_transformers import SentenceTransformer

    pairs = pairs_of(senteval, name)
    encoder = open_encoder(EncoderSpec("hengyu-mini" if trained else str(untrained(tmp_path))))
    ours = encoder.encode([*pairs.first, *pairs.second], ["native"])["native"]
    n = len(pairs.labels)
    values = cosines(ours, np.arange(n), np.arange(n, 2 * n))
    library: Any = SentenceTransformer(str(encoder.folder.path), device="cpu", model_kwargs={"dtype": torch.float32})
    theirs = [library.encode(list(column)) for column in (pairs.first, pairs.second)]
    # equal sentences tie at cosine 1; the library's float32 sums would put their pairs into an order of rounding errors
    reference = np.round(np.asarray(pairwise_cos_sim(*theirs), np.float64), 6)
    assert metrics.spearman(values, pairs.labels) == pytest.approx(spearmanr(reference, pairs.labels)[0], abs=1e-4)
    assert metrics.pearson(values, pairs.labels) == pytest.approx(np.corrcoef(reference, pairs.labels)[0, 1], abs=1e-4)


@pytest.mark.parametrize(
    "pooling",
    [pytest.param("cls", marks=pytest.mark.long), "mean", pytest.param("first-last-mean", marks=pytest.mark.long)],
)
def test_whitening_is_the_published_eight_lines(senteval: Path, pooling: str) -> None:
    pairs = pairs_of(senteval, "STS-B")
    x = open_encoder(EncoderSpec("hengyu-mini")).encode([*pairs.first, *pairs.second], [pooling])[pooling]
    wide = x.astype(np.float64)
    mu = wide.mean(axis=0, keepdims=True)
    u, s, _ = np.linalg.svd(np.cov(wide.T))
    w = u @ np.diag(1 / np.sqrt(s))
    n = len(pairs.labels)

    def published(columns: int) -> float:
        z = (wide - mu) @ w[:, :columns]
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        # 18 pairs are the same sentence twice: their cosines are 1 and tie, which the rounding of a plain sum would hide
        return float(spearmanr((z[:n] * z[n:]).sum(axis=1).round(12), pairs.labels)[0])

    full = int((s > 1e-12 * s[0]).sum())  # a LayerNorm leaves a direction of rounding noise, which is left out
    for entry, columns in (("whitening", full), ("whitening(dim=128)", 128), ("whitening(dim=64)", 64)):
        assert metrics.spearman(observed(pairs, x, entry), pairs.labels) == pytest.approx(published(columns), abs=1e-6)
    every = metrics.spearman(observed(pairs, x, "whitening(floor=0)"), pairs.labels)
    # the last direction's eigenvalue is itself at the level of float64 rounding, so that no two routes to it agree closely
    assert every == pytest.approx(published(256), abs=5e-4)


def test_tfidf_reaches_its_known_values(senteval: Path) -> None:
    known = {"ATEC": 25.79, "BQ": 40.10, "LCQMC": 53.77, "PAWSX": 12.43, "STS-B": 65.45}
    for name, value in known.items():
        pairs = pairs_of(senteval, name)
        scores, _ = baseline_cosines("tfidf", pairs.first, pairs.second)
        assert 100 * metrics.spearman(scores, pairs.labels) == pytest.approx(value, abs=0.01), name


def test_ceilings(senteval: Path) -> None:
    for name, value in {"ATEC": 0.6662, "BQ": 0.8660, "LCQMC": 0.8660}.items():
        assert metrics.ceiling(pairs_of(senteval, name).labels) == pytest.approx(value, abs=1e-4)
