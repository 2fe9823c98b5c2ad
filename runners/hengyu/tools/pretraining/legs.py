"""The conditions of a training, which may change where it is resumed: dtype, threads, device, and the step each began after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hengyu.base.progress import Progress

__all__ = ["leg_options", "leg_words", "next_leg"]


class _Log(Protocol):
    """A training log."""

    step: int
    legs: list[dict[str, Any]]  # {"step" it began after, "dtype", "threads", "device"}


def next_leg(
    trained: _Log,
    *,
    dtype: str,
    threads: int,
    device: str,
    measure: Callable[[], tuple[str, Mapping[str, float]]],
    progress: Progress,
) -> dict[str, Any]:
    """Return the conditions of training from here on, and record them if they changed.

    ``dtype`` is "" for that of the last leg; without one, ``measure`` returns the one to use and the seconds of a step in each
    that it tried.
    """
    last = trained.legs[-1] if trained.legs else None
    chosen = dtype or (str(last["dtype"]) if last else "")
    if not chosen:
        chosen, seconds = measure()
        if seconds:
            said = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in seconds.items())
            progress.say(f"a step takes {said}: using {chosen}")
    now = {"dtype": chosen, "threads": threads, "device": device}
    if last is None or {**last, **now} != last:
        if last is not None:
            progress.say(
                "dtype, threads or device changed: the weights will differ from those of an uninterrupted training"
            )
        trained.legs.append({"step": trained.step, **now})
    return trained.legs[-1]


def leg_words(leg: Mapping[str, Any]) -> str:
    """Return the conditions for a model card."""
    after = f" from step {leg['step'] + 1:,} on" if leg["step"] else ""
    return f"{leg['dtype']}, {leg['threads']} thread{'s' * (leg['threads'] > 1)}, {leg['device']}{after}"


def leg_options(leg: Mapping[str, Any]) -> list[str]:
    """Return the conditions as options of a command."""
    device = [] if leg["device"] == "cpu" else ["--device", leg["device"]]
    return ["--dtype", leg["dtype"], "--threads", str(leg["threads"]), *device]
