"""The static student: a row of numbers for each frequent character n-gram, trained as the mean over a text's n-grams."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import write_bytes
from hengyu.encoders.ngrams import NgramEmbedding, keys_of
from hengyu.encoders.ngrams import __name__ as _MODULE
from hengyu.tools.distillation.loop import encode_lines

__all__ = ["Bags", "StaticStudent", "frequent", "gather"]

_BLOCK = 50_000  # lines whose n-grams are counted at once
_SPREAD = 0.02  # standard deviation of the first rows

Ids = NDArray[np.int64]


def frequent(lines: Sequence[str], most: int, seen: int, longest: int) -> Ids:
    """Return the most frequent n-grams of lines (m,), as `keys_of` numbers them, ascending."""
    held, times = np.empty(0, np.int64), np.empty(0, np.int64)
    for at in range(0, len(lines), _BLOCK):
        keys = keys_of(lines[at : at + _BLOCK], longest)[0].ravel()
        new, count = np.unique(keys[keys > 0], return_counts=True)
        both, place = np.unique(np.concatenate([held, new]), return_inverse=True)
        held, times = both, np.bincount(place, weights=np.concatenate([times, count])).astype(np.int64)
    order = np.lexsort([held, -times])[:most]
    order = order[times[order] >= seen]
    if not len(order):
        raise HengyuError(f"no n-gram of the corpus occurs {seen} times; lower --seen, or give more lines")
    return np.sort(held[order])


class Bags:
    """The rows of the n-grams of many texts, one after the other."""

    def __init__(self, grams: Ids, texts: Sequence[str], longest: int) -> None:
        lookup = NgramEmbedding(grams, np.zeros((len(grams), 2), np.float32), longest=longest)
        parts = [lookup.bags(texts[at : at + _BLOCK])[:2] for at in range(0, len(texts), _BLOCK)]
        self.rows = np.concatenate([rows for rows, _ in parts])
        self.counts = np.concatenate([np.diff(starts) for _, starts in parts])
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])


def gather(bags: Bags, texts: Ids) -> tuple[Tensor, Tensor]:
    """Return the rows of some texts, and where those of each text start (n,)."""
    counts = bags.counts[texts]
    starts = np.concatenate([[0], np.cumsum(counts)])
    at = np.repeat(bags.starts[texts] - starts[:-1], counts) + np.arange(starts[-1])
    return torch.from_numpy(bags.rows[at].astype(np.int64)), torch.from_numpy(starts[:-1])


class StaticStudent(nn.Module):
    """The rows (m, d) of n-grams in training.

    Args:
        grams: the n-grams (m,), ascending.
        bags: those of the lines.
        width: columns of a row.
        bits: how many bits a number is stored in.
        longest: characters of the longest n-gram.
        seed: of the first rows.
    """

    dtype = torch.float32

    def __init__(self, grams: Ids, bags: Bags, width: int, bits: int, longest: int, seed: int) -> None:
        super().__init__()
        self.grams, self.bags, self.bits, self.longest = grams, bags, bits, longest
        dice = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(_SPREAD * torch.randn(len(grams), width, generator=dice))

    @property
    def lengths(self) -> Ids:
        """The n-grams of each line (n,)."""
        return self.bags.counts

    def forward(self, rows: Ids) -> Tensor:
        """Return the vectors (n, d) of lines."""
        ids, starts = gather(self.bags, rows)
        device = self.table.device
        return embedding_bag(ids.to(device), self.table, starts.to(device), mode="mean")

    @torch.no_grad()
    def centre(self, texts: Sequence[str]) -> None:
        """Subtract the mean vector of some texts from all rows, and so from all vectors."""
        lines, self.bags = self.bags, Bags(self.grams, texts, self.longest)
        some = np.flatnonzero(self.lengths)
        mean = encode_lines(self, some).mean(axis=0, dtype=np.float64)
        self.bags = lines
        self.table.sub_(torch.from_numpy(mean).to(self.table))

    def write(self, folder: Path) -> None:
        """Write a sentence-transformers folder of one module, `hengyu.encoders.ngrams.NgramEmbedding`."""
        table = self.table.detach().cpu().numpy()
        NgramEmbedding(self.grams, table, self.bits, self.longest).save(str(folder))
        modules = [{"idx": 0, "name": "0", "path": "", "type": f"{_MODULE}.{NgramEmbedding.__name__}"}]
        write_bytes(folder / "modules.json", (json.dumps(modules, indent=2) + "\n").encode())

    def about(self) -> dict[str, Any]:
        """Return what a model card says of the shape."""
        sizes = np.searchsorted(self.grams, [1 << 21, 1 << 42])
        one, two, three = np.diff([0, *sizes, len(self.grams)])
        return {
            "shape": f"static: the mean over the rows of a text's character n-grams, width {self.table.shape[1]}",
            "vocabulary": f"{one:,} characters, {two:,} pairs and {three:,} triples of characters",
            "parameters": f"{self.table.numel():,}, stored in {self.bits} bits with a float16 scale for each row",
            "pooling": "mean; texts are in NFKC and lower case, and nothing is truncated",
        }
