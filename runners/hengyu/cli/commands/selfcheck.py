"""hengyu selfcheck: what changes the scores of a model, and by how much."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("selfcheck")
@click.argument("model")
@click.option(
    "--task", default="hengyu-sts:test", show_default=True, metavar="CARD:SPLIT", help="Task whose pairs are used."
)
@click.option("--pooling", default="", metavar="NAME", help="By default native, the model's own, else mean.")
@options.data
@options.datasets
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    metavar="N",
    help="Use at most N pairs, evenly spaced over the file; 0 for all.",
)
@click.option(
    "--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Also write the findings to this file."
)
@options.attention
@options.device
@options.offline
@options.trust_remote_code
@click.option("--quiet", is_flag=True, help="Do not show progress.")
def command(
    model: str,
    task: str,
    pooling: str,
    data: Path | None,
    datasets: tuple[Path, ...],
    limit: int,
    json_: Path | None,
    attention: str | None,
    device: str,
    offline: bool,
    trust_remote_code: bool,
    quiet: bool,
) -> None:
    """Check what changes the scores of a model.

    MODEL is a folder, a hub id, or hengyu-mini. Invariances must hold: a second run, batch size, order, padding, number of
    threads, and the model's own sentence-transformers pipeline must not change a vector by more than a cosine distance of
    1e-6, nor Spearman x 100 by more than 0.01. Sensitivities are measured: pooling, half precision, tokenizer, traditional
    characters, full and half width, upper case, and maximum length; for variants of writing, the second sentence of each
    pair is rewritten.

    The sample is encoded about ten times. Exit code 0: all invariances that could be checked hold; 1: one is broken, or most
    tokens are [UNK]; 2: bad input.
    """
    import shlex
    import sys
    from functools import partial

    from rich.console import Console

    from hengyu.base.progress import Progress
    from hengyu.cards import load_cards, parse_task
    from hengyu.cards.data import load_pairs
    from hengyu.encoders import EncoderSpec, open_encoder, pooling_name
    from hengyu.storage.records import write_json
    from hengyu.tools.selfcheck.change import take_excerpt
    from hengyu.tools.selfcheck.report import print_findings, to_json
    from hengyu.tools.selfcheck.run import selfcheck
    from hengyu.tools.selfcheck.subject import Subject

    sample = take_excerpt(load_pairs(*parse_task(load_cards(datasets), task), data), limit)
    spec = EncoderSpec(model, attention=attention or "", device=device, trust_remote_code=trust_remote_code)
    subject = Subject(spec, partial(open_encoder, offline=offline), sample, pooling_name(pooling) or "native")
    findings = selfcheck(subject, Progress(None if quiet else Console(stderr=True)))
    print_findings(findings)
    if json_:
        write_json(json_, to_json(findings, shlex.join(["hengyu", *sys.argv[1:]])))
    if findings.broken:
        raise SystemExit(1)
