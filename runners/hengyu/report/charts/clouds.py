"""How the vectors of each entry lie in space: the clouds of a run as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run
from hengyu.storage.records.clouds import CloudOf, load_clouds
from hengyu.tasks.interface.registry import find_task

__all__ = ["cloud_sheet", "clouds_of"]

_MANY = 2000  # clouds beyond which the board fills the page, which has to open in two seconds
_MOST, _FEWER = 1000, 300  # rows of the table; beyond so many
_WEIGHED = (
    "Of up to 4,096 of a task's distinct sentences (512 of vectors wider than 1,024), the same for all its entries: what "
    "the vectors look like as each entry leaves them, whatever the labels. Numbers of pairs are of 10,000 random ones."
)
_SEARCHED = (
    "Of up to 4,096 sentences of the corpus: the vectors of length 1 that an index searches, after the steps before it; "
    "alignment is that of queries and what is relevant to them."
)
_PLACE = ("task", "encoder", "pooling", "entry", "fit_on")


def _number(name: str, form: str = ".3f") -> Callable[[CloudOf], str]:
    def read(cloud: CloudOf) -> str:
        value = getattr(cloud, name)
        # what rounds to 0 has no sign
        return "" if value is None else format(value if abs(value) >= 5e-4 else type(value)(0), form)

    return read


def _first(cloud: CloudOf) -> str:
    return f"{100 * cloud.spectrum[0]:.1f}" if cloud.spectrum else ""


def _ninety(cloud: CloudOf) -> str:
    held = cloud.directions(0.9)
    return "" if held is None else str(held)


_READERS: dict[str, Callable[[CloudOf], str]] = {
    "dim": _number("dim", "d"),
    "mean norm": _number("mean_norm"),
    "anisotropy": _number("anisotropy", "+.3f"),
    "effective rank": _number("effective_rank", ".1f"),
    "first direction, %": _first,
    "90 % in": _ninety,
    "concentration": _number("concentration", ",.1f"),
    "alignment": _number("alignment"),
    "uniformity": _number("uniformity"),
    "hubness": _number("hubness", ".2f"),
    "angle": _number("angle_mean", ".1f"),
    "angle deviation": _number("angle_sd", ".1f"),
}


def clouds_of(run: Run) -> tuple[CloudOf, ...]:
    """Return the clouds of a run; of entries that end in an index those that it searches, once for all that search the same."""
    found = load_clouds(run.path)
    if not find_task(run.kind).index:
        return found
    before = (replace(c, entry=c.entry.rpartition(" > ")[0] or "raw") for c in found)
    return tuple({c.place: c for c in before}.values())


def cloud_sheet(clouds: Sequence[CloudOf], *, searched: bool = False) -> Sheet:
    """Return the numbers of clouds, ``searched`` by indexes, as a table; its ``about`` says how many there is no room for."""
    about = _SEARCHED if searched else _WEIGHED
    most = _FEWER if len(clouds) > _MANY else _MOST
    if len(clouds) > most:
        about += f" The first {most:,} of {len(clouds):,} rows; hengyu export --clouds prints them all."
    problems = any(c.problem for c in clouds)
    rows = tuple(
        (*c.place, *(read(c) for read in _READERS.values()), *((c.problem,) if problems else ())) for c in clouds[:most]
    )
    heads = (*_PLACE, *_READERS, *(("why not",) if problems else ()))
    numeric = frozenset(range(len(_PLACE), len(_PLACE) + len(_READERS)))
    return Sheet("Embedding geometry", about, heads, rows, numeric)
