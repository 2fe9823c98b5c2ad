"""The command that evaluates one row of a run again: the run's own, narrowed to the row where that gives the same number."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hengyu.encoders import EncoderSpec
from hengyu.report.page.provenance import earlier_environments
from hengyu.report.sheet import Sheet
from hengyu.storage.identity import digest
from hengyu.storage.records import Run
from hengyu.storage.records.sources import find_sources

__all__ = ["command_of_row", "reproduce_sheet"]

_Key = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on
_NARROWED = ("--encoder", "--pooling", "--entry", "--fit-on")
_GROWING = ("--budget", "--until")
_LIBRARIES = ("hengyu", "torch", "transformers", "numpy", "scipy", "faiss-cpu")
_FLAGS = ("--quiet", "--force", "--fresh", "--title")


def reproduce_sheet(run: Run) -> Sheet:
    """Return the commands of all rows; rows whose numbers were read from elsewhere have none."""
    narrowed = command_of_row(run)
    encoders = {str(e.get("encoder")): e for e in run.header.get("encoders", ())}
    versions, threads = _versions(run), str(run.environment.get("torch_threads") or "")
    rows = []
    for key in dict.fromkeys(r.row for r in run.records if r.on_board):
        encoder, pooling, entry, fit_on = key
        command = narrowed(key)
        about = encoders.get(encoder, {})
        made = (data_digest(run, fit_on), str(about.get("fingerprint") or ""), str(about.get("dtype") or ""))
        if command:
            rows.append((entry, encoder, pooling, fit_on, *made, versions, threads, command))
    heads = (
        *("entry", "encoder", "pooling", "fit_on"),
        *("data as read", "fingerprint", "dtype", "versions", "threads", "command"),
    )
    filled = [i for i, _ in enumerate(heads) if any(row[i] for row in rows)]
    told = "Each evaluates one row again, and what it is compared with. A mean over several seeds needs the whole suite's entries. "
    told += "Paths are left out: a name stands for what has the digests beside it and under What was read."
    return Sheet(
        "Reproduce a row", told, tuple(heads[i] for i in filled), tuple(tuple(row[i] for i in filled) for row in rows)
    )


def data_digest(run: Run, fit_on: str) -> str:
    """Return 16 digits over all that a row read as data: its tasks, and what it was fitted on; "" where it is not kept."""
    read = {str(r.get("task")): str(r.get("sha256")) for r in run.header.get("read", ())}
    if not read:
        return ""
    names = {str(t.get("task")) for t in run.header.get("tasks", ())} | {n for n in read if n.startswith("distractors")}
    for fit in run.header.get("fitted_on", ()):
        if fit.get("fit_on") == fit_on:
            names.update(map(str, fit.get("splits", ())))
    return digest({name: read.get(name, "") for name in sorted(names)})[:16]


def _versions(run: Run) -> str:
    """Return the versions of the libraries that vectors and numbers come from."""
    of = [f"{name} {run.environment[name]}" for name in _LIBRARIES if run.environment.get(name)]
    return ", ".join(of) + ("; others for some rows" if of and earlier_environments(run) else "")


def command_of_row(run: Run) -> Callable[[_Key], str]:
    """Return what gives the command of a row, "" for a row that no command makes."""
    words = _words(run)
    given = [*_settled_sample(run, _options(words))]
    common = [w for name, parts in given if name not in (*_NARROWED, *_FLAGS) for w in parts]
    models = [parts for name, parts in given if name == "--encoder"]
    own = [w for name, parts in given if name in ("--entry", "--fit-on") for w in parts]
    specs = find_sources(run.path).encoders
    kinds = {str(e.get("encoder")): e.get("kind", "model") for e in run.header.get("encoders", ())}
    drawn = {r.row for r in run.records if (r.seeds or 1) > 1}

    def narrowed(key: _Key) -> str:
        encoder, pooling, entry, fit_on = key
        kind = kinds.get(encoder)
        if kind not in ("model", "lexical"):
            return ""
        if kind == "lexical":
            return shlex.join([*common, *(w for parts in models for w in parts), "--entry", entry])
        chosen = [*_encoder(encoder, specs.get(encoder), models), "--pooling", pooling]
        kept = _settled(common, specs.get(encoder))
        if key in drawn:
            return shlex.join([*kept, *chosen, *own])
        return shlex.join([*kept, *chosen, "--entry", entry, *(["--fit-on", fit_on] if fit_on != "none" else [])])

    return narrowed


def _settled(words: Sequence[str], spec: Mapping[str, Any] | None) -> list[str]:
    """Return the words of a command with the engine that ran an encoder where the fastest one was asked for."""
    engine = str((spec or {}).get("backend") or "torch")
    found = []
    for before, word in zip(("", *words), words, strict=False):
        asked = word == "--backend=auto" or (before == "--backend" and word == "auto")
        found.append(word.removesuffix("auto") + engine if asked else word)
    return found


def _settled_sample(run: Run, given: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the options of a command with the pairs that were taken, where it does not say how many."""
    said = False
    for name, parts in given:
        said |= name == "--sample"
        if name not in _GROWING:
            yield name, parts
    for task in () if said else run.header.get("tasks", ()):
        if task.get("of") is not None:
            yield "--sample", ["--sample", f"{task['task']}={task['n']}"]


def _words(run: Run) -> list[str]:
    """Return the command of the run, of its suite's name where it was not run from a command line."""
    try:
        words = shlex.split(str(run.environment.get("command") or ""))
    except ValueError:
        words = []
    if words[:2] == ["hengyu", "run"]:
        return words
    return ["hengyu", "run", str(run.header.get("suite", {}).get("name", ""))]


def _options(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Split a command into its options with their values, and the other words."""
    takes = {*_NARROWED, "--data", "--datasets", "--pairs", "--task", "--out", "--title", "--device", "--dtype", "--backend",
             "--max-memory", "--methods", "--attention", "--long", "--api", "--key-env", "--dimensions", "--store",
             "--distractors", "--sample", *_GROWING}  # fmt: skip
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if not word.startswith("--"):
            yield "", [word]
        elif name in takes and not equals:
            yield name, [word, *([value] if (value := next(rest, None)) is not None else [])]
        else:
            yield name, [word]


def _encoder(encoder: str, spec: Mapping[str, Any] | None, models: list[list[str]]) -> list[str]:
    """Return the option that chooses an encoder, or those of the run where a suite's settings would be lost by it."""
    words = [w for parts in models for w in parts]
    model = str(spec.get("model", "")) if spec else ""
    for parts in models:
        said = parts[-1].removeprefix("--encoder=")
        if spec and (said == model or Path(model).parts[-len(Path(said).parts) :] == Path(said).parts):
            return parts
    settings = asdict(EncoderSpec(""))
    plain = spec is not None and all(v == settings.get(k, "") for k, v in spec.items() if k not in ("model", "device"))
    return ["--encoder", encoder] if not models and plain and model == encoder else words
