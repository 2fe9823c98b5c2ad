"""The charts of a run's page, those that it has numbers for."""

from __future__ import annotations

from hengyu.records import Run
from hengyu.report.courses import courses
from hengyu.report.dimensions import dimensions
from hengyu.report.distributions import distributions
from hengyu.report.drawing import Chart
from hengyu.report.figures import figures
from hengyu.report.forest import differences
from hengyu.report.losses import losses
from hengyu.report.spectra import spectra

__all__ = ["charts_of"]


def charts_of(run: Run) -> tuple[Chart, ...]:
    """Return the charts that a run has, in the order of the page."""
    made = (make(run) for make in (figures, differences, dimensions, distributions, spectra, losses, courses))
    return tuple(chart for chart in made if chart is not None)
