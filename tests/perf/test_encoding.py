"""Encoding against sentence-transformers called per column, and the cost of the cells beside it.

Both sides encode the same sentences with the same weights; ratios are of times taken in this run. Decision thresholds come from
the valid splits, so the suite of a thousand cells encodes and weighs those too.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.ratios import hold
from threadpoolctl import threadpool_limits

from hengyu.base.progress import silent
from hengyu.base.threads import one_thread
from hengyu.bench.encode import encode_missing
from hengyu.bench.run import run
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.metrics import spearman
from hengyu.numerics.similarity import cosines
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

pytestmark = pytest.mark.real
TASKS = ("STS-B", "PAWSX", "BQ", "LCQMC", "ATEC")
ROUNDS = {"STS-B": 3, "PAWSX": 3, "BQ": 3, "LCQMC": 1, "ATEC": 1}
SUITE = """
tasks = ["ATEC:test", "BQ:test", "LCQMC:test", "PAWSX:test", "STS-B:test"]
poolings = ["cls", "mean", "first-last-mean", "last2-mean"]
baselines = []
entries = [
    "raw", "center", "standardize", "abtt(top=1)", "abtt(top=2)", "abtt(top=3)", "abtt(top=5)",
    { entry = "whitening", dims = [16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 255] },
    { entry = "whitening(gamma=0.5)", dims = [16, 32, 64, 96, 128, 160, 192, 224, 255] },
    { entry = "pca", dims = [8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256] },
    { entry = "truncate", dims = [16, 32, 64, 96, 128, 160, 192, 224] },
]
"""


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


def test_a_thousand_cells_cost_at_most_a_quarter_of_the_encoding(
    senteval: Path, tmp_path: Path, benchmark: Any
) -> None:
    path = tmp_path / "fifty.toml"
    path.write_text(SUITE, encoding="utf-8")
    plan = make_plan(load_suite(path), data_dir=senteval)
    rows = sum(len(e.dims) or 1 for e in plan.suite.entries)
    assert rows == 50
    store = VectorStore(tmp_path / "store")
    encoder = open_encoder(EncoderSpec("hengyu-mini"))
    encoding, _ = seconds(lambda: encode_missing(store, encoder, plan.texts, plan.suite.poolings, silent))
    outcome = benchmark.pedantic(lambda: run(plan, reports=tmp_path, store=store, force=True), rounds=1, iterations=1)
    assert outcome.encoded == 0
    share = benchmark.stats.stats.median / encoding
    benchmark.extra_info["encoding"] = round(encoding, 1)
    hold(benchmark, "1,000 cells / encoding", share, at_most=0.25)


@pytest.mark.parametrize(
    ("dtype", "backend", "times", "points"), [("bfloat16", "torch", 2.0, 0.05), ("int8", "onnx", 2.4, 0.2)]
)
def test_fewer_bits_are_faster_and_move_no_score(
    dtype: str, backend: str, times: float, points: float, senteval: Path, benchmark: Any
) -> None:
    """bfloat16 needs AVX512-BF16 or AMX, and int8 VNNI; times are of the processor, on one thread.

    The scores are those of cosines, raw and whitened, in three poolings. In int8 the vectors of [CLS] are not held to a bound:
    whitening moves them most.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    needed = {"bfloat16": {"avx512_bf16", "amx_bf16"}, "int8": {"avx512_vnni", "avx_vnni", "amx_int8"}}[dtype]
    if not needed & set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split()):
        pytest.skip(f"the processor has none of {', '.join(sorted(needed))}")
    if backend == "onnx":
        pytest.importorskip("onnxruntime")
    poolings = ["mean", "cls", "first-last-mean"]
    with one_thread(), threadpool_limits(limits=1):
        exact = open_encoder(EncoderSpec("hengyu-mini"))
        fast = open_encoder(EncoderSpec("hengyu-mini", dtype=dtype, backend=backend))
        library = SentenceTransformer(str(exact.folder.path), device="cpu", model_kwargs={"dtype": torch.float32})
        for encoder in (exact, fast):
            encoder.encode(["热身"], ["mean"])
        library.encode(["热身"])
        taken: dict[str, tuple[float, float, float]] = {}
        drifts: dict[str, float] = {}

        def measure() -> None:
            for name in TASKS:
                pairs = load_pairs(load_cards()[name], "test", senteval)
                distinct = list(dict.fromkeys([*pairs.first, *pairs.second]))
                number = {t: i for i, t in enumerate(distinct)}
                first, second = (np.array([number[t] for t in column]) for column in (pairs.first, pairs.second))
                columns = (list(pairs.first), list(pairs.second))
                theirs = processor_seconds(partial(lambda two: [library.encode(c) for c in two], columns))[0]
                both = [processor_seconds(partial(e.encode, distinct, poolings)) for e in (exact, fast)]
                taken[name] = theirs, both[0][0], both[1][0]
                for pooling in poolings:
                    for word, method in (("raw", lambda x: x), ("whitening", lambda x: Whitening().fit(x)(x))):
                        a, b = (
                            spearman(cosines(method(v[pooling].astype(np.float64)), first, second), pairs.labels)
                            for _, v in both
                        )
                        drifts[f"{name} {pooling} {word}"] = 100 * (b - a)

        benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info |= {"seconds: theirs, ours, ours in fewer bits": taken, "drift in points": drifts}
    theirs, plain, ours = (sum(t) for t in zip(*taken.values(), strict=True))
    hold(benchmark, "sentence-transformers / ours, both in float32, all tasks", theirs / plain, at_least=1.2)
    hold(benchmark, f"sentence-transformers in float32 / ours in {dtype}, all tasks", theirs / ours, at_least=times)
    held = {name: abs(drift) for name, drift in drifts.items() if dtype != "int8" or " cls " not in name}
    worst = max(held, key=held.__getitem__)
    hold(benchmark, f"drift of a Spearman in points, worst: {worst}", held[worst], at_most=points)
