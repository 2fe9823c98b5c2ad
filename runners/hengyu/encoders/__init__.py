"""Encoders: text to vectors. `open_encoder` makes one from a declaration; heavy libraries are loaded at its first use."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import product
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import resolved, user_path
from hengyu.base.errors import HengyuError
from hengyu.encoders.pooling_names import POOLINGS, pooling_name

if TYPE_CHECKING:
    from hengyu.base.progress import Progress
    from hengyu.encoders.huggingface import HuggingFace
    from hengyu.storage.vectors import VectorStore

__all__ = [
    "BASELINES",
    "MORE_BASELINES",
    "BUILTIN",
    "BUILT_IN",
    "built_in_folder",
    "COMMAND_LINE_ONLY",
    "POOLINGS",
    "SIDES",
    "Chunk",
    "Encoder",
    "EncoderFailed",
    "EncoderSpec",
    "LocalEncoder",
    "Unavailable",
    "VECTOR_FILES",
    "find_encoder",
    "is_vectors",
    "open_encoder",
    "pooling_name",
    "probes",
    "token_print",
]

SIDES = ("query", "document")
"""The side of a text in a retrieval suite; "" for neither, as in STS."""

BASELINES = ("random", "tfidf", "char-mean")
"""The baselines of a suite that names none."""

MORE_BASELINES = ("tfidf-jieba", "tfidf-words")
"""Those that a suite may name besides."""
COMMAND_LINE_ONLY = {"allow_api": "--allow-api", "key_over_http": "--key-over-http"}
"""Permissions that no file can grant: field of `EncoderSpec` -> the option that grants it."""

BUILTIN = "hengyu-mini"
BUILT_IN = {
    BUILTIN: "a small character BERT, masked language model only",
    "hengyu-small": "the same BERT, distilled from multilingual-e5-small",
    "hengyu-static": "rows of character n-grams, distilled from multilingual-e5-small",
}
"""The encoders that come with the package, and what they are."""

_ALIAS = "builtin"  # another name of the first one
_HUB_ID = r"[^./~\\][^/\\]*(/[^/\\]+)?\Z"

VECTOR_FILES = (".npy", ".safetensors", ".parquet")
_OF_AN_API = (
    "key_env",
    "dimensions",
    "encoding_format",
    "batch_size",
    "requests_per_minute",
    "timeout",
    "price_per_million",
)

Vectors = NDArray[np.float32]


class EncoderFailed(HengyuError):
    """One encoder failed; the other encoders of a run go on."""


class Unavailable(EncoderFailed):
    """Some poolings of an encoder turn out to be unavailable; the others go on.

    Attributes:
        reasons: pooling -> reason.
        broken: whether it is a fault (non-finite vectors) and not a property of the architecture.
    """

    def __init__(self, encoder: str, reasons: Mapping[str, str], *, broken: bool = False) -> None:
        super().__init__(
            *(f"encoder '{encoder}': pooling '{name}' is not available: {why}" for name, why in reasons.items())
        )
        self.encoder = encoder
        self.reasons = dict(reasons)
        self.broken = broken


def is_vectors(model: str) -> bool:
    """Whether a model is a file of vectors, or a folder with one (``vectors.npy``, ...) and no model."""
    named = model.endswith(VECTOR_FILES)
    try:
        path = user_path(model)
        if path.suffix == ".safetensors" and (path.parent / "config.json").exists():
            return False  # a model's weights: its folder is meant
        if named or not path.is_dir() or any((path / name).exists() for name in ("config.json", "modules.json")):
            return named and not path.is_dir()
        return any((path / f"vectors{s}").exists() for s in VECTOR_FILES)
    except (OSError, ValueError, RuntimeError):  # an impossible path, or the home of an unknown user
        return named


@dataclass(frozen=True)
class EncoderSpec:
    """The declaration of an encoder, in a suite or on the command line."""

    model: str  # a built-in one, a folder, a hub id, a file or folder of vectors, or its name at an API
    name: str = ""  # its name on the leaderboard; by default the id or the folder's name
    revision: str = ""  # of a hub id
    prompt: str = ""  # a prefix, or a template with {text}; "" for the model's own
    query_prompt: str | None = None  # for the queries of a retrieval suite; "" for none, None for ``prompt``
    document_prompt: str | None = None  # for its documents
    max_length: int = 0  # tokens, including special ones; 0 for the model's own
    dtype: str = "float32"  # or "bfloat16", "float16", "int8"
    backend: str = "torch"  # or "onnx", "openvino"
    pre_tokenizer: str = ""  # "jieba" for word-based models
    device: str = ""  # "cpu", "cuda", ...; by default CUDA if available
    trust_remote_code: bool = False
    texts: str = ""  # the texts of a .npy file; by default a file next to it
    long: str = ""  # texts above max_length: "truncate", "head-tail" or "windows"; "" for what suite and cards say
    attention: str = ""  # "bidirectional" lets a causal model attend in both directions (LLM2Vec)
    api: str = ""  # base URL of an OpenAI-compatible API, like https://example.com/v1
    key_env: str = ""  # the environment variable with the API key; the key itself is never stored
    dimensions: int = 0  # width requested from the API; 0 for the model's own
    encoding_format: str = "float"  # how the API sends vectors; or "base64"
    batch_size: int = 0  # maximum texts per request; 0 for the default
    requests_per_minute: float = 0.0  # 0 for no limit
    timeout: float = 60.0  # seconds per request
    price_per_million: float = 0.0  # price of a million tokens, in any currency; 0 if unknown
    allow_api: bool = False  # texts may be sent to the API; only the command line or a Python caller can set it
    key_over_http: bool = False  # the key may be sent unencrypted to another machine; as above

    @property
    def kind(self) -> str:
        """What it names: an "api", precomputed "vectors", or a "model"."""
        if self.api:
            return "api"
        return "vectors" if is_vectors(self.model) else "model"

    def prompt_of(self, side: str) -> str | None:
        """Return the prompt given for a side (one of `SIDES`, or ""); None to use the model's own."""
        own = {"query": self.query_prompt, "document": self.document_prompt}.get(side)
        return (self.prompt or None) if own is None else own

    @property
    def display_name(self) -> str:
        """Its name on the leaderboard: the given name, else the hub id or the last part of the path, on every machine.

        Files are not checked: anything like a hub id (``owner/name``) is named so, even if it is a folder.
        """
        if self.api:
            return self.name or self.model
        if self.name or self.model in (*BUILT_IN, _ALIAS):
            return self.name or (BUILTIN if self.model == _ALIAS else self.model)
        path = PurePath(self.model)
        if path.suffix in VECTOR_FILES:
            return path.stem
        if re.match(_HUB_ID, self.model):
            return self.model
        return path.name.strip(".") and path.name or resolved(user_path(self.model)).name

    def variants(self, dtypes: Sequence[str], backends: Sequence[str]) -> tuple[EncoderSpec, ...]:
        """Return it in each dtype on each backend (() for its own); those that differ from it say so in their names."""
        found = []
        for dtype, backend in product(dtypes or (self.dtype,), backends or (self.backend,)):
            words = [new for new, own in ((dtype, self.dtype), (backend, self.backend)) if new != own]
            name = " ".join((self.display_name, *words)) if words else self.name
            found.append(replace(self, name=name, dtype=dtype, backend=backend))
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Chunk:
    """The result of one batch: text indices, vectors per pooling, and token counts."""

    indices: NDArray[np.int64]
    vectors: dict[str, Vectors]
    counts: Vectors  # (n, 3): tokens without special ones, [UNK] among them, 1 where the text was truncated


