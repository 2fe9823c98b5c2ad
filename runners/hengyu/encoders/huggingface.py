"""Hugging Face and sentence-transformers models: texts are tokenised once and batched by length; one pass gives all poolings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, did_you_mean, first_line
from hengyu.encoders import POOLINGS, Chunk, EncoderFailed, LocalEncoder, Vectors
from hengyu.encoders.architectures import ATTENTION, decodes, open_attention
from hengyu.encoders.engines import export
from hengyu.encoders.kept_tokens import kept_counts, kept_token_print
from hengyu.encoders.layout import ATTENTION as TOKEN_ATTENTION
from hengyu.encoders.layout import NGRAMS, STEP
from hengyu.encoders.long_texts import TRUNCATE, refusals, weighted_means, window_blocks
from hengyu.encoders.mixed_precision import SCHEMES, halve, quantise
from hengyu.encoders.model_folder import ModelFolder
from hengyu.encoders.passes import Passes
from hengyu.encoders.token_rows import TokenRows
from hengyu.encoders.without_attention import code_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HuggingFace"]

_PROTOCOL = 1  # raise it if the same model and text would give different vectors than before
_MIXED = 4  # the same for bfloat16 alone; a power of two that no other term has


class HuggingFace(Passes, LocalEncoder):
    """An encoder from a model's folder.

    Texts of equal token length share a batch, so there is no padding: nothing is computed for it, no average can include it,
    and a vector hardly depends on the other texts.
    """

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        # the texts read last, their tokens, the windows of those that are too long, and the counts
        self._texts: tuple[Sequence[str], TokenRows, Mapping[int, TokenRows], Vectors] | None = None
        if self.spec.attention not in ATTENTION:
            raise HengyuError(
                f"encoder '{self.id}': attention '{self.spec.attention}' is unknown; use bidirectional, or remove it"
            )
        if self.spec.dtype == "int8" and folder.static:
            raise HengyuError(f"{folder.where}: is not a transformer, so int8 has nothing to compute; remove dtype")
        if self.spec.attention and folder.static:
            raise HengyuError(f"{folder.where}: is not a transformer, so it has no attention; remove attention")

    def side(self, side: str) -> HuggingFace:
        """Return the same model for texts of one side of a retrieval suite: with its prompt, and a Router's route."""
        return HuggingFace(self.folder.on(side))

    @cached_property
    def poolings(self) -> Mapping[str, str]:
        """Every pooling, mapped to "" if available, else to the reason why not."""
        given = dict.fromkeys(POOLINGS, "")
        if self.folder.static:
            given = dict.fromkeys(POOLINGS, "the model is not a transformer and has only its native vectors")
            given["native"] = ""
            if self.folder.ngrams and not self.folder.truncate_dim:
                given["mean"] = ""
            return given
        if not self.folder.has_pooler:
            given["pooler"] = "the model's weights have no pooler"
        if self.folder.prompt.count("{text}") > 1:
            given |= dict.fromkeys(
                POOLINGS, "the prompt has {text} more than once, which only the pooling echo supports"
            )
            given["echo"] = "" if self.folder.prompt.count("{text}") == 2 else "the prompt has {text} more than twice"
        elif not self.folder.prompt:
            given["mask"] = "needs a prompt with a mask token, like '“{text}”的意思是[MASK]。'"
        elif not self.tokenizer.has_mask(self.folder.prompt):
            given["mask"] = f"the prompt '{self.folder.prompt}' does not contain the model's mask token"
        if self.folder.long != TRUNCATE:
            given |= {p: why for p, why in refusals(self.folder.long, chats=self._chats).items() if not given[p]}
        return given

    @property
    def parameters(self) -> int | None:
        """How many numbers the safetensors files of the transformer hold; None where there are none."""
        return self.folder.parameters or None

    @property
    def revision(self) -> str:
        """The hub revision of the weights; "" for a folder."""
        return self.folder.revision

    @property
    def native_is(self) -> str:
        """The pooling that equals the native vectors; "" if none does."""
        if not self.poolings["mean"] and self.folder.static:
            return "mean"
        pooling, normalised = self.folder.tail or ("", False)
        if normalised or self.folder.static or self._decodes or self.folder.truncate_dim or self._chats:
            return ""
        return pooling

    @property
    def _task(self) -> dict[str, Any]:
        """The arguments by which a Router chooses the route of a side; none in other folders, or for texts of no side."""
        return {"task": self.folder.side} if self.folder.routed and self.folder.side else {}

    @cached_property
    def _chats(self) -> bool:
        """Whether sentence-transformers puts a chat template around every text; then the library makes the native vectors."""
        return not self.folder.parts and self.tokenizer.chats

    def _chatted(self, texts: Sequence[str], batch: int) -> Vectors:
        """Return the native vectors (n, d) of a folder with a chat template, made by the library with our weights."""
        import torch

        library = self.__dict__.get("_chatting")
        if library is None:
            exact = self.spec.dtype == "int8"  # the transformer computes in it, and takes the place of this one
            library = self.library(torch.float32 if exact else getattr(torch, self.spec.dtype))
            library[0].model = self._parts[0]
            self.__dict__["_chatting"] = library
            if self.spec.max_length:
                library.max_seq_length = self.folder.max_length
        wrapped = list(map(self.tokenizer.wrap, texts)) if self.folder.prompt_has_suffix else list(texts)
        prompt = "" if self.folder.prompt_has_suffix else self.folder.prompt.partition("{text}")[0]
        found = library.encode(wrapped, prompt=prompt, batch_size=batch, show_progress_bar=False)
        return np.asarray(found, np.float32)

    @property
    def _decodes(self) -> bool:
        """Whether the library reads a decoder's states; all poolings but ``native`` read the encoder's."""
        return decodes(self.folder.config)

    @property
    def made_with(self) -> tuple[str, ...]:
        """The modules, besides this class's, whose code makes the vectors: those of our own parts and models in its folder."""
        kinds = {part.kind for part in self.folder.walk()}
        own = {"Ngrams": NGRAMS, "TokenAttention": TOKEN_ATTENTION}
        modules = tuple(name.rpartition(".")[0] for kind, name in own.items() if kind in kinds)
        modules += () if self.folder.static else code_of(self.folder.config)
        if "Step" not in kinds:
            return modules
        methods = Path(__file__).parents[1] / "methods"
        steps = (p for kind in ("transforms", "codes") for p in sorted((methods / kind).glob("[!_]*.py")))
        return (*modules, STEP.rpartition(".")[0], *(f"hengyu.methods.{p.parent.name}.{p.stem}" for p in steps))

    def identity(self) -> dict[str, Any]:
        """What the vectors depend on besides text and pooling."""
        return {
            "fingerprint": self.folder.fingerprint,
            "tokens": "" if self.folder.static else kept_token_print(self.folder, self.tokenizer.bare),
            "max_length": self.folder.max_length,
            "dtype": self.spec.dtype,
            "prompt": self.folder.prompt,
            "pre_tokenizer": self.spec.pre_tokenizer,
            # a text too long for its template once lost the template's end, including the mask token
            "protocol": _PROTOCOL + _MIXED * (self.spec.dtype == "bfloat16") + 2 * self.folder.prompt_has_suffix,
            **({"scheme": SCHEMES[self.spec.backend]} if self.spec.dtype == "int8" else {}),
            **({} if self.spec.backend == "torch" else {"backend": self.spec.backend}),
            **({"attention": self.spec.attention} if self.spec.attention else {}),
            **({} if self.folder.long == TRUNCATE else {"long": self.folder.long}),
            # the files alone do not show whether an adapter was applied
            **({"adapter": self.folder.adapter} if self.folder.adapter else {}),
            **({"truncate_dim": self.folder.truncate_dim} if self.folder.truncate_dim else {}),
            **self._task,
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
        """Encode n texts padded to the length of the text ``beside``, which is in every batch; `encode` never pads.

        Most libraries batch like this; a model with a working attention mask gives the same vectors. Raises `HengyuError` if
        the tokenizer has no padding token.
        """
        long, *rows = self.tokenizer([beside, *texts])[0]
        size = max(1, self.tokens_per_batch // max(map(len, (long, *rows))))
        if "echo" in poolings:
            (long, _, _), *_ = self.tokenizer.echoed([beside])
            return {"echo": np.concatenate([self._echo([text], beside=long) for text in texts])}
        if self._chats and "native" in poolings:
            return {"native": np.concatenate([self._chatted([beside, text], 2)[1:] for text in texts])}
        parts = [self._forward([long, *rows[i : i + size]], poolings) for i in range(0, len(rows), size)]
        return {p: np.concatenate([part[p][1:] for part in parts]) for p in poolings}

    def read(self, texts: Sequence[str]) -> tuple[float, float]:
        """Return how many tokens n texts have, and how many of them are [UNK], without encoding the texts.

        Raises `HengyuError` for faults found on the way: a tokenizer that cannot be loaded, a text without tokens.
        """
        if self.folder.static:
            return 0.0, 0.0
        return kept_counts(self.folder, texts, lambda: self._tokenise(texts))

    def _tokenise(self, texts: Sequence[str]) -> tuple[float, float]:
        """Tokenise texts as `read`, and hold the tokens for the next `stream` of the same list."""
        if self.folder.long == "windows":
            rows, windows, counts = self.tokenizer.windowed(texts)
        else:
            rows, counts = self.tokenizer(texts)
            windows = dict[int, TokenRows]()
        empty = np.flatnonzero(rows.lengths == 0)
        if len(empty):
            text = texts[int(empty[0])]
            raise EncoderFailed(
                f"{self.folder.where}: its tokenizer gives no tokens for the text '{text[:40]}', so it has no vector; remove the "
                "text, or give a prompt"
            )
        self._texts = (texts, rows, windows, counts)
        return float(counts[:, 0].sum()), float(counts[:, 1].sum())

    def release(self) -> None:
        """Free the model's memory; the next call loads it again."""
        self.__dict__.pop("_parts", None)
        self.__dict__.pop("_chatting", None)
        self.__dict__.pop("_body", None)
        self.__dict__.pop("_ngrams", None)

    def stream(
        self, texts: Sequence[str], poolings: Sequence[str], wanted: Callable[[NDArray[np.int64]], bool]
    ) -> Iterator[Chunk]:
        """Encode texts in batches of equal length, longest first, skipping those that ``wanted`` rejects.

        Texts with equal token ids pass the model once, so their vectors are bit-identical. The batches depend only on the
        texts, not on what is skipped, so that a resumed run computes the same vectors.
        """
        for name in poolings:
            if self.poolings.get(name, "is unknown"):
                raise HengyuError(
                    f"encoder '{self.id}': pooling '{name}' is not available: {self.poolings.get(name, 'it is unknown')}"
                    f"{'' if name in self.poolings else did_you_mean(name, self.poolings)}"
                )
        if self.folder.static:
            yield from (
                self._stream_ngrams(texts, poolings, wanted)
                if self.folder.ngrams
                else self._stream_static(texts, wanted)
            )
            return
        if self._texts is None or self._texts[0] is not texts:
            self._tokenise(texts)
        assert self._texts is not None
        _, rows, windows, counts = self._texts
        self._texts = None
        yield from self._stream_windows(windows, counts, poolings, wanted)
        places = np.setdiff1d(np.arange(len(rows)), np.fromiter(windows, np.int64, len(windows)))
        first, members = rows.groups(places)
        for batch in self._batches(rows.lengths[first]):
            indices = np.concatenate([members[i] for i in batch])
            if wanted(indices):
                apart: dict[str, Callable[[Sequence[str]], Vectors]] = {"echo": self._echo}
                if self._chats:
                    apart["native"] = partial(self._chatted, batch=1)
                vectors = self._forward([rows[int(first[i])] for i in batch], [p for p in poolings if p not in apart])
                for name in set(poolings) & apart.keys():
                    vectors[name] = apart[name]([texts[members[i][0]] for i in batch])
                repeats = [len(members[i]) for i in batch]
                yield Chunk(indices, {p: np.repeat(v, repeats, axis=0) for p, v in vectors.items()}, counts[indices])

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield the numbers of rows, of which (n,) ``lengths`` are given, that pass the model together: equal, longest first."""
        order = np.argsort(-lengths, kind="stable")
        budget = self.tokens_per_batch
        start = 0
        while start < len(order):
            length = int(lengths[order[start]])
            batch = order[start : start + max(1, budget // max(length, 1))]
            batch = batch[lengths[batch] == length]
            start += len(batch)
            yield batch

    def _stream_windows(
        self,
        windows: Mapping[int, TokenRows],
        counts: Vectors,
        poolings: Sequence[str],
        wanted: Callable[[NDArray[np.int64]], bool],
    ) -> Iterator[Chunk]:
        """Encode texts by the windows of each, as means weighted by their tokens; equal windows pass the model once."""
        for block in window_blocks(windows):
            indices = np.asarray(block, np.int64)
            if not wanted(indices):
                continue
            number: dict[tuple[int, ...], int] = {}
            places = [[number.setdefault(tuple(w), len(number)) for w in windows[i]] for i in block]
            ids, found = list(number), dict[str, Vectors]()
            for batch in self._batches(np.fromiter(map(len, ids), np.int64, len(ids))):
                for name, rows in self._forward([ids[i] for i in batch], poolings).items():
                    found.setdefault(name, np.empty((len(ids), rows.shape[1]), np.float32))[batch] = rows
            frame = sum(map(len, self.tokenizer.around))
            weights = [[len(w) - frame for w in windows[i]] for i in block]
            yield Chunk(indices, {p: weighted_means(v, places, weights) for p, v in found.items()}, counts[indices])

    @cached_property
    def _parts(self) -> tuple[Any, list[Any]]:
        """The transformer, and the sentence-transformers modules after it if ``native`` needs them."""
        model, modules = self._loaded()
        if self.spec.backend != "torch":
            if self.tokenizer.typed:
                raise EncoderFailed(
                    f"{self.folder.where}: its tokenizer gives token types, which a graph for {self.spec.backend} does not accept; "
                    "remove backend"
                )
            types = self.tokenizer.gives_types
            model = export(model, self.spec.backend, self.spec.dtype, self.folder.where, zero_types=types)
        elif self._mixed:
            halve(model)
        elif self.spec.dtype == "int8":
            quantise(model, self.folder.where)
        return model, modules

    def _loaded(self) -> tuple[Any, list[Any]]:
        """The same in PyTorch, in float32 for another engine or for mixed precision."""
        import torch

        exact = self.spec.backend != "torch" or self._mixed or self.spec.dtype == "int8"
        library = self.library(torch.float32 if exact else getattr(torch, self.spec.dtype))
        self._body = library[0]
        return self._attending(library[0].auto_model.eval()), [] if self.folder.tail else list(library)[1:]

    def _attending(self, model: Any) -> Any:
        """Return the model with the requested attention."""
        if self.spec.attention == "bidirectional":
            open_attention(model, self.folder.where)
        return model

    def library(self, dtype: Any) -> Any:
        """Return the model as a `SentenceTransformer`, in a torch dtype."""
        from hengyu.encoders.pipeline import build

        return build(self.folder, dtype, self.device)

    def _tail(self, modules: list[Any], output: Any, last: Tensor, given: dict[str, Tensor]) -> Tensor:
        """Run the sentence-transformers modules after the transformer, and truncate to the folder's ``truncate_dim``."""
        features: dict[str, Any] = {**given, "token_embeddings": last, **self._task}
        # the library ignores the other layers unless the configuration asks for them
        if (
            self.folder.config.get("output_hidden_states") is True
            and getattr(output, "hidden_states", None) is not None
        ):
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
                f"{self.folder.where}: its module {type(module).__name__} does not fit the module before it ({first_line(e)}); "
                "get the model again"
            ) from None
        return vectors[..., : self.folder.truncate_dim or None]

    def _prompt_length(self) -> int:
        """The number of tokens before a text, counted like the library does, without a special token at their end."""
        tokenizer = self._body.tokenizer
        before = self.folder.prompt.partition("{text}")[0]
        ids: list[int] = tokenizer(before, truncation="longest_first")["input_ids"]
        return len(ids) - bool(ids and ids[-1] in tokenizer.all_special_ids)

    def _stream_ngrams(
        self,
        texts: Sequence[str],
        poolings: Sequence[str],
        wanted: Callable[[NDArray[np.int64]], bool],
        size: int = 2048,
    ) -> Iterator[Chunk]:
        """Encode texts with a static n-gram encoder, which the library would ask for 32 texts at a time."""
        module = self._ngrams
        for start in range(0, len(texts), size):
            batch = np.arange(start, min(start + size, len(texts)))
            if wanted(batch):
                vectors, counts = module.vectors(list(map(self.tokenizer.wrap, texts[start : start + size])))
                if self.folder.truncate_dim:
                    vectors = vectors[:, : self.folder.truncate_dim]
                yield Chunk(batch, dict.fromkeys(poolings, vectors), counts)

    @cached_property
    def _ngrams(self) -> Any:
        """The only module of a static n-gram encoder."""
        import torch

        return self.library(torch.float32)[0]

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
                one: dict[str, Any] = {"batch_size": 1} if self.folder.routed else {}  # so that nothing is padded
                try:
                    found = library.encode(given, prompt=prompt, show_progress_bar=False, **one, **self._task)
                except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
                    raise HengyuError(
                        f"{self.folder.where}: its modules do not fit each other ({first_line(e)}); get the model again"
                    ) from None
                vectors = np.asarray(found, np.float32)
                yield Chunk(batch, {"native": vectors}, np.zeros((len(batch), 3), np.float32))
