"""What a clone keeps at the top level travels in the wheel as package data (see runners/hengyu/resources.py)."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARED = ("suites", "datasets", "reports/templates", "reports/baselines", "reports/published")


class SharedFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Puts suites, cards and templates into built wheels; an editable install reads them where they lie."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders to a standard build."""
        if version == "standard":
            build_data["force_include"].update({folder: f"hengyu/_share/{folder}" for folder in SHARED})
