"""Places a run's scores among published figures, each under the protocol it was measured with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.evaluation.run_metrics import METRIC
from hengyu.methods.grammar import parse_entry
from hengyu.report.mteb_references import read_results
from hengyu.report.published import Published, published
from hengyu.storage.records import Record, Run

__all__ = ["NATIVE", "TOLERANCE", "Place", "Protocol", "figures_of", "places_of", "protocol_of"]

TOLERANCE = 0.002
"""The largest difference of Spearman between two measurements of one model on the same pairs: versions and rounding."""

NATIVE = "native"
_RAW = str(parse_entry("raw"))
_FIRST = "embeddings-benchmark"  # of several figures of one model, those of mteb's results repository stand for it


class Protocol(NamedTuple):
    """What two figures must share to be compared."""

    card: str
    splits: frozenset[str]
    pooling: str
    entry: str
    fit_on: str

    def differing(self, other: Protocol) -> tuple[str, ...]:
        """Return in words what is another in ``other``."""
        words = []
        for name in ("splits", "pooling", "entry", "fit_on"):
            a, b = getattr(self, name), getattr(other, name)
            if a != b:
                said = "+".join(sorted(b)) if name == "splits" else b
                words.append(f"{name.replace('_', ' ')} {said}")
        return tuple(words)


@dataclass(frozen=True)
class Place:
    """One row of a run on one task, among published figures.

    Attributes:
        record: the row's Spearman with its interval.
        protocol: how it was measured.
        model: the id of the published model that it is, "" if none is known to be.
        own: the figures of that model under the same protocol.
        others: its figures under another protocol on the same card, which are not compared, with what differs.
        field: a figure for each other model under the same protocol, best first.
    """

    record: Record
    protocol: Protocol
    model: str
    own: tuple[Published, ...]
    others: tuple[tuple[Published, tuple[str, ...]], ...]
    field: tuple[Published, ...]

    @property
    def value(self) -> float:
        """The row's Spearman."""
        assert self.record.value is not None
        return self.record.value

    @property
    def nearest(self) -> Published | None:
        """The figure of the same model under the same protocol that is nearest."""
        return min(self.own, key=lambda f: abs(f.value - self.value), default=None)

    @property
    def agrees(self) -> bool | None:
        """Whether a figure of the same model is met to `TOLERANCE`; None where there is none."""
        return None if self.nearest is None else abs(self.nearest.value - self.value) <= TOLERANCE

    @property
    def inside(self) -> tuple[Published, ...]:
        """The figures of other models that lie inside the interval."""
        low, high = self.record.low, self.record.high
        return () if low is None or high is None else tuple(f for f in self.field if low <= f.value <= high)

    @property
    def rank(self) -> int:
        """The place among the figures of other models, 1 for the best; equal figures share the better one."""
        return 1 + sum(f.value > self.value for f in self.field)

    @property
    def ranks(self) -> tuple[int, int] | None:
        """The places at the two ends of the interval; None without one."""
        low, high = self.record.low, self.record.high
        if low is None or high is None:
            return None
        return 1 + sum(f.value > high for f in self.field), 1 + sum(f.value > low for f in self.field)

    def neighbours(self, count: int) -> tuple[Published, ...]:
        """Return up to ``count`` figures of other models on either side, best first."""
        above = [f for f in self.field if f.value > self.value]
        return (*above[max(0, len(above) - count) :], *self.field[len(above) : len(above) + count])


def figures_of(
    results: Path | None = None, fetched: Path | None = None, sources: Mapping[Path, str] | None = None
) -> tuple[Published, ...]:
    """Return the figures that Hengyu carries, and those of folders of mteb's result files.

    Args:
        results: a folder of the user.
        fetched: one of downloaded files.
        sources: where a file is from; its own name where that is not said.

    Raises:
        HengyuError: for a damaged file, or a folder without any result.
    """
    origin = sources or {}
    read = tuple(
        Published(
            models=(r.model,),
            pooling=NATIVE,
            entry=_RAW,
            fit_on="none",
            card=r.task.rpartition(":")[0],
            splits=frozenset((r.task.rpartition(":")[2],)),
            value=r.value,
            protocol=f"mteb, revision {r.revision}" if r.revision else "mteb",
            source=origin.get(r.path, r.path.name),
        )
        for folder in (results, fetched)
        if folder is not None
        for r in read_results(folder)
        if r.metric == METRIC
    )
    return (*read, *published())


