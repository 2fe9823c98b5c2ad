"""Entries as a suite has them: with the dimensions to cut to, what they are fitted on, and what they are wanted of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hengyu.base.errors import did_you_mean
from hengyu.base.toml_tables import Table, shown
from hengyu.encoders.pooling_names import pooling_name
from hengyu.methods.grammar import EXACT, Dims, Entry, parse_entry
from hengyu.suites.mixture import read_fit_on
from hengyu.tasks.interface.base import Task

__all__ = ["SuiteEntry", "by_each", "misplaced", "read_entries", "with_first"]


@dataclass(frozen=True)
class SuiteEntry:
    """An entry of a suite, the dimensions to cut it to, and what it is fitted on."""

    entry: Entry
    dims: Dims = ()
    fit_on: str = ""  # "" for the suite's own
    seeds: int = 1  # how many, from the suite's seed on, where a step draws random numbers
    poolings: tuple[str, ...] = ()  # of the suite's; () for all of them
    encoders: tuple[str, ...] = ()  # their names; () for all

    def seeds_under(self, seed: int) -> tuple[int | None, ...]:
        """Return the seeds that the entry runs with in a suite of a seed; (None,) where nothing is drawn."""
        return tuple(range(seed, seed + self.seeds)) if self.entry.stochastic else (None,)

    @property
    def by_cosine(self) -> SuiteEntry:
        """Return the same under the cosine."""
        return replace(self, entry=replace(self.entry, similarity=None))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the rows it makes, as far as they are known before a width is: one a dimension, or the entry itself."""
        listed = () if self.dims == "all" else self.dims
        return tuple(str(self.entry.with_dim(d)) for d in listed) or (str(self.entry),)

    def applies_to(self, encoder: str) -> bool:
        """Whether an encoder, by its name on the board, is evaluated with this entry."""
        return not self.encoders or encoder in self.encoders

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything of it, for a hash."""
        only = (self.poolings, self.encoders)
        return (str(self.entry), self.dims, self.fit_on, self.seeds, *(only if any(only) else ()))

    @property
    def needs_fit(self) -> bool:
        """Whether any of its steps learns from sentences."""
        return any(s.method.needs_fit for s in self.entry.walk())


def read_entries(
    table: Table, first: str, poolings: tuple[str, ...], encoders: tuple[str, ...], folder: Path
) -> tuple[SuiteEntry, ...]:
    """Read ``entries`` of a suite in a folder, of these poolings and encoders; mistakes are noted in the table."""
    found: list[SuiteEntry] = []
    for number, inner in enumerate(table.items("entries", [first], short="entry")):
        text = inner.take("entry", str, "", required=True)
        fit_on = read_fit_on(inner)
        dims = _dims(inner)
        given = inner.has("seeds")
        seeds = inner.take("seeds", int, 1)
        only = {"poolings": _only(inner, "poolings", poolings), "encoders": _only(inner, "encoders", encoders)}
        inner.finish()
        if not text:
            continue
        for key in (key for key, names in only.items() if names and text == first):
            inner.problem(key, f"does not fit '{first}', the reference of all other entries; leave {key} out")
        entry: Entry | None = None
        with table.caught(f"entries[{number}]"):
            entry = parse_entry(text).from_folder(folder)
            entry.check_files()
        if entry is None:
            continue
        for key in (key for key, names in only.items() if names and entry.lexical):
            inner.problem(key, f"does not fit '{entry}', which needs no encoder; leave {key} out")
        if dims and not entry.nested:
            inner.problem(
                "dims",
                f"does not fit '{entry}': the first k columns of its last step are not its result at dim k; "
                "leave dims out, and write an entry for each",
            )
        elif dims and entry.dim is not None:
            inner.problem("dims", f"and dim={entry.dim} in '{entry}' exclude each other; keep one")
        elif dims == "all" and seeds > 1:
            inner.problem("seeds", f"does not fit dims = 'all' of '{entry}': a sweep is of one seed; list the dims")
        elif not 1 <= seeds <= 1000:
            inner.problem("seeds", f"must lie in 1..1000, not {seeds}")
        elif given and not entry.stochastic:
            inner.problem(
                "seeds", f"does not fit '{entry}': nothing in it is drawn, or its seed is set; leave seeds out"
            )
        else:
            found.append(SuiteEntry(entry, dims, fit_on, seeds, **only))
    return tuple(found)


def _only(table: Table, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Read which of the suite's poolings or encoders an entry is for."""
    read = table.strings(key)
    names = tuple(dict.fromkeys(map(pooling_name, read) if key == "poolings" else read))
    for name in names:
        if name not in known:
            table.problem(key, f"holds '{name}', which is none of the suite's{did_you_mean(name, known)}")
    return names


