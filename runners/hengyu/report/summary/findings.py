"""What a run shows, in a few sentences that are made from its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hengyu.base.errors import HengyuError
from hengyu.evaluation.comparison import compare
from hengyu.report.board.cell import between, percent
from hengyu.report.summary.methods import MethodLine, Summary, summarise
from hengyu.report.summary.sentence import Sentence
from hengyu.storage.records import Run

__all__ = ["findings"]

_NAMED = 4  # encoders that one sentence names
_WHITENING = "whitening"


def findings(run: Run, summary: Summary | None = None, *, most: int = 4) -> list[Sentence]:
    """Return up to ``most`` sentences with intervals.

    They say which row is the best, for which encoder whitening helped, whether a flow added anything to it, and what smaller
    vectors cost. Where a run has nothing to say of these, the strongest baseline takes their place.
    """
    whole = summary or summarise(run)
    if not whole.rows:
        return []
    made = [*_best(whole), *_whitened(whole), *_flows(run, whole), *_bytes(whole), *_baselines(whole)]
    return made[:most]


def _steps(line: MethodLine) -> list[str]:
    return line.family.split(" > ")


def _plain(line: MethodLine, method: str, reference: str) -> bool:
    """Whether a row is a method alone, or before the index that is the reference."""
    steps = _steps(line)
    return method in steps and set(steps) <= {method, reference}


def _first(lines: Sequence[MethodLine], method: str, whole: Summary) -> MethodLine | None:
    return next((x for x in lines if _plain(x, method, whole.reference) and x.main.delta is not None), None)


def _whitened(whole: Summary) -> Iterator[Sentence]:
    """Say for which encoders whitening helps, each at its best row."""
    found = []
    for encoder in whole.encoders:
        one = _first([x for x in whole.rows if x.row[0] == encoder], _WHITENING, whole)
        if one:
            found.append(one)
    if not found:
        return
    if len(found) == 1:
        one = found[0]
        template = {
            1: "Whitening helps {encoder}: {entry} is {delta} over {reference}, which is significant.",
            -1: "Whitening hurts {encoder}: even at its best, {entry} is {delta} against {reference}, which is significant.",
            0: "Whitening does not help {encoder} significantly: at its best, {entry} is {delta} against {reference}.",
        }[one.clear]
        parts = {"encoder": one.row[0], "entry": _entry(one), "delta": one.delta, "reference": whole.reference}
        yield Sentence(template, parts)
        return
    groups = {way: [x for x in found if x.clear == way] for way in (1, -1, 0)}
    counts = {"helped": len(groups[1]), "hurt": len(groups[-1]), "same": len(groups[0]), "all": len(found)}
    named = ", ".join(f"{x.row[0]} {x.row[2]} {x.delta}" for x in found[:_NAMED])
    more = len(found) - _NAMED
    tail = " and {more} more" if more > 0 else ""
    yield Sentence(
        "Whitening at its best significantly helps {helped} of {all} encoders and hurts {hurt}: {named}" + tail + ".",
        {k: str(v) for k, v in counts.items()} | {"named": named, "more": str(more)},
    )


def _flows(run: Run, whole: Summary) -> Iterator[Sentence]:
    """Say whether a flow adds anything to whitening, under the same encoder and pooling."""
    flow = next((x for x in whole.rows if any("flow" in s for s in _steps(x)) and x.main.delta is not None), None)
    if flow is None:
        return
    same = [x for x in whole.rows if x.row[:2] == flow.row[:2]]
    alike = [x for x in same if x.main.dim == flow.main.dim]  # fewer dimensions are a method of their own
    white = _first(alike, _WHITENING, whole) or _first(same, _WHITENING, whole)
    parts = {"flow": _at(flow, whole), "delta": flow.delta, "reference": whole.reference}
    if white is None:
        template = {
            1: "The flow helps: {flow} is {delta} over {reference}, which is significant.",
            -1: "The flow hurts: {flow} is {delta} against {reference}, which is significant.",
            0: "The flow adds nothing significant: {flow} is {delta} against {reference}.",
        }[flow.clear]
        yield Sentence(template, parts)
        return
    found = _paired(run, flow, white, whole)
    if found is None:
        yield Sentence(
            "The flow {flow} is {delta} against {reference}; whitening ({whitening}) is {other}.",
            parts | {"whitening": _at(white, whole), "other": white.delta},
        )
        return
    delta, verdict = found
    if verdict == "better" and flow.clear < 0:
        yield Sentence(
            "The flow loses less than whitening: {flow} minus {whitening} is {delta}, which is significant; "
            "against {reference} it is {own}.",
            {"flow": _at(flow, whole), "whitening": _at(white, whole), "delta": delta, "own": flow.delta}
            | {"reference": whole.reference},
        )
        return
    template = {
        "better": "The flow is better than whitening: {flow} minus {whitening} is {delta}, which is significant.",
        "worse": "The flow is worse than whitening: {flow} minus {whitening} is {delta}, which is significant.",
    }.get(verdict, "The flow adds nothing significant to whitening: {flow} minus {whitening} is {delta}.")
    yield Sentence(template, {"flow": _at(flow, whole), "whitening": _at(white, whole), "delta": delta})


def _paired(run: Run, flow: MethodLine, white: MethodLine, whole: Summary) -> tuple[str, str] | None:
    """Return the paired difference of two rows on the main column with its verdict; None where it cannot be computed."""
    if flow.row[3] != white.row[3]:
        return None
    entries = [flow.row[2], white.row[2]]
    where = (whole.column, flow.row[0], flow.row[1], flow.row[3], *entries)
    for known in run.differences:  # the suite asks for it: the same number, without drawing it again
        if where == (known.task, known.encoder, known.pooling, known.fit_on, known.entry, known.against):
            numbers = (percent(known.value, signed=True), between(known.low, known.high, signed=True))
            return " ".join(numbers), known.verdict
    chosen = {"entry": entries, "encoder": [flow.row[0]], "pooling": [flow.row[1]], "fit_on": [flow.row[3]]}
    try:
        lines = compare(run, chosen=chosen).lines
    except HengyuError:
        return None
    for line in lines:
        if line.first.task == whole.column and line.test == "paired":
            numbers = (percent(line.difference, signed=True), between(line.low, line.high, signed=True))
            return " ".join(numbers), line.verdict
    return None


def _bytes(whole: Summary) -> Iterator[Sentence]:
    """Say what the smallest vectors cost, under the encoder of the best row."""
    top = whole.top
    if top is None:
        return
    sized = [x for x in whole.rows if x.row[0] == top.row[0] and x.main.bytes and not (x.baseline or x.unranked)]
    full = max((x.main.bytes or 0 for x in [x for x in sized if x.reference] or sized), default=0)
    smaller = [x for x in sized if (x.main.bytes or 0) < full and x.main.delta is not None]
    if not smaller:
        return
    kept = [x for x in smaller if x.clear >= 0]
    parts = {"reference": whole.reference, "full": f"{full:,}"}
    if kept:
        one = min(kept, key=lambda x: (x.main.bytes or 0, -x.value))
        parts |= {"bytes": f"{one.main.bytes:,}", "entry": _at(one, whole), "delta": one.delta}
        yield Sentence(
            "With {bytes} bytes a vector instead of {full}, no significant loss was found: {entry} is {delta} against {reference}.",
            parts,
        )
        return
    one = max(smaller, key=lambda x: x.main.delta or 0.0)
    parts |= {"bytes": f"{one.main.bytes:,}", "entry": _at(one, whole), "delta": one.delta}
    yield Sentence(
        "Every vector smaller than {full} bytes loses significantly; the smallest loss is {delta} at {bytes} bytes ({entry}).",
        parts,
    )


def _best(whole: Summary) -> Iterator[Sentence]:
    top = whole.top
    if top is None:
        return
    tied = sum(x.standing.tied for x in whole.rows if x.standing and x is not top)
    parts = {"entry": _entry(top), "encoder": top.row[0], "score": top.score, "metric": whole.metric}
    if top.standing is None:
        yield Sentence("The best row is {entry} of {encoder}: {metric} {score}.", parts)
        return
    more = {
        0: "The best row is {entry} of {encoder}: {metric} {score}; every other row is significantly worse.",
        1: "The best row is {entry} of {encoder}: {metric} {score}; one other row is not significantly worse.",
    }
    many = "The best row is {entry} of {encoder}: {metric} {score}; {tied} other rows are not significantly worse."
    yield Sentence(more.get(tied, many), parts | {"tied": str(tied)})


def _baselines(whole: Summary) -> Iterator[Sentence]:
    strongest = next((x for x in whole.rows if x.baseline and not x.unranked), None)
    if strongest is None or whole.top is None or whole.top.baseline:
        return
    parts = {"baseline": strongest.name, "score": strongest.score, "metric": whole.metric}
    above = strongest.value > whole.top.value
    yield Sentence(
        "The baseline {baseline}, which uses no model, is above every method: {metric} {score}."
        if above
        else "The strongest baseline without a model is {baseline}: {metric} {score}.",
        parts,
    )


def _entry(line: MethodLine) -> str:
    """Return an entry with its pooling, where it has one."""
    return f"{line.row[2]} ({line.row[1]})" if line.row[1] not in ("", "-") else line.row[2]


def _at(line: MethodLine, whole: Summary) -> str:
    """Return an entry with its pooling, and its encoder where there are several."""
    if len(whole.encoders) < 2 or line.baseline:
        return _entry(line)
    return f"{line.row[2]} ({', '.join(x for x in line.row[:2] if x not in ('', '-'))})"
