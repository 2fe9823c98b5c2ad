"""Places: whether a file has a header, and which columns are the sentences and the label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.cards.delimited import is_number
from hengyu.cards.layout import Layout, Wishes
from hengyu.cards.likely import label_rank, meaning, sentence_pair

__all__ = ["CLASSES", "find_places", "has_header"]

_SHOWN = 8  # columns shown in a message
CLASSES = 10
"""Up to so many different words may be the classes of a label column."""


def has_header(table: Layout, wishes: Wishes) -> bool:
    """Whether the first line of a file holds the names of its columns."""
    if table.format not in ("tsv", "csv"):
        return True
    if wishes.header is not None:
        return wishes.header
    head = [str(c[0]) for c in table.columns]
    if len(table.columns[0]) < 2:
        return sentence_pair(head) is not None and not any(map(is_number, head))
    places = [str(i) for i in range(len(head))]
    if head == places or head == ["", *places[:-1]]:  # pandas' names for the columns of an array
        return True
    if any(is_number(c) for c in head):
        return False
    rest = [[v for v in c[1:] if v.strip()] for c in table.columns]
    if any(r and all(map(is_number, r)) for r in rest):
        return True
    if (
        sentence_pair(head) is not None
        or sum(label_rank(name) >= 0 for name in head) == 1
        and len(set(head)) == len(head)
    ):
        return all(name not in set(r) for name, r in zip(head, rest, strict=True))
    # a word that is not among the few of the rest of its column
    return any(
        2 <= len(set(r)) <= CLASSES and len(r) >= 2 * len(set(r)) and name not in r
        for name, r in zip(head, rest, strict=True)
    )


def find_places(table: Layout, wishes: Wishes, where: str) -> tuple[int, int, int]:
    """Return the positions of sentence, sentence and label; raises `HengyuError` if they are in doubt."""
    if wishes.columns:
        return _wished(table, wishes.columns, where)
    names = table.names or [str(i) for i in range(len(table.columns))]
    label = _label_place(table, names, where)
    others = [i for i in range(len(names)) if i != label]
    pair = sentence_pair([names[i] for i in others]) if table.names else None
    if pair is not None and all(_words(table.columns[others[p]]) for p in pair):
        return others[pair[0]], others[pair[1]], label
    texts = [i for i in others if _texts(table.columns[i])]
    if len(texts) < 2:
        texts = [i for i in others if _words(table.columns[i])]
    if len(texts) > 2:
        varied = [i for i in texts if len(set(map(str, table.columns[i]))) > 1]
        texts = _sentences(table, varied if len(varied) >= 2 else texts)
    if len(texts) != 2:
        raise HengyuError(f"{where}: {_undecided(table, names, _could(names, texts, 'sentences'))}")
    return texts[0], texts[1], label


def _wished(table: Layout, columns: Sequence[str], where: str) -> tuple[int, int, int]:
    if len(columns) != 3 or len(set(columns)) != 3:
        raise HengyuError(f"--columns {','.join(columns)}: name three different columns: sentence, sentence, label")
    found = []
    for column in columns:
        if column in table.names:
            found.append(table.names.index(column))
        elif column.isdecimal() and int(column) < len(table.columns):
            found.append(int(column))
        else:
            known = table.names or [str(i) for i in range(len(table.columns))]
            raise HengyuError(f"--columns: {where} has no column '{column}'{did_you_mean(column, known)}")
    return found[0], found[1], found[2]


def _undecided(table: Layout, names: Sequence[str], could: str) -> str:
    first = ", ".join(f"{n} = {str(c[0])[:20]!r}" for n, c in list(zip(names, table.columns, strict=True))[:_SHOWN])
    return f"{could} (row 1: {first}); name them with 'hengyu card FILE --columns SENTENCE,SENTENCE,LABEL'"


def _could(names: Sequence[str], candidates: Sequence[int], what: str) -> str:
    if not candidates:
        return f"no column looks like the {what}"
    listed = ", ".join(names[i] for i in candidates[:_SHOWN])
    return (
        f"columns {listed} could hold the {what}"
        if len(candidates) > 1
        else f"only column {listed} could hold the {what}"
    )


def _words(values: Sequence[Any]) -> bool:
    texts = [v for v in values if isinstance(v, str) and v.strip()]
    return len(texts) >= 0.5 * len(values) and sum(map(is_number, texts)) < 0.5 * len(texts)


def _texts(values: Sequence[Any]) -> bool:
    """Whether most values are Chinese or several words, not ids, links or class names."""
    seen = sum(isinstance(v, str) and bool(re.search(r"[^\x00-\u02ff]|\S\s\S", v)) for v in values)
    return _words(values) and seen >= 0.5 * len(values)


def _sentences(table: Layout, texts: Sequence[int]) -> list[int]:
    """Return the two text columns that are clearly longer or more varied than the others, else all of them."""

    def size(i: int) -> tuple[float, float]:
        values = [str(v) for v in table.columns[i]]
        return len(set(values)) / len(values), sum(map(len, values)) / len(values)

    sizes = {i: size(i) for i in texts}
    ranked = sorted(texts, key=lambda i: -sizes[i][0] * sizes[i][1])
    least = [min(sizes[i][k] for i in ranked[:2]) for k in (0, 1)]
    rest = [i for i in ranked[2:] if sizes[i][0] > 0.5 * least[0] and sizes[i][1] > 0.5 * least[1]]
    return sorted(texts if rest else ranked[:2])


def _given(values: Sequence[Any]) -> list[str]:
    return [str(v).strip() for v in values if v is not None and str(v).strip()]


def _is_label(values: Sequence[Any]) -> bool:
    """Whether values can be labels: numbers, or a few different words."""
    if any(isinstance(v, (list, dict)) for v in values):
        return False
    given = _given(values)
    classes = set(given)
    return bool(given) and (
        _sure(values)
        or (2 <= len(classes) <= CLASSES and len(given) >= 3 * len(classes) and max(map(len, classes)) <= 20)
    )


def _sure(values: Sequence[Any]) -> bool:
    """Whether values are numbers, or known words for "same" and "different"."""
    given = _given(values)
    return all(map(is_number, given)) or (
        len(set(given)) <= CLASSES and all(meaning(word) is not None for word in set(given))
    )


def _is_id(values: Sequence[Any]) -> bool:
    """Whether numbers are ids: they count the rows, or are all different integers, unlike the labels of many rows."""
    given = [str(v).strip() for v in values]
    if not all(re.fullmatch(r"\d+", v) for v in given):
        return False
    if any(len(v) > 1 and v[0] == "0" for v in given):
        return True
    numbers = [int(v) for v in given]
    counted = len(numbers) > 1 and all(b - a == 1 for a, b in zip(numbers, numbers[1:], strict=False))
    return counted or (len(numbers) > 5 and len(set(numbers)) == len(numbers))


def _label_place(table: Layout, names: Sequence[str], where: str) -> int:
    fit = [i for i, values in enumerate(table.columns) if _is_label(values)]
    named = [i for i in fit if table.names and label_rank(names[i]) >= 0]
    if table.names and not named:
        unlike = [i for i, name in enumerate(names) if 0 <= label_rank(name) < 3 and not _texts(table.columns[i])]
        named = unlike[:1] if len(fit) == 0 else []
    if named:
        ranks = sorted((label_rank(names[i]), i) for i in named)
        surest = [i for rank, i in ranks if rank <= max(ranks[0][0], 1)] if ranks[0][0] <= 1 else [i for _, i in ranks]
        if len(surest) == 1:
            return surest[0]
        raise HengyuError(f"{where}: {_undecided(table, names, _could(names, surest, 'label'))}")
    sure = [i for i in fit if _sure(table.columns[i])]
    likely = [i for i in sure if not _is_id(table.columns[i])]
    if not likely and len(sure) > 1:  # in a few rows labels may count like ids: ids come first
        likely = sure[1:]
    likely = likely or [i for i in fit if i not in sure] or sure
    for test in (_varied, _bounded):
        likely = [i for i in likely if test(table.columns[i])] or likely
    if len(likely) != 1:
        raise HengyuError(f"{where}: {_undecided(table, names, _could(names, likely, 'label'))}")
    return likely[0]


def _varied(values: Sequence[Any]) -> bool:
    return len({str(v) for v in values}) > 1


def _bounded(values: Sequence[Any]) -> bool:
    return all(-1 <= float(v) <= 100 for v in map(str, values) if is_number(v))
