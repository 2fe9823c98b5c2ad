"""A hook of MkDocs (mkdocs.yml names it): a page for every method of the registry, their overview, and formulas as MathML.

mkdocs-click and mkdocstrings make the reference pages. They know nothing of the registry of methods, so the list of
methods, their groups and the way they are written in an entry come from here.
"""

from __future__ import annotations

import html
import re
import sys
import textwrap
from dataclasses import MISSING, fields
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from hengyu.base.escapes import markdown_row
from hengyu.methods.base import Method, Transform
from hengyu.methods.registry import find_method, method_names
from hengyu.methods.training.config import TrainingConfig

__all__ = [
    "FORMULAS",
    "NOTES",
    "PARAMETERS",
    "advice",
    "formula",
    "mathml",
    "meaning",
    "method_pages",
    "on_config",
    "on_files",
    "on_page_content",
    "own_parameters",
    "signature",
]

NOTES = "methods/notes.md"  # when each method helps or hurts; read here, not a page of its own
FORMULAS = "methods/formulas.md"  # the formula of each method, in TeX
PARAMETERS = "methods/parameters.md"  # what each parameter is
WORKER = "assets/iframe-worker.js"  # third-party code, kept in docs/

GROUPS = {
    "tuner": "Training the encoder",
    "transform": "Vectors to vectors",
    "code": "Codes",
    "index": "Indexes",
    "lexical": "Lexical search",
    "fusion": "Fusions of ranked lists",
    "similarity": "Similarities",
}

_PROVENANCE = """\
Words in parentheses name the suite of a figure (`hengyu run projection`, offline): hengyu-sts:test, the built-in encoder, mean
pooling, points of Spearman x 100 (nDCG@10 x 100 in retrieval) against raw (`flat`) where nothing else is named, with 95 %
confidence intervals. Of smoke, `--entry`, the command is `hengyu run smoke --task hengyu-sts:test --entry METHOD`."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the section Methods of the navigation, and keep the search from loading a script off a CDN."""
    methods: list[object] = ["methods/index.md"]
    for key, title in GROUPS.items():
        methods.append({title: [f"methods/{name}.md" for name in method_names() if find_method(name).category == key]})
    config.nav = [{"Methods": methods} if item == {"Methods": []} else item for item in config.nav or []]
    # browsers start no worker from a file, so searching needs a stand-in; the offline plugin would name one on a CDN
    config.extra["polyfills"] = [WORKER]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the methods."""
    read = ((Path(config.docs_dir) / name).read_text(encoding="utf-8") for name in (NOTES, FORMULAS, PARAMETERS))
    for name, text in method_pages(*read).items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the HTML of a page with its formulas as MathML and its papers as links."""
    return linked(mathml(content))


_TEX = re.compile(r'(?s)<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>')


def mathml(content: str) -> str:
    """Return HTML in which formulas in TeX are MathML: browsers show it without a script."""

    def converted(found: re.Match[str]) -> str:
        formula = convert(html.unescape(found[2]).strip(), display="block" if found[1] == "div" else "inline")
        return f'<{found[1]} class="formula">{formula}</{found[1]}>'

    return _TEX.sub(converted, content)


_MENTION = re.compile(r"(?s)<(a|code|pre)\b.*?</\1>|arXiv:(\d{4}\.\d{4,5})|kexue\.fm(?:/archives/| )(\d{4,5})")


def linked(content: str) -> str:
    """Return HTML in which arXiv and kexue.fm numbers outside links and code are links."""

    def link(found: re.Match[str]) -> str:
        paper, post = found[2], found[3]
        if not (paper or post):
            return found[0]
        address = f"https://arxiv.org/abs/{paper}" if paper else f"https://kexue.fm/archives/{post}"
        return f'<a href="{address}">{found[0]}</a>'

    return _MENTION.sub(link, content)


def method_pages(notes: str, formulas: str, parameters: str) -> dict[str, str]:
    """Return the Markdown of the overview and of every method's page, by its name below docs/."""
    pages = {f"methods/{name}.md": _page(name, notes, formulas, parameters) for name in method_names()}
    return {"methods/index.md": _overview(), **pages}


def signature(name: str) -> str:
    """Return a method as it is written in an entry, with its defaults: ``whitening(dim=None, beta=1.0, ...)``."""
    method = find_method(name)
    parameters = (f"{f.name}={_value(f.default)}" for f in fields(method) if f.init)
    parts = ("TUNER",) if method.category == "tuner" else "ab"
    given = ", ".join((*parts[: method.joins], *parameters))
    return f"{name}({given})" if given else name


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 80, subsequent_indent="    ", break_on_hyphens=False)


