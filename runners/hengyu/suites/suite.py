"""Suites: what is compared, one TOML file a leaderboard, read to frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hengyu.base.bounded import name_fault, path_from, user_path
from hengyu.base.errors import HengyuError, did_you_mean, gather
from hengyu.base.paths import share
from hengyu.base.toml_tables import Table, read_toml, shown
from hengyu.encoders import BASELINES, MORE_BASELINES, POOLINGS, EncoderSpec, pooling_name
from hengyu.encoders.long_texts import LONG
from hengyu.methods.grammar import parse_entry, parse_similarity
from hengyu.suites.encoders import read_encoders
from hengyu.suites.entries import SuiteEntry, by_each, misplaced, read_entries, with_first
from hengyu.suites.mixture import read_fit_on
from hengyu.tasks.interface.base import Task
from hengyu.tasks.interface.registry import find_task, task_names

__all__ = ["LEXICAL", "Suite", "find_suite", "load_suite"]

LEXICAL = "lexical"
"""What stands for the encoder in rows of lexical search, which has none."""

_OF_A_CARD = "splits"  # a key that every card has, and no suite
_USUAL_KIND = "sts"
_NOT_SEARCHED = "are documents that are searched too, which only retrieval suites do; leave them out"
_TITLED = 3  # names that a title has room for
_JUDGING: Mapping[str, tuple[Callable[[Any], bool], str]] = {  # key -> what its value must be, and how that is said
    "aggregate": (("", "avg", "w-avg").__contains__, "must be 'avg' or 'w-avg', not '{}'"),
    "resamples": (lambda n: 20 <= n <= 100_000, "must lie in 20..100000, not {}"),
    "level": (lambda share: 0.5 <= share < 1, "must lie in 0.5..1, not {}"),
    "seed": (lambda n: 0 <= n < 2**63, "must not be negative or above 2^63, not {}"),
}


def _enumerated(names: Sequence[str]) -> str:
    """Return up to three names, or two and how many more there are."""
    if len(names) <= _TITLED:
        return ", ".join(names)
    return f"{', '.join(names[: _TITLED - 1])} and {len(names) - _TITLED + 1} more"


_OPTIONS = {"tasks": "--task", "fit_on": "--fit-on"}


@dataclass(frozen=True)
class Suite:
    """Tasks x encoders x poolings x entries, and how they are judged.

    Attributes:
        baselines: what is evaluated without an encoder: names of `hengyu.encoders.BASELINES`, or entries of lexical search where
            the kind of task has an index.
    """

    name: str
    path: Path
    tasks: tuple[str, ...]
    entries: tuple[SuiteEntry, ...]
    title: str = ""
    description: str = ""
    title_zh: str = ""
    description_zh: str = ""
    encoders: tuple[EncoderSpec, ...] = (EncoderSpec("hengyu-mini"),)
    cross_encoders: tuple[EncoderSpec, ...] = ()
    poolings: tuple[str, ...] = ("mean",)
    baselines: tuple[str, ...] = BASELINES
    fit_on: str = "target"
    compare: tuple[tuple[str, str], ...] = ()  # entries whose difference is wanted: (entry, against)
    aggregate: str = ""
    seed: int = 0
    resamples: int = 1000
    level: float = 0.95
    # of "tasks", "encoders", "entries": those without what they need are left out, not refused; "widths": an entry that wants
    # more columns than any encoder has is left without a number, and is no mistake
    partial: tuple[str, ...] = ()
    kind: str = "sts"  # of its tasks (`hengyu.tasks`)
    long: str = ""  # what its encoders do with texts above their maximum length; "" for what the cards say
    relevant: float | None = None  # retrieval from graded labels: pairs labelled so or higher are relevant
    distractors: tuple[Path, ...] = ()  # retrieval: files of texts that are searched too, and relevant to nothing
    overridden: frozenset[str] = frozenset()  # keys that options of the command line have replaced
    sample: Mapping[str, int] = field(default_factory=dict)  # task -> the pairs of it that are evaluated; none for all
    similarity: tuple[str, ...] = ()  # beside the cosine; ``entries`` has each of its methods under them already

    @property
    def task_kind(self) -> Task:
        """The kind of its tasks."""
        return find_task(self.kind)

    def where(self, key: str, name: str, word: str) -> str:
        """Return the start of a message on a word under a key: the option that gave it, or the suite's file and ``name``."""
        option = _OPTIONS.get(key, "") if key in self.overridden else ""
        return f"{option} {word}: " if option else f"{self.path}: {name} '{word}': "

    @property
    def compared(self) -> tuple[tuple[str, str], ...]:
        """The entries whose difference is wanted: those of ``compare``, and each under another similarity minus the cosine."""
        known = {name for spec in self.entries for name in spec.names}
        pairs = [
            (name, cosine)
            for spec in self.entries
            if spec.entry.similarity is not None
            for name, cosine in zip(spec.names, spec.by_cosine.names, strict=True)
            if cosine in known
        ]
        return tuple(dict.fromkeys((*self.compare, *pairs)))

    def fit_word(self, spec: SuiteEntry) -> str:
        """Return what an entry is fitted on, as the board says it."""
        return (spec.fit_on or self.fit_on) if spec.needs_fit else "none"

    def entries_for(self, encoder: str, pooling: str) -> tuple[SuiteEntry, ...]:
        """Return the entries that are evaluated on an encoder, by its name on the board, under a pooling.

        Native vectors of an encoder that has no others stand for every pooling.
        """
        return tuple(
            e
            for e in self.entries
            if e.applies_to(encoder) and (pooling in (e.poolings or (pooling,)) or pooling not in self.poolings)
        )

    def _described(self, encoders: Sequence[EncoderSpec], tasks: Sequence[str]) -> dict[str, str]:
        """Return title and description of the suite's methods on other encoders or tasks."""
        models = _enumerated([e.name or e.model.rstrip("/").rpartition("/")[2] for e in encoders])
        return {
            "title": f"{models} on {_enumerated(tasks) or self.name}",
            "description": f"The methods of {self.name}.",
            "title_zh": "",
            "description_zh": "",
        }

    def with_overrides(
        self,
        *,
        tasks: tuple[str, ...] = (),
        encoders: tuple[str | EncoderSpec, ...] = (),
        cross_encoders: tuple[str, ...] = (),
        poolings: tuple[str, ...] = (),
        entries: tuple[str, ...] = (),
        fit_on: str = "",
        distractors: tuple[Path, ...] = (),
        similarity: tuple[str, ...] = (),
    ) -> Suite:
        """Return the suite with what is given on the command line in the place of its own.

        An encoder that the suite has, by name or model, keeps the suite's settings; ``ITS-NAME=FOLDER`` takes its weights from
        a folder.
        """
        changed: dict[str, Any] = {}
        if tasks:
            changed["tasks"] = tasks
        if encoders:
            changed["encoders"] = tuple(map(self._encoder, encoders))
        if cross_encoders:
            if why := self.task_kind.refused.get("cross_encoders"):
                raise HengyuError(f"--cross-encoder {cross_encoders[0]}: {why}")
            if "" in cross_encoders:
                raise HengyuError("--cross-encoder is empty; give a model's folder, or a hub id")
            changed["cross_encoders"] = tuple(map(EncoderSpec, dict.fromkeys(cross_encoders)))
        if distractors:
            if not self.task_kind.distracts:
                raise HengyuError(f"--distractors {distractors[0]}: {_NOT_SEARCHED}")
            changed["distractors"] = tuple(dict.fromkeys(distractors))
        names = {e.name or e.model for e in self.encoders}
        other_encoders = any((e.name or e.model) not in names for e in changed.get("encoders", ()))
        if other_encoders or not set(tasks) <= set(self.tasks):  # what the suite says of itself is of its own ones
            changed |= self._described(changed.get("encoders", self.encoders), tasks or self.tasks)
        if poolings:
            changed["poolings"] = tuple(dict.fromkeys(map(pooling_name, poolings)))
        if entries:
            given = tuple(SuiteEntry(parse_entry(e)) for e in entries)
            for one in given:
                one.entry.check_files()
            gather(misplaced(given, self.task_kind))
            changed["entries"], lexical = _apart(with_first(given, self.task_kind))
            changed["baselines"] = tuple(dict.fromkeys((*self.baselines, *lexical)))
        if fit_on:
            changed["fit_on"] = fit_on
        asked = {*changed, *(["entries"] if fit_on else [])}
        # entries of the suite that tasks of another's cannot be fitted for are cells with that reason, as in partial suites,
        # and so are those that its vectors were wide enough for and another's are not: an encoder has fewer columns, or what is
        # learned from few sentences has
        allowed = (*self.partial, *(["entries"] if tasks else []), *(["widths"] if encoders or tasks else []))
        refused = {*asked, *(["widths"] if entries else [])}
        changed["partial"] = tuple(kind for kind in dict.fromkeys(allowed) if kind not in refused)
        if poolings:
            changed["entries"] = tuple(replace(e, poolings=()) for e in changed.get("entries", self.entries))
        if similarity or (entries and self.similarity):
            own = changed.get("entries", self.entries)
            if not entries:  # those that the suite's own key has made give way; what its entries name stays
                own = tuple(
                    e for e in own if e.entry.similarity is None or str(e.entry.similarity) not in self.similarity
                )
            changed["similarity"] = words = _similarities(similarity, "--similarity") if similarity else self.similarity
            changed["entries"] = by_each(own, words, self.task_kind)
        return replace(self, **changed, overridden=self.overridden | changed.keys())

    def _encoder(self, word: str | EncoderSpec) -> EncoderSpec:
        """Return the encoder that a word of the command line asks for."""
        if isinstance(word, EncoderSpec):
            return word
        name, mark, place = (word, "", "") if user_path(word).exists() else word.partition("=")
        own = next((e for e in self.encoders if name in (e.name, e.model)), None)
        if not mark:
            return own or EncoderSpec(word)
        if own is None or not place:
            known = [e.name or e.model for e in self.encoders]
            raise HengyuError(
                f"--encoder {word}: write NAME=FOLDER with the name of an encoder of the suite{did_you_mean(name, known)}"
            )
        return replace(own, name=own.name or own.model, model=place, revision="")


