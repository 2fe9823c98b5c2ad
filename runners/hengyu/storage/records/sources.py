"""Where the encoders and data of a run lay, sources.json: what differs between machines, and no number depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from hengyu.base.json_files import find_json, read_json

__all__ = ["Sources", "find_sources", "read_sources"]

_FILE = "sources.json"


class SuiteFile(Struct, frozen=True):
    """The suite's file."""

    name: str = ""
    sha256: str = ""


class Sources(Struct, frozen=True):
    """sources.json."""

    suite: SuiteFile = SuiteFile()
    encoders: dict[str, dict[str, Any]] = {}  # the settings of each `hengyu.encoders.EncoderSpec`
    data: str = ""
    datasets: list[str] = []
    distractors: list[str] = []


def find_sources(run: Path) -> Sources:
    """Return where the parts of a run lay; nothing for a run that does not say so."""
    return find_json(run / _FILE, Sources) or Sources()


def read_sources(run: Path, remedy: str) -> Sources:
    """Return where the parts of a run lay; raises `HengyuError` where the file is damaged, nothing for a run without one."""
    path = run / _FILE
    return read_json(path, Sources, remedy) if path.is_file() else Sources()
