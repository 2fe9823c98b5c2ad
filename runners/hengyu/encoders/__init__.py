"""Encoders: text to vectors. `open_encoder` turns a declaration into one; heavy libraries load when it first encodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import resolved, user_path
from hengyu.base.errors import HengyuError

if TYPE_CHECKING:
    from hengyu.encoders.huggingface import HuggingFace

__all__ = [
    "BASELINES",
    "BUILTIN",
    "POOLINGS",
    "Chunk",
    "Encoder",
    "EncoderSpec",
    "find_encoder",
    "open_encoder",
    "probes",
    "token_print",
]

POOLINGS = (
    "native",
    "cls",
    "pooler",
    "mean",
    "first-last-mean",
    "embedding-last-mean",
    "last2-mean",
    "mask",
)
"""``native`` is what the model's own sentence-transformers pipeline gives; the others are read off the hidden states."""

BASELINES = ("random", "tfidf", "char-mean")
BUILTIN = "hengyu-mini"
_BUILT_IN = (BUILTIN, "builtin")  # how it may be asked for

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class EncoderSpec:
    """How a suite or the command line asks for an encoder."""

    model: str  # "hengyu-mini" (built in), a folder, a hub id, or a .npy file of vectors
    name: str = ""  # how the board calls it; by default the id or the folder's name
    revision: str = ""  # of a hub id
    prompt: str = ""  # a prefix, or a template with {text}
    max_length: int = 0  # tokens, special ones counted; 0 for the model's own
    dtype: str = "float32"  # or "bfloat16", "float16"
    backend: str = "torch"  # or "onnx", "openvino"
    pre_tokenizer: str = ""  # "jieba" for word-based models
    device: str = ""  # "cpu", "cuda", ...; by default CUDA where there is one
    trust_remote_code: bool = False
    texts: str = ""  # of a .npy file: where its texts stand, by default beside it

    @property
    def called(self) -> str:
        """How the board calls it."""
        path = user_path(self.model)
        if self.name or self.model in _BUILT_IN:
            return self.name or BUILTIN
        return path.stem if path.suffix == ".npy" else resolved(path).name if path.is_dir() else self.model

    def variants(self, dtypes: Sequence[str], backends: Sequence[str]) -> tuple[EncoderSpec, ...]:
        """Return it in each dtype on each backend, () for its own; those that differ from it say so in their names."""
        found = []
        for dtype, backend in product(dtypes or (self.dtype,), backends or (self.backend,)):
            words = [new for new, own in ((dtype, self.dtype), (backend, self.backend)) if new != own]
            name = " ".join((self.called, *words)) if words else self.name
            found.append(replace(self, name=name, dtype=dtype, backend=backend))
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Chunk:
    """What one batch gave: which texts, their vectors per pooling, and their token counts."""

    indices: NDArray[np.int64]
    vectors: dict[str, Vectors]
    counts: Vectors  # (n, 3): tokens without special ones, [UNK] among them, 1 where the text was truncated


class Encoder(Protocol):
    """Text to vectors: every pooling from one forward pass."""

    id: str
    spec: EncoderSpec

    @property
    def poolings(self) -> Mapping[str, str]:
        """Every pooling, mapped to "" where the encoder gives it, else to the reason why not."""

    @property
    def native_is(self) -> str:
        """The pooling whose vectors the native ones are; "" when they are vectors of their own."""

    @property
    def revision(self) -> str:
        """The hub revision the weights are of; "" for a folder."""

    def identity(self) -> dict[str, Any]:
        """What its vectors depend on beside text and pooling: fingerprints, max_length, dtype, prompt."""

    def stream(
        self, texts: Sequence[str], poolings: Sequence[str], wanted: Callable[[NDArray[np.int64]], bool]
    ) -> Iterator[Chunk]:
        """Encode texts in batches of a fixed plan, leaving out those for whose indices ``wanted`` says no."""

    def encode(self, texts: Sequence[str], poolings: Sequence[str]) -> dict[str, Vectors]:
        """Encode n texts; each pooling gives float32 (n, d) in the order of the texts."""

    def release(self) -> None:
        """Let go of the model's memory; the next call loads it again."""


def find_encoder(spec: EncoderSpec, *, offline: bool = False) -> Encoder:
    """Return what a declaration names, a model or vectors that are there already; raises `HengyuError`."""
    if spec.model.endswith(".npy"):
        from hengyu.encoders.precomputed import Precomputed

        return Precomputed(spec)
    if spec.texts:
        raise HengyuError(f"encoder '{spec.model}': texts belongs to a .npy file of vectors; leave it out")
    return open_encoder(spec, offline=offline)


def open_encoder(spec: EncoderSpec, *, offline: bool = False) -> HuggingFace:
    """Return the encoder of a declaration; raises `HengyuError` when there is no such model.

    The built-in one and folders never touch the network. A hub id is looked up in the local hub cache first, and
    downloaded only when it is not there and neither ``offline`` nor HF_HUB_OFFLINE forbids it.
    """
    from hengyu.encoders.hub import find_folder
    from hengyu.encoders.huggingface import HuggingFace
    from hengyu.encoders.model_folder import ModelFolder

    if spec.model in _BUILT_IN:
        folder = ModelFolder(Path(__file__).parent / "builtin", spec, identifier=spec.called)
    else:
        path, revision = find_folder(spec, offline=offline)
        folder = ModelFolder(path, spec, identifier=spec.called, revision=revision)
    return HuggingFace(folder)


@cache
def probes() -> tuple[str, ...]:
    """Return the fixed probe sentences that token-id fingerprints are taken on."""
    path = Path(__file__).with_name("probes.txt")
    return tuple(path.read_text(encoding="utf-8").rstrip("\n").split("\n"))


def token_print(tokenize: Callable[[list[str]], Sequence[Sequence[int]]]) -> str:
    """Return the token-id fingerprint: sha256 (16 digits) of the ids of the probe sentences."""
    ids = [list(map(int, row)) for row in tokenize(list(probes()))]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]
