"""Tokenisation: the model's tokenizer with prompt and pre-tokenizer, and a count of unknown tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, first_line
from hengyu.base.segmenter import jieba_segmenter
from hengyu.encoders.long_texts import head_tail, windows
from hengyu.encoders.model_folder import ModelFolder
from hengyu.encoders.token_rows import TokenRows

__all__ = ["Tokenizer"]

_BLOCK = 128  # texts that the library tokenises at once; more of its objects set off Python's garbage collector
_PROBES = ("一", "的", "a", "1")  # the first with tokens shows the special tokens around a text


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


class Tokenizer:
    """Texts to token ids, special tokens included, truncated to the model's longest input."""

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.added: tuple[str, ...] = ()  # tokens that the folder's tokenizer lacks

    @cached_property
    def _library(self) -> Any:
        from hengyu.encoders.pipeline import load_tokenizer

        try:
            return load_tokenizer(self.folder)
        except Exception as e:
            raise HengyuError(f"{self.folder.where}: {self._unloadable(e)}") from None

    def _unloadable(self, error: Exception) -> str:
        """Explain why a tokenizer cannot be loaded; transformers reports a missing sentencepiece as missing tiktoken."""
        place = self.folder.transformer
        pieces = [p.name for p in sorted(place.glob("*.model"))]
        missing = [name for name in ("sentencepiece", "google.protobuf") if not _there(name)]
        if pieces and missing and not (place / "tokenizer.json").is_file():
            return (
                f"its tokenizer is a sentencepiece model ({pieces[0]}) and there is no tokenizer.json; run: "
                "pip install sentencepiece protobuf"
            )
        return f"its tokenizer cannot be loaded ({first_line(error)}); get the model again"

    @cached_property
    def _words(self) -> Any:
        """Jieba's segmenter, HMM off as in the published runs of WoBERT and RoFormer."""
        segmenter = jieba_segmenter()
        if segmenter is None:
            raise HengyuError("pre_tokenizer 'jieba' needs jieba; run: pip install 'hengyu[jieba]'")
        return segmenter

    def wrap(self, text: str) -> str:
        """Return the text with the prompt around it, in lower case if the folder asks for that."""
        prompt = self.folder.prompt
        if prompt:
            text = prompt.replace("{text}", text) if "{text}" in prompt else prompt + text
        return text.lower() if self.folder.lowercase else text

    def has_mask(self, prompt: str) -> bool:
        """Whether a prompt contains the model's mask token."""
        token = self._library.mask_token
        return bool(token) and token in prompt

    def grown(self, names: Sequence[str], prompt: str) -> Tokenizer:
        """Return a tokenizer with additional tokens, recognised by name anywhere, and with another prompt."""
        from transformers import AddedToken

        spec = replace(self.folder.spec, prompt=prompt)
        new = Tokenizer(ModelFolder(self.folder.path, spec, identifier=self.folder.id))
        new._library.add_tokens([AddedToken(name, special=True, normalized=False) for name in names])
        new.added = tuple(names)
        return new

    def save(self, folder: Path) -> None:
        """Write its files into a folder."""
        self._library.save_pretrained(folder)

    @property
    def chats(self) -> bool:
        """Whether it has a chat template, which sentence-transformers applies in a folder without modules."""
        return bool(getattr(self._library, "chat_template", None))

    @property
    def size(self) -> int:
        """The number of tokens it knows, added ones included."""
        return len(self._library)

    def words(self, size: int) -> list[str]:
        """Return the names of the tokens 0, ..., size - 1; an id that no token has is named by its number."""
        found = self._library.convert_ids_to_tokens(list(range(min(size, self.size))))
        known = set[str]()
        names = []
        for i, word in enumerate([*found, *[None] * (size - len(found))]):
            name = f"[id {i}]" if word is None or word in known else str(word)
            known.add(name)
            names.append(name)
        return names

    @property
    def mask(self) -> str:
        """The mask token."""
        return str(self._library.mask_token)

    @property
    def mask_id(self) -> int:
        """The id of the mask token."""
        return int(self._library.mask_token_id)

    @property
    def padding(self) -> tuple[int, bool]:
        """The id of the padding token, and whether the model's texts are padded on the left."""
        if self._library.pad_token_id is None:
            raise HengyuError(f"{self.folder.where}: its tokenizer has no padding token")
        return int(self._library.pad_token_id), self._library.padding_side == "left"

    def rectangle(self, ids: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
        """Return rows padded to one length, and their mask: 1 for tokens, 0 for padding."""
        longest = max(map(len, ids))
        if all(len(row) == longest for row in ids):
            return [list(row) for row in ids], [[1] * longest for _ in ids]
        token, left = self.padding
        rows, kept = [], []
        for row in ids:
            more = longest - len(row)
            rows.append([token] * more + [*row] if left else [*row] + [token] * more)
            kept.append([0] * more + [1] * len(row) if left else [1] * len(row) + [0] * more)
        return rows, kept

    @property
    def left(self) -> bool:
        """Whether a long text is truncated at its beginning."""
        return bool(self._library.truncation_side == "left")

    @cached_property
    def _kinds(self) -> tuple[list[int], int, list[int], int] | None:
        """The token types before a text, of the text, after it, and of padding; None without token types."""
        if "token_type_ids" not in self._library.model_input_names:
            return None
        head, tail = map(len, self._frame)
        whole = next((w for p in _PROBES if len(w := self._library(p).get("token_type_ids") or []) > head + tail), None)
        if whole is None:
            return None
        return whole[:head], whole[head], whole[len(whole) - tail :], int(self._library.pad_token_type_id)

    @property
    def gives_types(self) -> bool:
        """Whether the tokenizer gives token types at all, if only 0."""
        return self._kinds is not None

    @property
    def typed(self) -> bool:
        """Whether the tokenizer gives token types other than 0."""
        return self._kinds is not None and any((*self._kinds[0], self._kinds[1], *self._kinds[2]))

    def types(self, rows: Sequence[Sequence[int]], kept: Sequence[Sequence[int]]) -> list[list[int]] | None:
        """Return the token types of padded rows with the mask ``kept``; None without token types."""
        if self._kinds is None:
            return None
        head, inside, tail, padding = self._kinds
        if not (self.typed or padding):
            return [[0] * len(row) for row in rows]
        found = []
        for row, mask in zip(rows, kept, strict=True):
            own = iter(head + [inside] * (sum(mask) - len(head) - len(tail)) + tail)
            found.append([next(own, inside) if one else padding for one, _ in zip(mask, row, strict=True)])
        return found

    def bare(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts with special tokens, without prompt and truncation."""
        if self.folder.spec.pre_tokenizer:
            return [self._frame[0] + self._by_words(t) + self._frame[1] for t in texts]
        rows: list[list[int]] = self._library(list(texts), return_attention_mask=False, return_token_type_ids=False)[
            "input_ids"
        ]
        return rows

    def __call__(self, texts: Sequence[str]) -> tuple[TokenRows, NDArray[np.float32]]:
        """Return ids and counts (n, 3): tokens without special ones, [UNK] among them, 1 where truncated.

        A text that is too long is truncated, or keeps its head and tail if the folder's ``long`` says so.
        """
        longest = self.folder.max_length
        found = TokenRows()
        head, tail = self._frame
        end = self._end if self.folder.prompt_has_suffix else tail
        unknown = self._library.unk_token_id
        counts = np.zeros((len(texts), 3), np.float32)
        for i, row in enumerate(self._wrapped(texts)):
            if len(row) > longest:
                counts[i, 2] = 1
                if self.folder.long == "head-tail":
                    row = head_tail(row, self._fitting, longest)
                elif self.left:
                    start = self.around[0] if self.folder.prompt_has_suffix else head
                    row = start + row[len(row) - longest + len(start) :]
                else:
                    row = row[: longest - len(end)] + end
            counts[i, 0] = len(row) - len(head) - len(tail)
            if unknown is not None:
                counts[i, 1] = row.count(unknown)
            found.append(row)
        return found, counts

    def _wrapped(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Yield the ids of texts with prompt and special tokens: what the library holds of a token meanwhile is a hundred bytes."""
        for start in range(0, len(texts), _BLOCK):
            yield from self.bare([self.wrap(t) for t in texts[start : start + _BLOCK]])

    def windowed(self, texts: Sequence[str]) -> tuple[TokenRows, dict[int, TokenRows], NDArray[np.float32]]:
        """Return the ids of texts, the windows of those that are too long by their numbers, and counts (n, 3).

        The ids of a text that is too long are those of its first window. The counts are of whole texts; none is truncated.
        """
        longest = self.folder.max_length
        special, unknown = sum(map(len, self._frame)), self._library.unk_token_id
        rows, found = TokenRows(), dict[int, TokenRows]()
        counts = np.zeros((len(texts), 3), np.float32)
        for i, row in enumerate(self._wrapped(texts)):
            counts[i, :2] = len(row) - special, 0 if unknown is None else row.count(unknown)
            if len(row) > longest:
                found[i] = TokenRows(windows(row, self._fitting, longest))
            rows.append(found[i][0] if i in found else row)
        return rows, found, counts

    def echoed(self, texts: Sequence[str]) -> list[tuple[list[int], int, int]]:
        """Return for each text the ids of two consecutive copies, and start and end of the second.

        A prompt surrounds both copies; if it has {text} twice, it also separates them. A text is truncated so that two copies
        fit.
        """
        parts = self.folder.prompt.split("{text}") if "{text}" in self.folder.prompt else [self.folder.prompt, ""]
        if self.folder.lowercase:
            parts, texts = [p.lower() for p in parts], [t.lower() for t in texts]
        (head, tail), size = self._frame, len(self._frame[1])
        bare = [row[len(head) : len(row) - size] for row in self.bare([parts[0], parts[-1], *parts[1:-1][:1]])]
        before, after, between = head + bare[0], bare[1] + tail, bare[2] if len(bare) > 2 else []
        room = (self.folder.max_length - len(before) - len(between) - len(after)) // 2
        if room < 1:
            raise HengyuError(
                f"{self.folder.where}: two copies of a text do not fit with the prompt into {self.folder.max_length} tokens; raise "
                "max_length, or shorten the prompt"
            )
        found = []
        for row in self.bare(list(texts)):
            inside = row[len(head) : len(row) - size]
            inside = inside[-room:] if self.left else inside[:room]
            start = len(before) + len(inside) + len(between)
            found.append((before + inside + between + inside + after, start, start + len(inside)))
        return found

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after a text."""
        for probe in _PROBES:
            inside = self._library(probe, add_special_tokens=False)["input_ids"]
            whole = self._library(probe)["input_ids"]
            for at in range(len(whole) - len(inside) + 1):
                if inside and whole[at : at + len(inside)] == inside:
                    return whole[:at], whole[at + len(inside) :]
        raise HengyuError(
            f"{self.folder.where}: its tokenizer gives no tokens for {', '.join(_PROBES)}; use a model for Chinese"
        )

    @property
    def special(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after a text."""
        return self._frame

    @cached_property
    def around_pair(self) -> tuple[list[int], list[int], list[int]]:
        """The special tokens before, between and after two texts that are read together."""
        for probe in _PROBES:
            inside = self._library(probe, add_special_tokens=False)["input_ids"]
            whole = self._library(probe, probe)["input_ids"]
            size = len(inside)
            at = [i for i in range(len(whole) - size + 1) if inside and whole[i : i + size] == inside]
            if len(at) > 1:
                return whole[: at[0]], whole[at[0] + size : at[-1]], whole[at[-1] + size :]
        raise HengyuError(f"{self.folder.where}: its tokenizer cannot join two texts; choose another model")

    @property
    def longest(self) -> int:
        """The tokens that its model reads at most, as far as the tokenizer knows."""
        return int(self._library.model_max_length)

    @cached_property
    def own(self) -> tuple[list[int], list[int]]:
        """The tokens of the prompt before and after a text."""
        prompt = self.folder.prompt.lower() if self.folder.lowercase else self.folder.prompt
        parts = prompt.split("{text}")
        head, tail = map(len, self._frame)
        before, after = (
            row[head : len(row) - tail] for row in self.bare((parts[0], parts[-1] if len(parts) > 1 else ""))
        )
        return before, after

    @property
    def around(self) -> tuple[list[int], list[int]]:
        """All tokens before and after a text: special tokens and those of the prompt."""
        (head, tail), (before, after) = self._frame, self.own
        return head + before, after + tail

    @cached_property
    def _end(self) -> list[int]:
        """The tokens after a truncated text; raises `HengyuError` if a template leaves no room for a text."""
        before, after = self.around
        if len(before) + len(after) >= self.folder.max_length:
            raise HengyuError(
                f"{self.folder.where}: the prompt takes {len(before) + len(after)} tokens of {self.folder.max_length}, so "
                "no text fits; raise max_length, or shorten the prompt"
            )
        return after

    @cached_property
    def _fitting(self) -> tuple[list[int], list[int]]:
        """All tokens before and after a text; raises `HengyuError` if they leave no room for two tokens of a text."""
        before, after = self.around
        if len(before) + len(after) + 2 > self.folder.max_length:
            raise HengyuError(
                f"{self.folder.where}: special tokens and prompt take {len(before) + len(after)} of {self.folder.max_length} "
                f"tokens, which leaves no room for long = '{self.folder.long}'; raise max_length, or shorten the prompt"
            )
        return before, after

    @property
    def frame_lengths(self) -> tuple[int, int]:
        """The number of tokens around a text: special ones, and those of a prompt that continues after it."""
        head, tail = self.around if self.folder.prompt_has_suffix else self._frame
        return len(head), len(tail)

    def _by_words(self, text: str) -> list[int]:
        """Takes words of the vocabulary as they are, and all others by the model's own tokenizer."""
        vocabulary = self.vocabulary
        ids: list[int] = []
        for word in self._words.cut(text, HMM=False):
            known = vocabulary.get(word)
            if known is None:
                ids += self._library(word, add_special_tokens=False)["input_ids"]
            else:
                ids.append(known)
        return ids

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """All tokens with their ids."""
        vocabulary: dict[str, int] = self._library.get_vocab()
        return vocabulary
