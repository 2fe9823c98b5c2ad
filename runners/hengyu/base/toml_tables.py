"""Reads a TOML declaration key by key, and reports all mistakes at once, with file, key and remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from hengyu.base.bounded import DECLARATION, read_bytes
from hengyu.base.errors import HengyuError, Problems, did_you_mean

__all__ = ["Table", "read_toml", "shown"]

T = TypeVar("T")

_EXACT = 1 << 53
_LARGEST = 1 << 64  # TOML's integers have 64 bits; Python would read thousands of digits and then refuse to print them
_SHOWN = 80

_WORDS = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def read_toml(path: Path) -> Table:
    """Read a TOML file into a `Table`; a missing, unreadable, non-UTF-8 or malformed file is a `HengyuError`."""
    try:
        text = read_bytes(path, DECLARATION).decode("utf-8-sig")
        return Table(str(path), tomllib.loads(text))
    except FileNotFoundError:
        raise HengyuError(f"{path}: no such file; check the path") from None
    except UnicodeDecodeError as e:
        raise HengyuError(f"{path}: not UTF-8 at byte {e.start}; save the file as UTF-8") from None
    except RecursionError:
        raise HengyuError(f"{path}: nested too deeply; write flat tables") from None
    except ValueError as e:  # tomllib's own, and Python's for an integer of thousands of digits
        raise HengyuError(f"{path}: not valid TOML: {e}; correct it") from None
    except OSError as e:
        raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); check the path and its permissions") from None


def shown(value: Any) -> str:
    """Return a value as text of bounded length, for a message."""
    try:
        text = repr(value)
    except ValueError:  # a number of too many digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


class Table:
    """One table of a declaration: `take` keys by type, then `finish` to refuse the keys nobody took."""

    def __init__(self, where: str, content: dict[str, Any], problems: Problems | None = None, prefix: str = "") -> None:
        self.where = where
        self.problems = Problems() if problems is None else problems
        self.prefix = prefix
        self._content = dict(content)
        self._known: list[str] = []

    def take(self, key: str, kind: type[T], default: T | None = None, *, required: bool = False) -> T:
        """Return the value of a key, checked for its type; a missing key gives the default or a problem."""
        self._known.append(key)
        if key not in self._content:
            if required:
                self.problem(key, f"is missing; add it as {_WORDS[kind]}")
            return default if default is not None else kind()
        value = self._content.pop(key)
        if kind is float and type(value) is int and abs(value) < _EXACT:
            value = float(value)
        if type(value) is not kind or (isinstance(value, int) and abs(value) >= _LARGEST):
            self.problem(key, f"must be {_WORDS[kind]}, not {shown(value)}")
            return default if default is not None else kind()
        return value

    def strings(self, key: str, default: tuple[str, ...] = (), *, required: bool = False) -> tuple[str, ...]:
        """Return the value of a key that must be a list of strings."""
        values = self.take(key, list, list(default), required=required)
        for value in values:
            if not isinstance(value, str):
                self.problem(key, f"must hold strings only, not {shown(value)}")
        return tuple(v for v in values if isinstance(v, str))

    def table(self, key: str, *, required: bool = False) -> Table:
        """Return a nested table, empty if missing; it must be finished too."""
        return self.within(key, self.take(key, dict, {}, required=required))

    def tables(self, key: str) -> dict[str, Table]:
        """Return a table of tables, name to table."""
        found: dict[str, Table] = {}
        for name, value in self.take(key, dict, {}).items():
            if isinstance(value, dict):
                found[name] = self.within(f"{key}.{name}", value)
            else:
                self.problem(f"{key}.{name}", f"must be a table, not {shown(value)}")
        return found

    def items(self, key: str, default: Sequence[Any], *, short: str) -> list[Table]:
        """Return the tables of a list; an item that is no table stands for one that holds it as the key ``short``."""
        return [
            self.within(f"{key}[{number}]", item if isinstance(item, dict) else {short: item})
            for number, item in enumerate(self.take(key, list, list(default)))
        ]

    def within(self, key: str, content: dict[str, Any]) -> Table:
        """Return a table that stands in this one under a key; its problems are noted with those of this one."""
        return Table(self.where, content, self.problems, f"{self.prefix}{key}.")

    def has(self, key: str) -> bool:
        """Tell whether a key is present and not yet taken."""
        return key in self._content

    def peek(self, key: str) -> Any:
        """Return a key's value without taking the key; None if it is missing."""
        return self._content.get(key)

    def known(self, *keys: str) -> None:
        """Name the keys that are allowed here, to suggest one if a key is misspelt."""
        self._known += [key for key in keys if key not in self._known]

    def raw(self, key: str) -> Any:
        """Return a key's value, of any type; None if it is missing."""
        self._known.append(key)
        return self._content.pop(key, None)

    def problem(self, key: str, sentence: str) -> None:
        """Record a problem with a key; `finish` of the outermost table raises all of them."""
        self.problems.add(f"{self.where}: key '{self.prefix}{key}' {sentence}")

    def caught(self, key: str) -> AbstractContextManager[None, bool]:
        """Note what a `HengyuError` of the block says of a key, and go on after the block."""
        return self.problems.caught(f"{self.where}: key '{self.prefix}{key}': ")

    def finish(self) -> None:
        """Refuse keys that were not taken; in the outermost table, raise every problem found so far."""
        for key in self._content:
            self.problem(key, f"is unknown{did_you_mean(key, self._known)}")
        self._content = {}
        if not self.prefix:
            self.problems.finish()
