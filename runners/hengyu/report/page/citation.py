"""How to cite a run: BibTeX with its id, and the data it was evaluated on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hengyu.base.escapes import latex
from hengyu.storage.records import Run

__all__ = ["Citation", "citation_of"]


@dataclass(frozen=True)
class Citation:
    """What to cite: an entry in BibTeX, and (card, citation) of each dataset that says how."""

    bibtex: str
    data: tuple[tuple[str, str], ...]


def citation_of(run: Run) -> Citation:
    """Return how to cite a run."""
    suite = run.header.get("suite", {})
    title = " ".join(str(suite.get("title") or suite.get("name") or run.id).split())
    version = str(run.header.get("hengyu") or "")
    fields = {
        "author": "{{The Hengyu contributors}}",
        "title": f"{{Hengyu, a benchmark for Chinese sentence embeddings: {latex(title)}}}",
        "note": f"{{Run {latex(run.id)}" + (f", version {latex(version)}" if version else "") + "}",
    }
    key = "hengyu-" + re.sub(r"[^\w-]+", "-", run.id)
    lines = ",\n".join(f"  {name} = {value}" for name, value in fields.items())
    cards = {str(t.get("card") or t.get("task")): str(t.get("citation") or "") for t in run.header.get("tasks", ())}
    return Citation(f"@misc{{{key},\n{lines}\n}}", tuple((card, words) for card, words in cards.items() if words))
