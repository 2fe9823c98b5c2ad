"""The shape of run.json and of a baseline's head: what readers rely on; keys beyond these are left to later versions."""

from __future__ import annotations

from typing import Any

from hengyu.base.json_files import NAME

__all__ = ["BASELINE", "CLOUDS", "HEADER"]

_TEXT = {"type": "string"}
_NUMBER = {"type": ["number", "null"]}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 1 << 53}


_NAME = {"type": "string", "pattern": NAME, "maxLength": 200}
_JUDGED = {
    "seed": {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1},
    "resamples": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
    "level": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
}


def _objects(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "required": list(required), "properties": properties}}


_TASKS = _objects(
    ("task",),
    task=_TEXT,
    n=_COUNT,
    distinct=_COUNT,
    dropped=_COUNT,
    scale={"type": "array", "items": {"type": "number"}, "maxItems": 2},
    positive_rate=_NUMBER,
    ceiling=_NUMBER,
)
_ENCODERS = _objects(
    ("encoder",),
    encoder=_TEXT,
    baseline={"type": "boolean"},
    dim={"type": ["integer", "null"]},
    coverage={
        "type": ["object", "null"],
        "additionalProperties": {"type": "object", "additionalProperties": {"type": "number"}},
    },
)
_FITS = _objects(
    trained=_objects(
        step={"type": "array"},
        log_det={"type": ["object", "null"]},
        gaussianity={"type": ["object", "null"]},
    )
)
_SUITE = {
    "type": "object",
    "properties": {
        # it becomes the name of a baseline's file
        "name": _NAME,
        "title": _TEXT,
        "description": _TEXT,
        "aggregate": {"type": ["string", "null"]},
        **_JUDGED,
    },
}
_PROTOCOL = {"type": "integer", "minimum": 0, "maximum": 1 << 31}
HEADER: dict[str, Any] = {
    "type": "object",
    "required": ["run"],
    "properties": {
        # it becomes the name of a folder
        "run": _NAME,
        "key": {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"},
        "hengyu": _TEXT,
        "protocol": _PROTOCOL,
        "suite": _SUITE,
        "tasks": _TASKS,
        "encoders": _ENCODERS,
        "fits": _FITS,
        "warnings": {"type": "array", "items": _TEXT},
    },
}
"""Of run.json."""

CLOUDS: dict[str, Any] = {
    "type": "object",
    "required": ["schema", "sample", "clouds"],
    "properties": {
        "schema": {"const": 1},
        "sample": {"type": "object", "additionalProperties": {"type": "integer"}},
        # each of the many is checked as it is read
        "clouds": {"type": "array"},
    },
}
"""Of clouds.json."""

BASELINE: dict[str, Any] = {
    "type": "object",
    "required": ["suite", "run", "hengyu", "protocol", *_JUDGED, "tasks", "encoders", "cells"],
    "additionalProperties": False,
    "properties": {
        "schema": {},
        "sha256": {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"},
        "suite": _NAME,
        "run": _TEXT,
        "hengyu": _TEXT,
        "protocol": _PROTOCOL,
        **_JUDGED,
        "tasks": _TASKS,
        "encoders": _ENCODERS,
        # each of the many cells is checked as it is read
        "cells": {"type": "array"},
        "draws": {"type": "array"},  # of schema 1
        "blocks": {"type": "array"},
    },
}
"""Of a baseline; one of this version holds nothing else, so that a key whose name has changed is found."""
