"""Finds methods by name: files in this package, and external methods."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from hengyu.methods.base import Method, Similarity
from hengyu.methods.external import external_methods

__all__ = ["find_method", "home_of", "method_names", "similarity_names"]

_PACKAGE = __name__.rpartition(".")[0]
_KINDS = ("transforms", "codes", "indexes", "lexical", "fusions", "similarities", "tuners")


@cache
def _modules() -> dict[str, str]:
    """Return the module of every method of this package by the method's name: the file's name, with - for _."""
    root = Path(__file__).parent
    return {
        path.stem.replace("_", "-"): f"{_PACKAGE}.{kind}.{path.stem}"
        for kind in _KINDS
        for path in sorted((root / kind).glob("[!_]*.py"))
    }


def method_names() -> tuple[str, ...]:
    """Return the names of all methods, sorted."""
    return tuple(sorted({*_modules(), *external_methods()}))


def similarity_names() -> tuple[str, ...]:
    """Return the names of the methods that compare two vectors, sorted."""
    own = {name for name, module in _modules().items() if module.split(".")[-2] == "similarities"}
    external = external_methods()
    return tuple(sorted({*own - external.keys(), *(n for n, m in external.items() if issubclass(m, Similarity))}))


def find_method(name: str) -> type[Method]:
    """Return the class of a method by its name; raises KeyError for an unknown name."""
    external = external_methods().get(name)
    return external if external is not None else _own(name)


@cache
def _own(name: str) -> type[Method]:
    method: type[Method] = import_module(_modules()[name]).METHOD
    return method


def home_of(name: str) -> str:
    """Return the name of a method's module."""
    external = external_methods().get(name)
    return external.__module__ if external is not None else _modules()[name]