def find_suite(word: str) -> Path:
    """Return the file of a suite named by path, or by the name of a shipped one."""
    path = user_path(word)
    # a pipe or device is for the reader to refuse; a folder may be called like a shipped suite
    if path.exists() and not path.is_dir() or path.suffix == ".toml" and (path.exists() or path.is_symlink()):
        return path
    shipped = share("suites", path.name if path.suffix == ".toml" else f"{word}.toml")
    if (
        shipped.is_file()
        and path.name in (word, f"{word}.toml", shipped.name)
        and path.parent in (Path(), Path("suites"))
    ):
        return shipped
    known = [p.stem for p in share("suites").glob("*.toml")]
    raise HengyuError(f"suite '{word}': no such file and no such suite{did_you_mean(path.stem, known)}")


def load_suite(path: Path) -> Suite:
    """Read a suite; raises one `HengyuError` that holds every mistake in it."""
    table = _suite_table(path)
    name, tasks = _name(table, path.stem), _tasks(table)
    poolings, kind = _poolings(table), _kind(table)
    encoders = read_encoders(table)
    entries, lexical = _apart(_entries(table, kind, poolings, encoders, path.parent))
    similarity: tuple[str, ...] = ()
    with table.caught("similarity"):
        similarity = _similarities(table.strings("similarity"))
        entries = by_each(entries, similarity, kind)
    suite = Suite(
        name=name,
        path=path,
        tasks=tasks,
        entries=entries,
        title=table.take("title", str, ""),
        description=table.take("description", str, "").strip(),
        title_zh=table.take("title_zh", str, ""),
        description_zh=table.take("description_zh", str, "").strip(),
        encoders=encoders,
        cross_encoders=read_encoders(table, "cross_encoders", ()),
        poolings=poolings,
        baselines=tuple(dict.fromkeys((*_baselines(table, kind, path.parent), *lexical))),
        fit_on=read_fit_on(table, "target"),
        compare=_compare(table, path.parent),
        partial=("tasks", "encoders", "entries", "widths") if table.take("partial", bool, False) else (),
        kind=kind.name,
        long=_long(table),
        relevant=table.take("relevant", float, 0.0) if table.has("relevant") else None,
        distractors=_distractors(table, path.parent),
        similarity=similarity,
        **_judging(table),
    )
    if suite.distractors and not kind.distracts:
        table.problem("distractors", _NOT_SEARCHED)
    for key, why in kind.refused.items():
        if getattr(suite, key) not in ((), None):
            table.problem(key, why)
    if "compare" not in kind.refused:
        _check_compared(table, suite)
    table.finish()
    return suite


