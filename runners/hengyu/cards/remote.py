"""A dataset's repository on the hub at its revision: its files, and which belong to a split."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from hengyu.base.bounded import DATA, read_bytes
from hengyu.base.errors import HengyuError
from hengyu.cards.card import PARTS, Card, Hub, format_of

__all__ = ["Remote", "Unreachable", "hold_pinned", "hub_offline", "pick_files", "pick_parts"]

_PREFERRED = ("parquet", "jsonl", "csv", "tsv")  # if a repository has the same split in several formats


class Unreachable(HengyuError):
    """The hub is unreachable, so further datasets are not tried."""


def hub_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE forbids the network, as huggingface_hub reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def pick_files(files: Iterable[str], name: str, subset: str, where: str) -> list[str]:
    """Return the files of a split, sorted: those that a glob matches, or with the split's name as a word in their path."""
    known = sorted(f for f in files if format_of(f) and not f.startswith("."))
    if any(c in name for c in "*?[/"):
        found = [f for f in known if fnmatchcase(f, name)]
    else:
        found = [f for f in known if name.casefold() in re.split(r"[\W_]+", f.casefold())]
        if subset:
            found = [f for f in found if subset in {part.split(".")[0] for part in PurePosixPath(f).parts}]
    if not found:
        inside = f" in the subset '{subset}'" if subset else ""
        held = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
        raise HengyuError(
            f"{where} has no files of a split '{name}'{inside}; set the split's hub key to its name there, "
            f"or to a glob over its files: {held or 'there is no table'}"
        )
    best = min((format_of(f) for f in found), key=_PREFERRED.index)
    return [f for f in found if format_of(f) == best]


def pick_parts(files: Iterable[str], name: str, subset: str, where: str) -> dict[str, list[str]]:
    """Return the files of each of `PARTS` of a retrieval split, as BEIR and mteb lay them out.

    Documents and queries have that word in their path; judgements have ``qrels``, or neither word. Of each the split's
    files count, or all if none names the split: documents are often the same for every split. The lists of candidates that
    mteb keeps for reranking (``top_ranked``) are passed over: the judgements name them all.
    """
    words = {f: set(re.split(r"[\W_]+", f.casefold())) for f in files if format_of(f) and not f.startswith(".")}
    if subset:
        words = {f: w for f, w in words.items() if w.issuperset(re.split(r"[\W_]+", subset.casefold()))}
    words = {f: w for f, w in words.items() if "ranked" not in w}
    by_part: dict[str, list[str]] = {part: [] for part in PARTS}
    for file, own in words.items():
        part = next((p for p in ("qrels", "corpus", "queries") if p in own), "qrels")
        by_part[part].append(file)
    out: dict[str, list[str]] = {}
    for part, found in by_part.items():
        mine = [f for f in found if name.casefold() in words[f]] or ([] if part == "qrels" else found)
        if not mine:
            held = ", ".join(sorted(words)[:8]) or "there is no table"
            raise HengyuError(
                f"{where} has no files of '{part}' for a split '{name}'; set the split's hub key to its name there ({held})"
            )
        best = min((format_of(f) for f in mine), key=_PREFERRED.index)
        out[part] = sorted(f for f in mine if format_of(f) == best)
    return out


def hold_pinned(card: Card, file: str, digest: str, task: str) -> None:
    """Raise `HengyuError` if a file's digest is not the one pinned in its card."""
    assert card.hub is not None
    if card.hub.sha256.get(file, "") not in ("", digest):
        raise HengyuError(
            f"{task}: {card.hub.id}/{file}: the sha256 is {digest}, but {card.path} pins {card.hub.sha256[file]}; "
            "find out why it changed before you use it"
        )


class Remote:
    """The repository at its revision; every failure becomes one sentence."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub = hub
        self.name = name
        # read now, not when huggingface_hub was imported, so that a mirror can be set at any time
        self.endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None

    def files(self) -> list[str]:
        """Return the paths of all files."""
        found: list[str] = self._ask(
            lambda api: api.list_repo_files(self.hub.id, revision=self.hub.revision, repo_type="dataset")
        )
        return found

    def content(self, file: str) -> bytes:
        """Return a file's bytes."""
        return read_bytes(self.path(file), DATA)

    def path(self, file: str) -> Path:
        """Return the path of a file, downloaded to Hugging Face's own cache."""
        path: str = self._ask(
            lambda api: api.hf_hub_download(self.hub.id, file, revision=self.hub.revision, repo_type="dataset")
        )
        return Path(path)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        if hub_offline():
            raise Unreachable(
                f"{self.name}: HF_HUB_OFFLINE is set, so nothing is downloaded; unset it and run 'hengyu fetch "
                f"{self.name}' again"
            )
        from huggingface_hub import HfApi, errors

        try:
            return question(HfApi(endpoint=self.endpoint))
        except errors.GatedRepoError:
            page = f"{self.endpoint or 'https://huggingface.co'}/datasets/{self.hub.id}"
            raise self._error(f"is gated; accept its terms at {page}, then log in with 'hf auth login'") from None
        except errors.RepositoryNotFoundError:
            raise self._error("does not exist or is private; check the card's hub.id, or log in") from None
        except errors.RevisionNotFoundError:
            raise self._error(f"has no revision {self.hub.revision}; check the card's hub.revision") from None
        except errors.OfflineModeIsEnabled:
            raise Unreachable(f"{self.name}: HF_HUB_OFFLINE was set at the start, so nothing is downloaded") from None
        except Exception as e:
            # connection errors are httpx's, requests' or OSError, depending on the version of huggingface_hub
            first = next(iter(str(e).strip().splitlines()), "")[:160]
            reason = f"{type(e).__name__}: {first}" if first else type(e).__name__
            kind = HengyuError if isinstance(e, errors.HfHubHTTPError) else Unreachable
            raise kind(
                f"{self.name}: the hub's dataset {self.hub.id} cannot be reached or gives an unexpected answer "
                f"({reason}); check the network, or set a mirror in HF_ENDPOINT"
            ) from None

    def _error(self, sentence: str) -> HengyuError:
        return HengyuError(f"{self.name}: the hub's dataset {self.hub.id} {sentence}")
