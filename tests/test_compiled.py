"""Loops in NumPy and compiled: the same bits, and small work compiles nothing."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from helpers import scored

from hengyu.numerics import bootstrap, compiled, metrics, similarity
from hengyu.numerics.compiled import Compiled
from hengyu.numerics.metrics import spearman_many
from hengyu.numerics.resampling import METRICS, Resamples
from hengyu.numerics.similarity import cosines_by_dim

LOOPS = [v for m in (bootstrap, metrics, similarity) for v in vars(m).values() if isinstance(v, Compiled)]
LABELS = {**scored.LABELS, "100 levels": lambda rng, n: rng.integers(0, 100, n) / 7}
SCORES = {
    **scored.SCORES,
    "constant": lambda rng, y: np.ones(len(y)),
    "signed zeros": lambda rng, y: rng.choice([-0.0, 0.0, 1.0], len(y)),
}


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Make every loop run in one form or the other; the list names the form that is wanted, and the loops that ran."""
    ran = ["numpy"]

    def call(self: Compiled, *args: object) -> None:
        ran.append(self.function.__name__)
        (self.plain if ran[0] == "numpy" else self.ready())(*args)

    monkeypatch.setattr(Compiled, "__call__", call)
    yield ran


def test_there_are_nine_loops_of_the_bootstrap_the_jackknife_and_the_sweep() -> None:
    assert len({loop.function.__name__ for loop in LOOPS}) == len(LOOPS) == 9


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("labels", LABELS)
def test_both_forms_of_the_bootstrap_have_the_same_bits(labels: str, scores: str, forms: list[str]) -> None:
    ran = set()
    for n in (2, 3, 5, 40, 700, 2000):
        rng = np.random.default_rng([5, n])
        y = LABELS[labels](rng, n)
        y[:2] = 0.0, 1.0
        x = SCORES[scores](rng, y)
        names = METRICS if set(np.unique(y)) == {0.0, 1.0} else METRICS[:2]
        found = []
        for forms[0] in ("numpy", "compiled"):
            drawn = Resamples(y, 100, seed=n).run([x], names)
            found.append([*(drawn[name].tobytes() for name in names), *(v.tobytes() for v in spearman_many([x], y))])
        assert found[0] == found[1], n
        ran |= {*forms[1:]}
    assert {"draw", "settle", "label_sides", "_influence"} <= ran


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8])
def test_both_forms_of_a_sweep_have_the_same_bits(dtype: type, forms: list[str]) -> None:
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(150, 33)) * 40).astype(dtype)
    x[7] = 0
    x[8, :5] = 0
    first, second = rng.integers(0, 150, 200), rng.integers(0, 150, 200)
    found = []
    for forms[0] in ("numpy", "compiled"):
        found.append(cosines_by_dim(x, first, second, range(1, 34)).tobytes())
    assert found[0] == found[1]
    assert forms[1:] == ["_every_dim"] * 2


def test_small_work_compiles_nothing_and_large_work_does_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    loop = Compiled(lambda x: calls.append("compiled"), "", lambda x: calls.append("numpy"))
    monkeypatch.setattr(loop, "ready", lambda: loop.function)
    loop(np.zeros(3))
    loop.expect(1000)
    loop(np.zeros(3))
    loop(np.zeros(compiled.EXACT_ROWS + 1))
    loop.expect(10**9)
    loop(np.zeros(3))
    assert calls == ["numpy", "numpy", "compiled", "compiled"]


def test_what_numpy_took_too_long_for_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0.0, 10.0, 0.3))
    monkeypatch.setattr(compiled.time, "thread_time", lambda: next(clock))
    calls = []
    loop = Compiled(lambda x: calls.append("compiled"), "", lambda x: calls.append("numpy"))
    monkeypatch.setattr(loop, "ready", lambda: loop.function)
    for _ in range(6):
        loop(np.zeros(3))
    assert calls == ["numpy"] * 4 + ["compiled"] * 2


def test_a_small_bootstrap_does_not_even_import_numba() -> None:
    code = (
        "import sys, numpy as np, hengyu\n"
        "x = np.random.default_rng(0).normal(size=(2, 300, 16))\n"
        "hengyu.score(x[0], x[1], np.arange(300) % 5, resamples=200)\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
