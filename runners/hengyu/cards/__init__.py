"""Cards: the known datasets, one TOML file each; every mistake in one is reported with file and key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from hengyu.base.bounded import resolved
from hengyu.base.errors import HengyuError, Problems, did_you_mean
from hengyu.base.paths import share
from hengyu.base.toml_tables import Table, read_toml, shown
from hengyu.cards import keys
from hengyu.cards.card import Card, Columns, Hub, Split, TripleCard, TripleColumns
from hengyu.cards.collection_card import collection_card

__all__ = [
    "Card",
    "Columns",
    "Hub",
    "Split",
    "card_from",
    "find_card",
    "free_name",
    "is_suite",
    "load_card",
    "load_cards",
    "pairs_card",
    "parse_task",
]

_MTEB = "mteb-"
_APART = [("and the sentences must be three different columns; name each of them", ("sentence1", "sentence2", "label"))]
_TRIPLE_APART = [
    ("and the others must be three different columns; name each of them", ("anchor", "positive", "negative"))
]
C = TypeVar("C", Columns, TripleColumns)


def load_cards(extra: Sequence[Path] = ()) -> dict[str, Card]:
    """Read the shipped cards and every ``*.toml`` of the extra folders; raises one `HengyuError` with every mistake.

    Suites in such a folder are skipped: both are TOML, and people keep them together. A file of pairs gets its card from
    `pairs_card`.
    """
    files = sorted(share("datasets").glob("*.toml"))
    problems = Problems()
    guessed: list[Card] = []
    for place in extra:
        if place.is_file() and place.suffix != ".toml":
            with problems.caught():
                guessed.append(pairs_card(place))
            continue
        beside = (p for p in sorted(place.glob("*.toml")) if not p.name.endswith(".rules.toml"))  # those of the gate
        found = [place] if place.is_file() else [p for p in beside if not is_suite(p)]
        if not found:
            problems.add(f"{place}: no such folder, or no card (*.toml) in it; check --datasets")
        files += found
    cards: dict[str, Card] = {}
    owner: dict[str, Card] = {}
    read: list[Card] = []
    for path in {resolved(p): p for p in files}.values():
        with problems.caught():
            read.append(load_card(path))
    for card in (*read, *guessed):
        other = owner.setdefault(card.name.casefold(), card)
        if other is not card and (other.path.resolve(), other.digest) != (card.path.resolve(), card.digest):
            problems.add(f"{card.path}: the name '{card.name}' is taken by {other.path}; give this card another name")
        cards[card.name] = card
    problems.finish()
    return cards


def is_suite(path: Path) -> bool:
    """Whether a file is a suite, which names tasks. An unreadable file is reported by `load_card`."""
    try:
        return read_toml(path).has("tasks")
    except HengyuError:
        return False


def find_card(cards: Mapping[str, Card], name: str) -> Card:
    """Return a card by its name, ignoring case; raises `HengyuError` for an unknown name.

    ``mteb:ATEC`` and ``mteb-ATEC`` name the card made from mteb's task.
    """
    known = {card.name.casefold(): card for card in cards.values()}
    name = _plain(name)
    word = name.strip().casefold()
    if word in known:
        return known[word]
    if word.startswith(_MTEB):
        from hengyu.cards.mteb_cards import mteb_card

        return mteb_card(name.strip()[len(_MTEB) :])
    close = [known[w].name for w in get_close_matches(word, known, n=1)]
    own = "" if close else "; for your own cards give --datasets FOLDER"
    raise HengyuError(f"there is no dataset '{name}'{did_you_mean(close[0] if close else name, cards)}{own}")


def parse_task(cards: Mapping[str, Card], word: str) -> tuple[Card, str]:
    """Return the card and the split's name of a task like ``LCQMC:test``; raises `HengyuError`."""
    name, colon, split = _plain(word).partition(":")
    card = find_card(cards, name)
    if not colon and _plain(word) != word:  # mteb:ATEC is its test split, as mteb reports it
        # a retrieval task has one split, the one that mteb evaluates
        return card, "test" if "test" in card.splits else list(card.splits)[-1]
    if not colon or not split:
        raise HengyuError(f"task '{word}' names no split; write {card.name}:{list(card.splits)[-1]}")
    return card, card.split(split.strip()).name


def _plain(word: str) -> str:
    """Return ``mteb-ATEC`` for ``mteb:ATEC``, so that the only colon separates card and split."""
    return _MTEB + word[len(_MTEB) :] if word[: len(_MTEB)].casefold() == "mteb:" else word


def pairs_card(file: Path) -> Card:
    """Return the card of a file of pairs: one in its folder that names the file, else a guessed one; raises `HengyuError`.

    The guess depends only on the bytes of the file.
    """
    from hengyu.cards.guess import card_place, guess

    if file.is_file() and (place := card_place(file)).is_file() and not is_suite(place):
        card = load_card(place)
        if any(split.file == file.name for split in card.splits.values()):
            return card
    found = guess(file)
    return card_from(found.toml(free_name(file)), card_place(file))


def free_name(file: Path) -> str:
    """Return a name for the card of a file of pairs that no shipped card has."""
    from hengyu.cards.guess import card_name

    name = card_name(file)
    shipped = {p.stem.casefold() for p in share("datasets").glob("*.toml")}
    return f"{name}-pairs" if name.casefold() in shipped else name


