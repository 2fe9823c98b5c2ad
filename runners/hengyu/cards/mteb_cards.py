"""mteb's Chinese STS, retrieval and reranking tasks as ready-made cards: ``mteb:ATEC`` (needs ``pip install 'hengyu[mteb]'``)."""

from __future__ import annotations

from functools import cache
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.base.paths import cache_dir
from hengyu.cards.card import PARTS, Card, CollectionCard, CollectionSplit, Columns, Hub, Split

__all__ = ["PREFIX", "mteb_card", "mteb_names"]

PREFIX = "mteb-"  # a card's name has no colon: it separates card and split
_LANGUAGE = "cmn-Hans"
_COLLECTIONS = ("Retrieval", "Reranking")
_SPLITS = {"validation": "valid", "dev": "valid"}


def mteb_names() -> tuple[str, ...]:
    """Return the names of mteb's Chinese STS, retrieval and reranking tasks; raises `HengyuError` without mteb."""
    return tuple(sorted(_tasks()))


@cache
def _tasks() -> dict[str, Any]:
    try:
        import mteb
    except ImportError:
        raise HengyuError("a task 'mteb:NAME' needs mteb; run: pip install 'hengyu[mteb]'") from None
    found = mteb.get_tasks(languages=["zho", "cmn"], task_types=["STS", *_COLLECTIONS], exclude_superseded=False)
    return {
        task.metadata.name: task
        for task in found
        if task.metadata.type == "STS" or (task.metadata.modalities == ["text"] and _whole(task.metadata))
    }


def _whole(about: Any) -> bool:
    """Whether a retrieval task's Chinese part is a subset, or all of it."""
    return not about.is_multilingual or [_LANGUAGE] in about.hf_subsets_to_langscripts.values()


def mteb_card(name: str) -> Card:
    """Return the card of an mteb task by its name; raises `HengyuError` for an unknown one.

    Files come from the hub at the revision that mteb pins (``hengyu fetch mteb:NAME``). Labels are on mteb's scale; a scale
    of 0 to 1 means labels 0 and 1. mteb's split ``validation`` is our ``valid``; splits of retrieval tasks keep their names.
    """
    tasks = _tasks()
    known = {t.casefold(): t for t in tasks}
    if name.casefold() not in known:
        raise HengyuError(f"mteb has no Chinese STS, retrieval or reranking task '{name}'{did_you_mean(name, tasks)}")
    task = tasks[known[name.casefold()]]
    about = task.metadata
    subsets = [s for s, languages in about.hf_subsets_to_langscripts.items() if languages == [_LANGUAGE]]
    subset = subsets[0] if subsets and about.is_multilingual else ""
    own = f"{PREFIX}{about.name}"
    given: dict[str, Any] = {
        "name": own,
        # does not exist: its folder is where splits are searched besides --data and the cache of `hengyu fetch`
        "path": cache_dir() / "datasets" / own / "card.toml",
        "title": f"{about.name}, as mteb has it",
        "licence": about.license or "not stated",
        "homepage": str(about.reference or ""),
        "citation": " ".join((about.bibtex_citation or "").split()),
        "description": about.description,
    }
    where = about.dataset["path"], about.dataset["revision"]
    if about.type in _COLLECTIONS:
        return CollectionCard(
            **given,
            kind="retrieval",
            scale=(0.0, 1.0),  # unused: grades have their own scale
            label_kind="graded",
            splits={str(s): _collection_split(about.name, str(s)) for s in about.eval_splits},
            hub=Hub(*where, subset=subset),
            exclude="same-id" if getattr(task, "ignore_identical_ids", False) else "nothing",
            unanswered="drop",
        )
    first, second = task.column_names
    columns = Columns(str(first), str(second), "score")
    splits = {_SPLITS.get(s, s): s for s in about.eval_splits}
    scale = (float(task.min_score), float(task.max_score))
    return Card(
        **given,
        scale=scale,
        label_kind="binary" if scale == (0.0, 1.0) else "graded",
        splits={ours: Split(ours, f"{about.name}/{ours}.jsonl", hub=theirs) for ours, theirs in splits.items()},
        columns=columns,
        hub=Hub(*where, columns, subset),
    )


def _collection_split(task: str, split: str) -> CollectionSplit:
    corpus, queries, qrels = (f"{task}/{split}.{part}.jsonl" for part in PARTS)
    return CollectionSplit(split, qrels, hub=split, corpus=corpus, queries=queries)
