"""hengyu encode: encodes a large text file."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("encode")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--encoder", default="hengyu-mini", show_default=True, metavar="ID|DIR", help="The model.")
@options.api
@options.key_env
@options.dimensions
@options.key_over_http
@click.option(
    "--pooling",
    "poolings",
    multiple=True,
    help="Pooling; by default mean, or native if the encoder has no other; repeatable.",
)
@click.option(
    "--out",
    type=options.PLACE,
    metavar="DIR|URL",
    help="Folder of the vector store; by default the one used by runs.",
)
@click.option("--prompt", default="", help="A prefix, or a template with {text}.")
@click.option(
    "--max-length",
    type=click.IntRange(min=0),
    default=0,
    help="Maximum input length in tokens; by default the model's own.",
)
@click.option("--dtype", type=options.DTYPE, default="float32", show_default=True)
@click.option(
    "--backend",
    type=options.BACKEND_OR_AUTO,
    default="torch",
    show_default=True,
    help="The engine; auto: the fastest with PyTorch's vectors.",
)
@options.long
@options.attention
@options.device
@click.option("--max-memory", metavar="SIZE", help="Refuse to use more memory than about this, like 4GiB.")
@options.executor
@options.address
@options.workers
@options.offline
@options.trust_remote_code
@click.option("--quiet", is_flag=True, help="Do not show progress.")
def command(
    file: Path,
    encoder: str,
    api: str,
    key_env: str,
    dimensions: int,
    key_over_http: bool,
    poolings: tuple[str, ...],
    out: str | None,
    prompt: str,
    max_length: int,
    dtype: str,
    backend: str,
    long: str | None,
    attention: str | None,
    device: str,
    max_memory: str | None,
    executor: str,
    address: str,
    workers: int,
    offline: bool,
    trust_remote_code: bool,
    quiet: bool,
) -> None:
    """Encode a text file into the vector store.

    FILE is UTF-8 with one sentence per line, possibly in gzip or xz. It is read as a stream: memory holds a block of lines
    and 64 bytes per stored text and pooling. After an interruption the same command continues; stored sentences are not
    encoded again, and runs use them, too. Blank lines are skipped. With --executor ray the workers share each block, with
    the same vectors. Prints the folder of each pooling's vectors.
    """
    from rich.console import Console

    from hengyu.base.errors import HengyuError, did_you_mean
    from hengyu.base.memory import as_bytes
    from hengyu.base.progress import Progress
    from hengyu.bench.encode_file import archive
    from hengyu.bench.executors import open_executor
    from hengyu.encoders import POOLINGS, EncoderSpec, find_encoder, pooling_name
    from hengyu.encoders.fastest import with_backends
    from hengyu.storage.vectors import VectorStore

    poolings = tuple(map(pooling_name, poolings))
    for name in poolings:
        if name not in POOLINGS:
            raise HengyuError(f"--pooling '{name}' is unknown{did_you_mean(name, POOLINGS)}")
    spec = EncoderSpec(
        encoder,
        prompt=prompt,
        max_length=max_length,
        dtype=dtype,
        backend=backend,
        long=long or "",
        attention=attention or "",
        device=device,
        trust_remote_code=trust_remote_code,
        api=api,
        key_env=key_env,
        dimensions=dimensions,
        allow_api=bool(api),
        key_over_http=key_over_http,
    )
    poolings = poolings or ("mean" if spec.kind == "model" else "native",)
    limit = as_bytes(max_memory, "--max-memory") if max_memory else None
    progress = Progress(None if quiet else Console(stderr=True))
    (spec,) = with_backends(spec, progress=progress, offline=offline)
    with open_executor(executor, address, workers, device) as scheduler:
        done = archive(
            file,
            find_encoder(spec, offline=offline),
            tuple(dict.fromkeys(poolings)),
            VectorStore.at(out),
            progress,
            max_memory=limit,
            executor=scheduler,
            offline=offline,
        )
    blank = f", {done.blank:,} of them blank" if done.blank else ""
    click.echo(f"{done.lines:,} lines{blank}; {done.encoded:,} sentences encoded in {done.seconds:.1f} s", err=True)
    for name, folder in done.spaces.items():
        click.echo(f"{name}: {folder}")
