"""hengyu audit: which test sentences a collection of texts holds."""

from __future__ import annotations

from pathlib import Path

import click

from hengyu.cli import options

__all__ = ["command"]


@click.command("audit")
@click.argument("texts", nargs=-1, metavar="FILE|CARD:SPLIT...")
@click.option(
    "--task", "tasks", multiple=True, metavar="CARD:SPLIT", help="Look for the sentences of this task; repeatable."
)
@click.option(
    "--run",
    default="",
    metavar="RUN",
    help="Also score the rows of this run without the pairs that were seen, and keep the shares beside it for its page.",
)
@click.option(
    "--seen",
    type=click.Choice(["any", "both", "together"]),
    default="any",
    show_default=True,
    help="Which pairs count as seen: those with any sentence found, with both, or found as one training pair.",
)
@options.data
@options.datasets
@click.option(
    "--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Also write everything to this file."
)
@click.option("--quiet", is_flag=True, help="Do not show progress.")
def command(
    texts: tuple[str, ...],
    tasks: tuple[str, ...],
    run: str,
    seen: str,
    data: Path | None,
    datasets: tuple[Path, ...],
    json_: Path | None,
    quiet: bool,
) -> None:
    """Look for test sentences in training data.

    FILE is a text file with one text per line (a corpus, possibly compressed), CARD:SPLIT the pairs of a split, like
    LCQMC:train. A test sentence is found there if the same string is there, the same letters and digits, or a near
    duplicate: sets of character pairs with a Jaccard index of 0.8 or more. Every match is counted; no sentence is printed.

    With --run every row of the run is scored again without the pairs that were seen, under the same resamples; --task may
    then be left out. Without any FILE, what the run's own fine-tuned rows were trained on is audited. What share of each task
    was seen, and where, is kept with the run: its leaderboard and page show it from then on.
    """
    from rich.console import Console

    from hengyu.base.errors import HengyuError
    from hengyu.base.progress import Progress
    from hengyu.cards import load_cards, parse_task
    from hengyu.cards.data import Pairs, load_pairs
    from hengyu.evaluation.run_metrics import METRIC
    from hengyu.storage.records import find_run, load_run, write_json
    from hengyu.storage.records.audits import keep_audits, load_audits
    from hengyu.tasks.interface.registry import find_task
    from hengyu.tools.audit.effect import effects
    from hengyu.tools.audit.kept import require_same, to_keep
    from hengyu.tools.audit.overlap import SplitLines, find_overlap, open_collections
    from hengyu.tools.audit.report import print_effects, print_overlaps, to_json
    from hengyu.tools.audit.trained_on import places_of, trained_on

    finished = load_run(find_run(run)) if run else None
    if finished is None and not (texts and tasks):
        raise HengyuError("name what may have been seen (a file, or a split like LCQMC:train) and a --task, or a --run")
    data, datasets = places_of(finished, data, datasets)
    cards = load_cards(datasets)
    progress = Progress(None if quiet else Console(stderr=True))
    wanted = tasks or tuple(str(t["task"]) for t in (finished.header.get("tasks", ()) if finished else ()))

    def load(word: str) -> Pairs:
        pairs = load_pairs(*parse_task(cards, word), data)
        return pairs if finished is None else require_same(finished, pairs)

    if finished is not None:
        load_audits(finished)  # a damaged file is told of before the search
        known = [str(t["task"]) for t in finished.header.get("tasks", ())]
        if other := [word for word in wanted if word not in known]:
            raise HengyuError(f"--task {other[0]}: run {finished.id} has no such task; it has {', '.join(known)}")
    found = []
    keep = []
    if texts:
        pairs = [load(word) for word in wanted]
        collections = open_collections(texts, cards, data)
        found = find_overlap(pairs, collections, progress)
        if finished is not None:
            keep = [to_keep(task, one, collections) for task, one in zip(pairs, found, strict=True)]
    elif finished is not None:
        for word in wanted:
            splits = trained_on(finished, word)
            if splits:
                own, read = load(word), [SplitLines(load(split)) for split in splits]
                found += find_overlap([own], read, progress)
                keep.append(to_keep(own, found[-1], read))
        if not found:
            raise HengyuError(
                f"run {finished.id}: no row was fine-tuned on another split; name a file or a split to audit"
            )
    print_overlaps(found)
    scored = {}
    if finished is not None:
        path = keep_audits(finished, keep)
        click.echo(f"kept in {path}: the run's leaderboard and page show it ('hengyu report {finished.id}')")
        if find_task(finished.kind).main != METRIC:
            click.echo("scores without the seen pairs are computed for runs of STS tasks only")
            finished = None
    for one in found if finished is not None else ():
        assert finished is not None
        mask = one.masks.get(seen)
        if mask is None:
            raise HengyuError(f"--seen {seen}: needs a collection of pairs, like LCQMC:train")
        if not mask.any():
            click.echo(f"{one.task}: no pair was seen, so no score changes")
            continue
        scored[one.task] = effects(finished, one.task, mask)
        print_effects(one.task, int((~mask).sum()), scored[one.task])
    if json_:
        write_json(json_, to_json(found, scored))