def advice(notes: str, name: str) -> str:
    """Return what the notes say about a method, '' where they say nothing."""
    found = re.search(rf"(?ms)^## {re.escape(name)}\n(.*?)(?=^## |\Z)", notes)
    return found[1].strip() if found else ""


def formula(formulas: str, name: str) -> list[str]:
    """Return the lines of a method's formula, and of what its letters are; none where the file has none."""
    tex, _, letters = advice(formulas, name).partition("\n\n")
    return ["$$", tex, "$$", "", *([letters, ""] if letters else [])] if tex else []


def own_parameters(name: str) -> dict[str, object]:
    """Return the parameters of a method with their defaults, without those that all training shares."""
    shared = {f.name for f in fields(TrainingConfig)} if issubclass(find_method(name), TrainingConfig) else set()
    return {f.name: f.default for f in fields(find_method(name)) if f.init and f.name not in shared}


def meaning(parameters: str, name: str, parameter: str) -> str:
    """Return what a parameter of a method is, "" where the file says nothing."""
    for section in (name, "*"):
        found = re.search(rf"(?m)^- {re.escape(parameter)}: (.*)$", advice(parameters, section))
        if found:
            return found[1]
    return ""


def _table(name: str, parameters: str) -> list[str]:
    """Return the lines of the table of a method's own parameters; none where it has none."""
    own = own_parameters(name)
    if not own:
        return []
    defaults = {p: "required" if d is MISSING else "none" if d is None else f"`{_value(d)}`" for p, d in own.items()}
    rows = [f"| `{p}` | {d} | {meaning(parameters, name, p)} |" for p, d in defaults.items()]
    return ["| parameter | default | meaning |", "|---|---|---|", *rows, ""]


def _page(name: str, notes: str, formulas: str, parameters: str) -> str:
    """Return a method's page: its formula, docstring and parameters, and when it helps or hurts."""
    method = find_method(name)
    about, said = _headline(name), advice(notes, name)
    lines = [f"# {name}", "", f"{about[:1].upper()}{about[1:]}.", "", "```text", _wrapped(signature(name)), "```", ""]
    lines += [f"*{GROUPS[method.category]}. Learns from {_learns(method)}.*", ""]
    if issubclass(method, Transform):
        lines += [f"For scikit-learn: `hengyu.estimators.{method.__name__}`.", ""]
    lines += [*formula(formulas, name), *_docstring(method), *_table(name, parameters)]
    for base in method.__mro__[1:]:
        if base.__module__ == "hengyu.methods.training.config":
            lines += ["## What all training shares", "", *_docstring(base)]
    lines += ["## When it helps or hurts", "", said, ""]
    if re.search(r"\((?:[^()]*, )?(?:projection|retrieval|smoke)\)", said):
        lines += [_PROVENANCE, ""]
    lines += [f"*Made from the docstring in `runners/{method.__module__.replace('.', '/')}.py`.*", ""]
    return "\n".join(lines)


def _docstring(thing: type) -> list[str]:
    """Return the directive that mkdocstrings replaces with the docstring of a class, and with nothing else of it."""
    options = ("show_root_heading: false", "show_root_toc_entry: false", "show_bases: false", "members: false")
    return [f"::: {thing.__module__}.{thing.__qualname__}", "    options:", *(f"      {o}" for o in options), ""]


def _overview() -> str:
    """Return the list of all methods by group, each with a link to its page."""
    lines = [
        "# Methods",
        "",
        "One page per method, made from the code: formula, paper, parameters, and when it helps or hurts. Methods are combined",
        "into pipelines, `step > step`, and a similarity stands behind them, `step > step by dot`. Rows of x are sentence vectors;",
        "n is their number, d their dimension.",
        "",
    ]
    for key, title in GROUPS.items():
        lines += [f"## {title}", "", "| method | learns from | what it does |", "|---|---|---|"]
        for name in method_names():
            if find_method(name).category == key:
                lines.append(markdown_row((f"[{name}]({name}.md)", _learns(find_method(name)), _headline(name))))
        lines.append("")
    return "\n".join(lines)


def _headline(name: str) -> str:
    """Return the first line of a method's file without its name: 'the mean vector taken away'."""
    text = (sys.modules[find_method(name).__module__].__doc__ or "").strip().split("\n")[0]
    return text.partition(": ")[2].strip().removesuffix(".")


def _learns(method: type[Method]) -> str:
    if method.category == "tuner" and method.joins:
        return "what the tuner inside learns from"
    if method.labelled:
        return "labels"
    return "sentences" if method.needs_fit else "nothing"


def _value(value: object) -> str:
    """Return a default as the entry grammar writes it."""
    if value is MISSING:
        return "..."
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
