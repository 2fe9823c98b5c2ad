"""One encoder's part of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.bench.encode import Vectors
from hengyu.encoders import Encoder
from hengyu.suites.plan import Plan

__all__ = ["PreparedEncoder", "prepare_encoder", "refuse_same_names"]


@dataclass
class PreparedEncoder:
    """One encoder's part of a run."""

    encoder: Encoder
    identity: dict[str, Any]
    poolings: list[str]  # those it gives
    unavailable: dict[str, str]  # pooling -> why not
    vectors: Vectors | None = None
    coverage: dict[str, dict[str, float]] = field(default_factory=dict)
    dim: int | None = None


def prepare_encoder(plan: Plan, encoder: Encoder) -> PreparedEncoder:
    """Return what an encoder can do of what the suite asks for.

    One that has native vectors alone is weighed by those, whatever poolings the suite names.
    """
    given = encoder.poolings
    asked = ("native",) if [p for p, reason in given.items() if not reason] == ["native"] else plan.suite.poolings
    wanted = [p for p in asked if not given[p]]
    unavailable = {p: given[p] for p in asked if given[p]}
    if encoder.native_is in wanted and "native" in wanted:
        wanted.remove("native")  # the same vectors: one row shows them
    return PreparedEncoder(encoder, encoder.identity(), wanted, unavailable)


def refuse_same_names(jobs: Sequence[PreparedEncoder]) -> None:
    """Raise `HengyuError` when two encoders would share a row of the board."""
    names = [j.encoder.id for j in jobs]
    for name in names:
        if names.count(name) > 1:
            raise HengyuError(
                f"two encoders are called '{name}'; give one a name of its own (name = \"...\" in the suite)"
            )
