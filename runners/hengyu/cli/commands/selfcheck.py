"""hengyu selfcheck: what moves the scores of a model, and by how much."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("selfcheck")
@click.argument("model")
@click.option("--task", default="hengyu-sts:test", show_default=True, metavar="CARD:SPLIT", help="Whose pairs to take.")
@click.option("--pooling", default="", metavar="NAME", help="By default native: the model's own, else mean.")
@options.data
@options.datasets
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    metavar="N",
    help="At most N pairs, evenly spaced over the file; 0 for all.",
)
@click.option("--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Write the findings here too.")
@options.attention
@options.device
@options.offline
@options.trust_remote_code
@click.option("--quiet", is_flag=True, help="Show no progress.")
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
    """Measure what moves the vectors and the scores of a MODEL (a folder, a hub id, or hengyu-mini).

    Invariances must hold: a second run, the batch size, the order, padding, the number of threads, and the model's own
    sentence-transformers pipeline may move no vector by more than a cosine distance of 1e-6 nor Spearman x 100 by more
    than 0.01. Sensitivities are measured beside them: pooling, half precision, the tokenizer, traditional characters,
    full and half width, upper case, and the longest input; the scores of a way of writing are with the second sentence
    of each pair so written.

    The sample is encoded about ten times. Exit code 0: every invariance that could be run holds; 1: one is broken, or
    most of the tokens are [UNK]; 2: bad input.
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