def protocol_of(figure: Published) -> Protocol:
    """Return how a published figure was measured."""
    return Protocol(figure.card, figure.splits, figure.pooling, figure.entry, figure.fit_on)


def places_of(run: Run, figures: Sequence[Published], named: Mapping[str, str], encoder: str = "") -> list[Place]:
    """Return the rows of a run for which there are figures: of the same model, or of others under the same protocol.

    Args:
        run: a finished run.
        figures: `figures_of`.
        named: encoder of the run -> the id under which it was published.
        encoder: only this one; "" for all.

    Raises:
        HengyuError: for an encoder that the run does not have, a model without figures, or a run without any place.
    """
    if run.records and all(r.of is not None for r in run.records if r.card and r.on_board):
        raise HengyuError(
            f"run {run.id}: evaluated samples, and published figures are of whole tasks; run the suite whole"
        )
    known = _models(figures)
    encoders = {str(e["encoder"]): e for e in run.header.get("encoders", ()) if e.get("kind") == "model"}
    for name in (*named, *([encoder] if encoder else [])):
        if name not in encoders:
            raise HengyuError(f"run {run.id} has no model '{name}'{did_you_mean(name, encoders)}")
    for name, model in named.items():
        if model.casefold() not in known:
            raise HengyuError(
                f"--as {name}={model}: there is no published figure of '{model}'{did_you_mean(model, known.values())}"
            )
    found = []
    for record in run.records:
        if not _counts(record) or record.encoder not in encoders or encoder not in ("", record.encoder):
            continue
        about = encoders[record.encoder]
        model = known.get(named.get(record.encoder, "").casefold(), "") or _recognised(record.encoder, known)
        place = _place(record, about, model, figures)
        if place.field or place.own or (place.others and record.entry == _RAW):
            found.append(place)
    if not found:
        raise HengyuError(
            f"run {run.id}: there are no published figures for its tasks and methods; --results FOLDER adds those of mteb, and "
            "--fetch ADDRESS those of its results repository"
        )
    return found


def _counts(record: Record) -> bool:
    """Whether a record is a Spearman of a row on a whole split, or on several splits weighted by pairs."""
    if (
        record.of is not None
        or record.metric != METRIC
        or not record.on_board
        or record.status != "ok"
        or record.value is None
    ):
        return False
    return bool(record.card) and (("+" in record.split) == record.task.endswith(":w-avg"))


def _place(record: Record, about: Mapping[str, Any], model: str, figures: Iterable[Published]) -> Place:
    native = str(about.get("native", ""))
    # the pooling that gives the native vectors is the model's own
    names = [NATIVE, native] if record.pooling in (NATIVE, native) else [record.pooling]
    splits = frozenset(record.split.split("+"))
    alike = {p: Protocol(record.card, splits, p, record.entry, record.fit_on) for p in dict.fromkeys(names)}
    pooling = names[0]
    card = [f for f in figures if f.card == record.card]
    own, others = [], []
    for figure in (f for f in card if model and model in f.models):
        protocol = protocol_of(figure)
        if protocol in alike.values():
            own.append(figure)
        else:
            others.append((figure, alike[pooling].differing(protocol)))
    field: dict[str, Published] = {}
    for figure in sorted(card, key=lambda f: _FIRST not in f.source):
        if protocol_of(figure) in alike.values() and not (model and model in figure.models):
            field.setdefault(figure.models[0], figure)
    ordered = sorted(field.values(), key=lambda f: -f.value)
    return Place(record, alike[pooling], model, tuple(own), tuple(others), tuple(ordered))


def _models(figures: Iterable[Published]) -> dict[str, str]:
    """Return the ids of models that have figures, by their lower case."""
    return {m.casefold(): m for f in figures for m in f.models}


def _recognised(encoder: str, known: Mapping[str, str]) -> str:
    """Return the published id of an encoder: the same one, or the only one that ends in its name; "" if there is none."""
    word = encoder.casefold()
    if word in known:
        return known[word]
    ends = {m for k, m in known.items() if "/" in k and k.rpartition("/")[2] == word}
    return ends.pop() if len(ends) == 1 else ""
