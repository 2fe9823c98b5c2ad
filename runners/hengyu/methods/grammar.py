"""The entry grammar: ``whitening(dim=256) > simhash(bits=128)``, parsed to steps and printed back the same.

    entry := step { ">" step } [ "by" step ]
    step  := name [ "(" [ argument { "," argument } ] ")" ]
    argument := key "=" value | entry
    value := integer | number | true | false | "string" | word

The step behind ``by`` is a similarity, which vectors are compared by: ``whitening(dim=256) by dot``; without it they are
compared by their cosine. Only a fusion such as ``rrf(whitening > flat, bm25)`` takes entries, and only a tuner such as
``matryoshka(cosent)`` takes another tuner; they stand before the parameters. The canonical text (parameters in the method's own
order, defaults left out) is the column heading, the JSON key and the command-line argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from hengyu.base.bounded import path_from
from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.methods.base import Index, Transform
from hengyu.methods.registry import find_method, method_names, similarity_names
from hengyu.methods.step import Step, Value, print_value

__all__ = ["COSINE", "EXACT", "Dims", "Entry", "parse_entry", "parse_similarity"]

Dims = tuple[int, ...] | Literal["all"]
"""The dimensions that an entry is wanted at."""

COSINE = "cosine"
"""The similarity of entries that name none."""

EXACT = "flat"
"""The one search that knows other similarities."""

_BY = "by"
_TOKEN = re.compile(r'\s*(?:(?P<text>"[^"]*")|(?P<word>[A-Za-z0-9_.+\-]+)|(?P<mark>[(),=>]))')
_NAME = re.compile(r"[a-z][a-z0-9-]*\Z")

_LARGEST = 1 << 63
_LONGEST = 4096  # characters of an entry
_SHOWN = 60
_DEEPEST = 8  # entries inside each other


@dataclass(frozen=True)
class Entry:
    """A pipeline of steps; ``raw`` is the pipeline that does nothing.

    Attributes:
        similarity: what vectors are compared by; None for their cosine.
    """

    steps: tuple[Step, ...]
    similarity: Step | None = None

    def __str__(self) -> str:
        """Print the entry in the grammar."""
        return " > ".join(map(str, self.steps)) + (f" {_BY} {self.similarity}" if self.similarity else "")

    @property
    def family(self) -> str:
        """The methods without their parameters, e.g. ``whitening > simhash``."""
        return " > ".join(s.name for s in self.steps) + (f" {_BY} {self.similarity.name}" if self.similarity else "")

    @property
    def every_step(self) -> tuple[Step, ...]:
        """The steps, and the similarity behind them where it is not the cosine: all that a result of it depends on."""
        return (*self.steps, *([self.similarity] if self.similarity else []))

    def compared_by(self, similarity: str) -> Entry:
        """Return the entry under a similarity in the grammar, like ``csls(k=5)``; raises `HengyuError` where it cannot be."""
        return parse_entry(f"{replace(self, similarity=None)} {_BY} {similarity}")

    @property
    def index(self) -> bool:
        """Whether the last step finds neighbours, and no step before it does."""
        rescored = 1 if len(self.steps) > 1 and _after_index(self.steps[-1]) else 0
        steps = self.steps[: len(self.steps) - rescored]
        return [s.method.searches for s in steps] == [False] * (len(steps) - 1) + [True] and not _after_index(steps[-1])

    @property
    def lexical(self) -> bool:
        """Whether it finds neighbours of texts without an encoder: every search in it is lexical."""
        last = self.steps[-1]
        if last.joined:
            return all(Entry(steps).lexical for steps in last.joined)
        return last.method.category == "lexical"

    def walk(self) -> Iterator[Step]:
        """Yield the steps, those of the entries that they join, and the similarity."""
        for step in self.every_step:
            yield from step.walk()

    def check_files(self) -> None:
        """Raise `HengyuError` if a file that a step reads cannot be used."""
        for step in self.walk():
            try:
                step.make().check_files()
            except ValueError as e:
                raise HengyuError(f"entry '{self}': {e}") from None

    def from_folder(self, folder: Path) -> Entry:
        """Return the entry as written in a file of a folder: paths in it count from there.

        Raises `HengyuError` for a path that cannot be, or that entries cannot write.
        """
        similarity = self.similarity and self._placed(self.similarity, folder)
        return Entry(tuple(self._placed(s, folder) for s in self.steps), similarity)

    def _placed(self, step: Step, folder: Path) -> Step:
        joined = tuple(tuple(self._placed(s, folder) for s in steps) for steps in step.joined)
        paths = {
            k: str(path_from(folder, v))
            for k, v in step.parameters
            if isinstance(v, str) and (k in step.method.paths or (k in step.method.models and _is_there(folder, v)))
        }
        if quoted := next((p for p in paths.values() if '"' in p), ""):
            raise HengyuError(f"entry '{self}': {quoted}: entries cannot hold a path with a quotation mark; rename it")
        return replace(step, parameters=tuple((k, paths.get(k, v)) for k, v in step.parameters), joined=joined)

    @property
    def dim(self) -> int | None:
        """The ``dim`` of a last step whose first k columns serve dim k; None when it has none."""
        value = self.steps[-1].get("dim")
        return value if isinstance(value, int) and self.nested else None

    @property
    def nested(self) -> bool:
        """Whether the last step's first k columns are its result at dim k, so that one pass serves every dim."""
        method = find_method(self.steps[-1].name)
        return issubclass(method, Transform) and method.nested

    @property
    def tuners(self) -> tuple[Step, ...]:
        """The steps at its head that train an encoder."""
        return tuple(s for s in self.steps if s.method.category == "tuner")

    @property
    def fits_vectors(self) -> bool:
        """Whether a step, besides the tuners, learns from vectors: those of a tuned encoder, if there are tuners."""
        return any(s.method.needs_fit and s.method.category != "tuner" for s in self.walk())

    @property
    def labelled(self) -> bool:
        """Whether a step learns from labels."""
        return any(s.labelled for s in self.tuners)

    @property
    def joint(self) -> bool:
        """Whether it scores the texts of each pair together, so that there are no vectors."""
        return self.steps[-1].method.joint

    @property
    def stochastic(self) -> bool:
        """Whether a step draws random numbers by a ``seed`` that the entry leaves open."""
        return any("seed" in _names(s) and s.get("seed") is None for s in self.walk())

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes that one vector of ``width`` columns takes as the last step leaves it: float32 or codes.

        What all vectors share (matrices, centroids) is not counted. A method says so with ``bytes_per_vector(width)``;
        a step after it makes floats of the codes again.
        """
        size: int = self.steps[-1].make().bytes_per_vector(width)
        return size

    def with_seed(self, seed: int) -> Entry:
        """Return the entry with the seed set in every step that has one and leaves it open."""
        return replace(self, steps=tuple(self._seeded(s, seed) for s in self.steps))

    def _seeded(self, step: Step, seed: int) -> Step:
        joined = tuple(tuple(self._seeded(s, seed) for s in steps) for steps in step.joined)
        if "seed" in _names(step) and step.get("seed") is None:
            return _step(step.name, {**dict(step.parameters), "seed": seed}, str(self), joined)
        return replace(step, joined=joined)

    def with_training(self, values: Mapping[str, Value]) -> Entry:
        """Return the entry with parameters of its tuners set, each in the first tuner that has it, from the outside in.

        Raises `HengyuError` for a value that the tuner does not take.
        """
        left = dict(values)
        return replace(self, steps=tuple(self._trained(s, left) for s in self.steps))

    def _trained(self, step: Step, left: dict[str, Value]) -> Step:
        """Return a step with the values that it has a parameter for, which are taken out of ``left``."""
        if step.method.category != "tuner":
            return step
        own = {key: left.pop(key) for key in [key for key in left if key in _names(step)]}
        joined = tuple(tuple(self._trained(s, left) for s in steps) for steps in step.joined)
        return _step(step.name, {**dict(step.parameters), **own}, str(self), joined)

    def with_dim(self, dim: int | None) -> Entry:
        """Return the entry with the last step's ``dim`` set, or left out for None."""
        last = self.steps[-1]
        kept = {k: v for k, v in last.parameters if k != "dim"}
        if dim is not None:
            kept["dim"] = dim
        return replace(self, steps=(*self.steps[:-1], _step(last.name, kept, str(self))))


