"""A cross-encoder in training and in use: both texts of a pair in one input, their vector, and a linear layer to one score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import read_json, write_bytes
from hengyu.encoders.module_files import DENSE, write_dense
from hengyu.methods.training.model import Rows, TrainableEncoder

if TYPE_CHECKING:
    from hengyu.encoders.huggingface import HuggingFace

__all__ = ["PairScorer", "TrainablePairEncoder", "cut_to"]

_PIECE = 64  # pairs of the same length that are scored together
_SETTINGS = "config_sentence_transformers.json"
_READS = ["input_ids", "attention_mask"]


def cut_to(room: int, first: int, second: int) -> tuple[int, int]:
    """Return how many tokens two texts of these lengths keep so that both fit: the longer one is shortened first.

    Where both are shortened, the one that was longer keeps the odd token, as in the tokenizers library.
    """
    if first > second:
        return cut_to(room, second, first)[::-1]
    kept = min(first, room // 2)
    return kept, min(second, room - kept)


class TrainablePairEncoder(TrainableEncoder):
    """A transformer that reads both texts of a pair, and a linear layer that makes one score of its vector.

    Attributes:
        longest: the tokens of a pair at most, special ones included.
        head: the layer; it is there once `add_head` or `load` has been called.
        probabilities: whether scores pass through a sigmoid, as they are trained by binary cross-entropy.
    """

    longest: int
    head: nn.Linear

    def __init__(self, encoder: HuggingFace, pooling: str, *, segments: bool, probabilities: bool) -> None:
        super().__init__(encoder, pooling)
        self.segments, self.probabilities = segments, probabilities
        if self.read == "mask":
            raise HengyuError(
                "the pooling mask reads a prompt's mask token, which a pair does not have; name another pooling"
            )

    def open(self, *, dropout: float | None, length: int, dtype: str = "float32") -> None:
        """Load the model with a dropout rate (None for its own); ``length`` is that of both texts together, in tokens."""
        super().open(dropout=dropout, length=length, dtype=dtype)
        config = self.model.config
        self._before, self._between, self._after = self.tokenizer.around_pair
        positions = int(getattr(config, "max_position_embeddings", length) or length)
        special = len(self._before) + len(self._between) + len(self._after)
        self.longest = min(length, positions, self.tokenizer.longest)
        self._room = self.longest - special
        if self._room < 2:
            raise HengyuError(f"length={length} leaves no room for two texts beside {special} special tokens; raise it")
        if self.segments and int(getattr(config, "type_vocab_size", 0)) < 2:
            raise HengyuError("the model does not know token types; leave segments out")

    def add_head(self) -> None:
        """Make the layer, initialised as the model's own layers are."""
        self.head = nn.Linear(self.width, 1).to(self.device)
        with torch.no_grad():
            self.head.weight.normal_(0.0, float(getattr(self.model.config, "initializer_range", 0.02)))
            self.head.bias.zero_()

    def parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters, those of the layer too."""
        return [*super().parameters(), *(self.head.parameters() if hasattr(self, "head") else ())]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts without special tokens, each truncated as by itself."""
        before, after = map(len, self.tokenizer.special)
        return [list(row[before : len(row) - after]) for row in self.tokenizer(texts)[0]]

    def join(self, first: Sequence[int], second: Sequence[int]) -> list[int]:
        """Return the input of a pair of `tokens`, with special tokens and truncated to the maximum length."""
        a, b = cut_to(self._room, len(first), len(second))
        return [*self._before, *first[:a], *self._between, *second[:b], *self._after]

    def token_types(self, rows: Rows, kept: Rows) -> list[list[int]] | None:
        """Return the token types of padded rows: with ``segments`` 1 for the second text and what follows it."""
        if not self.segments:
            return super().token_types(rows, kept) if self.tokenizer.typed else None
        found = []
        for row, mask in zip(rows, kept, strict=True):
            at = list(row).index(self._between[0], len(self._before)) + len(self._between)
            found.append([int(i >= at and bool(one)) for i, one in enumerate(mask)])
        return found

    def logits(self, vectors: Tensor) -> Tensor:
        """Return the scores (n,) of the vectors (n, d) of pairs, before any sigmoid."""
        found: Tensor = self.head(vectors)
        return found.squeeze(-1)

    def scores(self, rows: Rows) -> NDArray[np.float64]:
        """Return the scores (n,) of `join` ed pairs as in the evaluation: no dropout, no gradients.

        Only rows of one length are read together: there is no padding, so no score depends on which pairs are beside it.
        """
        lengths = np.array([len(row) for row in rows])
        found = np.empty(len(rows))
        self.model.eval()
        with torch.no_grad():
            for length in np.unique(lengths):
                places = np.flatnonzero(lengths == length)
                for start in range(0, len(places), _PIECE):
                    part = places[start : start + _PIECE]
                    found[part] = self.logits(self.forward([rows[int(i)] for i in part])).double().cpu().numpy()
        self.model.train()
        return 1 / (1 + np.exp(-found)) if self.probabilities else found

    def save(self, folder: Path, about: str) -> None:
        """Write a folder that sentence-transformers opens as a ``CrossEncoder``, with a README."""
        super().save(folder, about)
        write_dense(folder, self.head, output="scores")
        lengths = folder / "sentence_bert_config.json"
        known = read_json(lengths, dict[str, Any], "get the model again")
        write_bytes(lengths, _json({**known, "max_seq_length": self.longest}))
        named = "Sigmoid" if self.probabilities else "Identity"
        module = "activation" if self.probabilities else "linear"
        settings = folder / _SETTINGS
        known = read_json(settings, dict[str, Any], "get the model again") if settings.is_file() else {}
        known |= {"model_type": "CrossEncoder", "activation_fn": f"torch.nn.modules.{module}.{named}"}
        for key in ("prompts", "default_prompt_name"):
            known.pop(key, None)  # they are of single texts
        write_bytes(settings, _json(known))
        if not self.segments:
            path = folder / "tokenizer_config.json"
            config = read_json(path, dict[str, Any], "get the model again")
            write_bytes(path, _json({**config, "model_input_names": _READS}))

    def load(self, folder: Path, *, length: int) -> None:
        """Open a model that `save` wrote."""
        from safetensors.torch import load_file

        self.weights = folder
        self.open(dropout=None, length=length)
        self.head = nn.Linear(self.width, 1).to(self.device)
        kept = load_file(folder / DENSE.format(2) / "model.safetensors")
        self.head.load_state_dict({key.removeprefix("linear."): value for key, value in kept.items()})


class PairScorer:
    """A stored cross-encoder, which scores pairs of texts."""

    def __init__(self, trainable: TrainablePairEncoder, folder: Path, *, length: int) -> None:
        self.id = trainable.encoder.id
        self._trainable = trainable
        trainable.load(folder, length=length)

    def scores(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores (n,) of n pairs of texts; raises ValueError for one that is not finite."""
        model = self._trainable
        rows = [model.join(a, b) for a, b in zip(model.tokens(first), model.tokens(second), strict=True)]
        found = model.scores(rows)
        if not np.isfinite(found).all():
            raise ValueError("the trained cross-encoder gives a score that is not finite; lower lr, or set clip=1")
        return found

    def stream(self, first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Score n pairs of texts at once; yields their numbers (n,) and `scores` (n,)."""
        yield np.arange(len(first), dtype=np.int64), self.scores(first, second)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
