"""Texts longer than a model's input: cut at the end, head and tail kept, or read in windows whose vectors are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LONG", "TRUNCATE", "Frame", "head_tail", "refusals", "weighted_means", "windows", "window_blocks"]

TRUNCATE = "truncate"
LONG = (TRUNCATE, "head-tail", "windows")
"""What is done with a text that is longer than the model's input; a shorter one is the same under all of them.

``truncate`` keeps the first tokens (the last ones where the tokenizer truncates on the left). ``head-tail`` keeps the first
and the last tokens, half of the room each, the first one more if the room is odd (Sun et al., How to Fine-Tune BERT for Text
Classification?, arXiv 1905.05583). ``windows`` cuts the text into windows of the model's full length, without overlap; the
last one may be shorter. Each is encoded with the special tokens and the prompt around it, and the text's vector is the mean
of the windows' vectors, weighted by their number of tokens of the text.
"""

Frame = tuple[Sequence[int], Sequence[int]]
_BLOCK = 512  # windows that are encoded together


def _parts(row: Sequence[int], frame: Frame, longest: int) -> tuple[list[int], list[int], list[int], int]:
    """Return the tokens before a text, of the text and after it, and how many of the text fit into the input."""
    before, after = map(len, frame)
    end = len(row) - after
    return list(row[:before]), list(row[before:end]), list(row[end:]), longest - before - after


def head_tail(row: Sequence[int], frame: Frame, longest: int) -> list[int]:
    """Return a row of tokens with the middle of its text left out, so that ``longest`` tokens remain.

    ``frame`` is what stands before and after the text: special tokens and those of the prompt.
    """
    before, inside, after, room = _parts(row, frame, longest)
    if len(inside) <= room:
        return list(row)
    last = room // 2
    return before + inside[: room - last] + inside[len(inside) - last :] + after


def windows(row: Sequence[int], frame: Frame, longest: int) -> list[list[int]]:
    """Return the windows of a row of tokens, each with the frame around it and ``longest`` tokens at most."""
    before, inside, after, room = _parts(row, frame, longest)
    if len(inside) <= room:
        return [list(row)]
    return [before + inside[at : at + room] + after for at in range(0, len(inside), room)]


def window_blocks(texts: Mapping[int, Sequence[Sequence[int]]]) -> Iterator[list[int]]:
    """Yield the numbers of texts that are encoded together, those with most windows first.

    A block ends with the text that fills it, so the blocks of a run of whole blocks are the same again.
    """
    some: list[int] = []
    held = 0
    for number in sorted(texts, key=lambda n: -len(texts[n])):
        some.append(number)
        held += len(texts[number])
        if held >= _BLOCK:
            yield some
            some, held = [], 0
    if some:
        yield some


def weighted_means(
    vectors: NDArray[np.float32], places: Sequence[Sequence[int]], weights: Sequence[Sequence[int]]
) -> NDArray[np.float32]:
    """Return the vectors (n, d) of n texts: means over rows of ``vectors`` (m, d), accumulated in float64.

    Args:
        vectors: those of the distinct windows.
        places: for each text the rows of its windows.
        weights: for each text the numbers of tokens of its windows, above 0.
    """
    return np.stack(
        [
            np.average(vectors[list(at)].astype(np.float64), axis=0, weights=np.asarray(w, np.float64))
            for at, w in zip(places, weights, strict=True)
        ]
    ).astype(np.float32)


def refusals(long: str, *, chats: bool) -> dict[str, str]:
    """Return the poolings that can only truncate, with the reasons, none for ``truncate``.

    ``chats``: the library puts a chat template around every text.
    """
    if long == TRUNCATE:
        return {}
    why = {"echo": f"it reads a text twice and can only truncate it; remove long = '{long}'"}
    if chats:
        why["native"] = (
            f"sentence-transformers puts a chat template around the text and can only truncate it; remove long = '{long}'"
        )
    return why
