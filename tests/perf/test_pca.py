"""PCA and whitening next to scikit-learn's PCA, on one thread, in seconds of the processor of the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.ratios import hold

import hengyu
from hengyu.base.threads import one_thread

ROWS, WIDTH, KEPT = 50_000, 256, 64


def seconds(*works: Callable[[], Any], rounds: int = 5) -> list[tuple[float, Any]]:
    """Return the best seconds of each of some works that take turns, and what it gave last."""
    best, found = [float("inf")] * len(works), [None] * len(works)
    for _ in range(rounds):
        for i, work in enumerate(works):
            started = time.process_time()
            found[i] = work()
            best[i] = min(best[i], time.process_time() - started)
    return list(zip(best, found, strict=True))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("PCA", {"svd_solver": "covariance_eigh"}),
        ("PCA", {"svd_solver": "full"}),
        ("Whitening", {"svd_solver": "covariance_eigh", "whiten": True}),
    ],
    ids=["pca", "pca by svd", "whitening"],
)
def test_against_scikit_learn(ours: str, theirs: dict[str, Any], benchmark: Any) -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, WIDTH)) @ (
        rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5
    )  # float64, as Hengyu accumulates
    make = getattr(hengyu.estimators, ours)
    with one_thread():
        (own, a), (other, b) = benchmark.pedantic(
            lambda: seconds(
                lambda: make(dim=KEPT).fit(x).transform(x),
                lambda: PCA(n_components=KEPT, **theirs).fit(x).transform(x),
            ),
            rounds=1,
        )
    lengths = [np.linalg.norm(v, axis=0) for v in (a, b)]  # columns agree but for their signs
    share = np.abs((a * b).sum(axis=0)) / (lengths[0] * lengths[1])
    assert share.min() > 0.999
    benchmark.extra_info |= {"seconds": own, "seconds of scikit-learn": other}
    hold(benchmark, f"scikit-learn {theirs['svd_solver']} / ours, {ours}", other / own, at_least=0.5)
