"""hengyu gate: a regression check of a run against a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from hengyu.evaluation.gate.findings import ACCEPTABLE, EXIT, EXIT_WORDS

if TYPE_CHECKING:
    from hengyu.base.errors import HengyuError

__all__ = ["command"]

_FILE = click.Path(dir_okay=False, path_type=Path)
_CODES = "\n".join(f"* {code:>2}  {word}: {EXIT_WORDS[word]}" for word, code in EXIT.items())
_HELP = f"""Check a run for significant regressions.

BASELINE is a baseline file (see 'hengyu baseline'), the name of a suite that has one, or a run; CURRENT is a run: a
folder, an id, the beginning of one, or 'latest'. A cell fails if it fell by more than its tolerance (by default half a
point) and the fall is significant, Holm-adjusted over all cells, or if it is below its floor. If both sides have their
observations, the test is paired; otherwise it uses the stored intervals; the output says which. Tolerances and floors
are also read from NAME.rules.toml next to a baseline NAME.json.

A fall beyond the tolerance that is not significant is inconclusive: a warning that says how many independent pairs or
queries would be needed, and with --strict a separate exit code.

Exit codes (the lowest that applies):

\b
{_CODES}
"""


@click.command("gate", help=_HELP)
@click.argument("baseline")
@click.argument("current")
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="[PATTERN=]T",
    help="Points (0.5) or share of the baseline (2%) by which a cell may fall; PATTERN (with * and ?) matches a task, a method "
    "or 'task | encoder | pooling | method | fit_on'. Repeatable; later ones win.",
)
@click.option(
    "--rules", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML file of tolerances and floors."
)
@click.option(
    "--level",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.99,
    show_default=True,
    help="Confidence level: without any regression, at most (1 - level) / 2 of the checks are red.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="Between two runs, also check this metric by its stored intervals; repeatable. Of a file, all metrics are checked.",
)
@click.option("--strict", is_flag=True, help="Also red on inconclusive falls.")
@click.option(
    "--accept",
    multiple=True,
    type=click.Choice(ACCEPTABLE),
    help="Accept an intended difference: a note, not a finding.",
)
@click.option("--markdown", type=_FILE, help="Write the result as Markdown.")
@click.option("--junit", type=_FILE, help="Write every cell as JUnit XML.")
@click.option("--json", "json_", type=_FILE, help="Write everything as JSON.")
@click.option("--all", "everything", is_flag=True, help="Print every cell, not only notable ones.")
def command(
    baseline: str,
    current: str,
    tolerances: tuple[str, ...],
    rules: Path | None,
    level: float,
    metrics: tuple[str, ...],
    strict: bool,
    accept: tuple[str, ...],
    markdown: Path | None,
    junit: Path | None,
    json_: Path | None,
    everything: bool,
) -> None:
    """Check a run; see the help text above."""
    import os
    from dataclasses import replace

    from hengyu.base.errors import HengyuError, did_you_mean
    from hengyu.evaluation.gate.baselines import NoBaseline, find_scores
    from hengyu.evaluation.gate.gate import judge
    from hengyu.evaluation.gate.rules import Rules, find_rules, parse_rule, read_rules
    from hengyu.evaluation.run_metrics import metrics_of, scores_of
    from hengyu.report.gate.annotations import gate_annotations
    from hengyu.report.gate.junit import gate_junit
    from hengyu.report.gate.text import gate_json, gate_markdown, print_gate
    from hengyu.storage.records import load_run, write_bytes
    from hengyu.storage.records.unfinished import Unfinished, find_finished, refuse_unfinished
    from hengyu.tasks.interface.registry import score_names

    for metric in metrics:
        if metric not in score_names():
            raise HengyuError(f"--metric '{metric}' is unknown{did_you_mean(metric, score_names())}")
    github = os.environ.get("GITHUB_ACTIONS") == "true"
    given = [parse_rule(text) for text in tolerances]
    try:
        run = load_run(find_finished(current))
    except Unfinished as e:
        _end("unfinished run", e, junit)
    if run.unverified:
        _end("unverified run", HengyuError(run.unverified), junit)
    wanted = tuple(dict.fromkeys((*metrics_of(run), *metrics)))
    try:
        before = find_scores(baseline, wanted)
        if before.folder is not None:
            refuse_unfinished(before.folder, latest=baseline == "latest")
    except Unfinished as e:
        _end("unfinished run", e, junit)
    except NoBaseline as e:
        _end("no baseline", e, junit)
    now = scores_of(run, tuple(dict.fromkeys((*wanted, *sorted({key.metric for key in before.cells})))))
    if before.folder is not None and before.folder.resolve() == run.path.resolve():
        raise HengyuError(f"{before.folder}: is both BASELINE and CURRENT; name two runs, or a baseline file and a run")
    file, notes = (rules, []) if rules or before.folder is not None else find_rules(Path(before.source))
    judged = judge(
        before, now, (read_rules(file) if file else Rules()) + given, level=level, strict=strict, accept=accept
    )
    judged = replace(judged, notes=(*notes, *judged.notes))
    print_gate(judged, everything=everything)
    for path, text in ((markdown, gate_markdown), (junit, gate_junit), (json_, gate_json)):
        if path:
            write_bytes(path, text(judged).encode("utf-8"))
    if github:
        for line in gate_annotations(judged):
            click.echo(line)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("a", encoding="utf-8") as out:
                out.write(gate_markdown(judged))
        except OSError as e:
            raise HengyuError(f"{summary}: cannot be written ({e.strerror or e}); check GITHUB_STEP_SUMMARY") from None
    raise SystemExit(judged.code)


def _end(kind: str, error: HengyuError, junit: Path | None) -> NoReturn:
    """Report why there is nothing to check, on GitHub as annotations and in the JUnit file as an error, and exit."""
    import os

    from hengyu.base.escapes import plain, workflow_message
    from hengyu.report.gate.junit import error_junit
    from hengyu.storage.records import write_bytes

    for problem in error.problems:
        click.echo(plain(f"error: {problem}"), err=True)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            click.echo(f"::error title=gate%3A {kind}::{workflow_message(problem)}")
    if junit:
        write_bytes(junit, error_junit(kind, error.problems).encode("utf-8"))
    click.echo(f"red: {EXIT_WORDS[kind]} (exit code {EXIT[kind]})")
    raise SystemExit(EXIT[kind])