def card_from(text: str, path: Path) -> Card:
    """Read a card from its text; ``path`` is where it would be. Raises `HengyuError`."""
    return _card(Table(str(path), tomllib.loads(text)), path)


def load_card(path: Path) -> Card:
    """Read one card; raises one `HengyuError` with every mistake in it."""
    return _card(read_toml(path), path)


def _card(table: Table, path: Path) -> Card:
    stated = table.has("name")
    name = table.take("name", str, "", required=True)
    if stated:
        keys.name(table, "name", name)
    kind = keys.word(table, "kind", "sts", tuple(_READERS))
    card = _READERS.get(kind, _sts_card)(table, name, path)
    table.finish()
    return card


def _sts_card(table: Table, name: str, path: Path) -> Card:
    text = keys.text_keys(table)
    scale, label_kind, label_map = _labels(table)
    columns, header = _text_columns(table, Columns(), _APART)
    hub = keys.hub(table, lambda inner: keys.columns(inner, Columns(label="score"), _APART))
    return Card(
        name=name,
        path=path,
        scale=scale,
        label_kind=label_kind,
        label_map=label_map,
        splits=_splits(table, name, text.format, columns, hub),
        format=text.format,
        header=header,
        columns=columns,
        malformed=keys.word(table, "malformed", "error", ("error", "drop")),
        separator=text.separator,
        quoting=text.quoting,
        encoding=text.encoding,
        hub=hub,
        raters=keys.raters(table),
        long=keys.long_texts(table),
        distractors=keys.distractors(table),
        **keys.prose(table, name),
    )


def _labels(table: Table) -> tuple[tuple[float, float], str, dict[str, float]]:
    if not table.has("labels"):
        table.take("labels", dict)
        table.problem("labels", "is missing; add the lowest and the highest label, like labels = { scale = [0, 5] }")
        return (0.0, 1.0), "graded", {}
    inner = table.table("labels")
    scale = inner.take("scale", list, [], required=True)
    numbers = [v for v in scale if type(v) in (int, float) and -1e300 < v < 1e300]
    low, high = numbers if len(numbers) == len(scale) == 2 else (0, 0)
    if not low < high:
        inner.problem("scale", f"must be the lowest and the highest label, like [0, 5], not {shown(scale)}")
        low, high = 0, 1
    elif (low, high) == (0, 1) and not inner.has("kind"):
        inner.problem("kind", "is needed with the scale [0, 1]; add 'binary' (labels are 0 or 1) or 'graded'")
    kind = keys.word(inner, "kind", "graded", ("binary", "graded"))
    if kind == "binary" and (low, high) != (0, 1):
        inner.problem("kind", "is 'binary', which goes with scale = [0, 1] only; change one of the two")
    found = keys.label_map(inner, (low, high), kind == "binary")
    inner.finish()
    return (float(low), float(high)), kind, found


def _triple_card(table: Table, name: str, path: Path) -> TripleCard:
    text = keys.text_keys(table)
    columns, header = _text_columns(table, TripleColumns(), _TRIPLE_APART)
    return TripleCard(
        name=name,
        path=path,
        scale=(0.0, 1.0),
        label_kind="binary",
        splits=_splits(table, name, text.format, columns, None),
        kind="triples",
        format=text.format,
        header=header,
        malformed=keys.word(table, "malformed", "error", ("error", "drop")),
        separator=text.separator,
        quoting=text.quoting,
        encoding=text.encoding,
        fields=columns,
        **keys.prose(table, name),
    )


_READERS: dict[str, Callable[[Table, str, Path], Card]] = {
    "sts": _sts_card,
    "retrieval": collection_card,
    "triples": _triple_card,
}


def _text_columns(table: Table, default: C, apart: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[C, bool]:
    """Return the columns and whether there is a header: by default, if any column is given by name."""
    said = table.has("header")
    header = table.take("header", bool, True)
    columns = keys.columns(table, default if header else type(default)(0, 1, 2), apart)
    named = any(isinstance(c, str) for c in asdict(columns).values())
    if not header and named:
        table.problem("columns", "must be positions from 0, because header = false; give numbers or set header = true")
    return columns, header if said else named


def _splits(
    table: Table, card: str, format_: str, columns: Columns | TripleColumns, hub: Hub | None
) -> dict[str, Split]:
    found: dict[str, Split] = {}
    named = all(isinstance(c, str) for c in asdict(columns).values())
    for name, inner in table.tables("splits").items():
        keys.split_name(inner, name)
        digest = inner.take("sha256", str, "")
        keys.digest(inner, "sha256", digest)
        url = keys.url_key(inner, digest)
        # a split with only a hub name is also found with --data, in the format that `hengyu fetch` writes
        default = f"{card}/{name}.jsonl" if hub else ""
        default = f"{card}/{unquote(PurePosixPath(urlsplit(url).path).name)}" if url else default
        file = keys.file_key(inner, "file", default, format_, required=not default, named=named)
        stated = inner.has("rows")
        rows = inner.take("rows", int, 0)
        if stated and rows < 1:
            inner.problem("rows", f"must be at least 1, not {rows}; leave it out if unknown")
        default = "validation" if name == "valid" else name
        found[name] = Split(name, file, rows or None, digest, inner.take("hub", str, default if hub else ""), url)
        inner.finish()
    if not found:
        table.problem("splits", 'is missing; add at least one, like [splits.test] with file = "mine.tsv"')
    return found
