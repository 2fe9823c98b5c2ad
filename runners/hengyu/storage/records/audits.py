"""What `hengyu audit` found for the tasks of a run, audit.json: how many test pairs a collection of texts holds.

It is bound to the run and its pairs by digests: in the folder of another run, or for other texts or labels, it is not used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from hengyu.base.json_files import read_json, write_json
from hengyu.storage.identity import digest
from hengyu.storage.records import Run
from hengyu.storage.records.schemas import Count, Sha256

__all__ = ["AuditOf", "Source", "keep_audits", "load_audits"]

_FILE = "audit.json"
_SCHEMA = 1
_AGAIN = "delete it and run 'hengyu audit' with --run again"

Name = Annotated[str, Meta(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Source:
    """A collection of texts: its name, and the sha256 of its content."""

    name: Name
    sha256: Sha256


@dataclass(frozen=True)
class AuditOf:
    """What some collections of texts, taken together, hold of one task.

    Attributes:
        task: the task.
        digest: of its texts and labels (`hengyu.cards.data.Pairs.digest`).
        n: the number of its pairs.
        any, both: how many pairs have a sentence that was found, and both.
        together: how many stood in one pair of a training split; None if no collection has pairs.
        collections: where they were looked for.
    """

    task: str
    digest: Sha256
    n: Annotated[int, Meta(ge=1, le=1 << 53)]
    any: Count
    both: Count
    together: Count | None
    collections: Annotated[tuple[Source, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if not self.n >= self.any >= self.both >= (self.together or 0):
            raise ValueError(f"{self.task}: more pairs seen than there are")

    @property
    def place(self) -> tuple[str, tuple[str, ...]]:
        """The task and the names of the collections: what a later audit replaces."""
        return self.task, tuple(sorted(source.name for source in self.collections))


class _Audits(Struct):
    """audit.json."""

    run: str
    key: str
    audits: tuple[AuditOf, ...]
    sha256: Sha256  # of the audits

    def __post_init__(self) -> None:
        if self.sha256 != digest([asdict(one) for one in self.audits]):
            raise ValueError("it has changed since it was written")


def keep_audits(run: Run, found: Iterable[AuditOf]) -> Path:
    """Write what was found beside a run, in place of earlier audits of the same tasks in the same collections.

    Raises:
        HengyuError: for a damaged file of earlier audits, or one that cannot be written.
    """
    kept = {one.place: one for one in (*load_audits(run), *found)}
    audits = [asdict(kept[place]) for place in sorted(kept)]
    path = run.path / _FILE
    about = {"schema": _SCHEMA, "run": run.id, "key": _key(run), "audits": audits, "sha256": digest(audits)}
    write_json(path, about)
    return path


def load_audits(run: Run) -> tuple[AuditOf, ...]:
    """Return what is known of the tasks of a run, in a fixed order; nothing of other runs, or of other texts or labels.

    Raises:
        HengyuError: for a file that is damaged, or of another version.
    """
    path = run.path / _FILE
    if not path.is_file():
        return ()
    held = read_json(path, _Audits, _AGAIN, (_SCHEMA,))
    if (held.run, held.key) != (run.id, _key(run)):
        return ()
    digests = {str(t.get("task")): t.get("digest") for t in run.header.get("tasks", ())}
    return tuple(one for one in held.audits if digests.get(one.task) == one.digest)


def _key(run: Run) -> str:
    return str(run.header.get("key") or "")
