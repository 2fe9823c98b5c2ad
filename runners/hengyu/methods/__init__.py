"""The methods: one file per step, found by its file name; the fields of its dataclass are the parameters.

``transforms/linear_flow.py`` is the method ``linear-flow``; its ``METHOD`` names the dataclass. To add a method, add a file;
there is no list to edit. Methods from outside the package come from `hengyu.methods.external`.
"""

from __future__ import annotations

from hengyu.methods.base import Code, Floats, Ids, Index, Method, Similarity, Transform
from hengyu.methods.fitted import MomentTransform, SampleTransform
from hengyu.methods.registry import find_method, home_of, method_names
from hengyu.methods.training.tuner import FineTuner, Tuner, TunerWrapper

__all__ = [
    "Code",
    "FineTuner",
    "Floats",
    "Ids",
    "Index",
    "Method",
    "MomentTransform",
    "SampleTransform",
    "Similarity",
    "Transform",
    "Tuner",
    "TunerWrapper",
    "find_method",
    "home_of",
    "method_names",
]
