"""Encoding against sentence-transformers called per column: both sides encode the same sentences with the same weights."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.ratios import hold
from threadpoolctl import threadpool_limits

from hengyu.base.threads import one_thread
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.metrics import spearman
from hengyu.numerics.similarity import cosines

pytestmark = pytest.mark.real
TASKS = ("STS-B", "PAWSX", "BQ", "LCQMC", "ATEC")
ROUNDS = {"STS-B": 3, "PAWSX": 3, "BQ": 3, "LCQMC": 1, "ATEC": 1}


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def processor_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def test_encoding_beats_sentence_transformers_per_column(senteval: Path, benchmark: Any) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    encoder = open_encoder(EncoderSpec("hengyu-mini"))
    library = SentenceTransformer(str(encoder.folder.path), device="cpu", model_kwargs={"dtype": torch.float32})
    encoder.encode(["热身"], ["mean"])
    library.encode(["热身"])
    theirs: dict[str, float] = {}
    ours: dict[str, float] = {}

    def measure() -> None:
        for name in TASKS:
            pairs = load_pairs(load_cards()[name], "test", senteval)
            distinct = list(dict.fromkeys([*pairs.first, *pairs.second]))
            slow, fast = [], []
            for _ in range(ROUNDS[name]):
                columns = (list(pairs.first), list(pairs.second))
                taken, vectors = seconds(partial(lambda two: [library.encode(c) for c in two], columns))
                slow.append(taken)
                taken, mine = seconds(partial(lambda texts: encoder.encode(texts, ["mean"])["mean"], distinct))
                fast.append(taken)
            number = {t: i for i, t in enumerate(distinct)}
            assert np.abs(mine[[number[t] for t in pairs.first]] - vectors[0]).max() < 1e-5
            theirs[name], ours[name] = statistics.median(slow), statistics.median(fast)

    benchmark.pedantic(measure, rounds=1, iterations=1)
    ratios = {name: theirs[name] / ours[name] for name in TASKS}
    total = sum(theirs.values()) / sum(ours.values())
    hold(benchmark, "sentence-transformers / ours, all tasks", total, at_least=1.2)
    for name, ratio in ratios.items():
        hold(benchmark, f"sentence-transformers / ours, {name}", ratio, at_least=1.7 if name == "BQ" else 1.0)


@dataclass(frozen=True)
class Engine:
    """A dtype on a backend, and what is held of it."""

    dtype: str
    backend: str
    times: float  # as fast as sentence-transformers in float32, at least
    points: float  # that a Spearman may move, at most
    needs: frozenset[str] = frozenset()  # one of these instructions
    held: tuple[str, ...] = ("mean", "cls", "first-last-mean")  # the poolings whose scores may not move more

    @property
    def name(self) -> str:
        return f"{self.dtype} {self.backend}"

    @property
    def missing(self) -> str:
        """Why it is not measured here."""
        if self.backend != "torch" and find_spec({"onnx": "onnxruntime"}.get(self.backend, self.backend)) is None:
            return f"{self.backend} is not installed"
        if self.needs and not self.needs & set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split()):
            return f"the processor has none of {', '.join(sorted(self.needs))}"
        return ""


HALF, EIGHT = frozenset({"avx512_bf16", "amx_bf16"}), frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
MEANS = ("mean", "first-last-mean")
ENGINES = (
    Engine("float32", "torch", 1.2, 0.0),
    Engine("float32", "onnx", 1.3, 0.01),
    Engine("bfloat16", "torch", 1.6, 0.05, HALF),
    Engine("bfloat16", "openvino", 2.2, 0.05, HALF, MEANS),
    Engine("int8", "onnx", 3.0, 0.2, EIGHT, MEANS),
    Engine("int8", "openvino", 2.6, 0.1, EIGHT, MEANS),
)
METHODS: dict[str, Callable[[Any], Any]] = {"raw": lambda x: x, "whitening": lambda x: Whitening().fit(x)(x)}


def test_fewer_bits_are_faster_and_move_no_score(senteval: Path, benchmark: Any) -> None:
    """Times are of the processor, on one thread, and the engines take turns on every task.

    The scores are those of cosines, raw and whitened, in three poolings. Vectors of [CLS] are no means over tokens, so rounding
    moves them more, and whitening most: they are held to a bound where the last block is exact, which is in bfloat16 on PyTorch.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    here = [e for e in ENGINES if not e.missing]
    poolings = list(ENGINES[0].held)
    taken: dict[str, dict[str, float]] = {}
    drifts: dict[Engine, dict[str, float]] = {e: {} for e in here}
    with one_thread(), threadpool_limits(limits=1):
        encoders = [open_encoder(EncoderSpec("hengyu-mini", dtype=e.dtype, backend=e.backend)) for e in here]
        folder = encoders[0].folder.path
        library = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
        for encoder in encoders:
            encoder.encode(["热身"], ["mean"])
        library.encode(["热身"])

        def measure() -> None:
            for name in TASKS:
                pairs = load_pairs(load_cards()[name], "test", senteval)
                distinct = list(dict.fromkeys([*pairs.first, *pairs.second]))
                number = {t: i for i, t in enumerate(distinct)}
                first, second = (np.array([number[t] for t in column]) for column in (pairs.first, pairs.second))
                columns = (list(pairs.first), list(pairs.second))
                theirs = processor_seconds(partial(lambda two: [library.encode(c) for c in two], columns))[0]
                taken[name] = {"sentence-transformers": theirs}
                exact: dict[str, float] = {}
                for engine, encoder in zip(here, encoders, strict=True):
                    time_taken, vectors = processor_seconds(partial(encoder.encode, distinct, poolings))
                    taken[name][engine.name] = time_taken
                    for pooling in poolings:
                        for word, method in METHODS.items():
                            rows = method(vectors[pooling].astype(np.float64))
                            score = 100 * spearman(cosines(rows, first, second), pairs.labels)
                            row = f"{name} {pooling} {word}"
                            drifts[engine][row] = score - exact.setdefault(row, score)

        benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info["processor seconds"] = taken
    benchmark.extra_info["drift in points"] = {e.name: drifts[e] for e in here}
    benchmark.extra_info["not measured"] = {e.name: e.missing for e in ENGINES if e.missing}
    total = {who: sum(taken[name][who] for name in TASKS) for who in taken[TASKS[0]]}
    for engine in here:
        ratio = total["sentence-transformers"] / total[engine.name]
        hold(
            benchmark,
            f"sentence-transformers in float32 / ours in {engine.name}, all tasks",
            ratio,
            at_least=engine.times,
        )
    for engine in here[1:]:
        held = {row: abs(drift) for row, drift in drifts[engine].items() if row.split()[1] in engine.held}
        worst = max(held, key=held.__getitem__)
        hold(
            benchmark,
            f"{engine.name}: drift of a Spearman in points, worst: {worst}",
            held[worst],
            at_most=engine.points,
        )