class Encoder(Protocol):
    """Text to vectors: every pooling from one forward pass."""

    id: str
    spec: EncoderSpec

    @property
    def hosted(self) -> bool:
        """Whether its texts are sent to a service: by one process alone, and what comes back is stored at once."""

    @property
    def made_with(self) -> tuple[str, ...]:
        """The modules whose code makes the vectors, besides those of its class."""

    @property
    def poolings(self) -> Mapping[str, str]:
        """Every pooling, mapped to "" if available, else to the reason why not."""

    @property
    def native_is(self) -> str:
        """The pooling that equals the native vectors; "" if none does."""

    @property
    def revision(self) -> str:
        """The hub revision of the weights; "" for a folder."""

    @property
    def parameters(self) -> int | None:
        """How many numbers its weights hold; None where that is not known."""

    def side(self, side: str) -> Encoder:
        """Return the same encoder for texts of one side of a retrieval suite (one of `SIDES`), with that side's prompt."""

    def identity(self) -> dict[str, Any]:
        """What its vectors depend on besides text and pooling: fingerprints, max_length, dtype, prompt."""

    def stream(
        self, texts: Sequence[str], poolings: Sequence[str], wanted: Callable[[NDArray[np.int64]], bool]
    ) -> Iterator[Chunk]:
        """Encode texts in a fixed plan of batches, skipping the indices that ``wanted`` rejects."""

    def encode(self, texts: Sequence[str], poolings: Sequence[str]) -> dict[str, Vectors]:
        """Encode n texts; each pooling gives float32 (n, d) in the order of the texts."""

    def read(self, texts: Sequence[str]) -> tuple[float, float]:
        """Tokenise n texts without encoding them: returns the number of tokens, and of [UNK] among them.

        Raises `HengyuError` for faults found on the way: a tokenizer that cannot be loaded, a text without tokens.
        """

    def release(self) -> None:
        """Free the model's memory; the next call loads it again."""

    def prepare(
        self, store: VectorStore, texts: Sequence[str] | None, progress: Progress, queries: Sequence[str] | None = None
    ) -> None:
        """Find out which model answers, before `identity` is asked.

        ``texts`` are those that will be encoded, None where they are not known yet; with ``queries`` they are documents.
        """

    def adopt(self, identity: Mapping[str, Any]) -> None:
        """Take it as known which model answers, as a worker does that sends nothing."""

    @property
    def warning(self) -> str:
        """What a reader must know of the model that answers; "" if nothing."""

    def spent(self) -> str:
        """Say what was sent so far; "" if nothing was."""

    def bill(self, tokens: int) -> dict[str, Any]:
        """Return what a run's header says of vectors that a service made of so many tokens; nothing of others."""


