"""The leaderboard as one file: opens from a disk, fetches nothing, and can be read without JavaScript."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from hengyu.records import Run, write_bytes
from hengyu.report.board import METRICS, Board, Cell, Column, make_board, metrics_of, percent
from hengyu.report.charts import Series, chart, collect, payload
from hengyu.report.provenance import command_of, sheets
from hengyu.report.view import view
from hengyu.resources import share

__all__ = ["render", "write_report"]

_LISTED = 3000  # cells up to which the other metrics stand in the page for a reader without JavaScript, too
_CHINESE = re.compile("[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


_READING = (
    "The large number is the score; beneath it stands its interval. Point at a cell for the whole sentence.",
    "The small number beside it is the difference to raw of the same encoder and pooling; ▲ and ▼ stand where its "
    "paired interval leaves out 0. For the mean it has a column of its own.",
    "± over seeds is the standard deviation over the seeds of a method that draws random numbers; its score and interval "
    "are means over them. 1 seed marks a row whose luck is unknown.",
    "The best of each column is underlined. ≈ marks what is not told apart from it: a paired test of the difference under "
    "the shared resamples, corrected over all rows (Holm). Rows with a bar at their left are level with the best mean.",
    "Beneath a rank stand the ranks that the row has over the resamples, at the level of the intervals.",
    "Rows stand by the mean; one with a hole has no mean and no rank, and stands last.",
    "fit_on: what the method learned from. target is the sentences of the task itself, without labels.",
    "The ceiling is the highest Spearman that a task's labels allow; no method can pass it.",
    "A baseline knows no model: it is what a method has to beat.",
    "Shades run from the lowest tenth of a column to its highest number; they say nothing that the numbers do not.",
)


def write_report(run: Run, out: Path) -> Path:
    """Write ``out/index.html`` and return its path."""
    page = out / "index.html"
    write_bytes(page, render(run).encode("utf-8", "replace"))
    return page


def render(run: Run) -> str:
    """Return the page of a run."""
    series = collect(run)
    own = "\n".join(map(_shared, ("language.js", "leaderboard.js", "paste.js")))
    sources = [f"{_datatables()}\n{{\n{own}\n}}"]  # a block, so that no name meets one of the bundle
    if series:
        sources += [_vega(), _shared("chart.js")]
    scripts = [_inline(s) for s in sources]
    environment = Environment(
        loader=FileSystemLoader(share("reports", "templates")), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "name": _name}
    environment.globals |= {"about_cell": _about_cell, "metric_names": METRICS, "percent": percent, "t": _t, "ta": _ta}
    board = make_board(run)
    others = [make_board(run, m) for m in metrics_of(run) if m != "spearman"]
    page: str = environment.get_template("leaderboard.html.j2").render(
        run=run,
        suite=run.header.get("suite", {}),
        warnings=run.header.get("warnings", ()),
        board=board,
        others=others,
        listed=sum(len(o.rows) * len(o.columns) for o in others) <= _LISTED,
        view=_script_json(view(board, others)),
        words=_script_json(json.loads(_shared("words.json"))),
        reading=_READING,
        standings=run.standings,
        differences=run.differences,
        command=command_of(run),
        sheets=sheets(run, _seconds(run.path)),
        chart=_script_json(chart(series)) if series else "",
        series=_script_json(payload(series)) if series else "",
        curves=_curves(series),
        style=Markup(_shared("leaderboard.css")),  # our own file
        scripts=scripts,
        policy=_policy(scripts),
    )
    return page


def _policy(scripts: list[Markup]) -> str:
    """Return a policy under which the browser runs these scripts alone, evaluates no text and fetches nothing."""
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{h}'" for h in hashes),
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{kind} {what}" for kind, what in allowed.items())


def _inline(script: str) -> Markup:
    """Make a script safe to stand in a page, with the line ends that a browser hashes."""
    return Markup(re.sub(r"</(script)", r"<\\/\1", script.replace("\r\n", "\n").replace("<!--", "<\\!--"), flags=re.I))


def _script_json(content: Any) -> Markup:
    """Return JSON that cannot end or leave a script element, whatever names it holds."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _shared(name: str) -> str:
    return share("reports", "templates", name).read_text(encoding="utf-8")


