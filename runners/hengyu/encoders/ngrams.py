"""The static n-gram encoder: a text's vector is the mean of the rows of its character n-grams, read from a small table.

A folder's modules.json names the class as ``hengyu.encoders.ngrams.NgramEmbedding``: sentence-transformers loads such a folder
with ``trust_remote_code=True`` where Hengyu is installed, and Hengyu loads it without any flag.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn

from hengyu.base.bounded import open_regular, read_bytes
from hengyu.base.errors import HengyuError, first_line
from hengyu.base.json_files import write_bytes

__all__ = ["CONFIG", "LONGEST", "WEIGHTS", "NgramEmbedding", "keys_of", "pack", "unpack"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LONGEST = 3  # characters of an n-gram: a key of 63 bits holds three code points
_BITS = 21  # of a code point
_SEPARATOR = "\0"
_FREE = 4  # slots of the hash table per row, at least
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hashing
_SPARE = 4096  # texts summed at once

Keys = NDArray[np.int64]


def keys_of(texts: Sequence[str], longest: int = LONGEST) -> tuple[Keys, NDArray[np.int64], NDArray[np.int64]]:
    """Return the n-grams of normalised texts (NFKC, lower case) as numbers, text by text.

    Args:
        texts: n texts.
        longest: characters of the longest n-gram, at most `LONGEST`.

    Returns:
        The n-grams (m, longest) that start at each of m characters, 0 where a text ends before; the number of the text of each
        character (m,); and the number of characters of each text (n,).
    """
    joined = _SEPARATOR.join(texts)
    if joined.count(_SEPARATOR) != len(texts) - 1:  # a text contains the separator
        joined = _SEPARATOR.join(t.replace(_SEPARATOR, " ") for t in texts)
    joined = unicodedata.normalize("NFKC", joined).lower() + _SEPARATOR * longest
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
    inside = codes > 0
    many = len(codes) - longest
    found = np.zeros((many, longest), np.int64)
    key, whole = np.zeros(many, np.int64), np.ones(many, bool)
    for at in range(longest):
        whole = whole & inside[at : at + many]
        key = key + (codes[at : at + many] << (_BITS * at))
        found[:, at] = np.where(whole, key, 0)
    kept = inside[:many]
    text: NDArray[np.int64] = np.cumsum(~kept, dtype=np.int64)[kept]
    return found[kept], text, np.bincount(text, minlength=len(texts))


def pack(table: NDArray[np.float32], bits: int) -> tuple[NDArray[Any], NDArray[np.float16]]:
    """Round rows (n, d) to 4 or 8 bits with one scale each; returns the numbers, two per byte at 4 bits, and the scales (n,)."""
    most = 2 ** (bits - 1) - 1
    scale = (np.abs(table).max(axis=1) / most).astype(np.float16)
    scale = np.where(scale > 0, scale, np.float16(1)).astype(np.float16)
    numbers = np.clip(np.rint(table / scale[:, None].astype(np.float32)), -most, most).astype(np.int8)
    if bits == 8:
        return numbers, scale
    shifted = (numbers + 8).astype(np.uint8)
    return shifted[:, ::2] | (shifted[:, 1::2] << 4), scale


def unpack(numbers: NDArray[Any], scale: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the rows (n, d) of a packed table: 4 bits if the numbers are unsigned, 8 if they are signed."""
    if numbers.dtype == np.uint8:
        out = np.empty((len(numbers), 2 * numbers.shape[1]), np.float32)
        out[:, ::2] = (numbers & 15).astype(np.float32) - 8
        out[:, 1::2] = (numbers >> 4).astype(np.float32) - 8
    else:
        out = numbers.astype(np.float32)
    out *= scale.astype(np.float32)[:, None]
    return out


