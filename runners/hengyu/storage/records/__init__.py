"""Records and runs on disk: schema, provenance, atomic writes.

A run is a folder ``records/<run>/`` with

* ``run.json``: what was run (suite, tasks, encoders, fits, warnings), the same bytes for the same run,
* ``records.json``: the numbers, one `Record` each, with `Difference` and `Standing`, the same bytes for the same run,
* ``environment.json``, ``sources.json`` and ``timings.json``: versions, machine, where encoders and data lay, and
  seconds, which differ from run to run,
* ``clouds.json``: how the vectors of each entry lie in space (see `hengyu.storage.records.clouds`),
  the same bytes for the same run,
* ``costs.json``: of a retrieval suite, what each index cost (`hengyu.storage.records.costs`), which differs from run to run too,
* ``audit.json``: what `hengyu audit` found of its tasks, where it was asked to (see `hengyu.storage.records.audits`),
* ``observations/``: the similarity of every pair, one file a cell (see `hengyu.storage.records.observations`),
* ``labels.safetensors``: the labels of every task, in the order of the pairs,
* ``relevance.safetensors``: of a retrieval suite, which rows answer which queries (see `hengyu.tasks.search.relevance_file`),
* ``sums.json``: checksums of header, numbers, clouds, labels and relevance (see `hengyu.storage.records.checksums`); a run
  without it
  is read, but is not verified (`Run.unverified`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from msgspec import Struct

from hengyu.base.bounded import user_path
from hengyu.base.environment import Environment
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import check, find_json, read_json, read_seconds, write_bytes, write_json
from hengyu.base.paths import reports_dir
from hengyu.storage.identity import cell, parts_of
from hengyu.storage.records.checksums import break_seal, check_seal, is_verified, unverified
from hengyu.storage.records.costs import read_costs
from hengyu.storage.records.schemas import Count, Header, Seed
from hengyu.storage.records.significance import verdict

__all__ = [
    "SCHEMA",
    "Difference",
    "Record",
    "Run",
    "Standing",
    "cell_key",
    "find_run",
    "list_runs",
    "load_numbers",
    "load_run",
    "save_records",
    "write_bytes",
    "write_json",
]

SCHEMA = 1
_CELL = 7  # parts of a cell's key
_AGAIN = "run the suite again"


@dataclass(frozen=True)
class Record:
    """One number; None stands for "no number". Scores lie in [-1, 1] or [0, 1] (boards print them x 100).

    The costs of an index (queries a second, bytes, seconds) are in their own units; those that differ from run to run are
    joined from costs.json on reading, as ``seconds`` are from timings.json.
    """

    suite: str
    task: str  # "LCQMC:test"; "LCQMC:avg", "LCQMC:w-avg" over splits; "mean", "w-mean" over tasks
    card: str  # "LCQMC"; "" for means over tasks
    split: str  # "test", or the splits joined with "+" for an aggregate; "" for means over tasks
    encoder: str
    pooling: str
    entry: str
    dim: Count | None  # of the vectors compared
    metric: str  # "spearman", "pearson", "auc", "ap", "f1", "accuracy", "ceiling-share"; "ndcg@10", ...
    value: float | None
    low: float | None
    high: float | None
    interval: str  # how low and high came about: "bootstrap", "logit" (AUC, AP), "delta" (delta method), "" for none
    n: Count  # pairs; queries in a retrieval suite
    ceiling: float | None  # the highest Spearman the labels allow (for metric "spearman")
    delta: float | None  # minus raw of the same encoder and pooling, paired
    delta_low: float | None
    delta_high: float | None
    fit_on: str  # "none", "target", "LCQMC:train", ...
    seed: Seed
    status: str  # "ok", "degenerate", "failed", "unavailable", "incomplete" (a mean with a hole)
    reason: str  # why not ok; "" otherwise
    threshold: float | None = None  # of the decision, for f1 and accuracy
    threshold_on: str = ""  # the task whose labels it was chosen on
    sweep: bool = False  # a point of a dims = "all" sweep: charted and exported, not a row of the board
    draw: bool = False  # one seed of a row that has several: exported, not a row of the board
    seeds: Count | None = None  # over how many seeds value, interval and delta are means; None where nothing is drawn
    spread: float | None = None  # standard deviation of the value over the seeds
    bytes: Count | None = None  # that one vector takes, as floats or codes; None for baselines and where dim is unknown
    of: Count | None = None  # of a sample, the pairs that n are of; None where all were evaluated
    seconds: float | None = None  # joined from timings.json on reading

    @property
    def row(self) -> tuple[str, str, str, str]:
        """What makes a row of the board: encoder, pooling, entry, fit_on."""
        return (self.encoder, self.pooling, self.entry, self.fit_on)

    @property
    def on_board(self) -> bool:
        """Whether it is a number of a row of the board, not a point of a curve or one of several draws."""
        return not (self.sweep or self.draw)


@dataclass(frozen=True)
class Difference:
    """The paired difference of two entries under one encoder, pooling and fit_on: Spearman of ``entry`` minus ``against``."""

    task: str
    encoder: str
    pooling: str
    fit_on: str
    entry: str
    against: str
    n: Count
    value: float
    low: float
    high: float
    p: float | None = None  # two-sided, of no difference; at most 1 - level where the interval excludes 0
    p_adjusted: float | None = None  # by Holm's method, over all differences of the run

    @property
    def verdict(self) -> str:
        """What the interval says: better, worse, or not significant (`hengyu.storage.records.significance`)."""
        return verdict(self.low, self.high, self.n)


@dataclass(frozen=True)
class Standing:
    """How a row stands in a column of the Spearman board, under the column's shared resamples."""

    task: str  # as in `Record.task`, means and aggregates too
    encoder: str
    pooling: str
    entry: str
    fit_on: str
    behind: float  # minus the best row of the column: 0 for that one, negative for the others
    low: float | None  # of the interval of ``behind``, for this row by itself
    high: float | None
    p: float  # two-sided, of no difference from the best row, adjusted over the rows of the column (Holm)
    tied: bool  # not significantly behind the best row: p is above 1 - level
    rank_low: Count | None  # the ranks that the row has over the resamples, at the interval's level
    rank_high: Count | None

    @property
    def row(self) -> tuple[str, str, str, str]:
        """What makes a row of the board, as in `Record`."""
        return (self.encoder, self.pooling, self.entry, self.fit_on)


