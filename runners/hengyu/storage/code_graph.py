"""The code that a module reaches: a static graph of imports, and the digest of every module in it.

A module reaches its imports, transitively, including those inside functions and by ``import_module`` of a fixed name.
The syntax tree is hashed without docstrings and other bare strings, so comments, prose and layout do not count.
Imports for type checkers are not followed. A module outside the package counts with its file and its imports from the same
folder; for libraries only the names are returned. Files are read once per process, like in Python itself.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["NOT_FOLLOWED", "Code", "library_version"]

NOT_FOLLOWED = ("cli", "report", "base.escapes", "base.progress", "base.remote", "base.paths", "storage.folder")
"""Our modules and packages whose code only shows things or locates files, and so affects no number."""

_DISTRIBUTIONS = {
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss"),
    "sklearn": ("scikit-learn",),
    "sentence_transformers": ("sentence-transformers",),
}
_NOT_CODE = frozenset(("ctx", "kind", "type_comment", "type_ignores"))  # fields of a syntax tree without effect

Import = tuple[int, str, tuple[str, ...]]  # level, module, names


@dataclass(frozen=True)
class _Module:
    """A module, by name and file."""

    name: str
    path: Path
    ours: bool  # whether it is in the package


@dataclass(frozen=True)
class _Source:
    """The digest of a file's code, and its imports."""

    digest: str
    imports: tuple[Import, ...]


@dataclass
class Code:
    """The code of a package.

    Attributes:
        root: the package's folder.
        package: its name.
    """

    root: Path = Path(__file__).parents[1]
    package: str = "hengyu"
    _sources: dict[Path, _Source] = field(default_factory=dict)
    _found: dict[tuple[_Module, Import], tuple[_Module | str, ...]] = field(default_factory=dict)
    _files: dict[str, Path | None] = field(default_factory=dict)

    def reached(self, *names: str, within: Collection[str] = ()) -> tuple[dict[str, str], frozenset[str]]:
        """Return the digest of every module that modules reach, including themselves, and the libraries they import.

        With ``within``, only imports of modules in these packages are followed. A module without a source file gets a new
        digest in every process.
        """
        silent = tuple(f"{self.package}.{part}" for part in NOT_FOLLOWED)
        modules: dict[str, str] = {}
        libraries: set[str] = set()
        waiting = [found for name in names for found in self._locate(name, asked=True)]
        asked = set(waiting)
        while waiting:
            one = waiting.pop()
            if isinstance(one, str):
                libraries.add(one)
                continue
            if one.name in modules:
                continue
            if one.ours and one not in asked:
                if one.name == self.package or _is_in(one.name, silent):
                    continue
                if within and not _is_in(one.name, within):
                    continue
            source = self._source(one.path)
            modules[one.name] = source.digest
            for imported in source.imports:
                key = (one, imported)
                if key not in self._found:
                    self._found[key] = tuple(self._imported(one, *imported))
                waiting += self._found[key]
        return modules, frozenset(libraries)

    def alone(self, name: str) -> str:
        """Return the digest of one module, without its imports."""
        (found,) = self._locate(name, asked=True)
        return found if isinstance(found, str) else self._source(found.path).digest

    def _source(self, path: Path) -> _Source:
        if path not in self._sources:
            self._sources[path] = _read(path)
        return self._sources[path]

    def _imported(self, at: _Module, level: int, module: str, names: tuple[str, ...]) -> Iterator[_Module | str]:
        """Yield the modules and libraries that an import statement of a module reaches."""
        if level and not at.ours and _is_among_installed(at.path):
            yield at.name.partition(".")[0]
            return
        if level:
            around = at.name if at.path.name == "__init__.py" else at.name.rpartition(".")[0]
            for _ in range(level - 1):
                around = around.rpartition(".")[0]
            folder = at.path.parents[level - 1]
            for word in ("", module, *(f"{module}.{n}".lstrip(".") for n in names)):
                path = _file(folder.joinpath(*word.split(".")) if word else folder)
                if path and path != at.path and (word or not module):
                    yield _Module(".".join(filter(None, (around, word))), path, at.ours)
            return
        for word in (module, *(f"{module}.{n}" for n in names)):
            ours = word.partition(".")[0] == self.package
            own = at.ours or _is_among_installed(at.path)
            beside = None if ours or own else _file(at.path.parent.joinpath(*word.split(".")))
            if beside:
                yield _Module(word, beside, ours=False)
            elif ours or word == module:
                yield from self._locate(word, maybe=word != module)

    def _locate(self, name: str, *, maybe: bool = False, asked: bool = False) -> list[_Module | str]:
        """Return the module of a name, or its library; nothing for the standard library.

        With ``maybe`` the name may also be something that a module defines. An ``asked`` module exists and so has code; an
        imported one may not be installed.
        """
        top, *rest = name.split(".")
        if top == self.package:
            if name not in self._files:
                self._files[name] = _file(self.root.joinpath(*rest))
            path = self._files[name]
            if path:
                return [_Module(name, path, ours=True)]
            if maybe and name not in sys.modules:
                return []
        elif top in sys.stdlib_module_names and top != "__main__":
            return []
        elif not asked and _is_installed(top) and library_version(top):
            return [top]
        origin = _origin(name)
        if origin is not None:
            return [_Module(name, origin, ours=False)]
        return [f"{name} {uuid.uuid4().hex}"] if asked else [] if maybe else [top]


