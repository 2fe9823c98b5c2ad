"""The randomized solver against the exact one, on 7,216 vectors of real sentences made wide: time, memory, error, score.

The vectors of hengyu-sts:test are widened by tanh(x W + 0.3), W random, so that their spectrum falls as those of models do.
HENGYU_WIDTHS sets other widths (512,1024,4096 for example), HENGYU_DIM another dimension; `pytest -s` prints the table. Each
solver is a process of its own; seconds are those of the processor, and memory is what the peak grows by.
"""

import json
import os
import subprocess
import sys
from typing import Any

from helpers.ratios import hold

WIDTHS = [int(w) for w in os.environ.get("HENGYU_WIDTHS", "4096").split(",")]
DIM = int(os.environ.get("HENGYU_DIM", "128"))
PROGRAM = """
import json, resource, sys, time
import numpy as np
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.metrics import spearman
from hengyu.numerics.moments import Moments
from hengyu.numerics.similarity import cosines
from hengyu.numerics.sketches import expected_error
from hengyu.tools.task_vectors import load_sentences

solver, width, dim = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
loaded = load_sentences("hengyu-mini", "hengyu-sts:test")
z = loaded.x - loaded.x.mean(axis=0)
z /= np.linalg.norm(z, axis=1).mean()
x = np.tanh(z @ np.random.default_rng(0).normal(size=(z.shape[1], width)) * 2 + 0.3).astype(np.float32)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, start = peak(), time.process_time()
method = Whitening(dim=dim, solver=solver).fit(x)
seconds, memory = time.process_time() - start, (peak() - before) / 1024
found = {"seconds": seconds, "MiB": memory, "spearman": spearman(cosines(method(x), loaded.first, loaded.second), loaded.labels)}
found["bound"] = method.summary.get("error_bound")
if solver == "exact":
    values = Moments.of(x).spectrum.values
    found |= {"best": values[min(256, width) - 1] / values[0], "expected": expected_error(values, 256) / values[0]}
print(json.dumps(found))
"""


def measured(solver: str, width: int) -> dict[str, float]:
    words = [sys.executable, "-c", PROGRAM, solver, str(width), str(DIM)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_wide_vectors_are_whitened_five_times_as_fast(benchmark: Any) -> None:
    table = {w: (measured("exact", w), measured("randomized", w)) for w in WIDTHS[:-1]}
    last = WIDTHS[-1]
    table[last] = benchmark.pedantic(
        lambda: (measured("exact", last), measured("randomized", last)), rounds=1, iterations=1
    )
    for width, (exact, sketched) in table.items():
        sys.stdout.write(f"\nwidth {width}\n  exact      {json.dumps(exact)}\n  randomized {json.dumps(sketched)}\n")
    for width, (exact, sketched) in table.items():
        assert abs(exact["spearman"] - sketched["spearman"]) < (1e-3 if DIM <= 128 else 5e-3), width
    if last >= 4096:
        exact, sketched = table[last]
        hold(benchmark, f"exact / randomized at {last}", exact["seconds"] / sketched["seconds"], at_least=5)
