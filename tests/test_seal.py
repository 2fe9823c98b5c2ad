"""The checksums of a run: what has changed, is gone, or is covered by none is reported and never passes for verified."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import runs

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.report.page.index import write_index
from hengyu.report.page.leaderboard import render
from hengyu.storage.records import load_run
from hengyu.storage.records.checksums import is_verified, seal, unverified, what_broke
from hengyu.storage.records.observations import save_labels
from hengyu.storage.tuned import TunedStore

NAMES = ("run.json", "records.json", "clouds.json", "labels.safetensors")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sealed run with labels, in a reports folder of its own."""
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
    found = runs.write_run(runs.make_run(sweep=False), tmp_path)
    save_labels(found, {"BQ:test": np.ones(3)})
    seal(found)
    return found


def test_a_whole_run_is_verified_everywhere(folder: Path) -> None:
    assert is_verified(folder) and unverified(folder) == "" and what_broke(folder) == {}
    assert load_run(folder).unverified == ""
    assert 'role="alert"' not in render(load_run(folder))
    done = CliRunner().invoke(main, ["store", "verify"])
    assert done.exit_code == 0, done.output


def test_a_run_without_checksums_is_read_but_never_passes_for_verified(folder: Path, tmp_path: Path) -> None:
    (folder / "sums.json").unlink()
    run = load_run(folder)
    assert not is_verified(folder) and str(folder / "sums.json") in run.unverified
    assert run.unverified.count(". ") == 0 and "run the suite again" in run.unverified
    page = render(run)
    assert 'role="alert" data-t>Not verified: no checksums' in page and str(folder) not in page
    index = write_index(tmp_path).read_text(encoding="utf-8")
    assert "not verified: no checksums" in index
    seal(folder)
    assert "not verified: no checksums</b>" not in write_index(tmp_path).read_text(encoding="utf-8")
    (folder / "sums.json").unlink()
    hengyu = CliRunner()
    verify = hengyu.invoke(main, ["store", "verify"])
    assert (
        verify.exit_code == 1 and f"{folder / 'sums.json'}: is missing, so the run cannot be verified" in verify.stderr
    )
    repair = hengyu.invoke(main, ["store", "repair"])
    assert repair.exit_code == 0 and "run the suite again" in repair.output and (folder / "records.json").is_file()
    for words in (["export", str(folder)], ["report", str(folder)]):
        done = hengyu.invoke(main, words)
        assert done.exit_code == 0 and "warning: not verified: " in done.stderr
    assert "Not verified" in hengyu.invoke(main, ["export", str(folder), "--format", "md"]).stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_the_checksums_name_and_that_is_gone_is_reported(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(HengyuError) as caught:
        load_run(folder)
    assert str(folder / name) in str(caught.value)
    assert not is_verified(folder)
    assert what_broke(folder) == {folder / name: "is missing, though sums.json names it"}


@pytest.mark.parametrize("content", ["{}", "[]", "null", "nonsense", '{"run.json": "0"}', '{"../x": "0"}'])
def test_checksums_that_name_too_little_are_none(folder: Path, content: str) -> None:
    (folder / "sums.json").write_text(content)
    with pytest.raises(HengyuError, match="sums.json: has changed since it was written"):
        load_run(folder)
    assert not is_verified(folder)


def test_a_file_that_was_put_there_later_is_reported(folder: Path) -> None:
    (folder / "relevance.safetensors").write_bytes(b"x")
    assert list(what_broke(folder)) == [folder / "relevance.safetensors"]
    with pytest.raises(HengyuError, match=r"relevance\.safetensors: has changed"):
        load_run(folder)


@pytest.mark.parametrize(
    ("key", "value"), [("report", {"prompt": "query: "}), ("sha256", {}), ("digest", "0" * 64), ("digest", None)]
)
def test_what_a_tuned_encoder_says_of_itself_is_under_a_checksum(tmp_path: Path, key: str, value: object) -> None:
    store = TunedStore(tmp_path)
    draft = tmp_path / ".draft-x"
    draft.mkdir()
    (draft / "model.safetensors").write_bytes(b"weights")
    store.keep({"n": 1}, {"prompt": "", "loss": [1.0]}, draft)
    assert store.verify() == [] and store.recall({"n": 1}) == {"prompt": "", "loss": [1.0]}
    (made,) = store.folders()
    whole = (made / "hengyu.json").read_text(encoding="utf-8")
    (made / "hengyu.json").write_text(json.dumps(json.loads(whole) | {key: value}), encoding="utf-8")
    assert [d.path for d in store.verify()] == [made / "hengyu.json"]
    with pytest.raises(HengyuError, match=r"hengyu\.json"):
        store.recall({"n": 1})
    (made / "hengyu.json").write_text(whole, encoding="utf-8")
    (made / "adapter_config.json").write_text("{}")
    assert [d.path for d in store.verify()] == [made / "adapter_config.json"]
