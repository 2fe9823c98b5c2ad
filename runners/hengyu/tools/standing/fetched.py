"""Downloads a model's result files from mteb's results repository, one file for each task of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import NAME
from hengyu.cards.remote import Unreachable, hub_offline
from hengyu.cards.web import fetch_document
from hengyu.report.exports.mteb import mteb_task
from hengyu.storage.records import Run

__all__ = ["fetch_results"]

LARGEST = 16 << 20
"""Bytes of one result file."""

_OLD = b'"mteb_dataset_name"'  # a key of result files before mteb had "task_name"
_PART = r"(?!\.)[\w.+-]{1,200}"  # of an address: the name of a folder
_FOLDER = re.compile(rf"https://github\.com/({_PART}/{_PART})/tree/([^/]+)/results/({_PART})/({_PART})/?", re.ASCII)
_EXAMPLE = (
    "https://github.com/embeddings-benchmark/results/tree/COMMIT/results/intfloat__multilingual-e5-small/REVISION"
)


def fetch_results(
    run: Run, addresses: Sequence[str], folder: Path, say: Callable[[str], None], *, offline: bool = False
) -> dict[Path, str]:
    """Download the result files of models for the tasks of a run into a folder, and return each with its source.

    GitHub lists the files of a folder only through its API, which counts and limits calls. So each task is asked for by its
    name in mteb; a task without a file is passed over.

    Args:
        run: a finished run.
        addresses: of a revision's folder of a model at a commit, as the browser shows it (`_EXAMPLE`).
        folder: an empty folder; the files are put as mteb lays them out, COMMIT/MODEL/REVISION/TASK.json.
        say: shows a line to the user.
        offline: never use the network.

    Raises:
        Unreachable: the network is not to be used, or the server cannot be reached.
        HengyuError: for an address that names no such folder or no commit, or a folder without any of the tasks.
    """
    places = {_place(address): address for address in addresses}
    if offline or hub_offline():
        raise Unreachable(
            f"--fetch: {'--offline is given' if offline else 'HF_HUB_OFFLINE is set'}, so nothing is downloaded; name a folder "
            "of result files with --results instead"
        )
    cards = dict.fromkeys(str(task["card"]) for task in run.header.get("tasks", ()) if task.get("card"))
    tasks = [name for card in cards if re.match(NAME, name := mteb_task(card)[0])]  # a run's header may be damaged
    found: dict[Path, str] = {}
    for (repository, commit, model, revision), address in places.items():
        say(f"{model} at {revision}: asking {repository} for {', '.join(tasks)}")
        old = []
        before = len(found)
        for task in tasks:
            path = folder / commit / model / revision / f"{task}.json"
            name = quote(f"{model}/{revision}/{task}.json")
            url = f"https://raw.githubusercontent.com/{repository}/{commit}/results/{name}"
            if not fetch_document(url, path, f"--fetch {task}", say, LARGEST):
                continue
            if _OLD in read_bytes(path):
                old.append(task)
                path.unlink()
                continue
            found[path] = f"github.com/{repository} ({commit[:7]})"
        if len(found) == before:
            why = (
                f" (those of {', '.join(old)} are in a format of old versions of mteb, which is not read)"
                if old
                else ""
            )
            raise HengyuError(
                f"--fetch {address}: has no result file of {', '.join(tasks)}{why}; see in the browser which revisions of the "
                "model have one"
            )
    return found


def _place(address: str) -> tuple[str, str, str, str]:
    """Return the repository, commit, model's folder and revision of an address."""
    match = _FOLDER.fullmatch(address)
    if match is None:
        raise HengyuError(
            f"--fetch {address}: is not the address of a revision's folder of a model, like {_EXAMPLE}; copy it from the browser"
        )
    if not re.fullmatch(r"[0-9a-f]{40}", match[2]):
        raise HengyuError(
            f"--fetch {address}: names the branch or tag '{match[2]}', which can move; press y on GitHub's page for the address "
            "with its commit, 40 hex digits"
        )
    repository, commit, model, revision = match.groups()
    return repository, commit, model, revision
