"""A page in one file: it opens from disk, fetches nothing, and runs only its own scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.escapes import in_page
from hengyu.base.json_files import write_bytes
from hengyu.base.paths import cache_dir, share
from hengyu.report.board.cell import percent
from hengyu.report.page.headings import ABOUT
from hengyu.report.summary.sentence import Sentence

__all__ = ["make_page", "script_json"]

_CHINESE = re.compile("[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


def make_page(template: str, own: Sequence[str], *, tables: bool = False, charts: bool = False, **context: Any) -> str:
    """Return a rendered template of reports/templates/ with its own scripts, and DataTables or Vega if needed.

    The template gets ``style``, ``scripts``, ``policy`` and ``words`` besides its context.
    """
    # a block, so that our names do not clash with the bundle's
    code = "\n".join([*([_datatables()] if tables else []), "{", *map(_shared, own), "}"])
    sources = [code, *([_vega(), _shared("chart.js")] if charts else [])]
    scripts = [_inline(s) for s in sources]
    return (
        _templates()
        .get_template(template)
        .render(
            style=Markup(_shared("leaderboard.css")),  # our own file
            scripts=scripts,
            policy=_policy(scripts),
            words=script_json(_words() | {"words": _words()["words"] | _in_chinese(context.get("suite") or {})}),
            **context,
        )
    )


@cache
def _templates() -> Environment:
    """Return the templates of reports/templates/, each of which is compiled once a process."""
    found = Environment(
        loader=FileSystemLoader(share("reports", "templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    found.filters |= {"percent": percent, "name": _name}
    found.globals |= {"percent": percent, "t": _t, "ta": _ta, "said": _said}
    found.globals |= {"script_json": script_json, "explained": ABOUT}
    return found


def _policy(scripts: list[Markup]) -> str:
    """Return a policy under which the browser runs only these scripts, evaluates no text and fetches nothing."""
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
    """Make a script safe inside a page, with the line ends that browsers hash."""
    return Markup(re.sub(r"</(script)", r"<\\/\1", script.replace("\r\n", "\n").replace("<!--", "<\\!--"), flags=re.I))


def script_json(content: Any) -> Markup:
    """Return JSON that cannot end a script element, whatever names it contains."""
    text = json.dumps(_all_shown(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _shown(value: Any) -> Any:
    """Return a text with invisible characters as code points; our own markup and other values are unchanged."""
    return in_page(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _all_shown(content: Any) -> Any:
    """Return JSON with every text in it as `_shown`."""
    if isinstance(content, dict):
        return {_shown(key): _all_shown(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_all_shown(value) for value in content]
    return _shown(content)


def _shared(name: str) -> str:
    return share("reports", "templates", name).read_text(encoding="utf-8")


@cache
def _words() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_shared("words.json"))
    return found


def _in_chinese(suite: Mapping[str, Any]) -> dict[str, str]:
    """Return title and description of a suite with what it says itself in Chinese."""
    pairs = ((suite.get(key), suite.get(f"{key}_zh")) for key in ("title", "description"))
    return {english: chinese for english, chinese in pairs if english and chinese}


@cache
def _datatables() -> str:
    """Return DataTables from itables' offline bundle, an ES module, with its default export as a global."""
    package = find_spec("itables")  # found, not imported: it would import pandas and make sample tables
    if package is None or package.origin is None:
        raise RuntimeError("itables is not installed")
    bundle = (Path(package.origin).parent / "html" / "dt_bundle.js").read_text(encoding="utf-8")
    exported = re.compile(r"export\s*\{[^}]*?([\w$]+) as default[^}]*\};?")
    if not exported.search(bundle):
        raise RuntimeError(
            "itables' dt_bundle.js has no default export any more; hengyu/report/page must follow its new form"
        )
    return exported.sub(lambda m: f"window.DataTable={m[1]};", bundle)


@cache
def _vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed, with the expression interpreter that needs no eval.

    Bundling them takes about two seconds, so the script is kept in the cache, by the version of the library that has made
    it and below a line with its checksum.
    """
    path = cache_dir() / "vega" / f"{version('vl-convert-python')}.js"
    with suppress(OSError, ValueError):
        first, _, kept = read_bytes(path).partition(b"\n")
        if first == _checksum(kept):
            return kept.decode("utf-8")
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    content = bundle.encode("utf-8")
    with suppress(HengyuError):  # a cache that cannot be written costs time alone
        write_bytes(path, _checksum(content) + b"\n" + content)
    return bundle


def _checksum(content: bytes) -> bytes:
    return b"// sha256 " + hashlib.sha256(content).hexdigest().encode()


def _t(text: object) -> Markup:
    """Wrap fixed words, so that the page can translate them."""
    return Markup("<span data-t>{}</span>").format(_shown(text))


def _ta(**attributes: object) -> Markup:
    """Write attributes with fixed words; ``aria_label`` is ``aria-label``."""
    named = {name.replace("_", "-"): text for name, text in attributes.items()}
    parts = [Markup(' {}="{}"').format(name, _shown(text)) for name, text in named.items()]
    return Markup(' data-ta="{}"').format(" ".join(named)) + Markup("").join(parts)


def _said(sentence: Sentence) -> Markup:
    """Write a generated sentence in both languages, of which the style sheet shows one; its parts are external text."""
    parts = {name: _name(part) for name, part in sentence.parts.items()}
    english = escape(sentence.template).format_map(parts)
    chinese = escape(_words()["sentences"][sentence.template]).format_map(parts)
    return Markup('<span class="said" lang="en">{}</span><span class="said" lang="zh-Hans">{}</span>').format(
        english, chinese
    )


def _name(text: object) -> Markup:
    """Wrap external text: it keeps its own direction, and Chinese gets Chinese glyphs."""
    lang = Markup(' lang="zh-Hans"') if _CHINESE.search(str(text)) else ""
    return Markup("<bdi{}>{}</bdi>").format(lang, escape(_shown(text)))
