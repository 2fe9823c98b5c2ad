"""The reference of the Python interface, from signatures and docstrings."""

from __future__ import annotations

import re
from inspect import Signature, cleandoc, getdoc, isclass, signature
from types import FunctionType
from typing import Any

import hengyu
from hengyu import estimators
from hengyu.cli.manual.prose import prose, section
from hengyu.methods.base import Transform
from hengyu.methods.registry import find_method, method_names

__all__ = ["api_reference"]

_LINE = 88  # characters that a page shows beside the navigation


def api_reference(examples: str) -> str:
    """Return what ``import hengyu`` offers as Markdown; ``examples`` has a section for each of its names."""
    lines = [
        "# Python",
        "",
        "Made from the docstrings.",
        "",
        "```python",
        cleandoc(hengyu.__doc__ or "").split("\n\n")[1],
        "```",
    ]
    names = set(hengyu.__all__) - {"__version__", "estimators"}
    for name in sorted(
        names, key=lambda name: examples.find(f"## {name}\n")
    ):  # each example goes on from the one before
        lines += [*_thing(f"hengyu.{name}", getattr(hengyu, name)), "", section(examples, name)]
    lines += ["", "## hengyu.estimators", "", prose(estimators.__doc__ or ""), "", section(examples, "estimators"), ""]
    lines += ["| class | method |", "|---|---|"]
    for name in method_names():
        method = find_method(name)
        if issubclass(method, Transform):
            lines.append(f"| `{method.__name__}` | [{name}](../methods/{name}.md) |")
    return "\n".join(lines) + "\n"


def _thing(name: str, thing: Any) -> list[str]:
    """Return a function's or a class's heading, signature and docstring, with the public members of a class."""
    lines = ["", f"## {name}", ""]
    if not isclass(thing):
        return [*lines, "```python", _call(name, thing), "```", "", prose(getdoc(thing) or "")]
    lines += [prose(getdoc(thing) or ""), ""]
    for key, member in vars(thing).items():
        about = getdoc(member) if isinstance(member, property | FunctionType) and not key.startswith("_") else None
        if about:
            call = key if isinstance(member, property) else f"{key}{_signature(member)}"
            lines.append(f"* `{call}`: {' '.join(prose(about).split())}")
    return lines


def _signature(thing: Any) -> str:
    """Return a signature as the source writes it; annotations are strings, and lose their quotes."""
    return _unquoted(str(signature(thing)))


def _unquoted(text: str) -> str:
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def _call(name: str, thing: Any) -> str:
    """Return a function's name and signature, a parameter a line where one line is too long for a page."""
    found: Signature = signature(thing)
    if len(f"{name}{_signature(thing)}") <= _LINE:
        return f"{name}{_signature(thing)}"
    parts = [_unquoted(str(p)) for p in found.parameters.values()]
    named = [p.kind is p.KEYWORD_ONLY for p in found.parameters.values()]
    if any(named):
        parts.insert(named.index(True), "*")
    end = _unquoted(str(found).rpartition(")")[2])
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){end}"
