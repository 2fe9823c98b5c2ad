"""Options that several commands share, in the same words."""

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
    "offline",
    "prompts",
    "store",
    "task_vectors",
    "trust_remote_code",
    "workers",
]


class _Place(click.Path):
    """A folder, or the URL of one elsewhere; both as they were typed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Leave URLs alone."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


class _Folder(click.Path):
    """A folder that is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Say which folder is meant where a file was given."""
        if user_path(value).is_file():
            self.fail(f"'{value}' is a file; give the folder that it lies in, '{Path(value).parent}'.", param, ctx)
        return super().convert(value, param, ctx)


PLACE = _Place(file_okay=False)
FOLDER = _Folder(exists=True, file_okay=False, path_type=Path)
DTYPE = click.Choice(["float32", "bfloat16", "float16"])
BACKEND = click.Choice(["torch", "onnx", "openvino"])

data = click.option("--data", type=FOLDER, help="Folder that holds the datasets' files (the senteval_cn layout).")
datasets = click.option(
    "--datasets", multiple=True, type=FOLDER, help="Folder with cards (*.toml) of your own; repeatable."
)
attention = click.option(
    "--attention",
    type=click.Choice(["bidirectional"]),
    help="Let a causal model read every text in both directions, as LLM2Vec does.",
)
device = click.option(
    "--device", default="", metavar="NAME", help="cpu, cuda, cuda:1, ...; by default CUDA where there is one."
)


def prompts(command: Any) -> Any:
    """Add the options for what is put around texts."""
    for name, text in (
        ("--document-prompt", 'The same for the documents of a retrieval suite alone; "" for none.'),
        ("--query-prompt", 'The same for the queries of a retrieval suite alone; "" for none.'),
        ("--prompt", "A prefix for every text, or a template with {text}; by default what the model's folder names."),
    ):
        command = click.option(name, metavar="TEXT", help=text)(command)
    return command


store = click.option(
    "--store", type=PLACE, metavar="DIR|URL", help="Folder of the vector store, or URL, like s3://bucket/vectors."
)
executor = click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What does the work: this process, or a Ray cluster (hengyu[ray]).",
)
address = click.option(
    "--address", default="", help="The Ray cluster, auto for the one that runs here; by default one is started."
)
workers = click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    help="Ray workers at once; by default a GPU each, or a core each.",
)


def _load_methods(ctx: click.Context, param: click.Parameter, paths: tuple[Path, ...]) -> None:
    """Add the methods of the files given; a suite that names them can be read from then on."""
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
offline = click.option("--offline", is_flag=True, help="Never touch the network, as HF_HUB_OFFLINE=1.")


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


trust_remote_code = click.option(
    "--trust-remote-code", is_flag=True, help="Run code that comes with a model. Read it first."
)

api = click.option(
    "--api",
    default="",
    metavar="URL",
    help="The encoder is behind this OpenAI-compatible API, like https://example.com/v1: the texts are sent there.",
)
key_env = click.option(
    "--key-env", default="", metavar="NAME", help="The environment variable that holds the API key; with --api."
)
dimensions = click.option(
    "--dimensions", type=click.IntRange(min=0), default=0, help="Width of vectors to ask the API for; with --api."
)
allow_api = click.option(
    "--allow-api", is_flag=True, help="Send texts, and the keys it names, to the APIs that the suite names."
)
key_over_http = click.option(
    "--key-over-http",
    is_flag=True,
    help="Send an API key unencrypted to another machine. Anyone on the way can read it.",
)
