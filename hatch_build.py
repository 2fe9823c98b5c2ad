"""What a clone keeps at the top level travels in the wheel as package data (see runners/hengyu/base/paths.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# and nothing else: data of others that its user laid beside the cards is not ours to ship
SHARED = (
    "suites/*.toml",
    "datasets/*.toml",
    "datasets/hengyu-sts/*",
    "datasets/hengyu-questions/*",
    "reports/templates/*",
    "reports/baselines/*",
    "reports/published/*",
)


def shared(root: Path) -> list[str]:
    """Return the files of a tree that a wheel carries, below its root."""
    return sorted(p.relative_to(root).as_posix() for one in SHARED for p in root.glob(one) if p.is_file())


class SharedFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Puts suites, cards and templates into built wheels; an editable install reads them where they lie."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to a standard build."""
        if version == "standard":
            build_data["force_include"].update({file: f"hengyu/_share/{file}" for file in shared(Path(self.root))})