class _Numbers(Struct):
    """records.json."""

    records: tuple[Record, ...]
    differences: tuple[Difference, ...] = ()
    standings: tuple[Standing, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run read back from its folder."""

    path: Path
    header: dict[str, Any]  # run.json
    environment: dict[str, Any]
    records: tuple[Record, ...]
    differences: tuple[Difference, ...] = ()  # those that the suite asks for
    standings: tuple[Standing, ...] = ()  # none in runs from before they were kept
    unverified: str = ""  # why its files could not be checked against checksums; "" where they were, or it was not read

    @property
    def id(self) -> str:
        """The run's name: suite and the first digits of the plan's hash."""
        return str(self.header["run"])

    @property
    def kind(self) -> str:
        """The kind of task that it is a run of, as a suite's ``kind`` says it."""
        return str(self.header.get("suite", {}).get("kind", "sts"))


def save_records(
    folder: Path,
    records: Iterable[Record],
    differences: Iterable[Difference] = (),
    standings: Iterable[Standing] = (),
) -> None:
    """Write records.json; the seconds stay out, so that the same run gives the same bytes."""
    columns = [f.name for f in fields(Record) if f.name != "seconds"]  # all of them plain values
    rows = [{c: v for c in columns if (v := getattr(r, c)) is not None or c != "of"} for r in records]
    for row in rows:
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"record {row} holds a {value} in '{key}'")
    beside = {"differences": [asdict(d) for d in differences], "standings": [asdict(s) for s in standings]}
    break_seal(folder)
    write_json(folder / "records.json", {"schema": SCHEMA, "records": rows, **beside})