class NgramEmbedding(InputModule):  # type: ignore[misc]
    """Texts to vectors (n, d): the mean of the rows of a text's character n-grams; zeros for a text without any.

    Args:
        grams: the n-grams (m,), as `keys_of` numbers them, ascending.
        table: their rows (m, d).
        bits: 4 or 8, how the table is stored.
        longest: characters of the longest n-gram.
    """

    config_keys: list[str] = ["bits", "longest"]

    def __init__(self, grams: Keys, table: NDArray[np.float32], bits: int = 4, longest: int = LONGEST) -> None:
        super().__init__()
        self.bits, self.longest = bits, longest
        self.grams = grams
        self.embedding = nn.EmbeddingBag.from_pretrained(torch.from_numpy(table), mode="mean", include_last_offset=True)
        self._shift = np.uint64(64 - max(4, int(np.ceil(np.log2(_FREE * max(1, len(grams)))))))
        self._slots = self._filled()

    # --- lookup ---

    def _slot(self, keys: Keys) -> NDArray[np.int64]:
        return ((keys.astype(np.uint64) * _GOLDEN) >> self._shift).astype(np.int64)

    def _filled(self) -> NDArray[np.int32]:
        """Return the hash table: the row of the n-gram in each slot, -1 for none; collisions go to the next slot."""
        size = 1 << (64 - int(self._shift))
        slots = np.full(size, -1, np.int32)
        rows, at = np.arange(len(self.grams), dtype=np.int32), self._slot(self.grams)
        while len(rows):
            free = slots[at] < 0
            slots[at[free]] = rows[free]  # of several rows for a slot the last one stays
            left = slots[at] != rows
            rows, at = rows[left], (at[left] + 1) % size
        return slots

    def rows_of(self, keys: Keys) -> NDArray[np.int32]:
        """Return the row of each n-gram (m,); -1 where the table has none."""
        at = self._slot(keys)
        found = self._slots[at]
        wrong = np.flatnonzero((found >= 0) & (self.grams[found] != keys))
        while len(wrong):
            at[wrong] = (at[wrong] + 1) % len(self._slots)
            found[wrong] = self._slots[at[wrong]]
            still = (found[wrong] >= 0) & (self.grams[found[wrong]] != keys[wrong])
            wrong = wrong[still]
        return found

    def bags(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows of the n-grams of n texts, where those of each text start (n + 1,), and counts (n, 3).

        The counts are characters, those without a row of their own, and 0: no text is truncated.
        """
        keys, text, lengths = keys_of(texts, self.longest)
        rows = self.rows_of(keys.ravel()).reshape(keys.shape)
        known = rows >= 0
        per_text = np.bincount(text, weights=known.sum(axis=1), minlength=len(texts)).astype(np.int64)
        unknown = np.bincount(text, weights=~known[:, 0], minlength=len(texts))
        starts = np.concatenate([[0], np.cumsum(per_text)])
        counts = np.stack([lengths, unknown, np.zeros(len(texts))], axis=1).astype(np.float32)
        return rows[known], starts, counts

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vectors (n, d) and the counts (n, 3) of n texts."""
        if not texts:
            return np.empty((0, self.get_embedding_dimension()), np.float32), np.empty((0, 3), np.float32)
        rows, starts, counts = self.bags(texts)
        found = self.embedding(torch.from_numpy(rows), torch.from_numpy(starts.astype(np.int32)))
        return found.numpy(), counts

    # --- as a module of sentence-transformers ---

    def preprocess(self, inputs: list[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return the rows of the n-grams of texts, as the library's other static embeddings do."""
        rows, starts, _ = self.bags([(prompt or "") + str(t) for t in inputs])
        return {"input_ids": torch.from_numpy(rows), "offsets": torch.from_numpy(starts.astype(np.int32))}

    def forward(self, features: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Add the sentence embeddings (n, d)."""
        features["sentence_embedding"] = self.embedding(features["input_ids"], features["offsets"])
        return features

    def get_embedding_dimension(self) -> int:
        """The width of the vectors."""
        return int(self.embedding.embedding_dim)

    @property
    def max_seq_length(self) -> float:
        """No text is truncated."""
        return float("inf")

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write config.json and model.safetensors."""
        from safetensors.numpy import save

        numbers, scale = pack(self.embedding.weight.numpy(), self.bits)
        folder = Path(output_path)
        about = {"bits": self.bits, "longest": self.longest, "dimensions": self.get_embedding_dimension()}
        write_bytes(folder / CONFIG, (json.dumps(about, indent=2) + "\n").encode())
        write_bytes(folder / WEIGHTS, save({"grams": self.grams, "table": numbers, "scale": scale}))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> NgramEmbedding:
        """Read a folder that `save` wrote; raises `HengyuError` for any other content."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        folder = Path(model_name_or_path) / subfolder
        path = folder / WEIGHTS
        try:
            about = json.loads(read_bytes(folder / CONFIG))
            with open_regular(path) as file:
                held = load(file.read())
            grams, numbers, scale = held["grams"], held["table"], held["scale"]
            bits, longest = about["bits"], about["longest"]
            dtype = {4: np.uint8, 8: np.int8}[bits]
            if longest not in range(1, LONGEST + 1):
                raise ValueError(f"longest is {longest}")
            if grams.dtype != np.int64 or numbers.dtype != dtype or scale.dtype != np.float16 or numbers.ndim != 2:
                raise ValueError("its tensors have other dtypes")
            if not len(grams) or grams.shape != scale.shape or len(grams) != len(numbers):
                raise ValueError("its tensors have other shapes")
            if grams[0] <= 0 or not (np.diff(grams) > 0).all():
                raise ValueError("its n-grams are not ascending")
            table = unpack(numbers, scale)
            if not np.isfinite(table).all():
                raise ValueError("its rows are not finite")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise HengyuError(
                f"{path}: not a complete n-gram encoder ({type(e).__name__}: {first_line(e)}); get the model again"
            ) from None
        return cls(grams, table, bits, longest)
