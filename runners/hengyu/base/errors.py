"""User errors: one sentence each, exit code 2, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["Degenerate", "HengyuError", "Missing", "WrongSize", "did_you_mean", "first_line", "gather"]


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


class WrongSize(ValueError):
    """A step that does not apply to these vectors: too few of them, or too few dimensions (``dim=64`` of 32)."""


class Degenerate(ValueError):
    """A number that does not exist for this input (constant scores, constant vectors), with the reason; never NaN."""
