"""Builds a vocabulary of characters and common Latin words, its tokenizer, and lines as token ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.json_files import write_bytes
from hengyu.base.progress import Tick
from hengyu.tools.pretraining.recipe import Pretraining

__all__ = ["MASK", "PAD", "SPECIAL", "Tokens", "make_tokenizer", "tokenize", "vocabulary"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, MASK = 0, 1, 4
_LATIN = "abcdefghijklmnopqrstuvwxyz0123456789"
_BLOCK = 20000  # lines tokenised at once


@dataclass(frozen=True)
class Tokens:
    """Lines as concatenated token ids."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]  # including [CLS] and [SEP]
    unknown: int  # number of [UNK] ids

    def row(self, number: int) -> NDArray[np.int32]:
        """Return the ids of a line."""
        end = int(self._ends[number])
        return self.ids[end - int(self.lengths[number]) : end]

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.lengths)

    @property
    def inside(self) -> int:
        """The number of tokens without [CLS] and [SEP]."""
        return int(self.lengths.sum() - 2 * len(self.lengths))


def vocabulary(lines: Sequence[str], recipe: Pretraining) -> list[str]:
    """Return the tokens in order: special ones, Chinese characters, others, Latin letters, common words, pieces of words."""
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for line in lines:
        lower = line.lower()
        characters.update(lower)
        words.update(re.findall("[a-z]+|[0-9]+", lower))
    common = [c for c, n in characters.most_common() if n >= recipe.seen and c.isprintable() and not c.isspace()]
    chinese = [c for c in common if "\u4e00" <= c <= "\u9fff"][: recipe.characters]
    others = [c for c in common if not "\u4e00" <= c <= "\u9fff"][: recipe.others]
    whole = [w for w, n in words.most_common() if len(w) > 1 and n >= recipe.seen_words][: recipe.words]
    return [*SPECIAL, *dict.fromkeys([*chinese, *others, *_LATIN, *whole]), *("##" + c for c in _LATIN)]


def make_tokenizer(tokens: Sequence[str], folder: Path, length: int) -> Any:
    """Write vocab.txt and return the tokenizer of transformers that reads it; `save_pretrained` writes the rest."""
    import transformers

    path = folder / "vocab.txt"
    write_bytes(path, ("\n".join(tokens) + "\n").encode())
    return transformers.BertTokenizerFast(str(path), do_lower_case=True, model_max_length=length)


def tokenize(tokenizer: Any, lines: Sequence[str], length: int, tick: Tick = lambda done: None) -> Tokens:
    """Return lines as ids, truncated to the longest input."""
    parts: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    for at in range(0, len(lines), _BLOCK):
        rows = tokenizer(
            list(lines[at : at + _BLOCK]),
            truncation=True,
            max_length=length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        lengths += map(len, rows)
        parts.append(np.fromiter((i for row in rows for i in row), np.int32))
        tick(len(lengths))
    ids = np.concatenate(parts) if parts else np.empty(0, np.int32)
    return Tokens(ids, np.array(lengths, np.int64), int((ids == UNKNOWN).sum()))
