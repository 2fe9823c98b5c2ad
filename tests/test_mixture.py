"""Several splits to learn from at once, with a share of each: what is read, what a batch holds, what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.words import save_grades, sentences

from hengyu.base.errors import HengyuError
from hengyu.bench.run import run
from hengyu.bench.task_inputs import make_training_data
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.loop import _batches
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.tuners.cosent import CoSent
from hengyu.storage.records import load_run
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.mixture import Part, mixture, rows_of
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

SHARES = '{ "grades:train" = 0.5, "other:train" = 2 }'
WORD = "grades:train=0.5+other:train=2"
ENTRY = "cosent(lr=1e-3, batch=16, epochs=1)"
ROW = "cosent(lr=0.001, batch=16, epochs=1)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """Two cards: grades from 0 to 5, and another that is binary."""
    here = tmp_path_factory.mktemp("mixture")
    save_grades(here)
    rows = sentences(np.random.default_rng(5), 30)
    text = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in rows)
    (here / "other.tsv").write_text("sentence1\tsentence2\tlabel\n" + text, encoding="utf-8")
    card = 'name = "other"\nlabels = { scale = [0, 1], kind = "binary" }\n[splits.train]\nfile = "other.tsv"\n'
    (here / "other.toml").write_text(card, encoding="utf-8")
    shutil.copyfile(here / "test.tsv", here / "copy.tsv")
    copied = 'name = "copied"\nlabels = { scale = [0, 5] }\n[splits.train]\nfile = "copy.tsv"\n'
    (here / "copied.toml").write_text(copied, encoding="utf-8")
    shutil.copytree(tiny_bert, here / "model")
    return here


def plan_of(folder: Path, fit_on: str, entry: str = ENTRY) -> Any:
    (folder / "suites").mkdir(exist_ok=True)
    path = folder / "suites" / "mixed.toml"
    path.write_text(
        f'tasks = ["grades:test"]\nbaselines = []\nresamples = 50\nentries = [{{ entry = "{entry}", fit_on = {fit_on} }}]\n',
        encoding="utf-8",
    )
    return make_plan(replace(load_suite(path), encoders=(EncoderSpec(str(folder / "model")),)), datasets=[folder])


def test_the_table_is_a_word() -> None:
    assert mixture("train") == (Part("train"),)
    assert mixture(WORD) == (Part("grades:train", 0.5), Part("other:train", 2.0))
    assert "+".join(map(str, mixture(WORD))) == WORD
    assert mixture("a:train+b:train=1") == (Part("a:train"), Part("b:train"))


def test_a_share_is_spread_over_the_split() -> None:
    assert rows_of(7, 1.0).tolist() == list(range(7))
    assert rows_of(10, 0.5).tolist() == [0, 2, 4, 6, 8]
    assert rows_of(3, 2.0).tolist() == [0, 0, 1, 1, 2, 2]
    assert rows_of(5, 0.01).tolist() == [0]
    for n, share in ((101, 0.37), (50, 1.6)):
        found = rows_of(n, share)
        assert len(found) == round(n * share) and (np.diff(found) >= 0).all() and found[-1] < n
        assert set(np.bincount(found, minlength=n)) <= {int(share), int(share) + 1}


def test_what_a_mixture_holds(folder: Path) -> None:
    plan = plan_of(folder, SHARES)
    task = plan.tasks[0]
    fit = plan.fits[task.name, WORD]
    assert fit.splits == ("grades:train", "other:train")
    data = make_training_data(plan.texts, task, fit, plan.held.get(task.name))
    pairs, (grades, other) = data.pairs, [p.pairs for p in fit.parts]
    assert pairs is not None and pairs.groups is not None and data.held is not None
    assert len(pairs) == 40 + 60 and np.bincount(pairs.groups).tolist() == [40, 60]
    assert pairs.scale == (0.0, 1.0) and not pairs.binary
    want = [(grades.first[i], grades.second[i], grades.labels[i] / 5) for i in range(0, 80, 2)]
    want += [(other.first[i], other.second[i], other.labels[i]) for i in range(30) for _ in range(2)]
    got = [(data.texts[a], data.texts[b], y) for a, b, y in zip(pairs.first, pairs.second, pairs.labels, strict=True)]
    assert got == want
    counts = np.bincount(np.concatenate([pairs.first, pairs.second]), minlength=len(data.counts))
    assert counts.tolist() == data.counts.tolist()
    learned = {*fit.ids.tolist(), *task.ids.tolist()}
    assert set(range(len(plan.texts))) == learned  # no other sentence of the splits is encoded
    whole = plan_of(folder, '{ "grades:train" = 1, "other:train" = 2 }')
    assert len(whole.texts) > len(plan.texts)
    assert whole.fits[task.name, "grades:train+other:train=2"].digest != fit.digest


@pytest.mark.parametrize("entry", [ENTRY, "mnrl(batch=8, positive=0.5)", "simcse(batch=8)", "matryoshka(simcse)"])
def test_a_batch_is_of_one_card(folder: Path, entry: str) -> None:
    plan = plan_of(folder, SHARES)
    task = plan.tasks[0]
    data = make_training_data(plan.texts, task, plan.fits[task.name, WORD], None)
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folder / "model"))), "mean")
    trainable.open(dropout=0.1, length=64)
    method = parse_entry(entry).steps[0].make()
    objective = getattr(method, "core", method).make(trainable, data)
    if hasattr(method, "core"):
        objective = method.changed(objective, trainable)
    assert objective.groups is not None and len(objective.groups) == objective.size
    batches = list(_batches(objective.size, CoSent(batch=8, epochs=2), np.random.default_rng(0), objective.groups))
    assert all(len(set(objective.groups[b])) == 1 for b in batches)
    seen = np.bincount(np.concatenate(batches), minlength=objective.size)
    assert seen.max() == 2 and (seen == 2).sum() >= objective.size - 4  # a last one alone is left out
    own = [objective.groups[b][0] for b in batches[: len(batches) // 2]]
    assert own != sorted(own)  # the cards take turns


def test_a_task_may_learn_from_its_own_parts_alone(folder: Path) -> None:
    apart, whole = (plan_of(folder, f'"{WORD}{end}"') for end in ("-own", ""))
    (task,) = apart.tasks
    fit, every = apart.fits[task.name, f"{WORD}-own"], whole.fits[task.name, WORD]
    assert fit.splits == ("grades:train",) and every.splits == ("grades:train", "other:train")
    data = make_training_data(apart.texts, task, fit, None)
    assert data.pairs is not None and data.pairs.groups is None and data.cards == ("grades",)
    assert np.array_equal(fit.labels[0], every.labels[0])  # the same pairs as in the mixture
    assert len(data.pairs) == 40
    with pytest.raises(HengyuError, match="no part is of grades; add one, or leave -own out"):
        plan_of(folder, '"other:train=0.5+copied:train-own"')


def test_a_training_on_two_cards_is_a_row_like_any_other(folder: Path) -> None:
    plan = plan_of(folder, SHARES)
    found = load_run(
        run(plan, reports=folder / "out", store=VectorStore(folder / "v"), tuned=TunedStore(folder / "t")).folder
    )
    (row,) = [
        r for r in found.records if (r.metric, r.task, r.draw, r.entry) == ("spearman", "grades:test", False, ROW)
    ]
    assert (row.status, row.fit_on) == ("ok", WORD)
    (fit,) = [f for f in found.header["fits"] if f["entry"].startswith("cosent")]
    assert fit["fit_splits"] == ["grades:train", "other:train"] and fit["trained"][0]["steps"] == 3 + 4


@pytest.mark.parametrize(
    ("fit_on", "says"),
    [
        ('{ "grades:train" = 0.5, "copied:train" = 0.1 }', "evaluated on grades:test with labels it was trained on"),
        ('{ "grades:train" = 0 }', r"must lie in 0.0001..100, not 0"),
        ('{ "grades:train" = "half" }', "must be a table of splits and shares"),
        ("{ }", "must be a table of splits and shares"),
        ('"grades:train=half+other:train"', "'grades:train=half' is no split with a share; write it like ATEC:train=0.5"),
        ('"grades:train=0.5+"', "'' is no split with a share"),
        ('"grades:train+grades:train=0.5"', "names grades:train twice; keep one"),
        ('{ "grades:train" = 0.5, "other:dev" = 1 }', "other has no split 'dev'"),
        ('{ "grades:train" = 0.5, "nowhere:train" = 1 }', "nowhere"),
    ],
)  # fmt: skip
def test_what_is_refused(folder: Path, fit_on: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        plan_of(folder, fit_on)


def test_a_search_reads_no_part_of_another_split(folder: Path) -> None:
    from hengyu.tools.tuning.splits import _refuse_other_splits

    _refuse_other_splits("a:train=0.5+valid-distinct")
    with pytest.raises(HengyuError, match="a search reads no split but train and valid"):
        _refuse_other_splits("a:train=0.5+b:test")
