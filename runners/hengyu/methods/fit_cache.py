"""What methods have learned, kept: a flow is trained once for an encoder, a pooling and the sentences it is fitted on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Mirror, Unreachable, drafted, is_url
from hengyu.methods.base import SampleTransform
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample
from hengyu.storage.folder import StoreFolder
from hengyu.storage.identity import fit_key
from hengyu.storage.in_use import in_seconds, note_use
from hengyu.storage.tensor_file import Tensors, load_sealed, read_sealed, save_sealed, sealed_path
from hengyu.storage.vectors import Damage
from hengyu.suites.grammar import Step

__all__ = ["FitStore", "FitCache"]


@dataclass(frozen=True)
class FitStore(StoreFolder):
    """Fitted states, one sealed file each."""

    kind = "fits"

    @classmethod
    def at(cls, place: str | None) -> Self:
        """Return the store that goes with the vectors of a place: below a URL, for a folder the one in the user's cache."""
        if not place or not is_url(place):
            return cls.default()
        return cls.below(Mirror(place))

    def recall(self, meaning: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return (arrays, about) of a fit; None when it was not made yet, `HengyuError` when its bytes have changed."""
        name = sealed_path(self.root, meaning).name
        found = load_sealed(self.root, meaning)
        note_use(self.root / name)
        if self.mirror is not None:
            there = self.mirror.has(name)
            if found is None and there:
                return self._fetch(self.mirror, name, meaning)
            if found is not None and not there:
                self.mirror.send(self.root, [name])
        return found

    def keep(self, meaning: Mapping[str, Any], tensors: Tensors, about: Mapping[str, Any]) -> None:
        """Save a fit here, and send it where the store is; raises `HengyuError` when either cannot be done."""
        path = save_sealed(self.root, meaning, tensors, about)
        if self.mirror is not None:
            self.mirror.send(self.root, [path.name])

    def _fetch(self, mirror: Mirror, name: str, meaning: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        with drafted(self.root) as draft:
            mirror.fetch([name], draft)
            try:
                found = read_sealed(draft / name, meaning)
            except HengyuError:
                raise HengyuError(f"{mirror.url}/{name}: has changed since it was written") from None
            (draft / name).replace(self.root / name)
        return found

    def files(self) -> list[Path]:
        """Return the files of all states, sorted."""
        return sorted(self.root.glob("*.safetensors"))

    def verify(self) -> list[Damage]:
        """Check every file against its checksum and return what is damaged."""
        found = []
        for path in self.files():
            try:
                read_sealed(path)
            except HengyuError:
                found.append(Damage(path, "has changed since it was written (its sha256 differs)"))
        return found

    def repair(self) -> list[Damage]:
        """Delete the damaged files; the next run fits them again."""
        found = self.verify()
        for damage in found:
            try:
                damage.path.unlink(missing_ok=True)
            except OSError as e:
                raise HengyuError(f"{damage.path}: cannot be deleted ({e.strerror or e}); check permissions") from None
        return found

    def gc(self, days: float = 90.0, spared: Callable[[Path], object] = lambda path: None) -> int:
        """Delete the states that were not used for ``days``; return the bytes freed.

        A state is read as a whole, so that none is in use for longer than a moment, and ``spared`` is never called. Raises
        `HengyuError` when ``days`` is negative or not finite.
        """
        longest, freed = in_seconds(days), 0
        for path in self.files():
            with suppress(OSError):
                about = path.stat()
                if time.time() - about.st_mtime > longest:
                    path.unlink(missing_ok=True)
                    freed += about.st_size
        return freed


@dataclass
class FitCache:
    """The fits of one encoder and pooling: recalled from the store, or made and put there.

    Attributes:
        store: where states are kept; None keeps none.
        vectors: the key of the vectors (`hengyu.storage.identity.vectors_key`).
        rows: fit_on word -> the digest of its texts and their counts.
        seconds: step -> what fitting it took now; recalled ones are not in it.
        moments: fit_on word -> the moments of its rows before any step, where they are known.
    """

    store: FitStore | None = None
    vectors: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)

    def fit(self, method: SampleTransform, step: Step, before: Sequence[Step], word: str, sample: Sample) -> None:
        """Give the method of a step its fitted state; ``before`` are the steps that its rows have passed."""
        meaning = fit_key(
            vectors=self.vectors, rows=self.rows.get(word, ""), before=[s.key for s in before], step=step.key
        )
        found = None
        if self.store is not None:
            try:
                found = self.store.recall(meaning)
            except Unreachable:
                raise
            except HengyuError as e:
                self.progress.say(f"warning: {e}; made again now")
        if found is not None:
            method.restore(found[0], found[1]["report"])
            return
        started = time.perf_counter()
        self.progress.say(f"fitting {step}{' after ' if before else ''}{' > '.join(map(str, before))} on {word}")
        method.fit_sample(sample)
        self.seconds[str(step)] = time.perf_counter() - started
        if self.store is not None:
            try:
                self.store.keep(meaning, method.state(), {"report": method.report})
            except Unreachable:
                raise
            except HengyuError as e:  # it can be used all the same
                self.progress.say(f"warning: {e}; the fit is used now and made again next time")
