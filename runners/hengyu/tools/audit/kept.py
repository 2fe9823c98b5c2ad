"""Audits that are kept beside a run, so that its page and its board can say what was seen."""

from __future__ import annotations

from collections.abc import Sequence

from hengyu.base.errors import HengyuError
from hengyu.cards.data import Pairs, unlike
from hengyu.cards.sampling import as_read
from hengyu.storage.records import Run
from hengyu.storage.records.audits import AuditOf, Source
from hengyu.tools.audit.overlap import Collection, Overlap

__all__ = ["require_same", "to_keep"]


def require_same(run: Run, pairs: Pairs) -> Pairs:
    """Return the pairs of a task, or of a split that a run has read; raises `HengyuError` if the run has read other ones."""
    for head in run.header.get("tasks", ()):
        if head.get("task") == pairs.task:
            pairs = as_read(pairs, head)
            if problem := unlike(pairs, head, run.id):
                raise HengyuError(f"{problem}; give its data with --data, or run the suite again")
            return pairs
    for part in run.header.get("read", ()):
        if part.get("task") == pairs.task and part.get("sha256") != pairs.digest:
            raise HengyuError(
                f"{pairs.source}: holds other pairs of {pairs.task} than run {run.id} has read; give its data with --data, or "
                "run the suite again"
            )
    return pairs


def to_keep(pairs: Pairs, overlap: Overlap, collections: Sequence[Collection]) -> AuditOf:
    """Return what is kept of an audit: counts, no sentence and no place."""
    counts = {kind: int(mask.sum()) for kind, mask in overlap.masks.items()}
    names = (one.name.encode("utf-8", "replace").decode("utf-8") for one in collections)
    sources = {Source(name, one.digest()): None for name, one in zip(names, collections, strict=True)}
    return AuditOf(
        task=pairs.task,
        digest=pairs.digest,
        n=overlap.n,
        any=counts["any"],
        both=counts["both"],
        together=counts.get("together"),
        collections=tuple(sources),
    )
