"""A step of an entry: a method's name, with the parameters that differ from their defaults, and the entries it joins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hengyu.base.torchrun import processes
from hengyu.methods.base import Method
from hengyu.methods.registry import find_method, home_of
from hengyu.storage.identity import step_key

__all__ = ["Step", "Value", "print_value"]

Value = int | float | bool | str | None


@dataclass(frozen=True)
class Step:
    """One step: a method's name and the non-default parameters, in the method's order.

    Attributes:
        joined: the entries that a fusion joins, or the tuner that another wraps, each as its steps; else ().
    """

    name: str
    parameters: tuple[tuple[str, Value], ...] = ()
    joined: tuple[tuple[Step, ...], ...] = ()

    def __str__(self) -> str:
        """Return the step in the entry grammar."""
        entries = (" > ".join(map(str, steps)) for steps in self.joined)
        inside = ", ".join((*entries, *(f"{k}={print_value(v)}" for k, v in self.parameters)))
        return f"{self.name}({inside})" if inside else self.name

    @property
    def method(self) -> type[Method]:
        """The class of the method."""
        return find_method(self.name)

    def make(self) -> Any:
        """Return a fresh, unfitted method object."""
        made: Any = self.method(**dict(self.parameters))
        return made.around(self.joined[0][0].make()) if made.category == "tuner" and self.joined else made

    @property
    def labelled(self) -> bool:
        """Whether it learns from labels, by itself or by a tuner that it wraps."""
        return any(s.method.labelled for s in self.walk())

    @property
    def key(self) -> dict[str, Any]:
        """The step's part of cache keys: its method, every parameter, the code that it reaches, and the steps it joins."""
        method = self.make()
        own = step_key(self.name, method, home_of(self.name))
        if reads := method.reads():
            own["reads"] = reads
        if method.category == "tuner" and processes() > 1:
            own["processes"] = processes()  # each has dropout of its own
        return {**own, "joined": [[s.key for s in steps] for steps in self.joined]} if self.joined else own

    def walk(self) -> Iterator[Step]:
        """Yield the step, and the steps of the entries that it joins."""
        yield self
        for steps in self.joined:
            for step in steps:
                yield from step.walk()

    def get(self, key: str) -> Value:
        """Return a parameter's value; None if it has its default."""
        return dict(self.parameters).get(key)


def print_value(value: Value) -> str:
    """Return a value in the entry grammar."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and (
        not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.+\-]*", value)
        or value in ("true", "false", "True", "False", "nan", "inf", "infinity")
    ):
        return f'"{value}"'
    return str(value)
