"""Measures the encoding speed of a model relative to the machine's matrix product, timed in the same process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.model_folder import ModelFolder

__all__ = ["Throughput", "flops_per_token", "measure", "peak"]

_SIDE = 2048  # side of the square matrices of the reference
_COMPARED = 256  # number of texts whose vectors are compared


@dataclass(frozen=True)
class Throughput:
    """The throughput of one dtype, backend and number of threads."""

    spec: EncoderSpec
    threads: int
    tokens: float  # per second, including special ones
    texts: float  # per second
    peak: float  # floating-point operations per second of a plain matrix product in that dtype
    share: float  # of the peak, counting the operations of the model's matrix products
    drift: float  # largest cosine distance of a vector from that of the first configuration


def measure(
    specs: Sequence[EncoderSpec],
    texts: Sequence[str],
    threads: Sequence[int],
    *,
    seconds: float = 5.0,
    offline: bool = False,
    side: int = _SIDE,
) -> Iterator[Throughput]:
    """Yield the throughput of each encoder and number of threads, on as many texts as take about ``seconds``.

    ``side`` is that of the square matrices whose product is the reference.
    """
    import torch

    if not texts:
        raise HengyuError("there is no text to encode; give a file with one sentence per line")
    distinct = list(dict.fromkeys(texts))
    before = torch.get_num_threads()
    rng = np.random.default_rng(0)
    first: Any = None
    try:
        for spec in specs:
            encoder = open_encoder(spec, offline=offline)
            pooling = "native" if encoder.folder.static else "mean"
            for count in threads:
                torch.set_num_threads(count)
                vectors = encoder.encode(distinct[:_COMPARED], [pooling])[pooling].astype(np.float64)  # warms up, too
                warm = time.perf_counter()
                encoder.encode(distinct[:_COMPARED], [pooling])
                rate = len(vectors) / (time.perf_counter() - warm)
                first = vectors if first is None else first
                # texts of all lengths, as many as fill the time: batches start with the longest ones
                some = rng.permutation(len(distinct))[: max(_COMPARED, int(rate * seconds))]
                tokens = length = done = 0.0
                start = time.perf_counter()
                while not done or time.perf_counter() - start < seconds / 2:
                    for chunk in encoder.stream([distinct[i] for i in some], [pooling], lambda _: True):
                        n = float(chunk.counts[:, 0].sum()) + 2 * len(chunk.indices)
                        tokens, done = tokens + n, done + len(chunk.indices)
                        length += n * n / len(chunk.indices)
                taken = time.perf_counter() - start
                most = peak(spec.dtype, encoder.device, side=side)
                work = tokens * flops_per_token(encoder.folder, length / tokens)
                yield Throughput(
                    spec, count, tokens / taken, done / taken, most, work / taken / most, _distance(first, vectors)
                )
                encoder.release()  # other engines set their threads when they load
    finally:
        torch.set_num_threads(before)


def peak(dtype: str, device: str = "cpu", repeats: int = 5, side: int = _SIDE) -> float:
    """Return the operations per second of a product of two square matrices, the best of several; of int8 that of float32."""
    import torch

    dtype = "float32" if dtype == "int8" else dtype
    a, b = (torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        c = a @ b
        c[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2.0 * side**3 / best


def flops_per_token(folder: ModelFolder, length: float) -> float:
    """Return the operations of matrix products per token, in a text of a number of tokens.

    Two for every matrix weight except embeddings (and the pooler, which sees one token per text), plus the scores and sums
    of attention: 4 x width x length per layer.
    """
    from safetensors import safe_open

    if folder.ngrams:
        return 0.0  # rows are added up
    weights = layers = width = 0
    for path in folder.transformer.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                shape = file.get_slice(name).get_shape()
                if len(shape) == 2 and "embedding" not in name and "pooler" not in name:
                    weights += shape[0] * shape[1]
    config = folder.config
    layers, width = int(config.get("num_hidden_layers") or 0), int(config.get("hidden_size") or 0)
    return 2.0 * weights + 4.0 * width * length * layers


def _distance(a: np.ndarray[Any, np.dtype[np.float64]], b: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.max(1.0 - (a * b).sum(axis=1) / np.maximum(lengths, 1e-300)).clip(min=0.0))
