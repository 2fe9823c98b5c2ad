"""The common part of all charts: one look, colours for all readers, their data and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hengyu.report.sheet import Sheet

__all__ = ["COLOURS", "SHAPES", "Chart", "dressed", "fixed_scale"]

# Okabe and Ito's colours, safe for colour-blind readers; without yellow and black, which vanish on white and in the dark
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A7A7A")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_FONT = "system-ui, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite picture of the data set ``points`` with selectable views, and the same as a table.

    Attributes:
        id: its id in the page.
        title, about: fixed words.
        spec: the picture.
        facets: the selectors of a view: a fixed word and its fields.
        groups: the points: "same" has what the points of a group share, "each" has lists with one number per point.
        table: the numbers as text.
        start: the values of fields that a view starts with, where it has them.
    """

    id: str
    title: str
    about: str
    spec: Mapping[str, Any]
    facets: tuple[tuple[str, tuple[str, ...]], ...]
    groups: tuple[Mapping[str, Any], ...]
    table: Sheet
    start: Mapping[str, str] = field(default_factory=dict)

    @property
    def payload(self) -> dict[str, Any]:
        """The chart as read by the page's script."""
        facets = [fields for _, fields in self.facets]
        return {"spec": self.spec, "facets": facets, "groups": self.groups, "start": self.start}


def dressed(picture: Any) -> dict[str, Any]:
    """Return an Altair chart as Vega-Lite, as wide as its container; the page's style sheet colours its words and axes."""
    spec: dict[str, Any] = (
        picture.properties(width="container", background="transparent")
        .configure(font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=12, titleFontSize=12)
        .configure_legend(labelFontSize=13)
        .to_dict()
    )
    return spec


def fixed_scale(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Give every name a value; cycles of different lengths keep the pairs of colour and marker distinct."""
    return {"domain": list(names), "range": [values[i % len(values)] for i in range(len(names))]}
