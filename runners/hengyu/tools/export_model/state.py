"""Converts what any method has learned to arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.methods.base import Transform
from hengyu.methods.fitted import SampleTransform
from hengyu.methods.grammar import parse_entry

__all__ = ["restored", "state_of"]


def state_of(method: Any, step: str) -> dict[str, NDArray[Any]]:
    """Return what a fitted method has learned: its ``state()``, else its learned fields (arrays and numbers).

    Raises:
        HengyuError: for a method that has learned something else and has no ``state``.
    """
    if isinstance(method, SampleTransform):
        return dict(method.state())
    if not method.needs_fit:
        return {}  # random draws are repeated from its parameters
    state = {f.name: np.asarray(getattr(method, f.name)) for f in fields(method) if not f.init and f.name != "report"}
    for name, value in state.items():
        if value.dtype.kind not in "biuf":
            raise HengyuError(
                f"step '{step}' has no state: its field '{name}' is not an array; define state and restore"
            )
    return state


def restored(step: str, state: Mapping[str, NDArray[Any]]) -> Transform:
    """Return the fitted method of a step, like ``flow(depth=2)``; raises ValueError for another method's state."""
    method: Any = parse_entry(step).steps[0].make()
    if isinstance(method, SampleTransform):
        return method.restore(dict(state), {})
    if not method.needs_fit:
        drawn: Transform = method
        return drawn
    learned = {f.name for f in fields(method) if not f.init and f.name != "report"}
    if learned != set(state):
        raise ValueError(f"the state of '{step}' must hold {sorted(learned)}, not {sorted(state)}")
    for name, value in state.items():
        setattr(method, name, value if value.ndim else value.item())
    fitted: Transform = method
    return fitted