@cache
def _datatables() -> str:
    """Return DataTables from itables' offline bundle, an ES module, with its default export made a global."""
    from itables.utils import read_package_file

    bundle: str = read_package_file("html", "dt_bundle.js")
    exported = re.compile(r"export\s*\{[^}]*?([\w$]+) as default[^}]*\};?")
    if not exported.search(bundle):
        raise RuntimeError(
            "itables' dt_bundle.js has no default export any more; report/html.py must follow its new form"
        )
    return exported.sub(lambda m: f"window.DataTable={m[1]};", bundle)


@cache
def _vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed, with the expression interpreter that needs no eval."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def _seconds(folder: Path) -> dict[str, float]:
    try:
        return dict(json.loads((folder / "timings.json").read_bytes())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _t(text: object) -> Markup:
    """Wrap fixed words, so that the page can say them in another language."""
    return Markup("<span data-t>{}</span>").format(text)


def _ta(**attributes: object) -> Markup:
    """Write attributes that hold fixed words; ``aria_label`` is ``aria-label``."""
    named = {name.replace("_", "-"): text for name, text in attributes.items()}
    parts = [Markup(' {}="{}"').format(name, text) for name, text in named.items()]
    return Markup(' data-ta="{}"').format(" ".join(named)) + Markup("").join(parts)


def _name(text: object) -> Markup:
    """Wrap what came from outside: its direction stays its own, and Chinese gets Chinese glyphs."""
    lang = Markup(' lang="zh-Hans"') if _CHINESE.search(str(text)) else ""
    return Markup("<bdi{}>{}</bdi>").format(lang, escape(text))


def _about_cell(board: Board, column: Column, cell: Cell) -> str:
    """Say a cell in one sentence."""
    r = cell.record
    if r is None:
        return f"{column.task}: not weighed"
    if cell.value is None:
        return f"{column.task}: {r.status}" + (f", {r.reason}" if r.reason else "")
    parts = [f"{column.task}: {METRICS.get(board.metric, board.metric)} {cell.text}"]
    if cell.interval:
        parts.append(f"{100 * board.level:g} % interval {cell.interval} ({r.interval or 'unknown'})")
    if cell.delta:
        parts.append(f"against raw {cell.delta} {cell.delta_interval}".rstrip())
    if cell.spread:
        parts.append(f"standard deviation {cell.spread}" if "seeds" in cell.spread else "one seed only")
    if cell.tied and cell.standing is not None:
        s = cell.standing
        parts.append(f"not told apart from the best {percent(s.behind, signed=True)} (p {s.p:.2g})")
    elif cell.standing is not None and not cell.best:
        parts.append(f"behind the best {percent(cell.standing.behind, signed=True)} (p {cell.standing.p:.2g})")
    if cell.share is not None:
        parts.append(f"{100 * cell.share:.1f} % of its ceiling")
    parts.append(f"{r.n:,} pairs")
    if r.threshold is not None:
        parts.append(f"threshold {r.threshold:.4g} chosen on {r.threshold_on or 'this task'}")
    if r.seconds is not None:
        parts.append(f"{r.seconds:.3g} s")
    return "; ".join(parts)


def _curves(series: tuple[Series, ...]) -> dict[str, Any]:
    """Return the chart's marked points as a table: one row a series, one column a dimension."""
    dims = sorted({p.dim for s in series for p in s.points if p.marked})
    rows = [(s, {p.dim: p for p in s.points if p.marked}) for s in series]
    return {"dims": dims, "rows": [(s, [at.get(d) for d in dims]) for s, at in rows]}
