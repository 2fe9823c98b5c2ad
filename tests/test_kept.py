"""What a second run does not do again: derive numbers, tokenise, bundle scripts; and when it must."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.words import sentences

import hengyu.bench.run as bench
from hengyu.base.paths import cache_dir
from hengyu.bench.run import Outcome, run
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.tokenizer import Tokenizer
from hengyu.report.page import page
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite


@pytest.fixture
def again(tmp_path: Path, tiny_bert: Path) -> Callable[..., Outcome]:
    """Run a small suite into one folder, with an option of the suite changed."""
    rows = [f"{a}\t{b}\t{y}" for a, b, y in sentences(np.random.default_rng(3), 40)]
    (tmp_path / "mine.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    card = 'name = "mine"\nlabels = { scale = [0, 5] }\nheader = false\n[splits.test]\nfile = "mine.tsv"\n'
    (tmp_path / "mine.toml").write_text(card, encoding="utf-8")
    (tmp_path / "s.toml").write_text('tasks = ["mine:test"]\nentries = ["raw", "center"]\nresamples = 20\n', "utf-8")

    def once(force: bool = False, **changed: object) -> Outcome:
        suite = replace(load_suite(tmp_path / "s.toml"), encoders=(EncoderSpec(str(tiny_bert)),), **changed)
        plan = make_plan(suite, datasets=[tmp_path])
        return run(plan, reports=tmp_path, store=VectorStore(tmp_path / "store"), force=force)

    return once


def test_numbers_are_derived_once(again: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    derive = bench.derive
    monkeypatch.setattr(bench, "derive", lambda *args: calls.append(None) or derive(*args))
    folder = again().folder
    first = (folder / "records.json").read_bytes()
    assert again().observed == 0
    assert len(calls) == 1
    assert (folder / "records.json").read_bytes() == first

    (folder / "sums.json").unlink()  # nothing shows that its numbers are as they were written
    again()
    content = json.loads(first)
    content["records"][0]["value"] = 0.99
    (folder / "records.json").write_text(json.dumps(content), "utf-8")
    again()
    assert (folder / "records.json").read_bytes() == first
    assert len(calls) == 3

    again(force=True)
    assert again(resamples=30).folder != folder
    assert len(calls) == 5


def test_what_tokenising_shows_is_kept_for_the_same_files_alone(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_bert, model)
    texts = ["今天天气真好", "她"]
    loads: list[str] = []
    load = Tokenizer._library.func
    monkeypatch.setattr(Tokenizer, "_library", property(lambda self: loads.append("") or load(self)))

    def look(**settings: object) -> tuple[str, tuple[float, float]]:
        encoder = open_encoder(EncoderSpec(str(model), **settings))
        return encoder.identity()["tokens"], encoder.read(texts)

    first = look()
    assert loads
    loads.clear()
    assert look() == first
    assert not loads
    assert look(prompt="意思：")[1][0] > first[1][0]
    assert look(trust_remote_code=True) == first
    assert len(loads) >= 2

    loads.clear()
    words = (model / "tokenizer.json").read_text("utf-8")
    known = json.loads(words)["model"]["vocab"]
    changed = words.replace(f'"今": {known["今"]}', f'"X": {known["今"]}')
    assert changed != words
    (model / "tokenizer.json").write_text(changed, "utf-8")
    tokens, (_, unknown) = look()
    assert loads
    assert tokens != first[0]
    assert unknown > first[1][1]


def test_a_kept_result_that_is_not_as_it_was_written_is_made_again(tiny_bert: Path) -> None:
    spec = EncoderSpec(str(tiny_bert))
    first = open_encoder(spec).identity()["tokens"]
    (kept,) = (cache_dir() / "tokens").iterdir()
    for content in ("{", "{}", '{"key": {}, "found": "0"}', kept.read_text("utf-8").replace(f'"{first}"', "7")):
        kept.write_text(content, "utf-8")
        assert open_encoder(spec).identity()["tokens"] == first


def test_the_kept_script_of_charts_is_checked(
    tmp_path: Path, bundled_scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vl_convert

    bundle = page._vega()
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: bundle)
    (kept,) = bundled_scripts.iterdir()
    content = kept.read_bytes()
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "other"))
    other = tmp_path / "other" / "vega" / kept.name
    other.parent.mkdir(parents=True)
    for damaged in (content.replace(b"window", b"widow", 1), content[:-9], b"", content.partition(b"\n")[2]):
        other.write_bytes(damaged)
        page._vega.cache_clear()
        assert page._vega() == bundle
        assert other.read_bytes() == content
