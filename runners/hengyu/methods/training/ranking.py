"""In-batch negatives: multiple negatives ranking with its directions and hardness, and GISTEmbed's guided selection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.checkpoint import checkpoint

from hengyu.methods.training.choices import DIRECTIONS
from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.supervised import TripleObjective

__all__ = [
    "GISTEmbedLoss",
    "MultipleNegativesRankingLoss",
    "gist",
    "multiple_negatives_ranking",
]

Ids = NDArray[np.int64]


def multiple_negatives_ranking(
    anchors: Tensor,
    positives: Tensor,
    hard: Tensor,
    owners: Tensor,
    *,
    scale: float = 20.0,
    directions: Sequence[str] = DIRECTIONS[:1],
    partition_mode: str = "joint",
    hardness_mode: str = "none",
    hardness_strength: float = 0.0,
    excused: Mapping[str, Tensor] | None = None,
    rows: int = 0,
) -> Tensor:
    """Return the mean cross-entropy of each anchor's positive, as sentence-transformers' ``MultipleNegativesRankingLoss``.

    Args:
        anchors: (n, d) vectors.
        positives: (n, d) vectors; row i belongs to anchor i.
        hard: (k, d) vectors of hard negatives.
        owners: (k,) the anchors that they belong to.
        scale: factor of the cosines.
        directions: which cosines are compared, of `DIRECTIONS`; the first is always among them.
        partition_mode: "joint" for one softmax over all directions, "per_direction" for the mean over one of each.
        hardness_mode: whose scores get ``hardness_strength`` times their cosine, or "none" (arXiv:2503.04812).
        hardness_strength: that factor.
        excused: direction -> (n, n) or (n, n + k) bool, true where a candidate has the same meaning, and so is not a negative.
        rows: how many anchors are scored at once, so that memory grows with rows x n; 0 for all. The result is the same.
    """
    queries, documents = normalize(anchors, dim=-1), normalize(torch.cat([positives, hard]), dim=-1)
    n = len(queries)
    owner = torch.cat([torch.arange(n, device=owners.device), owners])
    is_positive = torch.arange(len(documents), device=owners.device) < n

    def lost(at: Tensor, queries: Tensor, documents: Tensor) -> Tensor:
        """Return the sum of the losses of the anchors ``at`` (b,)."""
        own = owner[None, :] == at[:, None]
        apart = {name: mask[at] for name, mask in (excused or {}).items()}
        cosines = {"query_to_doc": queries[at] @ documents.T}
        hidden = {"query_to_doc": apart.get("query_to_doc", torch.zeros_like(own)) & ~own}
        if "query_to_query" in directions:
            cosines["query_to_query"] = queries[at] @ queries.T
            hidden["query_to_query"] = own[:, :n] | apart.get("query_to_query", own[:, :n])
        if "doc_to_query" in directions:
            cosines["doc_to_query"] = documents[at] @ queries.T
            hidden["doc_to_query"] = apart.get("doc_to_query", torch.zeros_like(own[:, :n])) & ~own[:, :n]
        if "doc_to_doc" in directions:
            cosines["doc_to_doc"] = documents[at] @ documents.T
            hidden["doc_to_doc"] = own | apart.get("doc_to_doc", own)
        scores = {name: scale * value for name, value in cosines.items()}
        if hardness_mode != "none" and hardness_strength:
            spared = {
                "in_batch_negatives": own,
                "hard_negatives": ~own | is_positive,
                "all_negatives": own & is_positive,
            }[hardness_mode]
            penalty = (hardness_strength * cosines["query_to_doc"].detach()).masked_fill(spared, 0.0)
            scores["query_to_doc"] = scores["query_to_doc"] + penalty
        found = scores["query_to_doc"].gather(1, at[:, None])[:, 0]
        masked = [value.masked_fill(hidden[name], -torch.inf) for name, value in scores.items()]
        if partition_mode == "joint":
            return (torch.logsumexp(torch.cat(masked, dim=1), dim=1) - found).sum()
        return (torch.stack([torch.logsumexp(part, dim=1) for part in masked]).mean(dim=0) - found).sum()

    every = torch.arange(n, device=queries.device)
    if not rows:
        return lost(every, queries, documents) / n
    parts = [
        checkpoint(lost, at, queries, documents, use_reentrant=False, preserve_rng_state=False)
        for at in torch.split(every, rows)
    ]
    return torch.stack(parts).sum() / n


def gist(
    parts: Sequence[Tensor],
    guides: Sequence[Tensor],
    *,
    temperature: float = 0.01,
    margin_strategy: str = "absolute",
    margin: float = 0.0,
    contrast_anchors: bool = True,
    contrast_positives: bool = True,
    excused: Callable[[int, int], Tensor] | None = None,
) -> Tensor:
    """Return the cross-entropy of each anchor's positive among what the guide says is less similar (``GISTEmbedLoss``).

    Args:
        parts: the vectors of n anchors (n, d), of their positives (n, d), and of k hard negatives (k, d).
        guides: those that the guide gives to the same texts.
        temperature: divisor of the cosines.
        margin_strategy: "absolute": a candidate counts if the guide's cosine is at most that of anchor and positive minus
            ``margin``; "relative": minus that share of it.
        margin: see there.
        contrast_anchors: whether the other anchors are candidates.
        contrast_positives: whether positives are compared with each other.
        excused: gives, for the numbers of two parts, which of their texts have the same meaning by the labels.
    """
    own, guided = ([normalize(part, dim=-1) for part in some] for some in (parts, guides))
    n, device = len(own[0]), own[0].device
    threshold = (guided[0] * guided[1]).sum(dim=1, keepdim=True)
    threshold = threshold - (margin if margin_strategy == "absolute" else threshold.abs() * margin)
    pairs = [(0, 1), *([(0, 0)] if contrast_anchors else []), *([(1, 1)] if contrast_positives else []), (0, 2)]
    scores = []
    for a, b in pairs:
        hidden = guided[a] @ guided[b].T > threshold
        if excused is not None:
            hidden = hidden | excused(a, b)
        if (a, b) == (0, 1):
            hidden = hidden & ~torch.eye(n, dtype=torch.bool, device=device)
        scores.append((own[a] @ own[b].T).masked_fill(hidden, -torch.inf))
    return cross_entropy(torch.cat(scores, dim=1) / temperature, torch.arange(n, device=device))


class MultipleNegativesRankingLoss(TripleObjective):
    """Each anchor's positive is to be told from the other sentences of the batch, hard negatives among them."""

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        *,
        positive: float,
        negative: float,
        scale: float,
        directions: Sequence[str],
        partition_mode: str,
        hardness_mode: str,
        hardness_strength: float,
    ) -> None:
        super().__init__(trainable, training_data, recipe, positive=positive, negative=negative)
        self.scale = scale
        self.directions = directions
        self.partition_mode = partition_mode
        self.hardness_mode = hardness_mode
        self.hardness_strength = hardness_strength
        self.chunk = recipe.chunk

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the loss of a batch; texts that have the same meaning by the labels are no negatives of each other."""
        at, of = self.numbers[batch], self.triples
        anchors, positives = of.anchors[at], of.positives[at]
        documents = np.concatenate([positives, of.hard(at)])
        sides = {"query": anchors, "doc": positives}, {"query": anchors, "doc": documents}
        excused = {
            name: torch.from_numpy(of.same(sides[0][name.split("_")[0]], sides[1][name.split("_")[2]])).to(self.device)
            for name in self.directions
        }
        return multiple_negatives_ranking(
            *self.parts(vectors, batch),
            torch.from_numpy(of.owners(at)).to(self.device),
            scale=self.scale,
            directions=self.directions,
            partition_mode=self.partition_mode,
            hardness_mode=self.hardness_mode,
            hardness_strength=self.hardness_strength,
            excused=excused,
            rows=self.chunk,
        )


class GISTEmbedLoss(TripleObjective):
    """Candidates that the guide finds more similar to the anchor than its positive are no negatives.

    ``guide`` holds the guide's vectors (m, k) of the training texts.
    """

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        guide: NDArray[np.float32],
        *,
        positive: float,
        negative: float,
        temperature: float,
        margin_strategy: str,
        margin: float,
        contrast_anchors: bool,
        contrast_positives: bool,
    ) -> None:
        super().__init__(trainable, training_data, recipe, positive=positive, negative=negative)
        self.guide = guide
        self.temperature = temperature
        self.margin_strategy = margin_strategy
        self.margin = margin
        self.contrast_anchors = contrast_anchors
        self.contrast_positives = contrast_positives

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the loss of a batch; texts that have the same meaning by the labels are no negatives of each other."""
        at, of = self.numbers[batch], self.triples
        texts = (of.anchors[at], of.positives[at], of.hard(at))

        def excused(a: int, b: int) -> Tensor:
            return torch.from_numpy(of.same(texts[a], texts[b])).to(self.device)

        return gist(
            self.parts(vectors, batch),
            [torch.from_numpy(self.guide[ids]).to(self.device) for ids in texts],
            temperature=self.temperature,
            margin_strategy=self.margin_strategy,
            margin=self.margin,
            contrast_anchors=self.contrast_anchors,
            contrast_positives=self.contrast_positives,
            excused=excused,
        )
