"""Encoders behind an OpenAI-compatible API: DashScope, Zhipu, SiliconFlow, vLLM, TEI, Ollama, Xinference and others.

A provider may change a model without notice. Therefore a few fixed probe sentences are sent first, and their vectors are
stored with the date. If they change, the vectors stored so far are not mixed with new ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress
from hengyu.encoders import POOLINGS, Chunk, EncoderSpec, Vectors, probes
from hengyu.encoders.address import find_address
from hengyu.encoders.endpoint import Endpoint
from hengyu.encoders.response import Refused
from hengyu.storage.identity import vectors_key
from hengyu.storage.vectors import VectorSpace, VectorStore, text_keys

__all__ = ["Api", "Served"]

_BATCH = 32
_PROBES = 8
_TOLERANCE = 1e-3  # cosine distance; the same model on other hardware differs by less, another model by more
_DATE = "\0the day of the first request"  # stored with the probes: a vector whose first number is the day's ordinal
_DEFAULTS = {"max_length": 0, "dtype": "float32", "backend": "torch", "pre_tokenizer": "", "texts": ""}


@dataclass(frozen=True)
class Served:
    """The model that an API serves: which of those seen under its name, and since when."""

    probes: str  # fingerprint of the probe sentences' vectors
    since: str  # ISO date of the first request
    number: int = 0  # how many other models were served under this name before
    before: str = ""  # ISO date of the first request to the previous one


class Api:
    """An encoder whose vectors come from an API; it has only ``native`` vectors.

    `prepare` must be called before vectors are stored: it finds out which model answers.
    """

    hosted = True
    native_is = ""
    parameters = None
    made_with = ()

    def __init__(self, spec: EncoderSpec, *, offline: bool = False) -> None:
        self.spec = spec
        self.id = spec.display_name
        where = f"encoder '{self.id}'"
        address = find_address(spec.api, where)
        for key, default in _DEFAULTS.items():
            if getattr(spec, key) != default:
                raise HengyuError(f"{where}: {key} has no effect on an API; remove it")
        if not spec.model:
            raise HengyuError(f"{where}: model is empty; give the model's name at the API")
        if spec.encoding_format not in ("float", "base64"):
            raise HengyuError(f"{where}: encoding_format must be 'float' or 'base64', not '{spec.encoding_format}'")
        for key in ("dimensions", "batch_size", "requests_per_minute", "price_per_million"):
            if not 0 <= getattr(spec, key) < 1 << 31:  # NaN is refused, too
                raise HengyuError(f"{where}: {key} must be 0 or more, not {getattr(spec, key)}")
        if not 0 < spec.timeout <= 86400:
            raise HengyuError(f"{where}: timeout must lie in 0..86400 seconds, not {spec.timeout:g}")
        self.endpoint = Endpoint(
            where,
            address,
            spec.model,
            spec.key_env,
            spec.dimensions,
            spec.encoding_format,
            spec.requests_per_minute,
            spec.timeout,
            offline,
            spec.key_over_http,
        )
        if not spec.allow_api:
            key = f" with the key in {spec.key_env}" if spec.key_env else ""
            raise HengyuError(
                f"{where}: the suite would send its texts to {address.url}{key}; add --allow-api if you want that"
            )
        self.batch = spec.batch_size or _BATCH
        self.served: Served | None = None
        self._side = ""

    def side(self, side: str) -> Api:
        """Return the same API for texts of one side of a retrieval suite; both share their counts of sent texts."""
        other = copy(self)
        other._side = side
        return other

    @property
    def prompt(self) -> str:
        """The prompt around a text; an API has no prompts of its own."""
        return self.spec.prompt_of(self._side) or ""

    @property
    def poolings(self) -> Mapping[str, str]:
        """Every pooling; all but ``native`` with the reason why it is not available."""
        return dict.fromkeys(POOLINGS, "an API returns finished vectors, so there is no other pooling") | {"native": ""}

    @property
    def revision(self) -> str:
        """The user's own label for the version of the model; "" without one."""
        return self.spec.revision

    @property
    def _model(self) -> dict[str, Any]:
        """The requested model; different models served under one name differ in their probes."""
        return {
            "api": self.endpoint.address.name,
            "model": self.spec.model,
            "dimensions": self.spec.dimensions,
            "encoding_format": self.spec.encoding_format,
            **({"revision": self.spec.revision} if self.spec.revision else {}),
        }

    def identity(self) -> dict[str, Any]:
        """What the vectors depend on besides the text: the requested model, the one that answers, and the prompt."""
        model = self._model | {"probes": self.served.probes if self.served else ""}
        fingerprint = hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()[:16]
        return {
            "fingerprint": fingerprint,
            "tokens": "",
            "max_length": 0,
            "dtype": "float32",
            "prompt": self.prompt,
            "pre_tokenizer": "",
            "protocol": 1,
            **model,
        }

    def adopt(self, identity: Mapping[str, Any]) -> None:
        """Set which model answers, for a worker that sends nothing."""
        self.served = Served(str(identity["probes"]), "")

    def prepare(
        self, store: VectorStore, texts: Sequence[str] | None, progress: Progress, queries: Sequence[str] | None = None
    ) -> None:
        """Find out which model answers, before `identity` is used; nothing is sent if the store has all texts.

        ``texts`` are those to encode, None if not known yet; with ``queries``, the queries of a retrieval suite, they are the
        documents.
        Raises `HengyuError` if something must be sent and cannot be: no key, no server, no network.
        """
        self.endpoint.say = progress.say
        known = self._known(store)
        missing = -1
        if known and texts is not None:
            self.served = known[-1][1]
            views = (
                [(self, texts)] if queries is None else [(self.side("document"), texts), (self.side("query"), queries)]
            )
            spaces = [(store.space(vectors_key(view, "native")), some) for view, some in views]
            missing = sum(int((space.find(text_keys(some)) < 0).sum()) for space, some in spaces)
            if not missing:
                return
        count = len(texts) + len(queries or ()) if texts is not None and missing < 0 else missing
        sent = f"{count:,} texts" if count >= 0 else "texts"
        key = f" with the key in {self.spec.key_env}" if self.endpoint.key else ""
        progress.say(f"{self.endpoint.where}: {sent} to send to {self.endpoint.address.url}{key}")
        sentences = [p for p in probes() if p.strip()][:_PROBES]
        vectors = np.concatenate([v for _, v, _ in self._send(list(range(len(sentences))), sentences)])
        for space, served in reversed(known):
            if _alike(space.get(text_keys(sentences)), vectors):
                self.served = served
                return
        space = self._space(store, len(known))
        day = np.zeros((1, vectors.shape[1]), np.float32)
        day[0, 0] = datetime.now(UTC).date().toordinal()
        space.append(text_keys([*sentences, _DATE]), np.concatenate([vectors, day]))
        self.served = self._known(store)[-1][1]

    @property
    def warning(self) -> str:
        """A note on the model that answers, for readers; "" if there is none."""
        if not (self.served and self.served.number):
            return ""
        return (
            f"{self.id}: the model behind {self.endpoint.address.name} has changed since {self.served.before}: it gives other "
            f"vectors for the probe sentences; the vectors here are of the one first seen on {self.served.since}"
        )

    def _space(self, store: VectorStore, number: int) -> VectorSpace:
        plain = replace(self.spec, prompt="")
        return store.space({**Api(plain).identity(), "pooling": "probes", "number": number})

    def _known(self, store: VectorStore) -> list[tuple[VectorSpace, Served]]:
        """Return every model seen under this name, the first one first."""
        found: list[tuple[VectorSpace, Served]] = []
        sentences = [p for p in probes() if p.strip()][:_PROBES]
        while True:
            space = self._space(store, len(found))
            if (space.find(text_keys([*sentences, _DATE])) < 0).any():
                return found
            day = int(space.get(text_keys([_DATE]))[0, 0])
            since = date.fromordinal(min(max(day, 1), date.max.toordinal())).isoformat()
            before = found[-1][1].since if found else ""
            found.append((space, Served(_print(space.get(text_keys(sentences))), since, len(found), before)))

    def stream(
        self, texts: Sequence[str], poolings: Sequence[str], wanted: Callable[[NDArray[np.int64]], bool]
    ) -> Iterator[Chunk]:
        """Yield the vectors of the ``wanted`` texts, request by request; no other text is sent."""
        for name in poolings:
            if self.poolings.get(name, "is unknown"):
                raise HengyuError(f"encoder '{self.id}': pooling '{name}' is not available: {self.poolings.get(name)}")
        asked = [i for i in range(len(texts)) if wanted(np.array([i]))]
        start = 0
        while start < len(asked):
            some = asked[start : start + self.batch]
            start += len(some)
            for part, vectors, tokens in self._send(some, texts):
                counts = np.zeros((len(part), 3), np.float32)
                counts[:, 0] = _shares([len(texts[i]) for i in part], tokens)
                yield Chunk(np.array(part), {"native": vectors}, counts)

    def _send(self, ids: list[int], texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors, int]]:
        """Yield text numbers, vectors (n, d) and tokens, in as few requests as the server accepts."""
        waiting, size = [ids], self.batch
        while waiting:
            part = waiting.pop(0)
            try:
                vectors, tokens = self.endpoint.embed([self._prompted(texts[i]) for i in part])
            except Refused as e:
                if len(part) == 1:
                    raise HengyuError(
                        f"{self.endpoint.where}: {self.endpoint.address.name} refuses the text '{texts[part[0]][:40]}' of "
                        f"{len(texts[part[0]])} characters ({e}); check model, dimensions and the text's length"
                    ) from None
                size = e.smaller(len(part))
                rest = [*part, *(i for later in waiting for i in later)]
                waiting = [rest[i : i + size] for i in range(0, len(rest), size)]
                continue
            yield part, vectors, tokens
        if size < self.batch:  # no text was refused by itself: the batch was too large
            self.batch = size
            self.endpoint.say(
                f"{self.endpoint.where}: the server refuses larger batches than {size}; batch_size = {size} in a suite saves the "
                "refused requests"
            )

    def _prompted(self, text: str) -> str:
        prompt = self.prompt
        return prompt.replace("{text}", text) if "{text}" in prompt else prompt + text

    def read(self, texts: Sequence[str]) -> tuple[float, float]:
        """Return no tokens: only the server counts them, while encoding."""
        return 0.0, 0.0

    def encode(self, texts: Sequence[str], poolings: Sequence[str]) -> dict[str, Vectors]:
        """Return the vectors (n, d) of n texts."""
        chunks = list(self.stream(texts, poolings, lambda _: True))
        return {p: np.concatenate([c.vectors[p] for c in chunks]) for p in poolings}

    def release(self) -> None:
        """Close the connection."""
        self.endpoint.close()

    def price(self, tokens: float) -> float | None:
        """Return the price of a number of tokens; None if unknown."""
        return tokens / 1e6 * self.spec.price_per_million if self.spec.price_per_million else None

    def bill(self, tokens: int) -> dict[str, Any]:
        """Return what a run's header says: when the model was first asked, the tokens of all texts, and their price."""
        if self.served is None:
            return {}
        return {
            "first_encoded": self.served.since,
            "counted_tokens": tokens,
            "price": self.price(tokens),
            "price_per_million": self.spec.price_per_million or None,
        }

    def spent(self) -> str:
        """Describe what was sent so far; "" if nothing was."""
        sent = self.endpoint
        if not sent.requests:
            return ""
        price = self.price(sent.tokens)
        tokens = f"{sent.tokens:,} tokens" if sent.tokens else "the server counts no tokens"
        return (
            f"{sent.where}: {sent.texts:,} texts sent in {sent.requests:,} requests (probe sentences included), {tokens}"
            + (f", price {price:.4f}" if price is not None and sent.tokens else "")
        )


def _alike(a: Vectors, b: Vectors) -> bool:
    """Whether rows (n, d) are the same vectors, within a service's tolerance."""
    if a.shape != b.shape:
        return False
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return bool((1.0 - (x * y).sum(axis=1) / np.maximum(lengths, 1e-300)).max() <= _TOLERANCE)


def _print(vectors: Vectors) -> str:
    """Return a fingerprint (16 digits) of vectors (n, d): width and cosines to two decimals, which are robust to noise."""
    x = vectors.astype(np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    content = (x.shape[1], np.rint(100.0 * (x @ x.T)).astype(int).tolist())
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _shares(lengths: Sequence[int], total: int) -> NDArray[np.int64]:
    """Distribute a request's tokens over its texts (n,) by their characters, as integers with the same sum."""
    ends = np.cumsum(np.asarray(lengths, np.float64) + 1.0)
    shares: NDArray[np.int64] = np.diff(np.rint(ends / ends[-1] * total).astype(np.int64), prepend=0)
    return shares