def _is_there(folder: Path, model: str) -> bool:
    """Whether a model is a folder or a file, as counted from a folder, and no name or hub id."""
    return model.startswith((".", "~")) or path_from(folder, model).exists()


def _names(step: Step) -> set[str]:
    """Return the parameters that a step's method has."""
    return {f.name for f in fields(find_method(step.name)) if f.init}


def _after_index(step: Step) -> bool:
    return issubclass(step.method, Index) and step.method.after_index


def _coarse(step: Step) -> bool:
    """Whether a step is an index that another may stand after."""
    return issubclass(step.method, Index) and not step.method.after_index


def parse_entry(text: str) -> Entry:
    """Parse an entry; raises `HengyuError` naming the entry, what is wrong in it, and the remedy."""
    parser = _Parser(text)
    steps = parser.steps()
    similarity = parser.similarity(steps) if parser.now == _BY else None
    if parser.now:
        parser.expect(">")
    _refuse_late_tuner(steps, text)
    _refuse_after_joint(steps, text)
    return Entry(tuple(steps), similarity)


def parse_similarity(text: str) -> Step | None:
    """Parse a similarity, like ``csls(k=5)``; None for the cosine. Raises `HengyuError` for what is none."""
    where = f"similarity '{text}'"
    tokens = _tokens(text, where)
    if not _NAME.match(tokens[0]):
        raise HengyuError(f"{where}: {_expected(tokens[0])}")
    if tokens[0] not in similarity_names():
        raise HengyuError(f"{where}: {_none_such(tokens[0])}")
    try:
        return parse_entry(f"raw {_BY} {text}").similarity
    except HengyuError as e:
        raise HengyuError(*(p.replace(f"entry 'raw {_BY} {text}'", where, 1) for p in e.problems)) from None


