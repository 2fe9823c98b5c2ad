"""Jieba's word segmenter, with its cache in a folder of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hengyu.base.paths import cache_dir

__all__ = ["jieba_segmenter", "jieba_words"]


@cache
def jieba_segmenter() -> Any | None:
    """Return jieba's segmenter; None where jieba is not installed."""
    try:
        import jieba
    except ImportError:
        return None
    import logging

    jieba.setLogLevel(logging.ERROR)
    segmenter = jieba.Tokenizer()
    # by default jieba keeps a marshalled cache in the shared temporary folder, where others could replace it
    own = cache_dir() / "jieba"
    own.mkdir(parents=True, exist_ok=True)
    segmenter.tmp_dir = str(own)
    return segmenter


def jieba_words(what: str) -> Callable[[str], list[str]]:
    """Return what cuts a text into jieba's words, in lower case and without spaces; raises ValueError where it is not installed.

    ``what`` needs it, for the message.
    """
    segmenter = jieba_segmenter()
    if segmenter is None:
        raise ValueError(f"{what} needs jieba; run: pip install 'hengyu[jieba]'")
    return lambda text: [word for word in segmenter.lcut(text.lower()) if not word.isspace()]
