"""Encoders as a suite names them: a model, or a table with its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hengyu.base.toml_tables import Table
from hengyu.encoders import BUILTIN, COMMAND_LINE_ONLY, SIDES, EncoderSpec

__all__ = ["read_encoders"]

_PROMPTS = ("prompt", *(f"{side}_prompt" for side in SIDES))  # fields that the key ``prompt`` says
_OTHERWISE = {*_PROMPTS, *COMMAND_LINE_ONLY, "trust_remote_code"}
_SETTINGS = tuple(field.name for field in fields(EncoderSpec) if field.name not in _OTHERWISE)


def read_encoders(table: Table, key: str = "encoders", default: Sequence[str] = (BUILTIN,)) -> tuple[EncoderSpec, ...]:
    """Read a list of encoders; mistakes are noted in the table."""
    return tuple(_encoder(item) for item in table.items(key, default, short="model"))


def _encoder(table: Table) -> EncoderSpec:
    _refuse_permissions(table)
    usual = EncoderSpec("")
    values: dict[str, Any] = {
        name: table.take(name, type(getattr(usual, name)), getattr(usual, name), required=name == "model")
        for name in _SETTINGS
    }
    if values["backend"] == "auto":
        table.problem(
            "backend",
            "may not be auto in a file, since the choice depends on the machine: name torch, onnx or openvino, or type "
            "`hengyu run --backend auto`",
        )
    values |= _prompts(table)
    table.finish()
    return EncoderSpec(**values)


def _refuse_permissions(table: Table) -> None:
    """Refuse what no file may allow itself."""
    if table.has("trust_remote_code") and table.raw("trust_remote_code") is not False:
        table.problem(
            "trust_remote_code",
            "is not for a file to decide: read the model's code, leave the key out, and type "
            "`hengyu run --trust-remote-code`",
        )
    for key, option in COMMAND_LINE_ONLY.items():
        if table.has(key):
            table.raw(key)
            table.problem(key, f"may not stand in a file; give {option} on the command line")


def _prompts(table: Table) -> dict[str, str]:
    """Read ``prompt``: one for every text, or a table with one for queries and one for documents."""
    if not isinstance(table.peek("prompt"), dict):
        return {"prompt": table.take("prompt", str, "")}
    empty = not table.peek("prompt")
    sides = table.table("prompt")
    found = {f"{side}_prompt": sides.take(side, str, "") for side in SIDES if sides.has(side)}
    sides.known(*SIDES)
    if empty:
        table.problem("prompt", 'must hold query, document or both, like { query = "query: ", document = "" }')
    sides.finish()
    return found