def _dims(table: Table) -> Dims:
    if not table.has("dims"):
        return ()
    value = table.raw("dims")
    if value == "all":
        return "all"
    if isinstance(value, list) and value and all(type(v) is int and v > 0 for v in value):
        return tuple(sorted(set(value)))
    table.problem("dims", f"must be 'all' or a list of whole numbers above 0, not {shown(value)}")
    return ()


def with_first(entries: tuple[SuiteEntry, ...], kind: Task) -> tuple[SuiteEntry, ...]:
    """Put the reference of a kind of task first, like raw: every other entry is compared with it."""
    first = SuiteEntry(parse_entry(kind.reference))
    rest = tuple(e for e in dict.fromkeys(entries) if str(e.entry) != kind.reference)
    return (first, *rest)


def by_each(entries: tuple[SuiteEntry, ...], similarities: Sequence[str], kind: Task) -> tuple[SuiteEntry, ...]:
    """Return entries, and behind each the same under every similarity but the cosine, which it is compared with.

    Entries that name a similarity are left as they are; so are searches that know the cosine alone.
    Raises `HengyuError` for a similarity that retrieval cannot search by.
    """
    found: list[SuiteEntry] = []
    for spec in entries:
        found.append(spec)
        exact = not kind.index or str(spec.entry.steps[-1]) == EXACT
        if spec.entry.similarity is None and exact and not spec.entry.joint:
            found += [replace(spec, entry=spec.entry.compared_by(word)) for word in similarities]
    return tuple(dict.fromkeys(found))


def misplaced(entries: tuple[SuiteEntry, ...], kind: Task) -> list[str]:
    """Say which entries end in an index where they must not, or in none where they must, or train what is taken as it is."""
    trained = (
        f"trains the encoder, and a {kind.name} suite takes encoders as they are; evaluate the folder of a trained one"
    )
    scored = f"scores pairs and leaves no vectors, which a {kind.name} suite needs; " + (
        "train and export it in a suite of pairs, and search with its folder: cross-rerank(model=DIR)"
        if kind.index
        else "leave it out"
    )
    joint = [e for e in entries if e.entry.joint]
    found = [f"entry '{e.entry}' {scored}" for e in joint if not kind.scored]
    found += [f"entry '{e.entry}' {trained}" for e in entries if e.entry.tuners and not (kind.tuners or e in joint)]
    if kind.index:
        remedy = f"does not end in an index, and a {kind.name} suite evaluates indexes; end it like"
        lack = [e for e in entries if not (e.entry.index or e.entry.tuners)]
        return [*found, *(f"entry '{e.entry}' {remedy} '{_searched(e)}'" for e in lack)]
    remedy = 'ends in an index, which finds neighbours and compares no pairs; leave it out, or set kind = "retrieval"'
    return [*found, *(f"entry '{e.entry}' {remedy}" for e in entries if e.entry.index)]


def _searched(spec: SuiteEntry) -> str:
    return "flat" if str(spec.entry) == "raw" else f"{spec.entry} > flat"
