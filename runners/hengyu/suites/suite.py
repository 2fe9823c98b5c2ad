"""Suites: what is compared, one TOML file a leaderboard, read to frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hengyu.base.bounded import name_fault, user_path
from hengyu.base.errors import HengyuError, did_you_mean, gather
from hengyu.base.paths import share
from hengyu.base.toml_tables import Table, read_toml, shown
from hengyu.encoders import BASELINES, COMMAND_LINE_ONLY, POOLINGS, SIDES, EncoderSpec, pooling_name
from hengyu.suites.entries import FIRST, SuiteEntry, misplaced, read_entries, with_first
from hengyu.suites.grammar import parse_entry

__all__ = ["Suite", "find_suite", "load_suite"]

_OF_A_CARD = "splits"  # a key that every card has, and no suite
_NO_SEARCH = "a cross-encoder has no vectors that an index could hold, and scores pairs of STS suites only"
_AGGREGATES = ("", "avg", "w-avg")
_PROMPTS = ("prompt", *(f"{side}_prompt" for side in SIDES))  # fields that the key ``prompt`` says


@dataclass(frozen=True)
class Suite:
    """Tasks x encoders x poolings x entries, and how they are judged."""

    name: str
    path: Path
    tasks: tuple[str, ...]
    entries: tuple[SuiteEntry, ...]
    title: str = ""
    description: str = ""
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
    kind: str = "sts"  # or "retrieval"
    relevant: float | None = None  # retrieval from graded labels: pairs labelled so or higher are relevant

    def under(self, encoder: str, pooling: str) -> tuple[SuiteEntry, ...]:
        """Return the entries that are weighed on an encoder, by its name on the board, under a pooling.

        Native vectors of an encoder that has no others stand for every pooling.
        """
        return tuple(
            e
            for e in self.entries
            if e.wanted_of(encoder) and (pooling in (e.poolings or (pooling,)) or pooling not in self.poolings)
        )

    def with_overrides(
        self,
        *,
        tasks: tuple[str, ...] = (),
        encoders: tuple[str | EncoderSpec, ...] = (),
        cross_encoders: tuple[str, ...] = (),
        poolings: tuple[str, ...] = (),
        entries: tuple[str, ...] = (),
        fit_on: str = "",
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
            if self.kind != "sts":
                raise HengyuError(f"--cross-encoder {cross_encoders[0]}: {_NO_SEARCH}; leave it out")
            if "" in cross_encoders:
                raise HengyuError("--cross-encoder is empty; give a model's folder, or a hub id")
            changed["cross_encoders"] = tuple(map(EncoderSpec, dict.fromkeys(cross_encoders)))
        names = {e.name or e.model for e in self.encoders}
        others = [
            *(["tasks"] if not set(tasks) <= set(self.tasks) else []),
            *(["encoders"] if any((e.name or e.model) not in names for e in changed.get("encoders", ())) else []),
        ]
        if others:  # what the suite says of itself is of its own ones
            changed |= {"title": f"The entries of {self.name} with other {' and '.join(others)}", "description": ""}
        if poolings:
            changed["poolings"] = tuple(dict.fromkeys(map(pooling_name, poolings)))
        if entries:
            given = tuple(SuiteEntry(parse_entry(e)) for e in entries)
            gather(misplaced(given, self.kind))
            changed["entries"] = with_first(given, self.kind)
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
        return replace(self, **changed)

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
    if path.suffix != ".toml":
        pairs = f"; evaluate on a file of pairs with: hengyu run --pairs {path}" if path.is_file() else ""
        raise HengyuError(
            f"suite '{path}': a suite is a .toml file, or the name of a shipped one (hengyu list suites){pairs}"
        )
    table = read_toml(path)
    if table.has(_OF_A_CARD) and not table.has("tasks"):
        raise HengyuError(
            f"{path}: is the card of a dataset, and no suite; weigh a suite on it, like "
            f"'hengyu run smoke --datasets {path.parent} --task NAME:SPLIT'"
        )
    name = table.take("name", str, path.stem)
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        table.problem("name", f"must be letters, digits, '-', '_' and '.', not {shown(name)}")
    elif fault := name_fault(name):
        table.problem("name", fault)
    tasks = table.strings("tasks", required=True)
    if table.has("tasks") or not tasks:
        table.problem("tasks", "is empty; name at least one, like 'hengyu-sts:test'")
    for task in sorted({t for t in tasks if tasks.count(t) > 1}):
        table.problem("tasks", f"names {task} twice; keep one")
    poolings = tuple(map(pooling_name, table.strings("poolings", ("mean",))))
    for pooling in poolings:
        if pooling not in POOLINGS:
            table.problem("poolings", f"holds the unknown '{pooling}'{did_you_mean(pooling, POOLINGS)}")
    if len(set(poolings)) < len(poolings) or not poolings:
        table.problem("poolings", "must name at least one, and none twice")
    kind = table.take("kind", str, "sts")
    if kind not in FIRST:
        table.problem("kind", f"must be 'sts' or 'retrieval', not '{kind}'")
        kind = "sts"
    relevant = table.take("relevant", float, 0.0) if table.has("relevant") else None
    if relevant is not None and kind != "retrieval":
        table.problem("relevant", "is of retrieval suites; leave it out, or set kind = 'retrieval'")
    encoders = _encoders(table)
    cross_encoders = _encoders(table, "cross_encoders", [])
    if cross_encoders and kind == "retrieval":
        table.problem("cross_encoders", f"does not fit a retrieval suite: {_NO_SEARCH}; leave it out")
    entries = read_entries(table, FIRST[kind], poolings, tuple(e.called for e in encoders))
    table.problems.extend(f"{table.where}: {p}" for p in misplaced(entries, kind))
    baselines = table.strings("baselines", BASELINES if kind == "sts" else ())
    if baselines and kind == "retrieval":
        table.problem("baselines", "make no vectors that an index could hold; leave them out of a retrieval suite")
    for baseline in baselines:
        if baseline not in BASELINES:
            table.problem("baselines", f"holds the unknown '{baseline}'{did_you_mean(baseline, BASELINES)}")
    suite = Suite(
        name=name,
        path=path,
        tasks=tasks,
        entries=with_first(entries, kind),
        title=table.take("title", str, ""),
        description=table.take("description", str, "").strip(),
        encoders=encoders,
        cross_encoders=cross_encoders,
        poolings=poolings,
        baselines=baselines,
        fit_on=table.take("fit_on", str, "target"),
        compare=_compare(table),
        aggregate=table.take("aggregate", str, ""),
        seed=table.take("seed", int, 0),
        resamples=table.take("resamples", int, 1000),
        level=table.take("level", float, 0.95),
        partial=("tasks", "encoders", "entries", "widths") if table.take("partial", bool, False) else (),
        kind=kind,
        relevant=relevant,
    )
    if suite.aggregate not in _AGGREGATES:
        table.problem("aggregate", f"must be 'avg' or 'w-avg', not '{suite.aggregate}'")
    if not 20 <= suite.resamples <= 100_000:
        table.problem("resamples", f"must lie in 20..100000, not {suite.resamples}")
    if not 0.5 <= suite.level < 1:
        table.problem("level", f"must lie in 0.5..1, not {suite.level}")
    if not 0 <= suite.seed < 2**63:
        table.problem("seed", f"must not be negative or above 2^63, not {suite.seed}")
    if suite.compare and kind == "retrieval":
        table.problem("compare", "is of similarity; every row of a retrieval suite is held against flat, leave it out")
    rows = {name for e in suite.entries for name in e.names}
    swept = {str(e.entry) for e in suite.entries if e.dims == "all"}
    for number, pair in enumerate(suite.compare if kind == "sts" else ()):
        for name in pair:
            if name not in rows and (not swept or str(parse_entry(name).with_dim(None)) not in swept):
                table.problem(f"compare[{number}]", f"names '{name}', no entry of this suite{did_you_mean(name, rows)}")
    table.finish()
    return suite


def _compare(table: Table) -> tuple[tuple[str, str], ...]:
    """Read ``compare = [["flow", "whitening"], ...]``, each name in its canonical form."""
    found = []
    for number, pair in enumerate(table.take("compare", list, [])):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)):
            table.problem(f"compare[{number}]", f"must be two entries, like ['flow', 'whitening'], not {shown(pair)}")
            continue
        try:
            found.append((str(parse_entry(pair[0])), str(parse_entry(pair[1]))))
        except HengyuError as e:
            table.problems.extend(f"{table.where}: key 'compare[{number}]': {p}" for p in e.problems)
    return tuple(found)


def _prompts(table: Table) -> dict[str, str]:
    """Read ``prompt``: one for every text, or a table with one for queries and one for documents."""
    if not isinstance(table.peek("prompt"), dict):
        return {"prompt": table.take("prompt", str, "")}
    empty = not table.peek("prompt")
    sides = table.table("prompt")
    found = {f"{side}_prompt": sides.take(side, str, "") for side in SIDES if sides.has(side)}
    sides.known(*SIDES)
    if empty:
        table.problem("prompt", 'must hold query, document or both, like { query = "query: ", document = "" }')
    sides.finish()
    return found


def _encoders(
    table: Table, key: str = "encoders", default: Sequence[str] = ("hengyu-mini",)
) -> tuple[EncoderSpec, ...]:
    found: list[EncoderSpec] = []
    for number, item in enumerate(table.take(key, list, list(default))):
        inner = Table(
            table.where, item if isinstance(item, dict) else {"model": item}, table.problems, f"{key}[{number}]."
        )
        defaults = EncoderSpec("")
        values: dict[str, Any] = {}
        if inner.has("trust_remote_code") and inner.raw("trust_remote_code") is not False:
            inner.problem(
                "trust_remote_code",
                "is not for a file to decide: read the model's code, leave the key out, and type "
                "`hengyu run --trust-remote-code`",
            )
        for field in fields(EncoderSpec):
            if field.name == "trust_remote_code":
                continue
            if field.name in COMMAND_LINE_ONLY:
                if inner.has(field.name):
                    inner.raw(field.name)
                    inner.problem(
                        field.name, f"may not stand in a file; give {COMMAND_LINE_ONLY[field.name]} on the command line"
                    )
                continue
            if field.name == "prompt":
                values |= _prompts(inner)
            if field.name in _PROMPTS:
                continue
            usual = getattr(defaults, field.name)
            values[field.name] = inner.take(field.name, type(usual), usual, required=field.name == "model")
        inner.finish()
        found.append(EncoderSpec(**values))
    return tuple(found)
