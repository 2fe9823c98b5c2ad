"""The losses of contrastive training on the vectors of a batch; equal to sentence-transformers' where it has them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize, pad

__all__ = ["cosent", "info_nce", "negative_cosine"]


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
    cosines = scale * cosine_similarity(first, second)
    gaps = cosines[None, :] - cosines[:, None]
    wrong = gaps[labels[:, None] > labels[None, :]]
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0)


def negative_cosine(predicted: Tensor, target: Tensor, *, stop: bool = True) -> Tensor:
    """Return the mean of -cos, by default without a gradient for the target (Chen and He, SimSiam, arXiv:2011.10566)."""
    return -cosine_similarity(predicted, target.detach() if stop else target).mean()