def _suite_table(path: Path) -> Table:
    """Read the file of a suite; raises `HengyuError` for a file of another kind."""
    if path.suffix != ".toml":
        pairs = f"; evaluate on a file of pairs with: hengyu run --pairs {path}" if path.is_file() else ""
        raise HengyuError(
            f"suite '{path}': a suite is a .toml file, or the name of a shipped one (hengyu list suites){pairs}"
        )
    table = read_toml(path)
    if table.has(_OF_A_CARD) and not table.has("tasks"):
        raise HengyuError(
            f"{path}: is the card of a dataset, not a suite; run a suite on it, like "
            f"'hengyu run smoke --datasets {path.parent} --task NAME:SPLIT'"
        )
    return table


def _name(table: Table, stem: str) -> str:
    name = table.take("name", str, stem)
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        table.problem("name", f"must be letters, digits, '-', '_' and '.', not {shown(name)}")
    elif fault := name_fault(name):
        table.problem("name", fault)
    return name


def _tasks(table: Table) -> tuple[str, ...]:
    tasks = table.strings("tasks", required=True)
    if table.has("tasks") or not tasks:
        table.problem("tasks", "is empty; name at least one, like 'hengyu-sts:test'")
    for task in sorted({t for t in tasks if tasks.count(t) > 1}):
        table.problem("tasks", f"names {task} twice; keep one")
    return tasks


