"""The hook of MkDocs (mkdocs.yml names this file): adds the pages that are made from the code to those in docs/."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from hengyu.cli.manual.commands import cli_reference
from hengyu.cli.manual.interface import api_reference
from hengyu.cli.manual.methods import GROUPS, method_page, methods_overview
from hengyu.methods.registry import find_method, method_names

__all__ = ["EXAMPLES", "NOTES", "on_config", "on_files", "pages"]

NOTES = "methods/notes.md"  # when methods help or hurt: read here, and no page of its own
EXAMPLES = "reference/examples.md"  # of the Python interface: likewise
WORKER = "assets/iframe-worker.js"  # somebody else's, in docs/


def pages(docs: Path) -> dict[str, str]:
    """Return the made pages, name below docs/ -> Markdown."""
    notes = (docs / NOTES).read_text(encoding="utf-8")
    return {
        "methods/index.md": methods_overview(),
        **{f"methods/{name}.md": method_page(name, notes) for name in method_names()},
        "reference/cli.md": cli_reference(),
        "reference/python.md": api_reference((docs / EXAMPLES).read_text(encoding="utf-8")),
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the part of the navigation called Methods, and take away what a page would fetch from elsewhere."""
    methods: list[object] = ["methods/index.md"]
    for key, title in GROUPS.items():
        methods.append({title: [f"methods/{name}.md" for name in method_names() if find_method(name).category == key]})
    config.nav = [{"Methods": methods} if item == {"Methods": []} else item for item in config.nav or []]
    # searching needs a worker, which browsers start from no file; the offline plugin would load this stand-in from a CDN
    config.extra["polyfills"] = [WORKER]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages."""
    for name, text in pages(Path(config.docs_dir)).items():
        files.append(File.generated(config, name, content=text))
    return files
