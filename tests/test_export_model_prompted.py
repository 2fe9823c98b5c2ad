"""hengyu export-model of rows under a prompt: templates stand in the tokenizer, the mask's vector is a weighted mean of tokens."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.byothers import library_vectors
from helpers.words import save_grades

from hengyu.base.errors import HengyuError
from hengyu.bench.run import run as weigh
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.storage.records import Run, load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite
from hengyu.tools.export_model.fitted import refit
from hengyu.tools.export_model.row import choose

TEMPLATE, PREFIX = "“{text}”的意思是[MASK]。", "用[MASK]来说：{text}"
PROMPTBERT = "promptbert(lr=1e-3, sentences=64, batch=16, seed=1)"
LONG = "我们今天去公园散步" * 12  # more than the 64 tokens that the model takes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    here = tmp_path_factory.mktemp("take-prompted")
    save_grades(here)
    lines = (here / "test.tsv").read_text(encoding="utf-8").splitlines()
    head, first = lines[0], lines[1].split("\t")
    (here / "test.tsv").write_text("\n".join([head, "\t".join([LONG, *first[1:]]), *lines[2:]]), encoding="utf-8")
    shutil.copytree(tiny_bert, here / "model")
    return here


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests of this file share vectors and tuned encoders."""
    monkeypatch.setenv("HENGYU_CACHE", str(home / "cache"))


def weighed(home: Path, prompt: str, entries: str, poolings: str) -> Run:
    text = f'tasks = ["grades:test"]\nresamples = 20\nbaselines = []\npoolings = [{poolings}]\nentries = [{entries}]\n'
    suites = home / "suites"
    suites.mkdir(exist_ok=True)
    (suites / "prompted.toml").write_text(text, encoding="utf-8")
    suite = replace(load_suite(suites / "prompted.toml"), encoders=(EncoderSpec(str(home / "model"), prompt=prompt),))
    plan = make_plan(suite, datasets=[home])
    return load_run(weigh(plan, reports=home / "reports", store=VectorStore(home / "cache" / "vectors")).folder)


@pytest.mark.parametrize(
    ("prompt", "pooling", "entry"),
    [
        (TEMPLATE, "mask", PROMPTBERT),
        (TEMPLATE, "mask", f"{PROMPTBERT} > whitening(dim=8)"),
        (TEMPLATE, "mask", "p-tuning(lr=0.01, batch=16, sentences=64, seed=1)"),
        (TEMPLATE, "mask", "raw"),
        (PREFIX, "mask", "raw"),
        (TEMPLATE, "mean", "raw"),
        (TEMPLATE, "first-last-mean", "l2"),
    ],
)
def test_the_folder_gives_the_vectors_that_were_weighed(
    home: Path, tmp_path: Path, prompt: str, pooling: str, entry: str
) -> None:
    finished = weighed(home, prompt, f'"{entry}"', f'"{pooling}"')
    command = ["export-model", str(finished.path), "--row", f"{pooling} | {entry}", "--out", str(tmp_path / "model")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    ours = refit(finished, choose(finished, f"{pooling} | {entry}"))
    assert LONG in ours.texts
    theirs = library_vectors(tmp_path / "model", ours.texts)  # no code of ours is trusted
    assert np.abs(theirs - ours.vectors).max() < 1e-5 * np.abs(ours.vectors).max()
    types = [m["type"] for m in json.loads((tmp_path / "model" / "modules.json").read_bytes())]
    assert all(kind.startswith("sentence_transformers.") for kind in types)
    assert any(kind.endswith(".WordWeights") for kind in types) == (pooling == "mask")
    said = json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_bytes())
    assert (said.get("default_prompt_name") == "hengyu") == (prompt == PREFIX)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert ("added around a text by the tokenizer" in card) == (prompt == TEMPLATE)
    # weighed as a folder of somebody else's, its own vectors are the same
    again = open_encoder(EncoderSpec(str(tmp_path / "model"))).encode(list(ours.texts[:40]), ["native"])["native"]
    assert np.abs(again - ours.vectors[:40]).max() < 1e-5 * np.abs(ours.vectors).max()


def test_a_text_that_is_too_long_is_cut_and_its_template_is_not(home: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(home / "model"), prompt=TEMPLATE))
    (row, short), counts = encoder.tokenizer([LONG, "我们"])
    mask = encoder.tokenizer.mask_id
    assert len(row) == 64 and counts[:, 2].tolist() == [1, 0]
    assert row.count(mask) == 1 and row[-8:] == short[-8:] and row[:2] == short[:2]
    vectors = encoder.encode([LONG, LONG + "吧"], ["mask", "cls"])
    assert not np.array_equal(vectors["mask"], vectors["cls"])


def test_a_template_that_leaves_no_room_for_a_text_is_said(home: Path) -> None:
    spec = EncoderSpec(str(home / "model"), prompt=TEMPLATE, max_length=10)
    with pytest.raises(HengyuError, match="the prompt takes 10 tokens of 10, so no text fits; raise max_length"):
        open_encoder(spec).tokenizer(["我们"])
    (row,) = open_encoder(replace(spec, max_length=11)).tokenizer(["我们"])[0]
    assert len(row) == 11


def test_a_tokenizer_that_can_hold_no_template_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hengyu.tools.export_model.template import put_template

    class Body:
        tokenizer: Any = object()

    with pytest.raises(HengyuError, match="its tokenizer cannot hold a template; evaluate it with a prefix"):
        put_template(open_encoder(EncoderSpec(str(home / "model"), prompt=TEMPLATE)), Body())
