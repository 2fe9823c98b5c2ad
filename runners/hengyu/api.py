"""The Python interface: run a suite, score vectors, read records as a table. ``import hengyu`` offers these names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hengyu.base.errors import HengyuError
from hengyu.storage.records import Run, find_run, load_run

if TYPE_CHECKING:
    import pandas as pd

    from hengyu.encoders import EncoderSpec

__all__ = ["Score", "frame", "run", "score"]


@dataclass(frozen=True)
class Score:
    """The scores of two arrays of vectors against labels.

    Attributes:
        spearman: Spearman's correlation of the cosines with the labels, in [-1, 1]; ties have average ranks.
        low: lower end of its confidence interval, from a bootstrap over pairs.
        high: upper end of that interval.
        ceiling: highest Spearman that the labels allow.
        n: number of pairs.
        metrics: metric -> value: pearson; for labels of 0 and 1 also auc, ap, f1 and accuracy, whose thresholds are the best
            ones on these pairs.
        intervals: metric -> (low, high).
        similarity: cosine of every pair, shape (n,).
    """

    spearman: float
    low: float
    high: float
    ceiling: float
    n: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    similarity: NDArray[np.float64] = field(repr=False)

    @property
    def ceiling_share(self) -> float:
        """The Spearman as a share of its ceiling."""
        return self.spearman / self.ceiling


def score(
    vectors_a: ArrayLike,
    vectors_b: ArrayLike,
    labels: ArrayLike,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Score:
    """Score vectors that you already have: row i of both arrays is a pair.

    Args:
        vectors_a: shape (n, d), n >= 2.
        vectors_b: shape (n, d).
        labels: shape (n,), graded, or 0 and 1.
        resamples: number of resamples of the bootstrap over pairs.
        level: confidence level of the intervals.
        seed: seed of the bootstrap.

    Raises:
        HengyuError: for shapes that do not fit, values that are not finite, arguments out of range.
        Degenerate: for constant labels or cosines.
    """
    from hengyu.numerics import metrics
    from hengyu.numerics.resampling import Resamples, interval
    from hengyu.numerics.similarity import cosines

    a, b, y = _column(vectors_a, "vectors_a", 2), _column(vectors_b, "vectors_b", 2), _column(labels, "labels", 1)
    n = len(y)
    if a.shape != b.shape or len(a) != n or n < 2:
        raise HengyuError(
            f"vectors_a {a.shape}, vectors_b {b.shape} and labels {y.shape} must be (n, d), (n, d) and (n,) with n >= 2"
        )
    if resamples < 1 or not 0 < level < 1 or seed < 0:
        raise HengyuError(f"resamples {resamples}, level {level}, seed {seed}: must be >= 1, within 0..1, and >= 0")
    similarity = cosines(np.concatenate([a, b]), np.arange(n), np.arange(n, 2 * n))
    values = {"spearman": metrics.spearman(similarity, y), "pearson": metrics.pearson(similarity, y)}
    thresholds: dict[str, list[float]] = {}
    if np.array_equal(np.unique(y), [0.0, 1.0]):
        values |= {"auc": metrics.auc(similarity, y), "ap": metrics.average_precision(similarity, y)}
        for name, best in (("f1", metrics.best_f1), ("accuracy", metrics.best_accuracy)):
            cut, values[name] = best(similarity, y)
            thresholds[name] = [cut]
    drawn = Resamples(y, resamples, seed=seed).run([similarity], metrics=tuple(values), thresholds=thresholds)
    intervals = {name: interval(replicates[0], level) for name, replicates in drawn.items()}
    low, high = intervals["spearman"]
    return Score(values["spearman"], low, high, metrics.ceiling(y), n, values, intervals, similarity)


def _column(values: ArrayLike, name: str, ndim: int) -> NDArray[np.float64]:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise HengyuError(f"{name}: must be numbers ({e})") from None
    if found.ndim != ndim:
        raise HengyuError(f"{name}: must have {ndim} dimension{'s' if ndim > 1 else ''}, not shape {found.shape}")
    if not np.isfinite(found).all():
        raise HengyuError(f"{name}: holds values that are not finite")
    return found


def run(
    suite: str | Path,
    *,
    data: str | Path | None = None,
    datasets: Sequence[str | Path] = (),
    tasks: Sequence[str] = (),
    encoders: Sequence[str | EncoderSpec] = (),
    cross_encoders: Sequence[str] = (),
    entries: Sequence[str] = (),
    similarity: Sequence[str] = (),
    distractors: Sequence[str | Path] = (),
    out: str | Path | None = None,
    offline: bool = False,
    force: bool = False,
    trust_remote_code: bool = False,
) -> Run:
    """Run a suite (a file, or the name of a shipped one) as ``hengyu run`` does, quietly, and return its numbers.

    The arguments are the command's options; `frame` makes a table of the result. ``trust_remote_code`` runs code that comes
    with a model: read it first. No file can set it.

    Raises:
        HengyuError: for every mistake in the suite or its data, and for cells that failed (the others are kept).
    """
    from hengyu.bench.run_suite import RunOptions, run_suite
    from hengyu.suites.suite import find_suite, load_suite

    asked = RunOptions(
        data=Path(data) if data else None,
        datasets=tuple(map(Path, datasets)),
        tasks=tasks,
        encoders=encoders,
        cross_encoders=cross_encoders,
        entries=entries,
        similarity=similarity,
        distractors=tuple(map(Path, distractors)),
        out=str(out or ""),
        offline=offline,
        force=force,
        trust_remote_code=trust_remote_code,
    )
    outcome = run_suite(load_suite(find_suite(str(suite))), asked)
    if outcome.failures:
        raise HengyuError(*outcome.failures, f"{outcome.folder}: the other results were saved")
    return load_run(outcome.folder)


def frame(run: Run | str | Path = "latest") -> pd.DataFrame:
    """Return the records of a run (or of its folder, id, the start of one, or ``latest``) as a table, one number a row.

    The columns are those of ``hengyu export --format csv``: scores in [-1, 1], missing numbers NaN; ``similarity`` is one of them
    where rows differ in it.
    """
    import pandas as pd

    from hengyu.report.exports.table import COLUMNS, tidied

    found = run if isinstance(run, Run) else load_run(find_run(str(run)))
    rows = tidied(found)
    return pd.DataFrame(rows, columns=list(rows[0] if rows else COLUMNS))
