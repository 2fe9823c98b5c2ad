"""Winner-take-all codes: the few of many units that respond most, as in the fruit fly's mushroom body."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_shares", "code_bytes", "sizes", "winners"]

Floats = NDArray[np.floating[Any]]


def check_shares(name: str, expand: int, active: float) -> None:
    """Raise ValueError for an expansion or a share of winners out of range."""
    if not 1 <= expand <= 100:
        raise ValueError(f"{name}(expand={expand}) must lie in 1..100")
    if not 0 < active < 1:
        raise ValueError(f"{name}(active={active}) must lie between 0 and 1")


def sizes(d: int, expand: int, active: float) -> tuple[int, int]:
    """Return the number of units for vectors of d columns, and how many of them win (at least 1)."""
    units = expand * d
    return units, max(1, round(active * units))


def winners(responses: Floats, k: int) -> NDArray[np.int8]:
    """Return 1 for the k largest responses of each row and 0 elsewhere: (n, m) to (n, m), int8.

    The cosine of two codes is the share of winners they have in common.
    """
    out = np.zeros(responses.shape, np.int8)
    np.put_along_axis(out, np.argpartition(responses, -k, axis=1)[:, -k:], 1, axis=1)
    return out


def code_bytes(units: int, k: int) -> int:
    """Return the bytes a code takes: k positions of log2(units) bits each, or one bit per unit, whichever is less."""
    position = max(1, (units - 1).bit_length())
    return -(-min(units, k * position) // 8)
