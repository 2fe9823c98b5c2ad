"""Hugging Face and sentence-transformers models: tokenised once, batched by length, every pooling from one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, first_line
from hengyu.encoders import POOLINGS, Chunk, Vectors, token_print
from hengyu.encoders.engines import export
from hengyu.encoders.mixed_precision import autocast, halve
from hengyu.encoders.model_folder import ModelFolder
from hengyu.encoders.pooling import pool
from hengyu.encoders.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HuggingFace"]

_TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 32768}
_PROTOCOL = 1  # raise it when the same model and text would give other vectors than before
_MIXED = 4  # the same for bfloat16 alone; a power of two that no other term has


class HuggingFace:
    """An encoder from a model's folder.

    Texts of equal token length share a batch, so that no batch holds padding: nothing is computed for padding, nothing
    can be averaged over it, and a vector hardly depends on the texts beside it.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.spec = folder.spec
        self.id = folder.id

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer with prompt and pre-tokenizer around it."""
        return Tokenizer(self.folder)

    @cached_property
    def poolings(self) -> Mapping[str, str]:
        """Every pooling, mapped to "" where the model gives it, else to the reason why not."""
        given = dict.fromkeys(POOLINGS, "")
        if self.folder.static:
            given = dict.fromkeys(POOLINGS, "the model is no transformer, it has only its native vectors")
            given["native"] = ""
            return given
        if not self.folder.has_pooler:
            given["pooler"] = "the model's weights hold no pooler"
        if not self.folder.prompt:
            given["mask"] = "needs a prompt with a mask token, like '“{text}”的意思是[MASK]。'"
        elif not self.tokenizer.has_mask(self.folder.prompt):
            given["mask"] = f"the prompt '{self.folder.prompt}' holds no mask token of the model"
        return given

    @property
    def revision(self) -> str:
        """The hub revision the weights are of; "" for a folder."""
        return self.folder.revision

    @property
    def native_is(self) -> str:
        """The pooling whose vectors the native ones are; "" when they are vectors of their own."""
        pooling, normalised = self.folder.tail or ("", False)
        return "" if normalised or self.folder.static else pooling

    def identity(self) -> dict[str, Any]:
        """What the vectors depend on beside text and pooling."""
        return {
            "fingerprint": self.folder.fingerprint,
            "tokens": "" if self.folder.static else token_print(self.tokenizer.bare),
            "max_length": self.folder.max_length,
            "dtype": self.spec.dtype,
            "prompt": self.folder.prompt,
            "pre_tokenizer": self.spec.pre_tokenizer,
            # a text too long for its template once lost the template's end, and the mask token with it
            "protocol": _PROTOCOL + _MIXED * (self.spec.dtype == "bfloat16") + 2 * self.folder.goes_on,
            **({} if self.spec.backend == "torch" else {"backend": self.spec.backend}),
            # whether an adapter was applied does not show in the files alone
            **({"adapter": self.folder.adapter} if self.folder.adapter else {}),
            **({"truncate_dim": self.folder.truncate_dim} if self.folder.truncate_dim else {}),
        }

    def encode(self, texts: Sequence[str], poolings: Sequence[str]) -> dict[str, Vectors]:
        """Encode n texts; each pooling gives float32 (n, d) in the order of the texts."""
        out: dict[str, Vectors] = {}
        for chunk in self.stream(texts, poolings, lambda _: True):
            for name, rows in chunk.vectors.items():
                if name not in out:
                    out[name] = np.empty((len(texts), rows.shape[1]), np.float32)
                out[name][chunk.indices] = rows
        return out

    def encode_padded(self, texts: Sequence[str], beside: str, poolings: Sequence[str]) -> dict[str, Vectors]:
        """Encode n texts padded to the length of the text ``beside``, which stands in every batch, as `encode` never does.

        Most libraries batch like this; a model whose attention mask works gives the same vectors. Raises `HengyuError`
        when the tokenizer has no token for padding.
        """
        long, *rows = self.tokenizer([beside, *texts])[0]
        size = max(1, _TOKENS_PER_BATCH["cpu"] // max(map(len, (long, *rows))))
        parts = [self._forward([long, *rows[i : i + size]], poolings) for i in range(0, len(rows), size)]
        return {p: np.concatenate([part[p][1:] for part in parts]) for p in poolings}

    def release(self) -> None:
        """Let go of the model's memory; the next call loads it again."""
        self.__dict__.pop("_parts", None)
        self.__dict__.pop("_body", None)

    def stream(
        self, texts: Sequence[str], poolings: Sequence[str], wanted: Callable[[NDArray[np.int64]], bool]
    ) -> Iterator[Chunk]:
        """Encode texts in batches of equal length, longest first, leaving out those that ``wanted`` refuses.

        Texts of the same token ids pass the model once, so that their vectors are equal to the last bit. The batches
        depend on the texts alone, not on what is left out, so that a resumed run computes the same vectors.
        """
        for name in poolings:
            if self.poolings.get(name, "is unknown"):
                raise HengyuError(f"encoder '{self.id}': pooling '{name}' cannot be had: {self.poolings.get(name)}")
        if self.folder.static:
            yield from self._stream_static(texts, wanted)
            return
        rows, counts = self.tokenizer(texts)
        alike: dict[tuple[int, ...], list[int]] = {}
        for i, row in enumerate(rows):
            alike.setdefault(tuple(row), []).append(i)
        ids, members = list(alike), list(alike.values())
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        order = np.argsort(-lengths, kind="stable")
        budget = _TOKENS_PER_BATCH["cuda" if self.device.startswith("cuda") else "cpu"]
        start = 0
        while start < len(order):
            length = int(lengths[order[start]])
            batch = order[start : start + max(1, budget // max(length, 1))]
            batch = batch[lengths[batch] == length]
            start += len(batch)
            indices = np.concatenate([members[i] for i in batch])
            if wanted(indices):
                vectors = self._forward([ids[i] for i in batch], poolings)
                repeats = [len(members[i]) for i in batch]
                yield Chunk(indices, {p: np.repeat(v, repeats, axis=0) for p, v in vectors.items()}, counts[indices])

    @cached_property
    def device(self) -> str:
        """Where the model runs; raises `HengyuError` for a device that cannot be used here."""
        import torch

        if self.spec.backend != "torch":
            if self.spec.device not in ("", "cpu"):
                raise HengyuError(
                    f"{self.folder.where}: backend {self.spec.backend} runs on the CPU; leave out device '{self.spec.device}'"
                )
            return "cpu"
        wanted = self.spec.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            torch.ones(1, device=wanted).item()
        except (RuntimeError, AssertionError, NotImplementedError, ValueError) as e:
            raise HengyuError(
                f"device '{wanted}' cannot be used here ({first_line(e)[:80]}); use cpu, or leave it out"
            ) from None
        return wanted

    @cached_property
    def _parts(self) -> tuple[Any, list[Any]]:
        """The transformer, and the sentence-transformers modules after it where they are needed for ``native``."""
        model, modules = self._loaded()
        if self.spec.backend != "torch":
            model = export(model, self.spec.backend, self.spec.dtype, self.folder.where)
        elif self._mixed:
            halve(model)
        return model, modules

    @property
    def _mixed(self) -> bool:
        """Whether only matrix products are computed in bfloat16, and all else and the last block in float32.

        On a CPU that is nearly as fast as bfloat16 throughout, and moves scores a tenth as far. On a GPU the weights are halved.
        """
        return self.spec.dtype == "bfloat16" and self.spec.backend == "torch" and self.device == "cpu"

    def _loaded(self) -> tuple[Any, list[Any]]:
        """The same in PyTorch, in float32 for another engine or for mixed precision."""
        import torch

        exact = self.spec.backend != "torch" or self._mixed
        library = self.library(torch.float32 if exact else getattr(torch, self.spec.dtype))
        self._body = library[0]
        return library[0].auto_model.eval(), [] if self.folder.tail else list(library)[1:]

    def library(self, dtype: Any) -> Any:
        """Return the model as a `SentenceTransformer`, in a torch dtype."""
        from hengyu.encoders.pipeline import build

        return build(self.folder, dtype, self.device)

    def _forward(self, ids: Sequence[Sequence[int]], poolings: Sequence[str]) -> dict[str, Vectors]:
        import torch

        model, tail = self._parts
        with torch.inference_mode(), autocast("cpu", self.spec.dtype if self._mixed else "float32"):
            rows, kept = self._rectangle(ids)
            tokens = torch.tensor(rows, dtype=torch.long, device=self.device)
            mask = torch.tensor(kept, dtype=torch.long, device=self.device)
            output = model(input_ids=tokens, attention_mask=mask, output_hidden_states=True)
            plain = [p for p in poolings if p != "native"]
            native, normalise = self.folder.tail or ("", False)
            if "native" in poolings and native and native not in plain:
                plain.append(native)
            positions = (tokens == self.tokenizer.mask_id).int().argmax(1) if "mask" in plain else None
            vectors = pool(
                output.hidden_states,
                mask,
                plain,
                pooler=getattr(output, "pooler_output", None),
                positions=positions,
            )
            if "native" in poolings:
                vectors["native"] = vectors[native] if native else self._tail(tail, output, tokens, mask)
                if normalise:
                    vectors["native"] = torch.nn.functional.normalize(vectors["native"], dim=-1)
            return {p: vectors[p].float().cpu().numpy() for p in poolings}

    def _rectangle(self, ids: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
        """Return rows of one length, and 1 for each of their tokens that is no padding."""
        return self.tokenizer.rectangle(ids)

    def _tail(self, modules: list[Any], output: Any, tokens: Tensor, mask: Tensor) -> Tensor:
        """Run the sentence-transformers modules after the transformer, and cut their vectors to the width the folder says."""
        features: dict[str, Any] = {
            "input_ids": tokens,
            "token_embeddings": output.last_hidden_state,
            "attention_mask": mask,
        }
        if self.folder.config.get("output_hidden_states") is True:  # else the library leaves the other layers unread
            features["all_layer_embeddings"] = output.hidden_states
        if self.folder.prompt:
            features["prompt_length"] = self._prompt_length()
        module: Any = None
        try:
            for module in modules:
                features = module(features)
            vectors: Tensor = features["sentence_embedding"]
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
            raise HengyuError(
                f"{self.folder.where}: its module {type(module).__name__} cannot take what comes before it ({first_line(e)}); "
                "get the model again"
            ) from None
        return vectors[..., : self.folder.truncate_dim or None]

    def _prompt_length(self) -> int:
        """The number of tokens before a text, as the library counts them: without a special token at their end."""
        tokenizer = self._body.tokenizer
        before = self.folder.prompt.partition("{text}")[0]
        ids: list[int] = tokenizer(before, truncation="longest_first")["input_ids"]
        return len(ids) - bool(ids and ids[-1] in tokenizer.all_special_ids)

    def _stream_static(
        self, texts: Sequence[str], wanted: Callable[[NDArray[np.int64]], bool], size: int = 1024
    ) -> Iterator[Chunk]:
        import torch

        library = self.library(getattr(torch, self.spec.dtype))
        for start in range(0, len(texts), size):
            batch = np.arange(start, min(start + size, len(texts)))
            if wanted(batch):
                given, prompt = [texts[int(i)] for i in batch], self.folder.prompt
                if "{text}" in prompt:
                    given, prompt = [self.tokenizer.wrap(t) for t in given], ""
                one = {"batch_size": 1} if self.folder.routed else {}  # so that nothing is padded
                try:
                    found = library.encode(given, prompt=prompt, show_progress_bar=False, **one)
                except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
                    raise HengyuError(
                        f"{self.folder.where}: its modules do not fit each other ({first_line(e)}); get the model again"
                    ) from None
                vectors = np.asarray(found, np.float32)
                yield Chunk(batch, {"native": vectors}, np.zeros((len(batch), 3), np.float32))
