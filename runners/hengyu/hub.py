"""The hub: downloads a card's splits at their pinned revision, only when the user asks for it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hengyu.card import Card, Columns, Hub, Split, format_of
from hengyu.checks import Checked, check_rows, check_split
from hengyu.data import cached, fetched_digest
from hengyu.errors import HengyuError, gather
from hengyu.records import write_bytes, write_json
from hengyu.rows import at_lines, read_rows

__all__ = ["Unreachable", "fetch", "pick_files"]

_PREFERRED = ("parquet", "jsonl", "csv", "tsv")  # where a repository keeps the same split in several formats


class Unreachable(HengyuError):
    """The hub could not be asked at all, so asking it for another dataset is no use either."""


def fetch(card: Card, cache_root: Path | None = None, progress: Callable[[str], None] | None = None) -> list[Path]:
    """Download the splits of a card that are not cached yet and return their files.

    Every split that arrives is kept, also when another one fails.

    Raises:
        HengyuError: one sentence for each split that could not be fetched.
    """
    if card.hub is None:
        raise HengyuError(f"{card.path}: {card.name} has no [hub], so there is nothing to fetch; its files are local")
    say = progress or (lambda line: None)
    done: list[Path] = []
    missing: list[tuple[Split, Path]] = []
    for split in card.splits.values():
        path = cached(card, split.name, cache_root)
        if path is None or not split.hub:
            continue
        if _whole(path, split.name):
            say(f"{card.name}:{split.name} is already here: {path}")
            done.append(path)
        else:
            missing.append((split, path))
    problems: list[str] = []
    if missing:
        remote = _Remote(card.hub, card.name)
        say(f"{card.name}: asking for {card.hub.id} at {card.hub.revision[:8]}")
        files = remote.files()
        for split, path in missing:
            say(f"{card.name}:{split.name}: fetching")
            try:
                _fetch_split(card, card.hub, split, path, remote, files)
            except HengyuError as e:
                problems += e.problems
            else:
                done.append(path)
    gather(dict.fromkeys(problems))
    return done


def _whole(path: Path, split: str) -> bool:
    expected = fetched_digest(path, split)
    return bool(expected) and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == expected


def _fetch_split(card: Card, hub: Hub, split: Split, path: Path, remote: _Remote, files: list[str]) -> None:
    task = f"{card.name}:{split.name}"
    parts: list[Checked] = []
    digests: dict[str, str] = {}
    for file in pick_files(files, split.hub, hub.subset, f"{task}: {hub.id}"):
        content = remote.content(file)
        digests[file] = hashlib.sha256(content).hexdigest()
        pinned = hub.sha256.get(file, "")
        if pinned not in ("", digests[file]):
            raise HengyuError(
                f"{task}: {hub.id}/{file}: the sha256 is {digests[file]} where {card.path} pins {pinned}; "
                "do not use it before you know why it changed"
            )
        where = f"{task}: {hub.id}/{file}"
        named = any(isinstance(c, str) for c in (hub.columns.sentence1, hub.columns.sentence2, hub.columns.label))
        rows = read_rows(content, where, format=format_of(file), header=named, columns=hub.columns)
        parts.append(check_rows(rows, card, where))
    labels = np.concatenate([p.labels for p in parts])
    where = f"{task}: {hub.id} at {hub.revision[:8]} ({', '.join(digests)})"
    check_split(labels, card, where)
    dropped = [n for p in parts for n in p.dropped]
    if split.rows is not None and len(labels) != split.rows:
        lost = f" ({at_lines('malformed line', dropped)} dropped)" if dropped else ""
        raise HengyuError(
            f"{where}: {len(labels)} rows{lost} where {card.path} says {split.rows}; "
            f"correct splits.{split.name}.rows, or its hub name or subset if these are the wrong files"
        )
    _write(path, parts, {"files": digests, "rows": len(labels), "dropped": dropped}, card, hub, split)


def _write(path: Path, parts: list[Checked], about: dict[str, Any], card: Card, hub: Hub, split: Split) -> None:
    names = (Columns.sentence1, Columns.sentence2, Columns.label)
    lines = [
        json.dumps(dict(zip(names, (a, b, int(y) if y == int(y) else float(y)), strict=True)), ensure_ascii=False)
        for part in parts
        for a, b, y in zip(part.first, part.second, part.labels, strict=True)
    ]
    content = "".join(line + "\n" for line in lines).encode("utf-8")
    write_bytes(path, content)
    header = {"schema": 1, "card": card.name, "id": hub.id, "revision": hub.revision, "subset": hub.subset}
    notes = path.parent / "fetch.json"
    try:
        splits = json.loads(notes.read_bytes())["splits"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        splits = {}
    splits[split.name] = about | {"sha256": hashlib.sha256(content).hexdigest()}
    write_json(notes, header | {"splits": splits})


def pick_files(files: Iterable[str], name: str, subset: str, where: str) -> list[str]:
    """Return the files of a split in name order: those a glob matches, or whose path holds its name as a word."""
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
            f"or to a glob over its files: {held or 'it holds no table at all'}"
        )
    best = min((format_of(f) for f in found), key=_PREFERRED.index)
    return [f for f in found if format_of(f) == best]


class _Remote:
    """The repository at its revision; whatever goes wrong on the way becomes one sentence."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub = hub
        self.name = name
        # read now and not when huggingface_hub was imported, so that a mirror can be named at any time
        self.endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None

    def files(self) -> list[str]:
        """Return the paths of all files."""
        found: list[str] = self._ask(
            lambda api: api.list_repo_files(self.hub.id, revision=self.hub.revision, repo_type="dataset")
        )
        return found

    def content(self, file: str) -> bytes:
        """Return a file's bytes, downloaded to Hugging Face's own cache."""
        path: str = self._ask(
            lambda api: api.hf_hub_download(self.hub.id, file, revision=self.hub.revision, repo_type="dataset")
        )
        return Path(path).read_bytes()

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
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
                f"{self.name}: the hub's dataset {self.hub.id} cannot be reached or does not answer as it should "
                f"({reason}); check the network, or name a mirror with HF_ENDPOINT"
            ) from None

    def _error(self, sentence: str) -> HengyuError:
        return HengyuError(f"{self.name}: the hub's dataset {self.hub.id} {sentence}")