@cache
def _is_installed(library: str) -> bool:
    """Whether a library is an installed package: then its version identifies it, unlike code that is being edited."""
    origin = _origin(library)
    return origin is None or _is_among_installed(origin)


def _is_among_installed(path: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def _is_in(name: str, packages: Iterable[str]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in packages)


def _file(place: Path) -> Path | None:
    """Return the file of the module or package at a path without extension."""
    for path in (place.parent / f"{place.name}.py", place / "__init__.py"):
        if path.is_file():
            return path
    return next(iter(sorted(place.parent.glob(f"{place.name}.*.so"))), None) if place.parent.is_dir() else None


def _origin(name: str) -> Path | None:
    """Return the file of a module outside the known folders."""
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            spec = None
        file = spec.origin if spec else None
    return Path(file) if file and Path(file).is_file() else None


def _read(path: Path) -> _Source:
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # a compiled module
        return _Source(hashlib.sha256(content).hexdigest(), ())
    imports: list[Import] = []
    _strip(tree, imports)
    if b"import_module" in content or b"__import__" in content:
        imports += _named_imports(tree)
    words: list[str] = []
    _write(tree, words)
    return _Source(hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest(), tuple(imports))


def _strip(node: Any, imports: list[Import]) -> None:
    """Remove bare strings and type-checking code from a block of statements, and collect its imports."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        statements = getattr(node, block, None)
        if not isinstance(statements, list):
            continue
        kept: list[Any] = []
        for s in statements:
            if isinstance(s, ast.Expr):
                if isinstance(s.value, ast.Constant) and isinstance(s.value.value, str):
                    continue
            elif isinstance(s, ast.Import):
                imports += [(0, a.name, ()) for a in s.names]
            elif isinstance(s, ast.ImportFrom):
                imports.append((s.level, s.module or "", tuple(a.name for a in s.names)))
            elif isinstance(s, ast.If) and _for_type_checkers(s.test):
                s.body = []
                _strip(s, imports)
                kept += s.orelse
                continue
            else:
                _strip(s, imports)
            kept.append(s)
        setattr(node, block, kept)


def _for_type_checkers(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def _named_imports(tree: ast.AST) -> Iterator[Import]:
    """Yield the imports by ``import_module("...")`` and ``__import__("...")`` of a fixed name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            name = node.args[0].value
            if called in ("import_module", "__import__") and isinstance(name, str) and name.strip("."):
                yield len(name) - len(name.lstrip(".")), name.lstrip("."), ()


def _write(value: Any, words: list[str]) -> None:
    """Serialise a syntax tree; like `ast.dump`, but three times as fast."""
    if isinstance(value, ast.AST):
        kind = type(value)
        words.append(kind.__name__)
        for name in kind._fields:
            if name not in _NOT_CODE:
                _write(getattr(value, name, None), words)
    elif isinstance(value, list):
        words.append(f"[{len(value)}")
        for item in value:
            _write(item, words)
    else:
        words.append(repr(value))


@cache
def library_version(library: str) -> str:
    """Return the version, without build tags, of a library by its import name, "" if not installed."""
    for name in _DISTRIBUTIONS.get(library, (library,)):
        try:
            return version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    if library not in sys.modules and _origin(library) is None:
        return ""
    others = packages_distributions().get(library, ())
    return ", ".join(version(name).partition("+")[0] for name in sorted(set(others)))