def _poolings(table: Table) -> tuple[str, ...]:
    poolings = tuple(map(pooling_name, table.strings("poolings", ("mean",))))
    _refuse_unknown(table, "poolings", poolings, POOLINGS)
    if len(set(poolings)) < len(poolings) or not poolings:
        table.problem("poolings", "must name at least one, and none twice")
    return poolings


def _kind(table: Table) -> Task:
    kind = table.take("kind", str, _USUAL_KIND)
    if kind in task_names():
        return find_task(kind)
    table.problem("kind", f"must be {' or '.join(repr(name) for name in task_names())}, not '{kind}'")
    return find_task(_USUAL_KIND)


def _long(table: Table) -> str:
    """Read what is done with texts above an encoder's maximum length."""
    long = table.take("long", str, "")
    if long and long not in LONG:
        table.problem("long", f"has the unknown value '{long}'{did_you_mean(long, LONG)}")
    return long


def _baselines(table: Table, kind: Task, folder: Path) -> tuple[str, ...]:
    """Read what is evaluated without an encoder."""
    names = table.strings("baselines", () if "baselines" in kind.refused else kind.baselines)
    if not kind.index:
        _refuse_unknown(table, "baselines", names, (*BASELINES, *MORE_BASELINES))
        return names
    found = []
    for number, name in enumerate(names):
        with table.caught(f"baselines[{number}]"):
            entry = parse_entry(name).from_folder(folder)
            entry.check_files()
            if not entry.lexical:
                raise HengyuError(f"'{entry}' needs an encoder; move it to entries")
            found.append(str(entry))
    return tuple(found)


