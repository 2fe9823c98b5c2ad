"""A template with learned tokens: they are new tokens of the vocabulary, so the result is a plain model with a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from hengyu.methods.training.model import TrainableEncoder

__all__ = ["learn_template"]


def learn_template(trainable: TrainableEncoder, *, alone: bool) -> None:
    """Replace the prompt's tokens except the mask token by new ones with the same word embeddings.

    With ``alone`` nothing else in the model is trained. Raises ValueError for a prompt without other tokens.
    """
    tokenizer = trainable.tokenizer
    before, after = tokenizer.own
    mask, word = tokenizer.mask_id, tokenizer.mask
    old = [i for i in before + after if i != mask]
    if not old:
        raise ValueError(f"the prompt '{tokenizer.folder.prompt}' has no token to learn; add some words to [MASK]")
    names = _free(tokenizer.vocabulary, len(old))
    new = iter(names)
    said = ["".join(word if i == mask else next(new) for i in part) for part in (before, after)]
    trainable.tokenizer = tokenizer.grown(names, "{text}".join(said))
    ids = [trainable.tokenizer.vocabulary[name] for name in names]
    start = trainable.embeddings.detach()[old].clone()
    trainable.model.resize_token_embeddings(max(len(trainable.embeddings), max(ids) + 1), mean_resizing=False)
    with torch.no_grad():
        trainable.embeddings[ids] = start
    if alone:
        trainable.model.requires_grad_(False)
        trainable.embeddings.requires_grad_(True)
        learned = torch.zeros(len(trainable.embeddings), 1, device=trainable.device)
        learned[ids] = 1.0

        def rest(gradient: Tensor) -> Tensor:
            return gradient * learned

        trainable.embeddings.register_hook(rest)  # type: ignore[no-untyped-call]


def _free(vocabulary: dict[str, int], n: int) -> list[str]:
    """Return n names that are not in the vocabulary: [P1], [P2], ..."""
    names: Iterator[str] = (name for k in count(1) if (name := f"[P{k}]") not in vocabulary)
    return [next(names) for _ in range(n)]
