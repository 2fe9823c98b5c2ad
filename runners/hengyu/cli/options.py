"""Options shared by several commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hengyu.base.bounded import user_path

if TYPE_CHECKING:
    from hengyu.tools.task_vectors import Sentences

__all__ = [
    "BACKEND",
    "BACKEND_OR_AUTO",
    "DTYPE",
    "FOLDER",
    "PLACE",
    "address",
    "attention",
    "allow_api",
    "api",
    "data",
    "datasets",
    "device",
    "dimensions",
    "executor",
    "methods",
    "key_env",
    "key_over_http",
    "long",
    "offline",
    "prompts",
    "seconds",
    "store",
    "task_vectors",
    "trust_remote_code",
    "workers",
]


class _Place(click.Path):
    """A folder or the URL of a remote one, as typed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Leave URLs alone."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


class _Folder(click.Path):
    """An existing folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Suggest the folder if a file was given."""
        if user_path(value).is_file():
            self.fail(f"'{value}' is a file; give its folder, '{Path(value).parent}'.", param, ctx)
        return super().convert(value, param, ctx)


PLACE = _Place(file_okay=False)
FOLDER = _Folder(exists=True, file_okay=False, path_type=Path)
DTYPE = click.Choice(["float32", "bfloat16", "float16", "int8"])
BACKEND = click.Choice(["torch", "onnx", "openvino"])
BACKEND_OR_AUTO = click.Choice([*BACKEND.choices, "auto"])

data = click.option("--data", type=FOLDER, help="Folder with the datasets' files (in the senteval_cn layout).")
datasets = click.option(
    "--datasets", multiple=True, type=FOLDER, help="Folder with your own cards (*.toml); repeatable."
)
attention = click.option(
    "--attention",
    type=click.Choice(["bidirectional"]),
    help="Let a causal model attend in both directions, like LLM2Vec.",
)
long = click.option(
    "--long",
    type=click.Choice(["truncate", "head-tail", "windows"]),
    help="Texts above the maximum length: truncate them, keep both ends, or average over windows.",
)
device = click.option(
    "--device", default="", metavar="NAME", help="cpu, cuda, cuda:1, ...; by default CUDA if available."
)


def prompts(command: Any) -> Any:
    """Add the options for prompts."""
    for name, text in (
        ("--document-prompt", 'Prompt for the documents of a retrieval suite; "" for none.'),
        ("--query-prompt", 'Prompt for the queries of a retrieval suite; "" for none.'),
        ("--prompt", "A prefix for every text, or a template with {text}; by default the model's own."),
    ):
        command = click.option(name, metavar="TEXT", help=text)(command)
    return command


store = click.option(
    "--store", type=PLACE, metavar="DIR|URL", help="Folder or URL of the vector store, like s3://bucket/vectors."
)
executor = click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where to compute: on this machine, or on a Ray cluster (hengyu[ray]).",
)
address = click.option(
    "--address", default="", help="The Ray cluster, auto for a running local one; by default one is started."
)
workers = click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    help="Number of worker processes; by default one per core, or one per GPU of a Ray cluster. 1: no worker processes.",
)


def _load_methods(ctx: click.Context, param: click.Parameter, paths: tuple[Path, ...]) -> None:
    """Add the methods in the given files, so that suites can use them."""
    if paths:
        from hengyu.methods.external import load_methods

        for path in paths:
            load_methods(path)


methods = click.option(
    "--methods",
    multiple=True,
    metavar="FILE.py",
    type=click.Path(path_type=Path),
    callback=_load_methods,
    is_eager=True,
    expose_value=False,
    help="Run this Python file and add the method it defines. Read it first; repeatable.",
)
offline = click.option("--offline", is_flag=True, help="Never use the network, like HF_HUB_OFFLINE=1.")


def task_vectors(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument and options that say whose sentence vectors a command looks at; it is given ``load``, which gets them."""

    @wraps(command)
    def looking(
        model: str,
        task: str,
        pooling: str,
        data: Path | None,
        datasets: tuple[Path, ...],
        device: str,
        offline: bool,
        **given: Any,
    ) -> None:
        def load() -> Sentences:
            from rich.console import Console

            from hengyu.base.progress import Progress
            from hengyu.tools.task_vectors import load_sentences

            places: dict[str, Any] = {"data": data, "datasets": datasets, "device": device, "offline": offline}
            return load_sentences(model, task, pooling, **places, progress=Progress(Console(stderr=True)))

        command(load=load, **given)

    for add in (
        offline,
        device,
        datasets,
        data,
        click.option("--pooling", default="mean", show_default=True, metavar="NAME", help="Whose vectors."),
        click.option(
            "--task", default="hengyu-sts:test", show_default=True, metavar="CARD:SPLIT", help="Whose sentences."
        ),
        click.argument("model", default="hengyu-mini"),
    ):
        looking = add(looking)
    return looking


def seconds(text: str, option: str) -> float:
    """Read a time such as 90s, 30min or 2h; raises `HengyuError`."""
    import re

    from hengyu.base.errors import HengyuError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|sec|m|min|h)", text.strip(), re.ASCII)
    found = float(match[1]) * {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}[match[2]] if match else 0.0
    if not 0 < found <= 1e8:
        raise HengyuError(f"{option} {text}: must be a time like 90s, 30min or 2h")
    return found


trust_remote_code = click.option(
    "--trust-remote-code", is_flag=True, help="Run code that comes with a model. Read it first."
)

api = click.option(
    "--api",
    default="",
    metavar="URL",
    help="Send the texts to this OpenAI-compatible API for encoding, like https://example.com/v1.",
)
key_env = click.option(
    "--key-env", default="", metavar="NAME", help="The environment variable with the API key; with --api."
)
dimensions = click.option(
    "--dimensions",
    type=click.IntRange(min=0),
    default=0,
    help="Width of the vectors requested from the API; with --api.",
)
allow_api = click.option("--allow-api", is_flag=True, help="Allow sending texts and keys to the APIs of the suite.")
key_over_http = click.option(
    "--key-over-http",
    is_flag=True,
    help="Allow sending an API key unencrypted to another machine, where anyone on the way can read it.",
)
