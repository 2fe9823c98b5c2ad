"""What a run's header and a baseline must hold: what readers rely on; other keys of a header are left to later versions."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from hengyu.base.json_files import Name

__all__ = ["Baseline", "Count", "Header", "Seed"]

Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Seed = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Resamples = Annotated[int, Meta(ge=1, le=1_000_000)]
Level = Annotated[float, Meta(gt=0, lt=1)]
Protocol = Annotated[int, Meta(ge=0, le=1 << 31)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Score = Annotated[float, Meta(ge=-1, le=1)]


class TaskHead(Struct, frozen=True):
    """A task of a run or a baseline."""

    task: str
    n: Count = 0
    of: Count | None = None
    sample_seed: Seed | None = None
    distinct: Count = 0
    dropped: Count = 0
    corpus: Count = 0
    queries: Count = 0
    relevant: Count = 0
    groups: Count = 0
    distractors: Count | None = None
    scale: Annotated[list[float], Meta(max_length=2)] = []
    positive_rate: float | None = None
    ceiling: float | None = None


class EncoderHead(Struct, frozen=True):
    """An encoder of a run or a baseline."""

    encoder: str
    baseline: bool = False
    dim: Count | None = None
    coverage: dict[str, dict[str, float]] | None = None


class TrainedStep(Struct, frozen=True):
    """What the training of a step left to see."""

    step: list[Any] = []
    log_det: dict[str, Any] | None = None
    gaussianity: dict[str, Any] | None = None


class FitHead(Struct, frozen=True):
    """What was fitted for an entry."""

    trained: list[TrainedStep] = []


class SuiteHead(Struct, frozen=True):
    """What a run's header says of its suite."""

    name: Name = ""  # of a baseline's file too
    title: str = ""
    description: str = ""
    title_zh: str = ""
    description_zh: str = ""
    aggregate: str | None = None
    kind: str = "sts"
    seed: Seed = 0
    resamples: Resamples = 1000
    level: Level = 0.95


class Header(Struct, frozen=True):
    """run.json."""

    run: Name  # of the run's folder too
    key: Sha256 = ""
    hengyu: str = ""
    protocol: Protocol = 1
    suite: SuiteHead = SuiteHead()
    tasks: list[TaskHead] = []
    encoders: list[EncoderHead] = []
    fits: list[FitHead] = []
    warnings: list[str] = []


class BaselineCell(Struct, frozen=True):
    """What names a number of a baseline."""

    task: str
    encoder: str
    pooling: str
    entry: str
    fit_on: str
    metric: str


class BaselineValue(BaselineCell, frozen=True, kw_only=True):
    """A number of a baseline."""

    value: Score
    low: Score | None
    high: Score | None


class BaselineBlocks(BaselineCell, frozen=True, kw_only=True):
    """The block means of a number, packed."""

    blocks: str


class BaselineDraws(BaselineCell, frozen=True, kw_only=True):
    """The bootstrap replicates of a number, packed: what schema 1 holds in place of block means."""

    draws: str


class Baseline(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A baseline; one of this version holds nothing else, so that a key whose name has changed is found."""

    schema: int
    sha256: Sha256 | None = None
    suite: Name
    run: str
    hengyu: str
    protocol: Protocol
    seed: Seed
    resamples: Resamples
    level: Level
    tasks: list[TaskHead]
    encoders: list[EncoderHead]
    cells: list[BaselineValue]
    blocks: list[BaselineBlocks] = []
    draws: list[BaselineDraws] = []
