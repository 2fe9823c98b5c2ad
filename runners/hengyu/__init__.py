"""Hengyu (衡语) benchmarks Chinese sentence embeddings: encode once, score many methods.

hengyu.run("smoke")                          # run a suite
hengyu.frame("latest")                       # its records as a pandas table
hengyu.score(vectors_a, vectors_b, labels)   # existing vectors
hengyu.estimators.Whitening(dim=64)          # a method as a scikit-learn transformer
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hengyu.base.version import __version__

if TYPE_CHECKING:
    from hengyu import estimators
    from hengyu.api import Score, frame, run, score

__all__ = ["Score", "__version__", "estimators", "frame", "run", "score"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that ``import hengyu`` costs nothing."""
    if name == "estimators":
        return import_module("hengyu.estimators")
    if name in __all__:
        return getattr(import_module("hengyu.api"), name)
    raise AttributeError(f"module 'hengyu' has no attribute '{name}'; it has {', '.join(__all__)}")
