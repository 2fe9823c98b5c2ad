"""Puts a run among published figures and tries out why a figure of the same model is not met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.cards import load_cards, parse_task
from hengyu.cards.data import Pairs, load_pairs
from hengyu.encoders import COMMAND_LINE_ONLY, EncoderSpec, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.report.published import Published
from hengyu.storage.records import Run
from hengyu.storage.records.sources import find_sources
from hengyu.tools.standing.board import Audit, audit_board, shared_error
from hengyu.tools.standing.causes import Search, find_cause
from hengyu.tools.standing.fetched import fetch_results
from hengyu.tools.standing.place import NATIVE, Place, figures_of, places_of

__all__ = ["Found", "Places", "Standing", "stand"]


@dataclass(frozen=True)
class Places:
    """Where models and data are, if not where they were when the run was made.

    Attributes:
        encoder: folder or hub id of the model, for a run with one model.
        data, datasets: as in `hengyu run`.
        offline: never use the network.
        trust_remote_code: never taken from a run's own files.
    """

    encoder: str = ""
    data: Path | None = None
    datasets: Sequence[Path] = ()
    offline: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Found:
    """A place, with what was tried where its own figure is not met, or why nothing was."""

    place: Place
    search: Search | None = None
    untried: str = ""


@dataclass(frozen=True)
class Standing:
    """Where the rows of a run stand, and what the published boards can tell."""

    run: Run
    found: tuple[Found, ...]
    audits: tuple[Audit, ...]


def stand(
    run: Run,
    *,
    results: Path | None = None,
    fetch: Sequence[str] = (),
    named: Mapping[str, str] | None = None,
    encoder: str = "",
    places: Places | None = None,
    limit: int = 2000,
    tries: bool = True,
    progress: Progress = silent,
) -> Standing:
    """Return where the rows of a run stand among published figures.

    Args:
        run: a finished run.
        results: a folder of mteb's result files, beside the figures that Hengyu carries.
        fetch: addresses of folders in mteb's results repository, whose files are downloaded
            (`hengyu.tools.standing.fetched`); nothing is downloaded otherwise.
        named: encoder of the run -> the id under which it was published, where the names differ.
        encoder: only this one; "" for all.
        places: where models and data are now.
        limit: the most pairs on which causes are tried out; 0 for all.
        tries: whether they are.
        progress: shows what is tried.

    Raises:
        HengyuError: for unknown names, damaged files, or a run without published figures.
    """
    offline = (places or Places()).offline
    found = places_of(run, _figures(run, results, fetch, offline, progress), named or {}, encoder)
    workshop = _Workshop(run, places or Places(), limit, progress)
    rows = []
    for place in found:
        wanted = _wanted(place)
        if wanted is None or not tries:
            rows.append(Found(place))
            continue
        try:
            rows.append(Found(place, workshop.search(place, wanted)))
        except HengyuError as e:
            rows.append(Found(place, untried=" ".join(e.problems)))
    return Standing(run, tuple(rows), tuple(_audits(run, found)))


def _figures(
    run: Run, results: Path | None, fetch: Sequence[str], offline: bool, progress: Progress
) -> tuple[Published, ...]:
    if not fetch:
        return figures_of(results)
    with TemporaryDirectory() as name:
        folder = Path(name)
        sources = fetch_results(run, fetch, folder, progress.say, offline=offline)
        try:
            return figures_of(results, folder, sources)
        except HengyuError as e:
            raise HengyuError(*(problem.replace(f"{folder}/", "--fetch: ") for problem in e.problems)) from None


def _wanted(place: Place) -> Published | None:
    """Return the figure whose cause is looked for: one of the same model that is not met, or one of another pooling."""
    record = place.record
    if record.entry != "raw" or "+" in record.split:
        return None
    if place.own:
        return None if place.agrees else place.nearest
    return next((f for f, words in place.others if words == (f"pooling {f.pooling}",) and f.pooling == NATIVE), None)


def _audits(run: Run, places: Sequence[Place]) -> list[Audit]:
    """Return what each board of native figures can tell, once for each task."""
    audits: dict[str, Audit] = {}
    for place in places:
        task = place.record.task
        if task in audits or place.protocol.pooling != NATIVE or len(place.field) < 2:
            continue
        error, together = shared_error(run, task)
        if error:
            board = [*place.field, *place.own[:1]]
            level = float(run.header.get("suite", {}).get("level", 0.95))
            audits[task] = audit_board(task, place.record.n, board, error, together, level)
    return list(audits.values())


class _Workshop:
    """Opens the models and data of a run again, each once."""

    def __init__(self, run: Run, places: Places, limit: int, progress: Progress) -> None:
        self.run, self.places, self.limit, self.progress = run, places, limit, progress
        self.sources = find_sources(run.path)
        self._pairs: dict[str, Pairs] = {}

    def search(self, place: Place, figure: Published) -> Search:
        """Try out why a place's figure is not met; raises `HengyuError` where it cannot be."""
        spec, opener = self._encoder(place.record.encoder)
        pairs = self._load(place.record.card, place.record.split)
        digests = {t["task"]: t.get("digest") for t in self.run.header.get("tasks", ())}
        if digests.get(pairs.task) != pairs.digest:
            raise HengyuError(
                f"{pairs.task}: its pairs are not those of the run; give its data with --data, or run it again"
            )
        return find_cause(
            place.value,
            figure.value,
            spec,
            place.record.pooling,
            pairs,
            opener,
            beside=self._beside(pairs),
            limit=self.limit,
            progress=self.progress,
        )

    def _load(self, card: str, split: str) -> Pairs:
        task = f"{card}:{split}"
        if task not in self._pairs:
            folders = [*self.places.datasets] or [Path(p) for p in self.sources.datasets]
            data = self.places.data or (Path(self.sources.data) if self.sources.data else None)
            self._pairs[task] = load_pairs(*parse_task(load_cards(folders), task), data)
        return self._pairs[task]

    def _beside(self, pairs: Pairs) -> list[Pairs]:
        """Return the card's other splits that are at hand."""
        found = []
        for split in pairs.card.splits:
            if split != pairs.split:
                try:
                    found.append(self._load(pairs.card.name, split))
                except HengyuError:
                    continue
        return found

    def _encoder(self, name: str) -> tuple[EncoderSpec, Callable[[EncoderSpec], HuggingFace]]:
        given: dict[str, Any] = dict(self.sources.encoders.get(name, {}))
        values = {f.name: given[f.name] for f in fields(EncoderSpec) if f.name in given} or {"model": name}
        values = {k: v for k, v in values.items() if k not in COMMAND_LINE_ONLY}
        values |= {"trust_remote_code": self.places.trust_remote_code, "device": ""}
        spec = EncoderSpec(**(values | ({"model": self.places.encoder} if self.places.encoder else {})))
        if spec.kind != "model":
            raise HengyuError(f"encoder '{name}': its vectors are made elsewhere, so nothing can be tried out")
        opener = partial(open_encoder, offline=self.places.offline)
        about = next(e for e in self.run.header["encoders"] if e["encoder"] == name)
        if opener(spec).identity().get("fingerprint") != about.get("fingerprint"):
            raise HengyuError(f"encoder '{name}': is another model now than in the run; give that one with --model")
        return spec, opener