def _similarities(words: Sequence[str], where: str = "") -> tuple[str, ...]:
    """Return similarities in their canonical form, without the cosine, which every entry has; raises `HengyuError` for others."""
    found = []
    for word in words:
        try:
            found.append(parse_similarity(word))
        except HengyuError as e:
            raise HengyuError(*(f"{where} {p.removeprefix('similarity ')}".strip() for p in e.problems)) from None
    return tuple(dict.fromkeys(str(step) for step in found if step is not None))


def _apart(entries: tuple[SuiteEntry, ...]) -> tuple[tuple[SuiteEntry, ...], tuple[str, ...]]:
    """Return the entries that need an encoder, and the others as baselines."""
    lexical = tuple(str(e.entry) for e in entries if e.entry.lexical)
    return tuple(e for e in entries if not e.entry.lexical), lexical


def _refuse_unknown(table: Table, key: str, names: tuple[str, ...], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            table.problem(key, f"holds the unknown '{name}'{did_you_mean(name, known)}")


def _entries(
    table: Table, kind: Task, poolings: tuple[str, ...], encoders: tuple[EncoderSpec, ...], folder: Path
) -> tuple[SuiteEntry, ...]:
    entries = read_entries(table, kind.reference, poolings, tuple(e.display_name for e in encoders), folder)
    table.problems.add(*(f"{table.where}: {p}" for p in misplaced(entries, kind)))
    return with_first(entries, kind)


def _judging(table: Table) -> dict[str, Any]:
    """Read the keys that say how numbers are made from observations."""
    values: dict[str, Any] = {}
    for key, (allowed, words) in _JUDGING.items():
        usual = getattr(Suite, key)
        values[key] = table.take(key, type(usual), usual)
        if not allowed(values[key]):
            table.problem(key, words.format(values[key]))
    return values


def _distractors(table: Table, folder: Path) -> tuple[Path, ...]:
    """Read ``distractors``, one file or a list; paths count from the suite's folder."""
    if not table.has("distractors"):
        table.strings("distractors")
        return ()
    value = table.raw("distractors")
    words = [value] if isinstance(value, str) else value
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        table.problem("distractors", f"must be a text file or a list of them, not {shown(value)}")
        return ()
    found: list[Path] = []
    for word in dict.fromkeys(words):
        with table.caught("distractors"):
            found.append(path_from(folder, word))
    return tuple(found)


def _compare(table: Table, folder: Path) -> tuple[tuple[str, str], ...]:
    """Read ``compare = [["flow", "whitening"], ...]``, each name in its canonical form."""
    found = []
    for number, pair in enumerate(table.take("compare", list, [])):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)):
            table.problem(f"compare[{number}]", f"must be two entries, like ['flow', 'whitening'], not {shown(pair)}")
            continue
        with table.caught(f"compare[{number}]"):
            one, other = (str(parse_entry(word).from_folder(folder)) for word in pair)
            found.append((one, other))
    return tuple(found)


def _check_compared(table: Table, suite: Suite) -> None:
    """Refuse names in ``compare`` that are no rows of the suite."""
    rows = {name for e in suite.entries for name in e.names} | {b for b in suite.baselines if suite.task_kind.index}
    swept = {str(e.entry) for e in suite.entries if e.dims == "all"}
    for number, pair in enumerate(suite.compare):
        for name in pair:
            if name not in rows and (not swept or str(parse_entry(name).with_dim(None)) not in swept):
                table.problem(f"compare[{number}]", f"names '{name}', no entry of this suite{did_you_mean(name, rows)}")
