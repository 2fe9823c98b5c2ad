"""Encode once: the texts that the store lacks, every pooling from one pass, saved as it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.memory import give_back_memory
from hengyu.base.progress import Progress
from hengyu.bench.estimate import refuse_full_disk
from hengyu.encoders import Chunk, Encoder, EncoderFailed, Unavailable
from hengyu.numerics.sample import Sample
from hengyu.storage.identity import vectors_key
from hengyu.storage.vectors import VectorSpace, VectorStore, text_keys
from hengyu.suites.plan import FitData

__all__ = [
    "TOKENS",
    "Vectors",
    "costs_of",
    "encode_missing",
    "encode_some",
    "look_before",
    "open_spaces",
    "refuse_unknown",
]

_SAVE_EVERY = 8192  # texts: a killed run loses at most this many
TOKENS = "tokens"  # the space of the token counts, beside those of the poolings
_MOSTLY_UNKNOWN = 0.5
_MEASURED = 3.0  # seconds of encoding that an estimate is made from


@dataclass
class Vectors:
    """The vectors of one encoder for the texts of a plan, read from the store as they are asked for.

    One pooling is mapped into memory at a time: they are used one after the other.
    """

    spaces: Mapping[str, VectorSpace]
    keys: NDArray[np.uint8]  # (m, 16), one for each text
    encoded: int  # how many texts had to be encoded now
    tokens: float = 0.0  # that were read for it
    unknown: float = 0.0  # [UNK] among them
    asking: Vectors | None = None  # those of queries, where they are encoded otherwise than documents
    _mapped: str = ""

    def get(self, pooling: str, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (n, d) of texts by their numbers."""
        if self._mapped and self._mapped != pooling:
            self.spaces[self._mapped].unmap()
        self._mapped = pooling
        return self.spaces[pooling].get(self.keys[ids])

    def sample(self, pooling: str, fit: FitData) -> Sample:
        """Return the rows that a method is fitted on, read from the store block by block."""
        return Sample(lambda at: self._sided(pooling, fit, at), fit.counts)

    def _sided(self, pooling: str, fit: FitData, at: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (n, d) of rows of a fit, each of the side that the fit says."""
        ids, asking = fit.ids[at], self.asking
        asks = np.zeros(len(at), bool) if asking is None or fit.asks is None else fit.asks[at]
        if asking is None or not asks.any():
            return self.get(pooling, ids)
        if asks.all():
            return asking.get(pooling, ids)
        out = np.empty((len(ids), self.spaces[pooling].dim or 0), np.float32)
        out[~asks], out[asks] = self.get(pooling, ids[~asks]), asking.get(pooling, ids[asks])
        return out

    def rows(self, pooling: str, ids: NDArray[np.int64]) -> Sample:
        """Return texts by their numbers (n,), each once, read from the store block by block."""
        return Sample(lambda at: self.get(pooling, ids[at]), np.ones(len(ids), np.int64))

    def tokens_of(self, ids: NDArray[np.int64]) -> int:
        """Return the tokens of texts by their numbers, as the encoder counted them."""
        return int(self.get(TOKENS, ids)[:, 0].astype(np.float64).sum())

    def coverage(self, ids: NDArray[np.int64], asked: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Return the share of [UNK] among the tokens, and of truncated texts, each repeat counted.

        Args:
            ids: numbers of texts.
            asked: numbers of queries that are encoded otherwise than ``ids``.
        """
        counts = self.get(TOKENS, ids).astype(np.float64)
        if asked is not None and self.asking is not None:
            counts = np.concatenate([counts, self.asking.get(TOKENS, asked)])
        tokens = max(counts[:, 0].sum(), 1.0)
        return {"unk": round(float(counts[:, 1].sum() / tokens), 6), "truncated": round(float(counts[:, 2].mean()), 6)}


def open_spaces(
    store: VectorStore, encoder: Encoder, poolings: Sequence[str], *, write_only: bool = False
) -> dict[str, VectorSpace]:
    """Return the spaces of an encoder's poolings, and that of its token counts; each is opened once."""
    identity = encoder.identity()
    return {
        name: store.space(vectors_key(encoder, name, identity), write_only=write_only) for name in (*poolings, TOKENS)
    }


def encode_missing(
    store: VectorStore,
    encoder: Encoder,
    texts: Sequence[str],
    poolings: Sequence[str],
    progress: Progress,
    *,
    spaces: Mapping[str, VectorSpace] | None = None,
    missing: Mapping[str, NDArray[np.bool_]] | None = None,
    whole: bool = True,
) -> Vectors:
    """Encode the texts the store lacks in any pooling and append them; returns access to all.

    With ``spaces``, which `open_spaces` gave, they are used again, and the encoder stays loaded for the next texts; what
    each of them lacks is looked up, unless ``missing`` says it.
    Raises `EncoderFailed` where the encoder cannot give the vectors: before anything is encoded when the model's vocabulary
    turns more than half of the tokens into [UNK], unless the texts are not the ``whole`` of those that this is judged by; then
    what was freed is not given back either, which takes longer than a small part does.
    """
    identity = encoder.identity()
    more_to_come = spaces is not None
    if spaces is None:
        spaces = open_spaces(store, encoder, poolings)
    keys = text_keys(texts)
    if missing is None:
        missing = {name: space.find(keys) < 0 for name, space in spaces.items()}
    wanted = np.logical_or.reduce(list(missing.values()))
    total = int(wanted.sum())
    seen = unknown = 0.0
    if total:
        if whole:
            look_before(encoder, texts)
        pending: list[Chunk] = []
        cost = costs_of(texts, identity)
        pace = Pace(float(cost[wanted].sum()), progress, f"encoding {total} texts with {encoder.id}")

        def save() -> None:
            for name, space in spaces.items():
                indices = np.concatenate([c.indices for c in pending])
                rows = np.concatenate([c.counts if name == TOKENS else c.vectors[name] for c in pending])
                new = missing[name][indices]
                space.append(keys[indices[new]], rows[new])
            pending.clear()
            if whole and not encoder.hosted:
                give_back_memory()

        with progress.stage(f"encoding {total} texts with {encoder.id}, characters", int(pace.total)) as tick:
            try:
                for chunk in _stream(encoder, texts, poolings, wanted):
                    if not pending and not pace.done:
                        width = sum(v.shape[1] for v in chunk.vectors.values())
                        refuse_full_disk(total * (width * 4 + 12 + 16 * len(spaces)), store.root)
                    pending.append(chunk)
                    pace.step(float(cost[chunk.indices][wanted[chunk.indices]].sum()), float(chunk.counts[:, 0].sum()))
                    seen += float(chunk.counts[:, 0].sum())
                    unknown += float(chunk.counts[:, 1].sum())
                    tick(int(pace.done))
                    if sum(len(c.indices) for c in pending) >= (1 if encoder.hosted else _SAVE_EVERY):
                        save()
            except (KeyboardInterrupt, EncoderFailed):
                if pending:
                    save()
                raise
            if pending:
                save()
        if not more_to_come:
            encoder.release()
            give_back_memory()
    return Vectors(spaces, keys, total, seen, unknown)


def look_before(encoder: Encoder, texts: Sequence[str]) -> None:
    """Raise `EncoderFailed` for what tokenising the texts shows: a tokenizer that fails, a vocabulary of another language."""
    try:
        read, unknown = encoder.read(texts)
    except EncoderFailed:
        raise
    except HengyuError as e:
        raise EncoderFailed(*e.problems) from None
    refuse_unknown(encoder, read, unknown)


def _stream(
    encoder: Encoder, texts: Sequence[str], poolings: Sequence[str], wanted: NDArray[np.bool_]
) -> Iterator[Chunk]:
    """Encode those texts that are wanted; raises `EncoderFailed` where the encoder stops, or gives numbers that are none."""
    try:
        for chunk in encoder.stream(texts, poolings, lambda batch: bool(wanted[batch].any())):
            refuse_infinite(encoder, chunk, texts)
            yield chunk
    except EncoderFailed:
        raise
    except HengyuError as e:
        raise EncoderFailed(*e.problems) from None


def refuse_infinite(encoder: Encoder, chunk: Chunk, texts: Sequence[str]) -> None:
    """Raise `Unavailable` for the poolings that give a text a vector with NaN or an infinity."""
    reasons = {}
    for name, rows in chunk.vectors.items():
        wrong = ~np.isfinite(rows).all(axis=1)
        if wrong.any():
            text = texts[int(chunk.indices[int(wrong.argmax())])]
            what = "NaN" if np.isnan(rows).any() else "an infinity"
            reasons[name] = (
                f"the vector of the text '{text[:40]}' holds {what}; check the model's weights, and encode it in float32"
            )
    if reasons:
        raise Unavailable(encoder.id, reasons, broken=True)


def costs_of(texts: Sequence[str], identity: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return about what each text (n,) costs, in characters: a bar that counts texts would lie, as the longest come first."""
    longest = int(identity.get("max_length") or 512)
    if identity.get("long") == "windows":  # all of a text is read
        longest = max(map(len, texts), default=0)
    return np.fromiter((min(len(t), longest) + 2 for t in texts), np.int64, len(texts))


def encode_some(
    store: VectorStore,
    encoder: Encoder,
    texts: Sequence[str],
    ids: NDArray[np.int64],
    pooling: str,
    progress: Progress,
    *,
    apart: NDArray[np.int64] | None = None,
) -> Vectors:
    """Encode as `encode_missing` those of the texts that ``ids`` name; what is returned is asked for by the same numbers.

    Those that ``apart`` names are encoded too, in batches of their own: the last bits of the others do not depend on them.
    """
    spaces = open_spaces(store, encoder, [pooling])
    groups = [ids] if apart is None or not len(apart) else [ids, apart]
    parts = [
        encode_missing(store, encoder, [texts[int(i)] for i in some], [pooling], progress, spaces=spaces)
        for some in groups
    ]
    keys = np.zeros((len(texts), parts[0].keys.shape[1]), parts[0].keys.dtype)
    for some, part in zip(groups, parts, strict=True):
        keys[some] = part.keys
    encoded = sum(part.encoded for part in parts)
    if encoded:  # the model was loaded once for all of them
        encoder.release()
        give_back_memory()
    return Vectors(spaces, keys, encoded, sum(part.tokens for part in parts), sum(part.unknown for part in parts))


@dataclass
class Pace:
    """Says once, from the batches that have passed, how long the rest will take."""

    total: float  # characters
    progress: Progress
    title: str
    done: float = 0.0
    _started: float | None = None
    _before: float = 0.0  # done at the start: the first batch also loads the model
    _tokens: float = 0.0
    _said: bool = False

    def step(self, characters: float, tokens: float) -> None:
        """Take a batch that has passed."""
        self.done += characters
        now = time.perf_counter()
        if self._started is None:
            self._started, self._before = now, self.done
            return
        self._tokens += tokens
        taken = now - self._started
        if not self._said and taken >= _MEASURED:
            self._said = True
            left = taken / max(self.done - self._before, 1.0) * (self.total - self.done)
            self.progress.say(f"{self.title}: {self._tokens / taken:,.0f} tokens/s, about {left:.0f} s left")


def refuse_unknown(encoder: Encoder, seen: float, unknown: float) -> None:
    """Raise `EncoderFailed` when a model cannot read the texts: more than half of their tokens are [UNK]."""
    if seen and unknown / seen > _MOSTLY_UNKNOWN:
        raise EncoderFailed(
            f"encoder '{encoder.id}': its vocabulary turns {unknown / seen:.0%} of the tokens into [UNK], so its vectors "
            "say nothing about these texts; give a model made for Chinese"
        )