def load_numbers(
    folder: Path, key: str
) -> tuple[tuple[Record, ...], tuple[Difference, ...], tuple[Standing, ...]] | None:
    """Return the records, differences and standings of a finished run; None unless all of it is under ``key``.

    ``key`` is the run's (`hengyu.storage.identity.run_key`): everything that its numbers depend on, the code included. A run
    without checksums, or with a file that has changed since it was written, gives None too.
    """
    header = find_json(folder / "run.json", Header)
    if header is None or header.key != key or not is_verified(folder):
        return None
    found = find_json(folder / "records.json", _Numbers)
    return None if found is None else (found.records, found.differences, found.standings)


def cell_key(task: str, row: tuple[str, str, str, str], seed: int | None = None) -> str:
    """Return the key of a cell in timings.json and costs.json, a JSON array: task, row, and the seed where one is drawn."""
    return cell("cell", task, *row, seed)


def _without_seed(key: str) -> str:
    """Return the key of a cell that a key under one of its seeds is of; "" for the key of something else."""
    parts = parts_of(key)
    return cell(*parts[:-1], None) if len(parts) == _CELL and parts[0] == "cell" else ""


def _by_cell(timings: Mapping[str, float]) -> dict[str, float]:
    """Add up the seconds of a cell's seeds."""
    total: dict[str, float] = {}
    for key, seconds in timings.items():
        if whole := _without_seed(key):
            total[whole] = total.get(whole, 0.0) + seconds
    return total


def _costs(folder: Path, records: Sequence[Record]) -> tuple[Record, ...]:
    """Return a record for every cost that costs.json holds of a cell with numbers; of several seeds the mean."""
    found: dict[str, dict[str, list[float]]] = {}
    for key, named in read_costs(folder / "costs.json").items():
        of_cell = found.setdefault(_without_seed(key), {})
        for name, value in named.items():
            of_cell.setdefault(name, []).append(value)
    whole = {cell_key(r.task, r.row): r for r in records if r.status == "ok" and r.on_board}
    blank: dict[str, Any] = dict.fromkeys(("low", "high", "ceiling", "delta", "delta_low", "delta_high", "spread"))
    return tuple(
        replace(of, metric=name, value=sum(values) / len(values), interval="", **blank)
        for key, of in whole.items()
        for name, values in found.get(key, {}).items()
    )


def load_run(folder: Path) -> Run:
    """Read a run's folder back; raises `HengyuError` for one that is none, of another schema, or changed since it was written."""
    check_seal(folder)
    header = read_json(folder / "run.json", dict[str, Any], _AGAIN, (SCHEMA,))
    check(header, Header, folder / "run.json", _AGAIN)
    found = read_json(folder / "records.json", _Numbers, _AGAIN, (SCHEMA,))
    about = folder / "environment.json"
    environment = read_json(about, Environment, _AGAIN) if about.is_file() else {}
    timings = _by_cell(read_seconds(folder / "timings.json"))
    timed = tuple(replace(r, seconds=timings.get(cell_key(r.task, r.row))) for r in found.records)
    timed += _costs(folder, timed)
    return Run(folder, header, environment, timed, found.differences, found.standings, unverified(folder))


def list_runs(root: Path | None = None) -> list[Path]:
    """Return the folders of all finished runs, the newest first."""
    base = (root or reports_dir()) / "records"
    if not base.is_dir():
        return []
    done = [p for p in base.iterdir() if (p / "records.json").is_file() and (p / "run.json").is_file()]
    return sorted(done, key=lambda p: ((p / "records.json").stat().st_mtime_ns, p.name), reverse=True)


def find_run(word: str, root: Path | None = None) -> Path:
    """Return the folder of a run named by its folder, its id, the start of its id, or ``latest``."""
    path = user_path(word)
    if (path / "run.json").is_file():
        return path
    runs = list_runs(root)
    if word == "latest" and runs:
        return runs[0]
    named = [p for p in runs if p.name == word] or [p for p in runs if p.name.startswith(word)]
    if named:
        return named[0]
    known = ", ".join(p.name for p in runs[:5]) or "none yet, 'hengyu run' makes one"
    raise HengyuError(f"no run is called '{word}'; runs: {known}")
