"""The forward pass: rows of tokens to the vectors of every pooling, with the reason if a pooling is unavailable."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hengyu.base.errors import HengyuError, first_line
from hengyu.encoders import EncoderFailed, Unavailable, Vectors
from hengyu.encoders.architectures import accepted
from hengyu.encoders.mixed_precision import autocast
from hengyu.encoders.model_folder import ModelFolder
from hengyu.encoders.pooling import lacking, last_states, pool, pooler_states, states
from hengyu.encoders.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Passes"]

_TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 32768, "engine": 1024}
"""By what computes: PyTorch on a processor or a GPU, or another engine, whose copies of states then stay in the cache."""


class Passes:
    """A transformer with its tokenizer, and its forward passes."""

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.spec = folder.spec
        self.id = folder.id

    @cached_property
    def _parts(self) -> tuple[Any, list[Any]]:
        """The transformer, and the sentence-transformers modules after it if ``native`` needs them."""
        raise NotImplementedError

    def _tail(self, modules: list[Any], output: Any, last: Tensor, given: dict[str, Tensor]) -> Tensor:
        """Run the sentence-transformers modules after the transformer."""
        raise NotImplementedError

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer with prompt and pre-tokenizer around it."""
        return Tokenizer(self.folder)

    @cached_property
    def _weights(self) -> Tensor | None:
        """The weights (V,) of tokens in its means; None where all are the same."""
        import torch

        found = self.folder.word_weights
        return None if found is None else torch.tensor(found, dtype=torch.float32)

    def _weights_of(self, tokens: Tensor, mask: Tensor) -> Tensor | None:
        """Return the weights (n, t) of tokens, 0 for padding; None where all are the same."""
        if self._weights is None:
            return None
        most = int(tokens.max())
        if most >= len(self._weights):
            raise EncoderFailed(
                f"{self.folder.where}: its tokenizer gives the token {most}, and only {len(self._weights)} have weights; get the "
                "model again"
            )
        return self._weights.to(tokens.device)[tokens] * mask

    @cached_property
    def device(self) -> str:
        """The device of the model; raises `HengyuError` if it cannot be used here."""
        import torch

        if self.spec.backend != "torch":
            if self.spec.device not in ("", "cpu"):
                raise HengyuError(
                    f"{self.folder.where}: backend {self.spec.backend} runs on the CPU; remove device '{self.spec.device}'"
                )
            return "cpu"
        if self.spec.dtype == "int8":
            if self.spec.device not in ("", "cpu"):
                raise HengyuError(
                    f"{self.folder.where}: int8 is computed on the CPU; remove device '{self.spec.device}'"
                )
            return "cpu"
        wanted = self.spec.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            torch.ones(1, device=wanted).item()
        except (RuntimeError, AssertionError, NotImplementedError, ValueError) as e:
            raise HengyuError(
                f"device '{wanted}' cannot be used here ({first_line(e)[:80]}); use cpu, or remove it"
            ) from None
        return wanted

    @property
    def tokens_per_batch(self) -> int:
        """How many tokens pass the model at once; a longer text passes alone."""
        if self.spec.backend != "torch":
            return _TOKENS_PER_BATCH["engine"]
        return _TOKENS_PER_BATCH["cuda" if self.device.startswith("cuda") else "cpu"]

    @property
    def _mixed(self) -> bool:
        """Whether only matrix products are computed in bfloat16, and everything else and the last block in float32.

        On a CPU that is nearly as fast as all bfloat16 and changes scores a tenth as much. On a GPU all weights are bfloat16.
        """
        return self.spec.dtype == "bfloat16" and self.spec.backend == "torch" and self.device == "cpu"

    def _forward(
        self,
        ids: Sequence[Sequence[int]],
        poolings: Sequence[str],
        span: tuple[int, int] | None = None,
    ) -> dict[str, Vectors]:
        """Return the vectors (n, d) of n rows of tokens; raises `HengyuError` if the model does not give them."""
        import torch

        if not poolings:
            return {}
        model, tail = self._parts
        with torch.inference_mode(), autocast("cpu", self.spec.dtype if self._mixed else "float32"):
            rows, kept = self._rectangle(ids)
            tokens = torch.tensor(rows, dtype=torch.long, device=self.device)
            mask = torch.tensor(kept, dtype=torch.long, device=self.device)
            features = {"input_ids": tokens, "attention_mask": mask}
            kinds = self.tokenizer.types(rows, kept)
            if kinds is not None:
                features["token_type_ids"] = torch.tensor(kinds, dtype=torch.long, device=self.device)
            output = self._run(model, features)
            layers = states(output, tokens.shape[1])
            plain = [p for p in poolings if p != "native"]
            native, normalise = self.folder.tail or ("", False)
            pooler = pooler_states(output)
            reasons = lacking(layers, plain, pooler=pooler is not None)
            last = last_states(output)
            if "native" in poolings and last is None:
                reasons["native"] = "the model's output has no last_hidden_state"
            if reasons:
                raise Unavailable(self.id, reasons)
            positions = (tokens == self.tokenizer.mask_id).int().argmax(1) if "mask" in plain else None
            weights = self._weights_of(tokens, mask)
            vectors = pool(layers, mask, plain, pooler=pooler, positions=positions, weights=weights, span=span)
            if last is not None and "native" in poolings:
                # like the library, over all vectors if there is not one per token
                over = mask if last.shape[1] == mask.shape[1] else torch.ones_like(last[..., 0], dtype=torch.long)
                if native:
                    own = vectors.get(native) if last is layers[-1] else None
                    found = pool([last], over, [native])[native] if own is None else own
                else:
                    found = self._tail(tail, output, last, features)
                if normalise:
                    found = torch.nn.functional.normalize(found, dim=-1)
                vectors["native"] = found[:, : self.folder.truncate_dim or None]
            return {p: vectors[p].float().cpu().numpy() for p in poolings}

    def _run(self, model: Any, features: dict[str, Tensor]) -> Any:
        """Return a model's output for the features that it accepts; raises `EncoderFailed` if it fails."""
        given = accepted(model, {**features, "output_hidden_states": True, "return_dict": True})
        try:
            return model(**given)
        except Exception as e:  # whatever the model's code raises
            raise EncoderFailed(
                f"{self.folder.where}: its forward pass fails on {len(features['input_ids'])} texts of "
                f"{features['input_ids'].shape[1]} tokens ({type(e).__name__}: {first_line(e)[:200]})"
            ) from None

    def _echo(self, texts: Sequence[str], *, beside: Sequence[int] = ()) -> Vectors:
        """Return the mean (n, d) over the second copy of repeated texts; ``beside`` is a longer row to pad to."""
        found: list[Any] = [None] * len(texts)
        alike: dict[tuple[int, int, int], list[int]] = {}
        rows = self.tokenizer.echoed(texts)
        for i, (row, start, end) in enumerate(rows):
            if start == end:
                start, end = 0, len(row)  # a text without tokens
            alike.setdefault((len(row), start, end), []).append(i)
        budget = self.tokens_per_batch
        for (length, start, end), places in alike.items():
            size = max(1, budget // max(length, 1))
            for at in range(0, len(places), size):
                some = places[at : at + size]
                given = [rows[i][0] for i in some] + ([list(beside)] if beside else [])
                left = len(beside) - length if beside and self.tokenizer.padding[1] else 0
                vectors = self._forward(given, ["echo"], (start + left, end + left))["echo"]
                for i, vector in zip(some, vectors, strict=False):
                    found[i] = vector
        return np.stack(found)

    def _rectangle(self, ids: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
        """Return rows padded to one length, and their mask: 1 for tokens, 0 for padding."""
        return self.tokenizer.rectangle(ids)
