"""The charts of a run's page for which it has numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hengyu.report.charts.dimensions import dimensions
from hengyu.report.charts.distributions import distributions
from hengyu.report.charts.forest import differences
from hengyu.report.charts.losses import losses
from hengyu.report.charts.published_points import figures
from hengyu.report.charts.spectra import spectra
from hengyu.report.charts.style import Chart
from hengyu.report.charts.training_curves import courses
from hengyu.report.summary.methods import Summary
from hengyu.storage.records import Run

__all__ = ["charts_of", "diagnostics_of", "started"]


def charts_of(run: Run) -> tuple[Chart, ...]:
    """Return the charts of what a run is read for, in the order of the page."""
    return _made(run, (figures, differences, dimensions))


def diagnostics_of(run: Run) -> tuple[Chart, ...]:
    """Return the charts that explain its numbers."""
    return _made(run, (distributions, spectra, losses, courses))


def _made(run: Run, makers: Iterable[Callable[[Run], Chart | None]]) -> tuple[Chart, ...]:
    return tuple(chart for make in makers if (chart := make(run)) is not None)


def started(charts: Iterable[Chart], summary: Summary) -> tuple[Chart, ...]:
    """Return charts that start at the mean, or the first task, and at the best row that is not the reference."""
    own = [x for x in summary.rows if not (x.baseline or x.unranked)]
    best = next((x for x in own if not x.reference), own[0] if own else None)
    if best is None:
        return tuple(charts)
    encoder, pooling, entry, fit_on = best.row
    method = f"{entry}, fit_on {fit_on}" if fit_on != "none" else entry
    start = {"task": summary.column, "encoder": encoder, "pooling": pooling, "method": method, "fit_on": fit_on}
    return tuple(replace(chart, start=start) for chart in charts)
