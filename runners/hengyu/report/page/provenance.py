"""Where a run's numbers come from, as plain sheets of text; any key of the header may be absent."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hengyu.report.board.cell import between, percent
from hengyu.report.charts.trainings import tunings
from hengyu.report.published import matching_published, of_task
from hengyu.report.sheet import Sheet
from hengyu.storage.identity import parts_of
from hengyu.storage.records import Run, cell_key
from hengyu.storage.records.sources import find_sources

__all__ = ["command_of", "published_sheet", "sheets"]


def command_of(run: Run) -> str:
    """Return the command that makes this run again."""
    given = run.environment.get("command")
    return str(given) if given else shlex.join(["hengyu", "run", str(run.header.get("suite", {}).get("name", ""))])


def sheets(run: Run, seconds: Mapping[str, float] | None = None) -> tuple[Sheet, ...]:
    """Return the sheets of a run that have rows; ``seconds`` are those of timings.json, encoding included."""
    made = [
        _run(run),
        _machine(run),
        _tasks(run),
        _read(run),
        _encoders(run),
        _references(run),
        _coverage(run),
        _fits(run),
        _trained(run),
        _tuned(run),
        _timings(run, seconds or {}),
    ]
    return tuple(sheet for sheet in made if sheet.rows)


def published_sheet(run: Run) -> Sheet:
    """Return the published figures beside the run's own numbers; without rows where nothing was published."""
    heads = (
        *("task", "encoder", "pooling", "entry", "fit_on", "ours", "interval", "published", "difference"),
        *("protocol there", "source"),
    )
    rows = []
    for r, figure in matching_published(run):
        own = (percent(r.value), between(r.low, r.high), percent(figure.value))
        change = percent((r.value or 0.0) - figure.value, signed=True)
        rows.append((of_task(r), *r.row, *own, change, figure.protocol, figure.source))
    return Sheet("Published figures beside ours", "", heads, tuple(rows), frozenset({5, 6, 7, 8}))


def _run(run: Run) -> Sheet:
    suite = run.header.get("suite", {})
    level = suite.get("level")
    pairs = [
        ("run", run.id),
        ("suite", suite.get("name")),
        ("hengyu", run.header.get("hengyu")),
        ("schema", run.header.get("schema")),
        ("seed", suite.get("seed")),
        ("resamples", suite.get("resamples")),
        ("interval level", f"{100 * level:g} %" if isinstance(level, int | float) else None),
        ("aggregate over splits", suite.get("aggregate") or "none"),
        ("suite SHA-256", suite_digest(run)),
        ("checksums", "missing" if run.unverified else None),
    ]
    rows = tuple((k, str(v)) for k, v in pairs if v not in (None, ""))
    return Sheet("Run", "What was run; the same header gives the same numbers.", ("what", "value"), rows, keyed=True)


def _machine(run: Run) -> Sheet:
    rows = [(k, _text(v)) for k, v in sorted(run.environment.items()) if k not in ("command", "earlier")]
    for before in earlier_environments(run):
        rows += [(f"{k}, of some rows", _text(v)) for k, v in sorted(before.items())]
    about = "Where it ran."
    if earlier_environments(run):
        about += (
            " Rows that an interrupted or earlier run had finished were made with the versions listed for some rows."
        )
    return Sheet("Versions and machine", about, ("what", "value"), tuple(rows))


def earlier_environments(run: Run) -> list[Mapping[str, Any]]:
    """Return in what other environments some of a run's rows were made: what differed there."""
    return list(run.environment.get("earlier", ()))


def suite_digest(run: Run) -> str:
    """Return the sha256 of the file of a run's suite, "" where it is not kept."""
    return find_sources(run.path).suite.sha256


def _read(run: Run) -> Sheet:
    readers: list[_Reader] = [
        ("split", _key("task")),
        ("rows", _key("rows")),
        ("file SHA-256", _key("file_sha256")),
        ("SHA-256 as read", _key("sha256")),
    ]
    about = (
        "Every split that was evaluated on, fitted on, or used for thresholds. The second checksum is over texts and labels as "
        "they were read, so that it changes with the columns of a card, too."
    )
    return _listed("What was read", about, run.header.get("read", ()), readers, {"rows"})


