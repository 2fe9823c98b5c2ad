"""Streaming whitening: ten million rows in less than 1 GiB, at the speed of the matrix product that it is made of.

HENGYU_ROWS sets another number of rows. The reference is the plain product of two blocks of float64 (dgemm) in the same
process, so that the ratio counts everything else: reading, conversion, mean, centring, merging.
"""

import json
import os
import subprocess
import sys
from typing import Any

from helpers.ratios import hold

ROWS = int(os.environ.get("HENGYU_ROWS", "10_000_000"))
WIDTH = 256
PROGRAM = """
import json, sys, time
import numpy as np
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample

rows, width = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
pool = rng.standard_normal((1 << 16, width), dtype=np.float32) * np.geomspace(1, 0.01, width, dtype=np.float32) + 3
a, b = (rng.standard_normal((4096, width)) for _ in range(2))

def product(blocks):
    start = time.perf_counter()
    for _ in range(blocks):
        a.T @ b
    return (time.perf_counter() - start) / blocks / 4096

made = 0.0

def take(ids):  # synthetic rows: those of a pool, moved by their number
    global made
    start = time.perf_counter()
    rows = pool[ids & 0xFFFF] + (ids % 7).astype(np.float32)[:, None]
    made += time.perf_counter() - start
    return rows

product(20)
part, total, seconds, reference = 1_000_000, None, 0.0, []
for begin in range(0, rows, part):
    reference.append(product(60))
    sample = Sample(lambda ids, begin=begin: take(ids + begin), np.ones(min(part, rows - begin), np.int64))
    made, start = 0.0, time.perf_counter()
    found = Moments.of(sample)
    total = found if total is None else total.merge(found)
    seconds += time.perf_counter() - start - made  # making up the rows is no part of whitening
white = Whitening().fit_moments(total)
some = Moments.of(Sample(take, np.ones(7 * 65536, np.int64)).then(white)).covariance
error = float(np.abs(some - np.eye(len(some))).max())
print(json.dumps({
    "rows per second": rows / seconds, "of the product": 1 / np.median(reference), "count": total.count, "error": error,
    # not ru_maxrss, which a process takes over from the one that started it
    "peak": 1024 * next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmHWM:")),
}))
"""


def test_ten_million_rows_in_less_than_a_gibibyte_at_the_speed_of_blas(benchmark: Any) -> None:
    path = os.pathsep.join(p for p in sys.path if p)

    def measure() -> dict[str, float]:
        command = [sys.executable, "-P", "-c", PROGRAM, str(ROWS), str(WIDTH)]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
        )
        found: dict[str, float] = json.loads(done.stdout)
        return found

    found = benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info.update(rows=ROWS, **found)
    assert found["count"] == ROWS
    assert found["error"] < 0.01
    hold(
        benchmark, "streaming moments, share of BLAS", found["rows per second"] / found["of the product"], at_least=0.8
    )
    hold(benchmark, "streaming moments, GiB", found["peak"] / (1 << 30), at_most=1.0)