class LocalEncoder:
    """What every encoder has in common whose vectors come from this machine: no service is asked, nothing is paid."""

    hosted = False
    warning = ""

    @property
    def parameters(self) -> int | None:
        """Not known, unless an encoder says more."""
        return None

    @property
    def made_with(self) -> tuple[str, ...]:
        """No module but those of its class."""
        return ()

    def prepare(
        self, store: VectorStore, texts: Sequence[str] | None, progress: Progress, queries: Sequence[str] | None = None
    ) -> None:
        """Nobody has to be asked."""

    def adopt(self, identity: Mapping[str, Any]) -> None:
        """The model is at hand, so it is known."""

    def spent(self) -> str:
        """Nothing was sent."""
        return ""

    def bill(self, tokens: int) -> dict[str, Any]:
        """Nothing was paid."""
        return {}


def find_encoder(spec: EncoderSpec, *, offline: bool = False) -> Encoder:
    """Return the model or the precomputed vectors of a declaration; raises `HengyuError`."""
    if spec.long and spec.kind != "model":
        raise HengyuError(
            f"encoder '{spec.model}': long = '{spec.long}' needs the model's tokens, which are not read here; remove long"
        )
    if spec.kind == "api":
        from hengyu.encoders.api import Api

        return Api(spec, offline=offline)
    stray = next((f.name for f in fields(spec) if f.name in _OF_AN_API and getattr(spec, f.name) != f.default), "")
    if stray:
        raise HengyuError(
            f"encoder '{spec.model}': {stray} needs api, the address of the API; add it, or remove {stray}"
        )
    if spec.kind == "vectors":
        from hengyu.encoders.given import open_vectors

        return open_vectors(spec)
    if spec.texts:
        raise HengyuError(f"encoder '{spec.model}': texts applies only to a .npy file of vectors; remove it")
    return open_encoder(spec, offline=offline)


def open_encoder(spec: EncoderSpec, *, offline: bool = False) -> HuggingFace:
    """Return the encoder of a declaration; raises `HengyuError` if there is no such model.

    The built-in model and folders never use the network. A hub id is looked up in the local hub cache first, and
    downloaded only if it is not there and neither ``offline`` nor HF_HUB_OFFLINE forbids it.
    """
    from hengyu.encoders.hub import find_folder
    from hengyu.encoders.huggingface import HuggingFace
    from hengyu.encoders.model_folder import ModelFolder

    if spec.model in (*BUILT_IN, _ALIAS):
        folder = ModelFolder(built_in_folder(spec.model), spec, identifier=spec.display_name)
    else:
        path, revision = find_folder(spec, offline=offline)
        folder = ModelFolder(path, spec, identifier=spec.display_name, revision=revision, offline=offline)
    folder.refuse_other_kinds()
    return HuggingFace(folder)


def built_in_folder(name: str) -> Path:
    """Return the folder of a built-in encoder."""
    return Path(__file__).parent / "builtin" / (BUILTIN if name == _ALIAS else name)


@cache
def probes() -> tuple[str, ...]:
    """Return the fixed probe sentences for token-id fingerprints."""
    path = Path(__file__).with_name("probes.txt")
    return tuple(path.read_text(encoding="utf-8").rstrip("\n").split("\n"))


def token_print(tokenize: Callable[[list[str]], Sequence[Sequence[int]]]) -> str:
    """Return the token-id fingerprint: sha256 (16 digits) of the ids of the probe sentences."""
    ids = [list(map(int, row)) for row in tokenize(list(probes()))]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]