def _references(run: Run) -> Sheet:
    readers: list[_Reader] = [(n, _key(n)) for n in ("encoder", "revision", "task", "metric", "value", "pearson")]
    readers += [("file", _key("path")), ("SHA-256 of the content", _key("content"))]
    about = "Numbers that others measured, as the result files of mteb have them; nothing of them was computed here."
    return _listed("Imported results", about, run.header.get("references", ()), readers, {"value", "pearson"})


_Reader = tuple[str, Callable[[Mapping[str, Any]], Any]]


def _listed(
    title: str, about: str, items: Iterable[Mapping[str, Any]], readers: Iterable[_Reader], right: set[str]
) -> Sheet:
    """Make a sheet of a list of objects; a column that no object fills is left out."""
    objects = list(items)
    columns = [(head, [_text(read(o)) for o in objects]) for head, read in readers]
    columns = [(head, cells) for head, cells in columns if any(cells)]
    numeric = frozenset(i for i, (head, _) in enumerate(columns) if head in right)
    rows = tuple(zip(*(cells for _, cells in columns), strict=True)) if columns else ()
    return Sheet(title, about, tuple(head for head, _ in columns), rows, numeric)


def _key(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda o: o.get(name)


def _share(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda o: f"{100 * o[name]:.2f} %" if isinstance(o.get(name), int | float) else None


def _tasks(run: Run) -> Sheet:
    readers: list[_Reader] = [
        ("task", _key("task")),
        ("pairs", _key("n")),
        ("distinct sentences", _key("distinct")),
        ("distractors", _key("distractors")),
        ("lines dropped", _key("dropped")),
        ("labels", _key("labels")),
        ("scale", lambda o: " to ".join(f"{s:g}" for s in o["scale"]) if o.get("scale") else None),
        ("positive", _share("positive_rate")),
        ("ceiling x 100", lambda o: f"{100 * o['ceiling']:.2f}" if o.get("ceiling") is not None else None),
        ("thresholds from", _key("threshold_on")),
        ("licence", _key("licence")),
        ("citation", _key("citation")),
        ("data SHA-256", _key("sha256")),
        ("card SHA-256", _key("card_sha256")),
    ]
    right = {"pairs", "distinct sentences", "distractors", "lines dropped", "positive", "ceiling x 100"}
    about = "What was scored. The ceiling is the highest Spearman that the labels allow."
    return _listed("Tasks", about, run.header.get("tasks", ()), readers, right)


def _encoders(run: Run) -> Sheet:
    names = ("encoder", "kind", "dim", "max_length", "long", "dtype", "backend", "revision", "fingerprint", "tokens")
    heads = {"max_length": "max length", "long": "longer texts", "tokens": "token fingerprint"}
    readers: list[_Reader] = [(heads.get(n, n), _key(n)) for n in names]
    readers += [
        ("prompt", lambda o: None if "query_prompt" in o else o.get("prompt")),
        ("query prompt", lambda o: _prompt(o, "query_prompt")),
        ("document prompt", lambda o: _prompt(o, "prompt")),
        ("API", _key("api")),
        ("first encoded", _key("first_encoded")),
        ("tokens counted", _key("counted_tokens")),
        ("price", lambda o: f"{o['price']:.4f}" if isinstance(o.get("price"), int | float) else None),
    ]
    readers.insert(2, ("baseline", lambda o: "yes" if o.get("baseline") else None))
    about = "The fingerprint covers weights, tokenizer and settings; the token fingerprint the ids of fixed sentences."
    return _listed(
        "Encoders", about, run.header.get("encoders", ()), readers, {"dim", "max length", "tokens counted", "price"}
    )


def _prompt(encoder: Mapping[str, Any], key: str) -> Any:
    """Return the prompt of one side, where the sides have different ones."""
    return (encoder.get(key) or "none") if "query_prompt" in encoder else None


def _coverage(run: Run) -> Sheet:
    found = [
        {"encoder": e.get("encoder"), "task": task, **shares}
        for e in run.header.get("encoders", ())
        for task, shares in (e.get("coverage") or {}).items()
    ]
    readers: list[_Reader] = [
        ("encoder", _key("encoder")),
        ("task", _key("task")),
        ("[UNK] tokens", _share("unk")),
        ("texts truncated", _share("truncated")),
    ]
    about = "How much of the text an encoder did not know or did not see."
    return _listed("Coverage", about, found, readers, {"[UNK] tokens", "texts truncated"})


def _fits(run: Run) -> Sheet:
    names = ("task", "encoder", "pooling", "entry", "fit_on", "n", "dim", "rank")
    readers: list[_Reader] = [("sentences" if n == "n" else n, _key(n)) for n in names]
    readers += [("effective rank", _key("effective_rank")), ("condition number", _key("condition"))]
    readers += [("sketch", _key("sketch")), ("its share of the variance", _key("explained"))]
    readers += [("its error at most", _key("error_bound"))]
    about = "What the methods were fitted on: a low effective rank or a high condition number makes whitening fragile."
    right = {"sentences", "dim", "rank", "effective rank", "condition number"}
    fitted = [fit for fit in run.header.get("fits", ()) if "n" in fit]  # others say only how an encoder was tuned
    return _listed("Fits", about, fitted, readers, right)


def _trained(run: Run) -> Sheet:
    """What was trained by likelihood: one row a fit."""
    items = [
        {**{k: fit.get(k) for k in ("task", "encoder", "pooling", "entry", "fit_on", "seed")}, **one}
        for fit in run.header.get("fits", ())
        for one in fit.get("trained", ())
        if one.get("kind") != "tuner"
    ]
    readers: list[_Reader] = [(n, _key(n)) for n in ("task", "encoder", "pooling", "entry", "fit_on", "seed")]
    readers += [
        ("held-out rows", _key("held_out_rows")),
        ("held-out bits per dimension", _key("bits")),
        ("those of the best linear map", _key("linear_bits")),
        ("steps", lambda o: o["step"][-1] if o.get("step") else None),
        ("best at", _key("best_step")),
        ("stopped", _key("stopped")),
        ("log-determinant", _pick("log_det", "mean")),
        ("its deviation", _pick("log_det", "std")),
        ("excess kurtosis", _pick("gaussianity", "kurtosis")),
        ("distance from chi-squared", _pick("gaussianity", "chi2_distance")),
        ("norm² / d - 1", _pick("gaussianity", "norm2_ratio")),
    ]
    about = (
        "Flows are trained by likelihood; fewer held-out bits are better, and a flow has learned more than whitening where "
        "it has fewer than the best linear map. Kurtosis, distance and norm are 0 for the Gaussian a flow is trained towards."
    )
    right = {head for head, _ in readers[6:]} - {"stopped"}
    return _listed("Flows", about, items, readers, right)


def _tuned(run: Run) -> Sheet:
    """What was trained of the encoders themselves: one row a training."""
    readers: list[_Reader] = [(n, _key(n)) for n in ("task", "encoder", "pooling")]
    readers += [("tuner", _key("name")), *((n, _key(n)) for n in ("fit_on", "seed", "examples", "steps"))]
    measured = ("loss", "uniformity", "alignment", "held_out_spearman", "effective_rank")
    words = ("loss", "uniformity", "alignment", "held-out Spearman", "effective rank")
    readers += [(word, _course(name)) for word, name in zip(words, measured, strict=True)]
    about = (
        "Trainings of the encoder, each number from the first look to the last. Uniformity: lower is more evenly spread "
        "over the sphere; alignment: lower is closer for pairs that mean the same. An effective rank near 1 is a collapse. "
        "The held-out pairs are of the valid split; nothing is chosen by them, unless a tuner has patience."
    )
    return _listed("Tuned encoders", about, tunings(run), readers, set(words) | {"examples", "steps", "seed"})


def _course(key: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return a reader of the first and last of the numbers under a key."""

    def read(item: Mapping[str, Any]) -> str | None:
        values = item.get(key)
        return f"{values[0]:.3f} to {values[-1]:.3f}" if isinstance(values, list) and values else None

    return read


def _pick(key: str, part: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda o: (o.get(key) or {}).get(part)


def _timings(run: Run, seconds: Mapping[str, float]) -> Sheet:
    total: dict[tuple[Any, ...], float] = defaultdict(float)
    for record in {cell_key(r.task, r.row): r for r in run.records if r.seconds is not None}.values():
        total[record.row] += record.seconds or 0.0
    for key, value in seconds.items():
        parts = parts_of(key)
        if parts and parts[0] in ("encode", "fit"):
            total[parts] += value
    slowest = sorted(total.items(), key=lambda item: -item[1])
    rows = tuple((" | ".join(map(str, parts)), f"{value:.3f}") for parts, value in slowest)
    about = (
        "Seconds, the slowest first: encoding once an encoder, training once a fit, and each row over all its tasks."
    )
    return Sheet("Timings", about, ("what", "seconds"), rows, frozenset({1}))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
