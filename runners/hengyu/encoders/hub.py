"""Locates a model: a folder, or a hub id whose files are in the local hub cache or are downloaded to it."""

from __future__ import annotations

import os
from pathlib import Path

from hengyu.base.bounded import refuse_special, user_path
from hengyu.base.errors import HengyuError, did_you_mean, first_line
from hengyu.encoders import BUILT_IN, EncoderSpec

__all__ = ["NETWORK_OFF", "find_folder", "kept_endings"]

NETWORK_OFF = "the network is off; unset HF_HUB_OFFLINE, or give"
"""What is said where a model is not in the cache; who never downloads says something else in its place."""

_KEPT = {".safetensors", ".json", ".txt", ".model", ".vocab", ".spm", ".codes", ".tiktoken", ".jinja", ".tokenizer"}


def kept_endings(spec: EncoderSpec) -> set[str]:
    """Return the extensions of the files that a model's vectors depend on, including its own code if that may run."""
    return _KEPT | ({".py"} if spec.trust_remote_code else set())


def find_folder(spec: EncoderSpec, *, offline: bool) -> tuple[Path, str]:
    """Return the folder of a model given by path or hub id, and its revision ("" for a folder)."""
    path = user_path(spec.model)
    if path.is_dir():
        _refuse_special_files(path, kept_endings(spec))
        return path, ""
    looks_like_path = spec.model.startswith((".", "/", "~")) or spec.model.count("/") > 1 or path.exists()
    if looks_like_path or not spec.model:
        if path.is_file():
            raise HengyuError(f"encoder '{spec.model}': is a file; give its folder, '{path.parent}', or vectors (.npy)")
        if path.exists():
            raise HengyuError(f"encoder '{spec.model}': is neither a folder nor a file; give the model's folder")
        raise HengyuError(
            f"encoder '{spec.model}': no such folder{_near(spec.model)}; give a model's folder, or a hub id like "
            "bert-base-chinese"
        )
    return _from_hub(
        spec, offline=offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    )


def _refuse_special_files(folder: Path, endings: set[str]) -> None:
    """Refuse a model's folder with a pipe or device in place of a file: a library would wait for it forever."""
    try:
        if not any(path.suffix == ".json" for path in folder.iterdir()):
            return  # not a model's folder: it may be the whole disk, which is not searched
    except OSError as e:
        raise HengyuError(f"{folder}: cannot be read ({e.strerror}); give a folder that you may read") from None
    for around, _, names in os.walk(folder):  # what vanishes or cannot be listed meanwhile is left out
        for path in (Path(around, name) for name in names if Path(name).suffix in endings):
            try:
                if not path.is_file() and path.exists():
                    refuse_special(path)
            except OSError as e:
                raise HengyuError(f"{path}: cannot be read ({e.strerror}); copy the model's folder again") from None


def _near(word: str) -> str:
    """Return "; did you mean 'x'?" for the built-in encoder or a model's folder with a name close to a word."""
    path = user_path(word)
    try:
        folders = [
            str(p) for p in path.parent.iterdir() if (p / "config.json").is_file() or (p / "modules.json").is_file()
        ]
    except OSError:
        folders = []
    close = did_you_mean(word, [*BUILT_IN, *folders])
    return close if close.startswith("; did") else ""


def _from_hub(spec: EncoderSpec, *, offline: bool) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    patterns = [f"*{suffix}" for suffix in sorted(kept_endings(spec))]
    where = f"encoder '{spec.model}'"
    endpoint = os.environ.get("HF_ENDPOINT") or None

    def snapshot(*, local: bool) -> str:
        return snapshot_download(
            spec.model,
            revision=spec.revision or None,
            allow_patterns=patterns,
            local_files_only=local,
            endpoint=endpoint,
        )

    try:
        try:
            found = snapshot(local=True)
            if not list(Path(found).rglob("*.safetensors")) and not offline:
                found = snapshot(local=False)
        except LocalEntryNotFoundError:
            if offline:
                raise HengyuError(
                    f"{where}: is neither a folder nor in the local hub cache, and {NETWORK_OFF} the model's folder"
                    f"{_near(spec.model)}"
                ) from None
            found = snapshot(local=False)
    except HFValidationError:
        raise HengyuError(f"{where}: is neither a folder nor a hub id; check the spelling{_near(spec.model)}") from None
    except RepositoryNotFoundError:
        raise HengyuError(
            f"{where}: no such folder, and no such model on the hub (or it needs a login); check the id{_near(spec.model)}"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as e:
        raise HengyuError(
            f"{where}: no such folder, and it cannot be downloaded from the hub ({first_line(e)}); check the id and the "
            f"network, or give the model's folder{_near(spec.model)}"
        ) from None
    except Exception as e:
        # the HTTP client's errors differ between versions of the hub library
        if type(e).__module__.split(".")[0] not in (
            "httpx",
            "httpcore",
            "httpx2",
            "httpcore2",
            "requests",
            "urllib3",
            "huggingface_hub",
        ):
            raise
        raise HengyuError(
            f"{where}: no such folder, and the hub cannot be reached; check the network, or give a folder"
        ) from None
    path = Path(found)
    return path, path.name if path.parent.name == "snapshots" else spec.revision
