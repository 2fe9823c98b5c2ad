"""A store and a run elsewhere: fetched and checked, sent with the mark of the whole last, and gone on with after a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

from hengyu.cli import main
from hengyu.errors import HengyuError
from hengyu.mirror import Mirror
from hengyu.store import VectorStore, text_keys

MEANING = {"fingerprint": "f", "pooling": "mean"}
URL = "memory://bucket/vectors"


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    """The file system behind memory://, empty."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


def store(machine: Path) -> VectorStore:
    """The store at the URL, as a machine sees it that has its own folder."""
    return VectorStore(machine, Mirror(URL))


def rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


def test_what_one_machine_stores_another_one_has(tmp_path: Path) -> None:
    keys = text_keys([f"句{i}" for i in range(9)])
    one, two = store(tmp_path / "one").space(MEANING), store(tmp_path / "two").space(MEANING)
    one.append(keys[:5], rows(5))
    assert len(two) == 0
    two.refresh()
    assert (two.get(keys[:5]) == rows(5)).all()
    two.append(keys[5:], rows(4, 1))
    one.refresh()
    assert (one.get(keys) == np.concatenate([rows(5), rows(4, 1)])).all()
    late = store(tmp_path / "late")
    assert len(late.space(MEANING)) == 9
    assert late.verify() == [] and [s["vectors"] for s in late.info()] == [9]


def test_what_could_not_be_sent_is_not_there_and_goes_with_the_next_run(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = text_keys(["一", "二"])
    put = type(memory).put_file

    for enough in range(4):  # space.json, keys.npy, vectors.npy, sums.json
        left = iter(range(enough))

        def broken(self: Any, *args: Any, left: Iterator[int] = left, **more: Any) -> None:
            if next(left, None) is None:
                raise OSError("the line is dead")
            put(self, *args, **more)

        monkeypatch.setattr(type(memory), "put_file", broken)
        here = tmp_path / f"here-{enough}"
        with pytest.raises(
            HengyuError, match=r"^memory://.*cannot be written \(the line is dead\).*goes on from there"
        ):
            store(here).space({**MEANING, "enough": enough}).append(keys, rows(2))
        monkeypatch.undo()
        other = store(tmp_path / f"other-{enough}").space({**MEANING, "enough": enough})
        assert len(other) == 0  # what is half there is not there
        again = store(here).space({**MEANING, "enough": enough})
        assert (again.get(keys) == rows(2)).all()
        other.refresh()
        assert (other.get(keys) == rows(2)).all()


def test_a_changed_byte_is_named_and_half_a_mark_is_none(tmp_path: Path, memory: Any) -> None:
    store(tmp_path / "one").space(MEANING).append(text_keys(["一"]), rows(1))
    (vectors,) = [p for p in memory.find("/bucket") if p.endswith("vectors.npy")]
    whole = memory.cat_file(vectors)
    memory.pipe_file(vectors, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        HengyuError, match=r"memory://bucket/.*/vectors.npy: has changed since it was written.*; delete"
    ):
        store(tmp_path / "two").space(MEANING)
    memory.pipe_file(vectors, whole)
    mark = vectors.replace("vectors.npy", "sums.json")
    sums = memory.cat_file(mark)
    memory.pipe_file(mark, sums[: len(sums) // 2])
    assert len(store(tmp_path / "two").space(MEANING)) == 0
    memory.pipe_file(mark, sums)
    assert len(store(tmp_path / "two").space(MEANING)) == 1
    assert not list((tmp_path / "two").rglob(".draft-*"))


def test_names_that_lead_out_of_the_folder_are_not_taken(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/bucket/run/observations/good.safetensors", b"1")
    names = ["../evil", "observations/../../evil", "observations/.hidden", "observations/a\\b", "observations/"]
    found = ["/bucket/run/observations/good.safetensors", *(f"/bucket/run/{n}" for n in names)]
    monkeypatch.setattr(type(memory), "find", lambda self, *a, **k: found)
    mirror = Mirror("memory://bucket/run")
    assert mirror.files() == {"observations/good.safetensors"}
    mirror.exchange(tmp_path / "run", "observations")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["good.safetensors"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s4://bucket/x", "'s4' is no kind of place that fsspec knows"),
        ("memry://bucket", "did you mean 'memory'"),
    ],
)
def test_a_place_that_cannot_be_had_is_one_sentence(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(HengyuError, match=said) as caught:
        VectorStore(tmp_path, Mirror(url)).space(MEANING).append(text_keys(["一"]), rows(1))
    assert len(caught.value.problems) == 1


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    from importlib.util import find_spec

    if find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(HengyuError, match="Install s3fs to access S3"):
        VectorStore(tmp_path, Mirror("s3://bucket/x")).space(MEANING)


def test_a_run_goes_on_from_where_another_machine_left_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weigh(machine: str) -> str:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        monkeypatch.setenv("HENGYU_CACHE", f"file://{tmp_path}/bucket")
        words = ["run", "smoke", "--out", f"file://{tmp_path}/out", "--task", "hengyu-sts:valid", "--pooling", "cls"]
        done = CliRunner().invoke(main, [*words, "--entry", "whitening", "--quiet"], prog_name="hengyu")
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    assert "5 cells observed, 0 kept" in weigh("one")
    (run,) = (tmp_path / "out" / "records").iterdir()
    before = {p.name: p.read_bytes() for p in run.rglob("*.*")}
    (tmp_path / "out" / "site" / run.name / "index.html").unlink()
    for path in sorted(run.glob("observations/*"))[:2]:
        path.unlink()
    assert "0 texts encoded, 2 cells observed, 3 kept" in weigh("two")
    after = {p.name: p.read_bytes() for p in run.rglob("*.*")}
    assert after.keys() == before.keys() and len(after) > 10
    assert {n for n in after if after[n] != before[n]} <= {"timings.json", "environment.json"}
    assert (tmp_path / "out" / "site" / run.name / "index.html").is_file()
