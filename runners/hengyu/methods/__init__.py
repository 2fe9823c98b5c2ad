"""The methods: one file a step, found by its file name; its class's dataclass fields are its parameters.

``transforms/linear_flow.py`` is the method ``linear-flow`` and holds the dataclass named in its ``METHOD``. Adding a method
means adding a file; there is no list to edit. Methods from outside the package come from `hengyu.methods.external`.
"""

from __future__ import annotations

from hengyu.methods.base import Code, Floats, Ids, Index, Method, Transform
from hengyu.methods.fitted import MomentTransform, SampleTransform
from hengyu.methods.registry import find_method, home_of, method_names
from hengyu.methods.training.tuner import FineTuner, Tuner

__all__ = [
    "Code",
    "FineTuner",
    "Floats",
    "Ids",
    "Index",
    "Method",
    "MomentTransform",
    "SampleTransform",
    "Transform",
    "Tuner",
    "find_method",
    "home_of",
    "method_names",
]
