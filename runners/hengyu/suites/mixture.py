"""Several splits to learn from at once, with a share of each: ``fit_on = { "ATEC:train" = 0.5, "BQ:train" = 1 }``.

As a word, as the board and ``--fit-on`` have it, this is ``ATEC:train=0.5+BQ:train``. With ``-own`` at its end every task
learns from the parts of its own card alone, which are the same pairs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.toml_tables import Table, shown

__all__ = ["OWN", "Part", "mixture", "own_parts", "read_fit_on", "rows_of"]

OWN = "-own"
_MOST = 100.0  # times that a split's pairs are read
_LEAST = 1e-4
_SHARE = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)\Z")


class Part(NamedTuple):
    """One split of a mixture, and how many of its pairs are learned from, as a share of them."""

    word: str
    share: float = 1.0

    def __str__(self) -> str:
        """Return it as a part of the word."""
        return self.word if self.share == 1 else f"{self.word}={self.share:g}"


def mixture(word: str) -> tuple[Part, ...]:
    """Return the parts of a ``fit_on`` word; one without a share for a word that is none of several.

    Raises:
        HengyuError: for a share that is not a number from 0.0001 to 100, an empty part, or a split that is named twice.
    """
    if "=" not in word and "+" not in word:
        return (Part(word),)
    parts = []
    for piece in word.split("+"):
        name, mark, text = piece.partition("=")
        if not name.strip() or (mark and not _SHARE.match(text.strip())):
            raise HengyuError(
                f"fit_on '{word}': '{piece}' is no split with a share; write it like ATEC:train=0.5+BQ:train"
            )
        parts.append(Part(name.strip(), _checked(word, float(text) if mark else 1.0)))
    names = [part.word for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise HengyuError(f"fit_on '{word}': names {name} twice; keep one, with the share that it is to have")
    return tuple(parts)


def own_parts(word: str, card: str) -> tuple[Part, ...]:
    """Return the parts of a ``fit_on`` word that a task of a card learns from: with ``-own`` at its end those of the card alone.

    Raises:
        HengyuError: as `mixture`, and for a mixture without a part of the card.
    """
    parts = mixture(word.removesuffix(OWN))
    if not word.endswith(OWN):
        return parts
    found = tuple(part for part in parts if part.word.partition(":")[0] == card)
    if not found:
        raise HengyuError(f"fit_on '{word}': no part is of {card}; add one, or leave {OWN} out")
    return found


def _checked(word: str, share: float) -> float:
    if not _LEAST <= share <= _MOST:
        raise HengyuError(
            f"fit_on '{word}': a share is of a split's pairs, so it must lie in {_LEAST:g}..{_MOST:g}, not {share:g}"
        )
    return share


def read_fit_on(table: Table, default: str = "") -> str:
    """Read the key ``fit_on`` of a suite or an entry: a word, or a table of splits and shares, as the word for it."""
    value = table.peek("fit_on")
    if not isinstance(value, dict):
        return table.take("fit_on", str, default)
    table.raw("fit_on")
    wrong = [share for share in value.values() if type(share) not in (int, float)]
    if not value or wrong:
        what = shown(wrong[0]) if wrong else "an empty one"
        table.problem("fit_on", f'must be a table of splits and shares, like {{ "ATEC:train" = 0.5 }}, not {what}')
        return default
    parts = [Part(str(name), float(share)) for name, share in value.items()]
    word = "+".join(map(str, parts))
    with table.caught("fit_on"):
        mixture("+".join(f"{part.word}={part.share:f}" for part in parts))
    return word


def rows_of(n: int, share: float) -> NDArray[np.int64]:
    """Return the numbers of the pairs of a share, evenly spread over n: each at most once, or ``share`` times on average.

    At least one pair is left of every split.
    """
    size = max(1, round(n * share))
    found: NDArray[np.int64] = (np.arange(size) * n // size).astype(np.int64)
    return found
