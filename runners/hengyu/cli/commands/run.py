"""hengyu run: evaluates a suite."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options
from hengyu.cli.torchrun import by_one_process

__all__ = ["command"]


@click.command("run")
@click.argument("suites", metavar="[SUITE]...", nargs=-1)
@options.data
@options.datasets
@click.option(
    "--pairs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Evaluate on this file of sentence pairs instead; its layout is guessed, see 'hengyu card'; repeatable.",
)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="ID|DIR|NAME=DIR",
    help="Evaluate this model instead; NAME=DIR gives the folder of one of the suite's encoders; repeatable.",
)
@click.option(
    "--cross-encoder",
    "cross_encoders",
    multiple=True,
    metavar="ID|DIR",
    help="Also score the pairs with this cross-encoder (reranker), as an upper bound; repeatable.",
)
@options.api
@options.key_env
@options.dimensions
@options.allow_api
@options.key_over_http
@click.option("--pooling", "poolings", multiple=True, metavar="NAME", help="Evaluate this pooling instead; repeatable.")
@click.option("--task", "tasks", multiple=True, metavar="CARD:SPLIT", help="Evaluate on this task instead; repeatable.")
@click.option("--entry", "entries", multiple=True, help="Evaluate this method instead (raw stays); repeatable.")
@click.option(
    "--similarity",
    "similarities",
    multiple=True,
    metavar="NAME[,NAME]",
    help="Also compare vectors by this similarity (the cosine stays): 'hengyu list similarities'; repeatable.",
)
@click.option("--fit-on", default="", metavar="WORD", help="target, train, valid, ...: for methods without a fit_on.")
@click.option(
    "--distractors",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Search these texts, one a line (also .gz, .xz), beside the documents of a retrieval suite; repeatable.",
)
@click.option("--title", default="", metavar="TEXT", help="Title of the run on its page and in the index of runs.")
@click.option("--out", type=options.PLACE, metavar="DIR|URL", help="Folder for records/ and site/.")
@options.store
@click.option("--dtype", "dtypes", multiple=True, type=options.DTYPE, help="Encode in this dtype; repeatable.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=options.BACKEND_OR_AUTO,
    help="Encode with this engine; repeatable. auto: the fastest with PyTorch's vectors.",
)
@options.prompts
@options.long
@options.attention
@options.device
@options.offline
@click.option("--force", is_flag=True, help="Compute all results again; stored vectors are reused.")
@click.option("--fresh", is_flag=True, help="Encode and compute everything again; never needed for correct numbers.")
@options.methods
@options.executor
@options.address
@options.workers
@click.option("--max-memory", metavar="SIZE", help="Refuse a run that would need more memory than this, like 4GiB.")
@click.option(
    "--budget",
    default="",
    metavar="TIME",
    help="Evaluate a random sample of the pairs, doubled while this time lasts, like 60s or 10min.",
)
@click.option(
    "--until",
    type=float,
    default=None,
    metavar="POINTS",
    help="Double the sample until no interval is wider than plus or minus this, on any task; baselines do not count.",
)
@click.option(
    "--sample",
    "samples",
    multiple=True,
    metavar="[TASK=]N",
    help="Evaluate a random sample of N pairs of each task, or of one; repeatable.",
)
@options.trust_remote_code
@click.option("--quiet", is_flag=True, help="Print neither progress nor the leaderboard.")
@by_one_process
def command(
    suites: tuple[str, ...],
    data: Path | None,
    datasets: tuple[Path, ...],
    pairs: tuple[Path, ...],
    encoders: tuple[str, ...],
    cross_encoders: tuple[str, ...],
    api: str,
    key_env: str,
    dimensions: int,
    allow_api: bool,
    key_over_http: bool,
    poolings: tuple[str, ...],
    tasks: tuple[str, ...],
    entries: tuple[str, ...],
    similarities: tuple[str, ...],
    fit_on: str,
    distractors: tuple[Path, ...],
    title: str,
    out: str | None,
    store: str | None,
    dtypes: tuple[str, ...],
    backends: tuple[str, ...],
    prompt: str | None,
    query_prompt: str | None,
    document_prompt: str | None,
    long: str | None,
    attention: str | None,
    device: str,
    offline: bool,
    force: bool,
    fresh: bool,
    executor: str,
    address: str,
    workers: int,
    max_memory: str | None,
    budget: str,
    until: float | None,
    samples: tuple[str, ...],
    trust_remote_code: bool,
    quiet: bool,
) -> None:
    """Evaluate suites and write their leaderboards.

    SUITE is a file, or the name of a shipped suite. It may be left out with --pairs: the methods of 'smoke' are then
    evaluated on your pairs.

    Sentences in the vector store are not encoded again; an interrupted run continues where it stopped.

    Started by torchrun, its processes share every training: torchrun --nproc-per-node 2 -m hengyu run SUITE.
    """
    import re
    import shlex
    import sys
    from dataclasses import replace

    from rich.console import Console

    from hengyu.base.errors import HengyuError, did_you_mean
    from hengyu.base.memory import as_bytes
    from hengyu.base.progress import Progress
    from hengyu.bench.run_suite import RunOptions, run_suite
    from hengyu.cli.pairs import show_pairs
    from hengyu.encoders import POOLINGS, EncoderSpec, pooling_name
    from hengyu.storage.records import load_run
    from hengyu.suites.suite import find_suite, load_suite

    limit = as_bytes(max_memory, "--max-memory") if max_memory else None
    if until is not None and not 0.01 <= until < 100:
        raise HengyuError(f"--until {until:g}: must be half the width of an interval in points, from 0.01 to 100")
    poolings = tuple(map(pooling_name, poolings))
    for pooling in poolings:
        if pooling not in POOLINGS:
            raise HengyuError(f"--pooling {pooling}: no such pooling{did_you_mean(pooling, POOLINGS)}")
    if (api or key_env or dimensions) and not (api and encoders):
        raise HengyuError("--api, --key-env and --dimensions need --encoder, the name of the API's model")
    if not suites and not pairs:
        raise HengyuError("name a suite, like 'hengyu run smoke' (hengyu list suites), or a file of pairs with --pairs")
    if pairs:
        tasks = (*show_pairs(pairs, quiet=quiet), *tasks)
    asked = RunOptions(
        data=data,
        datasets=(*datasets, *pairs),
        tasks=tasks,
        encoders=tuple(
            EncoderSpec(e, api=api, key_env=key_env, dimensions=dimensions, allow_api=True) if api else e
            for e in encoders
        ),
        cross_encoders=cross_encoders,
        poolings=poolings,
        entries=entries,
        similarity=tuple(word.strip() for given in similarities for word in re.split(r",(?![^()]*\))", given)),
        fit_on=fit_on,
        distractors=distractors,
        dtypes=dtypes,
        backends=backends,
        prompt=prompt,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        long=long or "",
        attention=attention or "",
        device=device or "",
        trust_remote_code=trust_remote_code,
        allow_api=allow_api,
        key_over_http=key_over_http,
        title=" ".join(title.split()),
        out=out or "",
        store=store or "",
        force=force,
        fresh=fresh,
        offline=offline,
        executor=executor,
        address=address,
        workers=workers,
        max_memory=limit,
        sample=samples,
        budget=options.seconds(budget, "--budget") if budget else 0.0,
        until=until or 0.0,
    )
    progress = Progress(None if quiet else Console(stderr=True))
    reports, failures = asked.reports, list[str]()
    words = ["hengyu", *sys.argv[1:]]
    for suite, loaded in [(suite, load_suite(find_suite(suite))) for suite in suites or ("smoke",)]:
        others = list(suites)
        if suite in others:
            others.remove(suite)
        outcome = run_suite(loaded, replace(asked, command=shlex.join(_without(words, others))), progress)
        # only now, so that the processes that encode are started half a second sooner
        from hengyu.report.comparison.text import print_drifts
        from hengyu.report.page.index import write_index
        from hengyu.report.page.leaderboard import write_report
        from hengyu.report.terminal import print_board

        finished = load_run(outcome.folder)
        if not quiet:
            print_board(finished)
            if len(dtypes) > 1:
                print_drifts(finished)
        page = write_report(finished, reports / "site" / finished.id, listed=True)
        index = write_index(reports)
        if asked.mirror:
            pages = sorted(p for p in (page.parent.rglob("*")) if p.is_file())
            asked.mirror.send(reports, [p.relative_to(reports).as_posix() for p in (*pages, index)])
        click.echo(
            f"{outcome.encoded:,} texts encoded, {outcome.observed:,} results computed, {outcome.kept:,} reused",
            err=True,
        )
        click.echo(f"records: {outcome.folder}")
        click.echo(f"leaderboard: {page}")
        click.echo(f"all runs: {index}")
        failures += outcome.failures
    if failures:
        raise HengyuError(*failures)


def _without(words: list[str], others: list[str]) -> list[str]:
    """Return the words of a command line without those that name its other suites."""
    kept = list(words)
    for other in others:
        if other in kept:
            kept.remove(other)
    return kept
