"""Encode a large file of sentences into a vector store: block by block, in bounded memory, going on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.base.memory import as_words
from hengyu.base.progress import Progress, silent
from hengyu.base.text_lines import blocks, typical_line
from hengyu.bench.context import EncodeContext
from hengyu.bench.encode import open_spaces
from hengyu.bench.encode_shards import encode_block
from hengyu.bench.estimate import base_memory, refuse_full_disk
from hengyu.bench.executors.local import Local
from hengyu.bench.notes import Notes
from hengyu.bench.prepared_encoder import PreparedEncoder
from hengyu.bench.units import Executor
from hengyu.encoders import Encoder
from hengyu.storage.vectors import VectorStore

__all__ = ["Archived", "archive", "block_size"]

_BLOCK = 65536  # lines
_SMALLEST = 1024
_PER_LINE = 2048  # bytes of a line in work: its text, its tokens, their places
_PER_KEY = 64  # bytes of a stored text in the index of a space, at the moment it grows
_SLACK = 1.15  # what allocators keep
_LOCAL = Local()


@dataclass(frozen=True)
class Archived:
    """What came of it."""

    lines: int
    blank: int
    encoded: int  # texts; the others were stored already, or stand twice in their block
    seconds: float
    spaces: dict[str, Path]  # pooling -> folder


def archive(
    path: Path,
    encoder: Encoder,
    poolings: Sequence[str],
    store: VectorStore,
    progress: Progress = silent,
    *,
    max_memory: int | None = None,
    executor: Executor = _LOCAL,
    offline: bool = False,
) -> Archived:
    """Encode every line of a file that the store lacks; killed at any point, the same call goes on.

    One block is in work at a time, whatever the executor: a text that stands in two blocks is encoded with the first one,
    so that every vector is the same under any number of workers. ``max_memory`` is that of this process.
    Raises `HengyuError` for a file that is no text, and where memory or disk do not suffice.
    """
    started = time.perf_counter()
    for name in poolings:
        if encoder.poolings.get(name, "is unknown"):
            raise HengyuError(
                f"encoder '{encoder.id}': pooling '{name}' is not available: {encoder.poolings.get(name)}"
            )
    try:
        size = path.stat().st_size
    except OSError as e:
        raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); check the path") from None
    expected = size / typical_line(path)
    lines = block_size(encoder, poolings, expected, max_memory)
    encoder.prepare(store, None, progress)
    at_once = min(lines, int(expected) + 1)
    memory = int((base_memory(encoder, len(poolings), at_once) + at_once * _PER_LINE) * _SLACK)
    keys = int(_SLACK * expected * _PER_KEY * (len(poolings) + 1))
    progress.say(
        f"{path}: about {expected:,.0f} lines, in blocks of {lines:,}, into {store.root}; it takes about "
        f"{as_words(memory + keys)} of memory"
    )
    spaces = open_spaces(store, encoder, poolings)
    context = EncodeContext(
        encoders=(PreparedEncoder(encoder, encoder.identity(), tuple(poolings), {}),),
        store=store,
        progress=progress,
        offline=offline,
        memory=memory,
        spare=None if max_memory is None else max_memory - memory,
    )
    log = Notes()
    seen = blank = encoded = worked = before = 0
    spent = 0.0
    said = False
    with progress.stage(f"encoding {path.name} with {encoder.id}, bytes", size) as tick:
        for block in blocks(path, lines):
            begun = time.perf_counter()
            found = encode_block(executor, context, list(dict.fromkeys(block.texts)), spaces, log)
            seen, blank, encoded = seen + len(block.texts) + block.blank, blank + block.blank, encoded + found.encoded
            if found.encoded:
                spent += time.perf_counter() - begun
                worked += block.done - before
                rest = size - block.done
                width = sum(spaces[p].dim or 0 for p in poolings)
                refuse_full_disk(rest / max(block.done, 1) * seen * (4 * width + 12 + 16 * len(spaces)), store.root)
                if rest and (not said or not progress.console or not progress.console.is_terminal):
                    said = True
                    pace, left = found.encoded / (time.perf_counter() - begun), spent / worked * rest
                    progress.say(f"{seen:,} lines, {pace:,.0f} sentences/s, about {_clock(left)} left")
            before = block.done
            tick(min(block.done, size))
    if sent := encoder.spent():
        progress.say(sent)
    encoder.release()
    return Archived(seen, blank, encoded, time.perf_counter() - started, {p: spaces[p].folder for p in poolings})


def block_size(encoder: Encoder, poolings: Sequence[str], lines: float, max_memory: int | None) -> int:
    """Return how many lines are in work at once; raises `HengyuError` when not even the smallest block fits the memory."""
    if max_memory is None:
        return _BLOCK
    fixed = base_memory(encoder, len(poolings)) + lines * _PER_KEY * (len(poolings) + 1)
    room = int((max_memory / _SLACK - fixed) / _PER_LINE)
    if room < _SMALLEST:
        least = (fixed + _SMALLEST * _PER_LINE) * _SLACK
        raise HengyuError(
            f"encoder '{encoder.id}': about {lines:,.0f} lines need {as_words(least)} of memory where --max-memory allows "
            f"{as_words(max_memory)}; allow that much, or split the file and give each part a store of its own"
        )
    return min(room, _BLOCK)


def _clock(seconds: float) -> str:
    minutes = int(seconds // 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min"
        if minutes >= 3
        else f"{seconds:.0f} s"
    )
