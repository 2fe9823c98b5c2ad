"""User errors: one sentence each, exit code 2, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from types import TracebackType

__all__ = ["Degenerate", "HengyuError", "Missing", "Problems", "WrongSize", "did_you_mean", "first_line", "gather"]


_LONGEST = 4000  # characters of a sentence
_NAMES = 50  # listed in one sentence


class HengyuError(ValueError):
    """A mistake that the user can fix; each problem is one sentence with file, key or line, and remedy."""

    def __init__(self, *problems: str) -> None:
        problems = tuple(map(_short, problems))
        super().__init__("\n".join(problems))
        self.problems: tuple[str, ...] = problems


class Missing(HengyuError):
    """A missing file; a suite with ``partial = true`` skips what needs it and says so.

    Attributes:
        brief: the same sentence without local paths, for pages that others read.
    """

    def __init__(self, problem: str, brief: str) -> None:
        super().__init__(problem)
        self.brief = brief


def _short(sentence: str) -> str:
    """Shorten a long sentence in the middle; its end, which holds the remedy, is kept."""
    return sentence if len(sentence) <= _LONGEST else f"{sentence[: _LONGEST // 2]}…{sentence[-_LONGEST // 2 :]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known word, else the known words, else nothing."""
    names = sorted(str(k) for k in known)
    close = get_close_matches(word[:_NAMES], [n for n in names if len(n) <= _NAMES], n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"; known: {', '.join(names[:_NAMES])}{more}" if names else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def gather(problems: Iterable[str]) -> None:
    """Raise one `HengyuError` with all the problems, if there are any."""
    found = tuple(problems)
    if found:
        raise HengyuError(*found)


class Problems:
    """What is wrong, one sentence each: noted where it is found, and raised all at once."""

    def __init__(self) -> None:
        self._noted: dict[str, None] = {}  # a sentence is said once

    def add(self, *sentences: str) -> None:
        """Note sentences."""
        self._noted |= dict.fromkeys(sentences)

    def caught(self, before: str = "") -> AbstractContextManager[None, bool]:
        """Note what a `HengyuError` of the block says, each sentence with words before it, and go on after the block."""
        return _Caught(self, before)

    def finish(self) -> None:
        """Raise one `HengyuError` holding all that was noted, if anything was."""
        gather(self._noted)


class _Caught(AbstractContextManager[None, bool]):
    """What `Problems.caught` gives."""

    def __init__(self, problems: Problems, before: str) -> None:
        self._problems, self._before = problems, before

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if not isinstance(error, HengyuError):
            return False
        self._problems.add(*(self._before + problem for problem in error.problems))
        return True


class WrongSize(ValueError):
    """A step that does not apply to these vectors: too few of them, or too few dimensions (``dim=64`` of 32)."""


class Degenerate(ValueError):
    """A number that does not exist for this input (constant scores, constant vectors), with the reason; never NaN."""
