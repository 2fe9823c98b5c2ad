"""Folders as BEIR and mteb lay them out: corpus, queries and qrels, found by their names, as a card."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.cards.card import COMPRESSED, format_of
from hengyu.cards.guess import card_name

__all__ = ["folder_card"]

_JUDGEMENTS = ("qrels", "data", "qrel")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_SPLITS = {"validation": "valid", "val": "valid"}


def folder_card(folder: Path, name: str = "") -> str:
    """Return the card, as TOML, of a folder that holds corpus, queries and qrels; raises `HengyuError` for another one.

    Each part is a file (``corpus.jsonl``) or a folder of files (``corpus/*.parquet``). Files of judgements in a folder are splits
    by their names: ``qrels/test.tsv``, ``data/test-00000-of-00001.parquet``; one beside the corpus is the split test.
    """
    corpus, queries = (_texts(folder, part) for part in ("corpus", "queries"))
    splits = _splits(folder)
    lacks = [part for part, found in (("corpus", corpus), ("queries", queries), ("qrels", splits)) if not found]
    if lacks:
        *others, last = lacks
        missing = f"{', '.join(others)} and {last}" if others else last
        raise HengyuError(
            f"{folder}: is a folder without {missing}; name a file of pairs, or a folder with corpus.jsonl, "
            "queries.jsonl and qrels/test.tsv, as BEIR has them"
        )
    lines = [f"name = {_quoted(name or card_name(folder))}", 'kind = "retrieval"']
    for split, files in splits.items():
        given = ", ".join(map(_quoted, files))
        qrels = f"[{given}]" if len(files) > 1 else given
        texts = (f"corpus = {_quoted(corpus)}", f"queries = {_quoted(queries)}")
        lines += ["", f"[splits.{split}]", *texts, f"qrels = {qrels}"]
    return "\n".join(lines) + "\n"


def _texts(folder: Path, part: str) -> str:
    """Return the file or the folder that holds a part, "" for none."""
    found = sorted(p.name for p in folder.glob(f"{part}.*") if p.is_file() and format_of(p.name))
    if found:
        return found[0]
    return part if (folder / part).is_dir() and _data(folder / part) else ""


def _splits(folder: Path) -> dict[str, list[str]]:
    """Return the files of judgements by the split that their names say."""
    found: dict[str, list[str]] = {}
    for part in _JUDGEMENTS:
        for path in _data(folder / part) if (folder / part).is_dir() else ():
            stem = _SHARD.sub("", _stem(path))
            found.setdefault(_SPLITS.get(stem, stem), []).append(f"{part}/{path.name}")
        if found:
            return found
    single = sorted(p.name for p in folder.glob("qrels.*") if p.is_file() and format_of(p.name))
    return {"test": single[:1]} if single else {}


def _data(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and format_of(p.name))


def _stem(path: Path) -> str:
    name = path.name
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name.rpartition(".")[0]


def _quoted(name: str) -> str:
    """Return a name as a TOML string."""
    return json.dumps(name, ensure_ascii=False)
