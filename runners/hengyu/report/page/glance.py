"""What the pages of all kinds of run show above their boards, and the sections that they share."""

from __future__ import annotations

from typing import Any

from hengyu.base.json_files import read_seconds
from hengyu.report.page.citation import citation_of
from hengyu.report.page.provenance import command_of, sheets
from hengyu.report.page.reproduce import command_of_row, reproduce_sheet
from hengyu.report.summary.findings import findings
from hengyu.report.summary.methods import Summary
from hengyu.report.summary.pictures import delta_scale, heatmap, rank_scale, scatters
from hengyu.report.summary.warnings import real_warnings
from hengyu.storage.records import Run

__all__ = ["glance", "sections"]


def glance(run: Run, summary: Summary) -> dict[str, Any]:
    """Return what the templates of a run's page need, whatever its kind."""
    return {
        "run": run,
        "suite": run.header.get("suite", {}),
        "warnings": real_warnings(run),
        "summary": summary,
        "findings": findings(run, summary),
        "deltas": delta_scale(summary.best),
        "ranks": rank_scale(summary),
        "heat": heatmap(summary),
        "costs": scatters(run, summary),
        "command": command_of(run),
        "command_of_row": command_of_row(run),
        "sheets": (reproduce_sheet(run), *sheets(run, read_seconds(run.path / "timings.json"))),
        "citation": citation_of(run),
    }


def sections(*known: tuple[str, str, object]) -> list[tuple[str, str]]:
    """Return the contents list: id and title of the sections that are there."""
    return [(id, title) for id, title, there in known if there]
