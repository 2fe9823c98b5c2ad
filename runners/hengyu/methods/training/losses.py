"""The losses of contrastive training on the vectors of a batch; equal to sentence-transformers' where it has them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax, mse_loss, normalize, pad

__all__ = [
    "angle",
    "angle_similarity",
    "cosent",
    "embed_distill",
    "info_nce",
    "negative_cosine",
    "ranked",
    "relational",
    "symmetric_kl",
]


def info_nce(
    anchors: Tensor, positives: Tensor, temperature: float, *, same: Tensor | None = None, more: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy of each anchor's positive among the batch's positives (Gao et al., arXiv:2104.08821).

    Args:
        anchors: (n, d) vectors.
        positives: (n, d) vectors; row i belongs to anchor i.
        temperature: divisor of the cosines.
        same: (n, n) or (n, n + m) bool, true where another row's positive, or a further negative, is the same sentence or
            has the same meaning, and so is not a negative.
        more: (m, d) further negatives.
    """
    scores = normalize(anchors, dim=-1) @ normalize(positives, dim=-1).T
    if more is not None and len(more):
        scores = torch.cat([scores, normalize(anchors, dim=-1) @ normalize(more, dim=-1).T], dim=1)
    if same is not None:
        excused = same & ~torch.eye(*same.shape, dtype=torch.bool, device=same.device)
        scores = scores.masked_fill(pad(excused, (0, scores.shape[1] - same.shape[1])), -torch.inf)
    return cross_entropy(scores / temperature, torch.arange(len(anchors), device=anchors.device))


def cosent(first: Tensor, second: Tensor, labels: Tensor, scale: float = 20.0) -> Tensor:
    """Return log(1 + sum exp(scale (cos_j - cos_i))) over all i, j with label i above label j (Su, CoSENT, kexue.fm 8847)."""
    return ranked(scale * cosine_similarity(first, second), labels)


def angle(first: Tensor, second: Tensor, labels: Tensor, scale: float = 20.0) -> Tensor:
    """Return CoSENT's loss of the `angle_similarity` in the place of the cosine (Li and Li, AnglE, arXiv:2309.12871)."""
    return ranked(scale * angle_similarity(first, second), labels)


def angle_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return AnglE's similarity (n,) of rows (n, d) read as complex numbers: the first half real, the second imaginary.

    It is the absolute sum of the real and the imaginary part of the complex inner product of the rows, scaled to length 1: the
    cosine is the real part. An odd d gets a column of zeros. As sentence-transformers' ``pairwise_angle_sim``.
    """
    odd = first.shape[1] % 2
    x, y = (normalize(pad(part, (0, odd)), dim=1) for part in (first, second))
    (a, b), (c, d) = x.chunk(2, dim=1), y.chunk(2, dim=1)
    real, imaginary = (x * y).sum(dim=1), (b * c - a * d).sum(dim=1)
    return torch.abs(real + imaginary)


def ranked(scores: Tensor, labels: Tensor) -> Tensor:
    """Return log(1 + sum exp(s_j - s_i)) over all i, j with label i above label j, of scores (n,) (kexue.fm 9341)."""
    gaps = scores[None, :] - scores[:, None]
    wrong = gaps[labels[:, None] > labels[None, :]]
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0)


def embed_distill(found: Tensor, targets: Tensor, distance_metric: str = "cosine") -> Tensor:
    """Return the mean distance of vectors (n, d) to a teacher's (n, d), as sentence-transformers' ``EmbedDistillLoss``.

    ``cosine`` is 1 - cosine, ``l2`` the Euclidean distance, ``mse`` the squared error of an element.
    """
    if distance_metric == "mse":
        return mse_loss(found, targets)
    if distance_metric == "l2":
        distances: Tensor = torch.linalg.vector_norm(found - targets, dim=-1)
        return distances.mean()
    return (1 - cosine_similarity(found, targets, dim=-1)).mean()


def relational(found: Tensor, targets: Tensor) -> Tensor:
    """Return the squared difference between the cosines of rows of ``found`` (n, d) and of ``targets`` (n, k).

    It is summed over the other texts and averaged over the n texts (Park et al., Relational Knowledge Distillation,
    arXiv:1904.05068).
    """
    unit, other = normalize(found, dim=1), normalize(targets, dim=1)
    return ((unit @ unit.T - other @ other.T) ** 2).sum() / len(found)


def symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of KL(p, q) and KL(q, p) of the softmax of logits (n, k), averaged over rows (R-Drop, arXiv:2106.14448)."""
    p, q = log_softmax(first, dim=1), log_softmax(second, dim=1)
    both = kl_div(p, q, reduction="batchmean", log_target=True) + kl_div(q, p, reduction="batchmean", log_target=True)
    return both / 2


def negative_cosine(predicted: Tensor, target: Tensor, *, stop: bool = True) -> Tensor:
    """Return the mean of -cos, by default without a gradient for the target (Chen and He, SimSiam, arXiv:2011.10566)."""
    return -cosine_similarity(predicted, target.detach() if stop else target).mean()
