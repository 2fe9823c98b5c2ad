"""hengyu tune: a search for each tuner entry of a suite, on each of its encoders and poolings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import write_bytes
from hengyu.base.progress import Progress, silent
from hengyu.encoders import find_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.suite import Suite
from hengyu.tools.tuning.search import Budget, Found, require_optuna, search
from hengyu.tools.tuning.space import parse_search, seed_of, settings_of
from hengyu.tools.tuning.splits import resolve
from hengyu.tools.tuning.subject import Subject

__all__ = ["CHOSEN", "suite_line", "suite_lines", "tune"]

CHOSEN = "chosen.toml"
"""The file beside a table that has the chosen entry."""


def tune(
    suite: Suite,
    budget: Budget,
    root: Path,
    *,
    tasks: Sequence[str] = (),
    searched: Sequence[str] = (),
    data: Path | None = None,
    datasets: Sequence[Path] = (),
    offline: bool = False,
    progress: Progress = silent,
) -> list[Found]:
    """Search the settings of every tuner entry of a suite, and write the chosen ones; an interrupted search goes on.

    Args:
        suite: as it would be run; its tasks are replaced by the valid splits of their cards.
        budget: of all searches together; each gets the same share.
        root: the folder of the tables; each search has one below it, with trials.json, trials.csv and chosen.toml.
        tasks: cards to choose on, in place of the suite's.
        searched: what ``--search`` says.
        data: the folder of the tasks' files.
        datasets: folders of further cards.
        offline: never use the network.
        progress: what it says.

    Raises:
        HengyuError: before anything is trained, for anything that would read a split other than train and valid, a suite
            without a tuner, and a search space that does not fit; and if no trial of an entry can be completed.
    """
    require_optuna()
    if suite.kind != "sts":
        raise HengyuError(
            f"{suite.path}: is of kind '{suite.kind}', and hengyu tune takes suites of kind 'sts' alone: settings are chosen by "
            "Spearman; name one, and run its chosen entries in this suite"
        )
    specs = [e for e in suite.entries if e.entry.tuners]
    if not specs:
        raise HengyuError(
            f"{suite.path}: no entry trains an encoder, so there is nothing to tune; give one, like --entry cosent --fit-on train"
        )
    if apart := [e for e in specs if e.entry.similarity is not None]:
        specs = [e for e in specs if e.entry.similarity is None]
        if not specs:
            raise HengyuError(
                f"entry '{apart[0].entry}': settings are chosen by the cosine; leave 'by' and what follows out"
            )
        progress.say(f"not tuned: {len(apart)} entries under another similarity; settings are chosen by the cosine")
    spaces = {spec: parse_search(searched, spec.entry) for spec in specs}
    if fixed := [spec for spec in specs if not spaces[spec]]:
        specs = [spec for spec in specs if spaces[spec]]
        own = [f", like --search {key}=LOW..HIGH" for key in settings_of(fixed[0].entry)][:1]
        what = f"entry '{fixed[0].entry}' has no parameter that is searched by default; name some with --search{''.join(own)}"
        if not specs:
            raise HengyuError(what)
        progress.say(f"not tuned: {what}")
    found = resolve(suite, specs, named=tasks, data=data, datasets=datasets)
    progress.say(f"settings are chosen on {', '.join(f'{card}:valid' for card in found.cards)}; no test split is read")
    subjects: list[Subject] = []
    for encoder_spec in found.suite.encoders:
        encoder = find_encoder(encoder_spec, offline=offline)
        if not isinstance(encoder, HuggingFace):
            raise HengyuError(f"encoder '{encoder.id}' is not a model that can be trained; name another with --encoder")
        for pooling in suite.poolings:
            if reason := encoder.poolings.get(pooling, "is unknown"):
                raise HengyuError(f"encoder '{encoder.id}': pooling '{pooling}' is not available: {reason}")
            for spec in specs:
                if spec in suite.entries_for(encoder.id, pooling):
                    seed = seed_of(spec.entry.with_seed(suite.seed))
                    subjects.append(
                        Subject(
                            encoder,
                            pooling,
                            spec,
                            found.lessons[spec],
                            found.texts,
                            seed,
                        )
                    )
    each = replace(budget, seconds=budget.seconds / max(1, len(subjects)))
    done = []
    for subject in subjects:
        one = search(subject, spaces[subject.spec], each, root, progress=progress)
        write_bytes(one.table.root / CHOSEN, suite_lines([one]).encode("utf-8"))
        done.append(one)
    return done


def suite_line(found: Found) -> str:
    """Return the chosen entry as a line of a suite."""
    spec: SuiteEntry = found.subject.spec
    parts = [f"entry = {_toml(found.best.entry)}"]
    word = found.table.about["fit_on"]
    parts.append(f"fit_on = {_toml(word)}")
    if spec.dims:
        parts.append(f"dims = {json.dumps(spec.dims if spec.dims == 'all' else list(spec.dims))}")
    if spec.seeds > 1:
        parts.append(f"seeds = {spec.seeds}")
    for key in ("poolings", "encoders"):
        if getattr(spec, key):
            parts.append(f"{key} = [{', '.join(map(_toml, getattr(spec, key)))}]")
    return f"{{ {', '.join(parts)} }}"


def _toml(text: str) -> str:
    """Return a string of TOML: a literal one where that needs no escapes."""
    plain = "'" not in text and text.isprintable()
    return f"'{text}'" if '"' in text and plain else json.dumps(text, ensure_ascii=False)


def suite_lines(every: Sequence[Found]) -> str:
    """Return the chosen entries as the key ``entries`` of a suite, with where they come from."""
    lines = []
    for found in every:
        best, table = found.best, found.table
        own = table.trials[0].score
        before = "" if own is None else f", {100 * own:.2f} with the settings of the suite"
        chosen_on = " and ".join(table.about["chosen_on"])
        lines += [
            f"    # {table.about['encoder']}, {table.about['pooling']}: trial {best.number} of {len(table.trials)}, chosen on",
            f"    # {chosen_on}: Spearman {100 * (best.score or 0):.2f}{before}; the highest of several, so an optimistic estimate",
            f"    {suite_line(found)},",
        ]
    return "\n".join(["# written by hengyu tune", "entries = [", *lines, "]", ""])