def _expected(token: str) -> str:
    """Say that another token stands where a similarity should."""
    return f"expected a similarity but found {token or 'the end'!r}{did_you_mean('', similarity_names())}"


def _none_such(name: str) -> str:
    """Say that a name is no similarity."""
    what = f"{name} is a {find_method(name).category}, and no similarity" if name in method_names() else ""
    return (what or f"unknown similarity '{name}'") + did_you_mean(name, similarity_names())


class _Parser:
    """Reads the tokens of an entry one after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    @property
    def now(self) -> str:
        """The next token; "" at the end."""
        return self._tokens[self._at]

    def take(self) -> str:
        """Return the next token and go on."""
        self._at += 1
        return self._tokens[self._at - 1]

    def expect(self, mark: str) -> None:
        """Take a mark; raises `HengyuError` where another token stands."""
        if self.now != mark:
            found = self.now or "the end"
            raise HengyuError(
                f"entry '{self.text}': expected '{mark}' but found {found!r}; write it like 'whitening(dim=256) > l2'"
            )
        self._at += 1

    def steps(self) -> list[Step]:
        """Read steps up to the end, or up to a mark that ends an entry inside a fusion."""
        found: list[Step] = []
        while True:
            found.append(self._step())
            if found[-1].method.category in ("lexical", "fusion") and len(found) > 1:
                what = "searches texts" if found[-1].method.category == "lexical" else "joins whole entries"
                raise HengyuError(
                    f"entry '{self.text}': {found[-1].name} {what}, so nothing can come before it; remove "
                    f"'{' > '.join(map(str, found[:-1]))} >'"
                )
            if _after_index(found[-1]) and (len(found) < 2 or not _coarse(found[-2])):
                raise HengyuError(
                    f"entry '{self.text}': {found[-1].name} must come after an index; write it like 'rabitq-flat > {found[-1]}'"
                )
            if self.now in ("", ",", ")", _BY):
                return found
            follows = _coarse(found[-1]) and self._joins_on()
            if found[-1].method.searches and self.now == ">" and not follows:
                raise HengyuError(
                    f"entry '{self.text}': {found[-1].name} is an index, which makes neighbours of vectors; put nothing after it"
                )
            self.expect(">")

    def similarity(self, steps: Sequence[Step]) -> Step | None:
        """Read what stands behind ``by``; None for the cosine."""
        self.expect(_BY)
        name = self.now
        if not _NAME.match(name):
            raise HengyuError(f"entry '{self.text}': {_expected(name)}")
        if name not in similarity_names():
            raise HengyuError(f"entry '{self.text}': {_none_such(name)}")
        found = self._read_step()
        if self.now in (">", _BY):
            raise HengyuError(
                f"entry '{self.text}': {found} compares vectors, so it must come last; put nothing after it"
            )
        if steps[-1].joined or steps[-1].method.category == "lexical" or steps[-1].method.joint:
            raise HengyuError(
                f"entry '{self.text}': {steps[-1].name} has no vectors of its own to compare; leave '{_BY} {found}' out"
            )
        if steps[-1].method.searches:
            if str(steps[-1]) != EXACT:
                raise HengyuError(
                    f"entry '{self.text}': {steps[-1].name} searches by the cosine alone; only exact search has other "
                    f"similarities: end it like '{EXACT} {_BY} {found}'"
                )
            if not found.make().searchable:
                able = ", ".join(n for n in similarity_names() if getattr(find_method(n), "searchable", False))
                raise HengyuError(
                    f"entry '{self.text}': {found.name} compares pairs and cannot be searched by; these can: {able}"
                )
        return None if found.name == COSINE else found

    def _step(self) -> Step:
        if self.now in similarity_names():
            raise HengyuError(
                f"entry '{self.text}': {self.now} is a similarity; write it after 'by', "
                f"like 'whitening {_BY} {self.now}'"
            )
        return self._read_step()

    def _read_step(self) -> Step:
        name = self.take()
        if not _NAME.match(name):
            raise HengyuError(
                f"entry '{self.text}': expected a method's name but found {name or 'the end'!r}"
                f"{did_you_mean('', method_names())}"
            )
        given: dict[str, Value] = {}
        joined: list[tuple[Step, ...]] = []
        if self.now == "(":
            self.take()
            while self.now != ")":
                if given or joined:
                    self.expect(",")
                if self._joins(name) and self._tokens[self._at + 1] != "=":
                    joined.append(self._joined(name, given))
                else:
                    self._parameter(given)
            self.take()
        return _step(name, given, self.text, tuple(joined))

    def _joins_on(self) -> bool:
        """Whether the step after the next mark is one that stands after an index."""
        name = self._tokens[self._at + 1]
        method = find_method(name) if name in method_names() else None
        return method is not None and issubclass(method, Index) and method.after_index

    def _joins(self, name: str) -> int:
        return find_method(name).joins if name in method_names() else 0

    def _joined(self, name: str, given: Mapping[str, Value]) -> tuple[Step, ...]:
        """Read an entry that a fusion joins, or the tuner that another wraps."""
        around = find_method(name).category == "tuner"
        if given:
            what = "wraps a tuner, which is written" if around else "joins entries, which stand"
            raise HengyuError(
                f"entry '{self.text}': {name} {what} before its parameters; move '{self.now}' to the front"
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            raise HengyuError(
                f"entry '{self.text[:_SHOWN]}…': more than {_DEEPEST} entries inside each other; write fewer"
            )
        steps = tuple(self.steps())
        if self.now == _BY:
            raise HengyuError(
                f"entry '{self.text}': {name} joins lists that are found by the cosine; leave '{_BY}' and what follows out"
            )
        self._depth -= 1
        entry = Entry(steps)
        if around:
            if len(steps) != 1 or steps[0].method.category != "tuner":
                raise HengyuError(
                    f"entry '{self.text}': {name} wraps one tuner, and '{entry}' is not one; write {name}(cosent)"
                )
            return steps
        if not entry.index:
            raise HengyuError(
                f"entry '{self.text}': {name} joins ranked lists, and '{entry}' finds no neighbours; end it like '{entry} > flat'"
            )
        return steps

    def _parameter(self, given: dict[str, Value]) -> None:
        """Read ``key=value``."""
        key = self.take()
        self.expect("=")
        if key in given:
            raise HengyuError(f"entry '{self.text}': parameter '{key}' is given twice; keep one")
        given[key] = _value(self.take())


def _refuse_late_tuner(steps: list[Step], text: str) -> None:
    """Refuse a step that trains an encoder after one that maps vectors: there is no encoder left to train."""
    for before, step in pairwise(steps):
        if step.method.category == "tuner" and before.method.category != "tuner":
            raise HengyuError(
                f"entry '{text}': {step.name} trains the encoder, so it must come before {before.name}, not after it"
            )


def _refuse_after_joint(steps: list[Step], text: str) -> None:
    """Refuse a step after one that scores pairs: there are no vectors for it."""
    for before, step in pairwise(steps):
        if before.method.joint:
            raise HengyuError(
                f"entry '{text}': {before.name} scores pairs and leaves no vectors, so it must come last; remove '> {step}'"
            )


def _tokens(text: str, where: str = "") -> list[str]:
    where = where or f"entry '{text}'"
    if len(text) > _LONGEST:
        raise HengyuError(
            f"{where.partition(' ')[0]} '{text[:_SHOWN]}…': is {len(text):,} characters long, more than {_LONGEST:,}; "
            "write fewer steps"
        )
    tokens: list[str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if not match:
            raise HengyuError(f"{where}: cannot read {text[at:].strip()!r}; write it like 'whitening(dim=256) > l2'")
        tokens.append(match[0].strip())
        at = match.end()
    return [*tokens, "", ""]


def _value(token: str) -> Value:
    if token.startswith('"'):
        return token[1:-1]
    if token in ("true", "True"):
        return True
    if token in ("false", "False"):
        return False
    for kind in (int, float):
        try:
            return kind(token)
        except ValueError:
            continue
    return token


def _step(name: str, given: Mapping[str, Value], text: str, joined: tuple[tuple[Step, ...], ...] = ()) -> Step:
    """Check a step's parameters against the method's fields and drop those that equal the default."""
    if name not in method_names():
        raise HengyuError(f"entry '{text}': unknown method '{name}'{did_you_mean(name, method_names())}")
    method = find_method(name)
    if len(joined) != method.joins and method.category == "tuner":
        count = "no tuner" if not joined else f"{len(joined)} tuners"
        raise HengyuError(f"entry '{text}': {name} wraps one tuner, not {count}; write {name}(cosent)")
    if len(joined) != method.joins:
        raise HengyuError(
            f"entry '{text}': {name} joins {method.joins} entries, not {len(joined)}; write {name}(whitening > flat, bm25)"
        )
    known = {f.name: f for f in fields(method) if f.init}
    hints = _hints(method)
    for key in given:
        if key not in known:
            has = did_you_mean(key, known) or "; it takes none"
            raise HengyuError(f"entry '{text}': {name} has no parameter '{key}'{has}")
    kept: list[tuple[str, Value]] = []
    for key, field in known.items():
        if key not in given:
            if field.default is MISSING and field.default_factory is MISSING:
                raise HengyuError(f"entry '{text}': {name} needs the parameter '{key}'; write {name}({key}=...)")
            continue
        value = _typed(given[key], hints[key], f"entry '{text}': {name}({key}=...)")
        if value != field.default or type(value) is not type(field.default):
            kept.append((key, value))
    step = Step(name, tuple(kept), joined)
    try:
        step.make()
    except ValueError as e:
        raise HengyuError(f"entry '{text}': {e}") from None
    return step


@cache
def _hints(method: type) -> dict[str, Any]:
    """Return the types of a method's parameters: they are evaluated from text, which takes longer than all else here."""
    return get_type_hints(method)


def _typed(value: Value, hint: Any, where: str) -> Value:
    kinds = get_args(hint) or (hint,)
    if float in kinds and type(value) is int:
        value = float(value) if abs(value) < _LARGEST else value
    if type(value) not in kinds or (type(value) is int and abs(value) >= _LARGEST):
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
        wanted = " or ".join(words[k] for k in kinds if k in words)
        raise HengyuError(f"{where} must be {wanted}, not {print_value(value)}")
    return value
