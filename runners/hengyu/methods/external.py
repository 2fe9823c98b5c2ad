"""Methods from outside the package: files named with ``--methods``, and entry points of the group ``hengyu.methods``."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.methods.base import Method

__all__ = ["GROUP", "external_files", "external_methods", "load_methods", "load_point"]

GROUP = "hengyu.methods"
"""The entry-point group of packages that offer methods: ``my-method = "my_package.my_method:MyMethod"``."""

_loaded: dict[str, type[Method]] = {}
_files: list[Path] = []  # files that were run, in order


def load_methods(path: Path) -> str:
    """Run a Python file and add its ``METHOD`` under the file's name, with - for _; return that name.

    Only the command line calls this: a suite cannot name code to run. Raises `HengyuError` for a file that cannot be run
    or has no method.
    """
    if path.suffix != ".py" or not path.is_file():
        raise HengyuError(f"--methods {path}: is not a Python file; give one file that defines METHOD")
    name = path.stem.replace("_", "-")
    module_name = f"hengyu_external.{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None  # a .py file always has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise HengyuError(f"--methods {path}: running it fails ({type(e).__name__}: {e}); correct the file") from None
    _loaded[name] = _checked(getattr(module, "METHOD", None), f"--methods {path}")
    _files.append(path.absolute())
    return name


def external_files() -> tuple[Path, ...]:
    """Return the files that were run, for worker processes, which must run them too."""
    return tuple(dict.fromkeys(_files))


def external_methods() -> dict[str, type[Method]]:
    """Return the external methods by name: files given take precedence over installed packages."""
    return {**_installed(), **_loaded}


@cache
def _installed() -> dict[str, type[Method]]:
    found: dict[str, type[Method]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = _checked(load_point(point), f"entry point '{point.name}' of {GROUP}")
    return found


def load_point(point: EntryPoint) -> Any:
    """Return what an entry point names; raises `HengyuError` where its package cannot be loaded."""
    try:
        return point.load()
    except Exception as e:
        raise HengyuError(
            f"entry point '{point.name}' of {point.group}: '{point.value}' cannot be loaded ({type(e).__name__}: {e}); "
            "repair or uninstall that package"
        ) from None


def _checked(method: Any, where: str) -> type[Method]:
    """Return a class if it is a complete method; raises `HengyuError` that names what is missing."""
    if not (
        isinstance(method, type)
        and issubclass(method, Method)
        and hasattr(method, "category")
        and "__dataclass_fields__" in vars(method)
    ):
        raise HengyuError(
            f"{where}: METHOD must be a dataclass derived from hengyu.methods.Transform, Code, Index or Tuner"
        )
    missing = ", ".join(sorted(getattr(method, "__abstractmethods__", ())))
    if missing:
        raise HengyuError(f"{where}: {method.__name__} lacks {missing}; define them")
    return method
