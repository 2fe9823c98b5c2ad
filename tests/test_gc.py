"""`hengyu store gc` goes by last use, deletes nothing that a process uses, and what is deleted by hand is found missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import forked
from test_killed import lay_out, surroundings

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.storage.fits import FitStore
from hengyu.storage.in_use import hold, unused
from hengyu.storage.records import load_run
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vector_space import Vanished
from hengyu.storage.vectors import VectorStore, text_keys

MEANING = {"fingerprint": "abc", "pooling": "mean"}
KEYS = text_keys([f"句子{i}" for i in range(6)])
LONG_AGO = time.time() - 100 * 86400
HENGYU = [sys.executable, "-P", "-c", "from hengyu.cli import main; main(prog_name='hengyu')"]


def filled(root: Path) -> VectorStore:
    store = VectorStore(root)
    space = store.space(MEANING)
    for start in (0, 3):
        space.append(KEYS[start : start + 3], np.full((3, 2), start, np.float32))
    return store


def age(folder: Path) -> None:
    """Make everything in a folder look as if it had been written and used long ago."""
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (LONG_AGO, LONG_AGO))


def test_what_was_read_lately_stays_however_old_it_is(tmp_path: Path) -> None:
    store = filled(tmp_path)
    age(tmp_path)
    assert store.space(MEANING).get(KEYS).shape == (6, 2)
    assert store.gc(days=90) == 0 and len(store.space(MEANING)) == 6
    age(tmp_path)
    assert store.gc(days=90) > 0 and list(store.spaces()) == [] and list(tmp_path.iterdir()) == []


def test_a_fit_and_a_tuned_encoder_that_were_read_lately_stay(tmp_path: Path) -> None:
    fits, tuned = FitStore(tmp_path / "fits"), TunedStore(tmp_path / "tuned")
    for number in (1, 2):
        fits.keep({"n": number}, {"w": np.ones(2)}, {"report": {}})
        draft = tuned.root / ".draft-x"
        draft.mkdir(parents=True)
        (draft / "model.safetensors").write_bytes(b"weights")
        tuned.keep({"n": number}, {"loss": [1.0]}, draft)
    age(tmp_path)
    assert fits.recall({"n": 1}) and tuned.recall({"n": 1})
    assert fits.gc(days=90) > 0 and tuned.gc(days=90) > 0
    assert fits.recall({"n": 1}) and tuned.recall({"n": 1})
    assert fits.recall({"n": 2}) is None and tuned.recall({"n": 2}) is None


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_what_is_in_use_stays_and_is_let_go_of_with_its_user(tmp_path: Path) -> None:
    store = filled(tmp_path)
    user = store.space(MEANING)
    age(tmp_path)
    spared: list[Path] = []
    assert store.gc(0, spared.append) == 0 and spared == [user.folder]
    assert (user.get(KEYS)[:, 0] == [0, 0, 0, 3, 3, 3]).all()
    user.append(text_keys(["又一句"]), np.ones((1, 2), np.float32))
    del user
    assert store.gc(0) > 0 and list(store.spaces()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_another_process_holds_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    path.write_text("{}")
    code = "import sys, time; from pathlib import Path; from hengyu.storage.in_use import hold; h = hold(Path(sys.argv[1]));"
    code += "print('holds', flush=True); time.sleep(60)"
    other = forked.Process([str(path)], program=code, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"holds\n"
        with unused(path) as free:
            assert not free
        assert hold(path) is not None, "a second reader does not wait"
    finally:
        other.kill()
        other.wait()
    with unused(path) as free:
        assert free


def test_a_space_can_be_read_where_nothing_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)
    age(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    space = store.space(MEANING)
    assert len(space) == 6
    spared: list[Path] = []
    assert store.gc(90, spared.append) == 0 and spared == [space.folder]


def test_segments_deleted_by_hand_are_missing_and_encoded_again(tmp_path: Path) -> None:
    space = filled(tmp_path).space(MEANING)
    first = sorted(p for p in space.folder.iterdir() if p.is_dir())[0]
    shutil.rmtree(first)
    with pytest.raises(Vanished, match="deleted while they were in use; run the same command again"):
        space.get(KEYS)
    assert (space.find(KEYS) >= 0).tolist() == [False] * 3 + [True] * 3
    space.append(KEYS[:3], np.ones((3, 2), np.float32))
    assert space.find(KEYS).min() >= 0
    shutil.rmtree(space.folder)
    space.refresh()
    assert len(space) == 0 and space.dim is None
    space.append(KEYS, np.ones((6, 2), np.float32))
    assert len(VectorStore(tmp_path).space(MEANING)) == 6


@pytest.mark.parametrize("days", ["-1", "nan", "-inf", "inf", "-0.001"])
def test_days_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path))
    filled(tmp_path / "vectors")
    age(tmp_path)
    done = CliRunner().invoke(main, ["store", "gc", "--days", days])
    assert done.exit_code == 2 and "0 or more" in done.output, done.output
    assert len(VectorStore(tmp_path / "vectors").space(MEANING)) == 6
    for store in (VectorStore, FitStore, TunedStore):
        with pytest.raises(HengyuError, match="--days"):
            store(tmp_path / store.kind).gc(float(days))


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_an_evaluation_and_gc_at_the_same_time(tmp_path: Path, tiny_bert: Path) -> None:
    """While a run encodes, trains and evaluates, gc deletes what it can again and again; the numbers are the same."""
    here = lay_out(tmp_path / "here", tiny_bert)
    words = ["run", str(here / "suite.toml"), "--encoder", str(here / "model"), "--datasets", str(here / "cards")]
    alone = surroundings(HENGYU_CACHE=str(tmp_path / "one"), HENGYU_REPORTS=str(tmp_path / "alone"))
    subprocess.run([*HENGYU, *words, "--quiet"], env=alone, check=True, capture_output=True)
    cache = tmp_path / "cache"
    both = surroundings(HENGYU_CACHE=str(cache), HENGYU_REPORTS=str(tmp_path / "both"))
    run = subprocess.Popen([*HENGYU, *words, "--quiet"], env=both, stderr=subprocess.PIPE, text=True)
    rounds = 0
    stores = (VectorStore(cache / "vectors"), FitStore(cache / "fits"), TunedStore(cache / "tuned"))
    spared: list[Path] = []
    while run.poll() is None:
        for store in stores:
            store.gc(0, spared.append)
        rounds += 1
        time.sleep(0.002)
    assert run.returncode == 0, run.communicate()[1]
    (wanted,), (found,) = ((tmp_path / own).rglob("records.json") for own in ("alone", "both"))
    assert rounds > 10 and {p.parent.name for p in spared} >= {"vectors", "tuned"}
    assert found.read_bytes() == wanted.read_bytes()
    load_run(found.parent)
    for store in stores:
        store.gc(0)
    assert [p for store in stores for p in store.root.rglob("*")] == []
