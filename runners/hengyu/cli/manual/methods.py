"""A page for every method, of its docstring, its fields and what is written about when it helps; and their overview."""

from __future__ import annotations

import re
import sys
from dataclasses import MISSING, fields
from inspect import getdoc
from typing import Any

from hengyu.base.escapes import markdown_row
from hengyu.cli.manual.prose import prose, section
from hengyu.methods.base import Method
from hengyu.methods.registry import find_method, method_names

__all__ = ["GROUPS", "method_page", "methods_overview", "signature"]

_PROVENANCE = """\
Words in brackets name the suite that a figure is from (`hengyu run projection`, offline): hengyu-sts:test, the built-in
encoder, mean pooling, points of Spearman x 100 (nDCG@10 x 100 in retrieval) against raw (`flat`), with 95 % intervals."""

GROUPS = {
    "tuner": "Training the encoder",
    "transform": "Vectors to vectors",
    "code": "Codes",
    "index": "Indexes",
}


def signature(name: str) -> str:
    """Return a method as it is written in an entry, with its defaults: ``whitening(dim=None, beta=1.0, ...)``."""
    given = ", ".join(f"{key}={_value(value)}" for key, value in _parameters(name))
    return f"{name}({given})" if given else name


def method_page(name: str, notes: str) -> str:
    """Return a method's card as Markdown; ``notes`` has a section of the method's name: when it helps or hurts."""
    method = find_method(name)
    about = _headline(name)
    lines = [f"# {name}", "", f"{prose(about[:1].upper() + about[1:])}.", "", "```text", signature(name), "```", ""]
    lines += [f"*{GROUPS[method.category]}. Learns from {_learns(method)}.*", "", prose(getdoc(method) or ""), ""]
    shared = [base for base in method.__mro__[1:] if base.__module__ == "hengyu.methods.training.config"]
    for base in shared:
        lines += ["", "## What all training shares", "", prose(getdoc(base) or ""), ""]
    advice = section(notes, name)
    lines += ["## When it helps or hurts", "", advice, ""]
    if re.search(r"\((?:[^()]*, )?(?:projection|retrieval|smoke)\)", advice):
        lines += [_PROVENANCE, ""]
    source = f"runners/{method.__module__.replace('.', '/')}.py"
    lines += [f"*Made from the docstring in `{source}`.*", ""]
    return "\n".join(lines)


def methods_overview() -> str:
    """Return the list of all methods by kind, as Markdown, each with a link to its card."""
    lines = [
        "# Methods",
        "",
        "One page a method, made from the code: formula, paper, parameters, and when it helps or hurts. An entry is a",
        "pipeline of them, `step > step`. Rows of x are the vectors of sentences; n is their number, d their width.",
        "",
    ]
    for key, title in GROUPS.items():
        lines += [f"## {title}", "", "| method | learns from | what it does |", "|---|---|---|"]
        for name in method_names():
            if find_method(name).category == key:
                cells = (f"[{name}]({name}.md)", _learns(find_method(name)), prose(_headline(name)))
                lines.append(markdown_row(cells))
        lines.append("")
    return "\n".join(lines)


def _headline(name: str) -> str:
    """Return the first line of a method's file without its name: 'the mean vector taken away'."""
    text = (sys.modules[find_method(name).__module__].__doc__ or "").strip().split("\n")[0]
    return text.partition(": ")[2].strip().removesuffix(".")


def _learns(method: type[Method]) -> str:
    if method.labelled:
        return "labels"
    return "sentences" if method.needs_fit else "nothing"


def _parameters(name: str) -> list[tuple[str, Any]]:
    return [(f.name, f.default) for f in fields(find_method(name)) if f.init]


def _value(value: object) -> str:
    """Return a default as the entry grammar writes it."""
    if value is MISSING:
        return "..."
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
