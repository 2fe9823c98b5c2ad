"""The charts of a run's page for which it has numbers."""

from __future__ import annotations

from hengyu.report.charts.dimensions import dimensions
from hengyu.report.charts.distributions import distributions
from hengyu.report.charts.forest import differences
from hengyu.report.charts.losses import losses
from hengyu.report.charts.published_points import figures
from hengyu.report.charts.spectra import spectra
from hengyu.report.charts.style import Chart
from hengyu.report.charts.training_curves import courses
from hengyu.storage.records import Run

__all__ = ["charts_of"]


def charts_of(run: Run) -> tuple[Chart, ...]:
    """Return a run's charts, in the order of the page."""
    made = (make(run) for make in (figures, differences, dimensions, distributions, spectra, losses, courses))
    return tuple(chart for chart in made if chart is not None)
