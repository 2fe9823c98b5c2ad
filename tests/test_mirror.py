"""A store and a run elsewhere: fetched and checked, sent with the mark of the whole last, and gone on with after a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress
from hengyu.base.remote import Mirror, Unreachable
from hengyu.cli import main
from hengyu.methods.grammar import parse_entry
from hengyu.storage.fits import FitStore
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore, text_keys

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
            HengyuError, match=r"^memory://.*cannot be written \(the line is dead\).*continues from there"
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
        ("s4://bucket/x", "'s4' is not a protocol that fsspec knows"),
        ("memry://bucket", "did you mean 'memory'"),
    ],
)
def test_a_place_that_cannot_be_had_is_one_sentence(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(HengyuError, match=said) as caught:
        VectorStore(tmp_path, Mirror(url)).space(MEANING).append(text_keys(["一"]), rows(1))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("protocol", ["s3", ("gs", "gcs")])
def test_no_bucket_is_made_out_of_a_name_that_may_be_a_slip(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch, protocol: Any
) -> None:
    def put(self: Any, here: str, there: str, **more: Any) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    def make(self: Any, *args: Any, **more: Any) -> None:
        pytest.fail("a bucket was made")

    monkeypatch.setattr(type(memory), "protocol", protocol)
    monkeypatch.setattr(type(memory), "put_file", put)
    monkeypatch.setattr(type(memory), "makedirs", make)
    with pytest.raises(HengyuError, match="cannot be written .The specified bucket does not exist."):
        store(tmp_path).space(MEANING).append(text_keys(["一"]), rows(1))


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
        words = ["run", "smoke", "--out", f"file://{tmp_path}/out", "--task", "hengyu-sts:valid", "--pooling", "mean"]
        words += ["--encoder", "hengyu-static"]
        done = CliRunner().invoke(main, [*words, "--entry", "whitening", "--quiet"], prog_name="hengyu")
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    assert "5 results computed, 0 reused" in weigh("one")
    (run,) = (tmp_path / "out" / "records").iterdir()
    before = {p.name: p.read_bytes() for p in run.rglob("*.*")}
    (tmp_path / "out" / "site" / run.name / "index.html").unlink()
    for path in sorted(run.glob("observations/*"))[:2]:
        path.unlink()
    assert "0 texts encoded, 2 results computed, 3 reused" in weigh("two")
    after = {p.name: p.read_bytes() for p in run.rglob("*.*")}
    assert after.keys() == before.keys() and len(after) > 10
    assert {n for n in after if after[n] != before[n]} <= {"timings.json", "environment.json"}
    assert (tmp_path / "out" / "site" / run.name / "index.html").is_file()


# --- trained methods and tuned encoders ---


def fit_store(machine: Path) -> FitStore:
    return FitStore(machine, Mirror("memory://bucket/fits"))


FIT = {"step": "flow", "rows": "a"}


def test_a_fit_made_on_one_machine_is_recalled_on_another(tmp_path: Path, memory: Any) -> None:
    fit_store(tmp_path / "one").keep(FIT, {"w": rows(3)}, {"report": {"loss": 1.0}})
    arrays, about = fit_store(tmp_path / "two").recall(FIT) or ({}, {})
    assert (arrays["w"] == rows(3)).all() and about["report"] == {"loss": 1.0}
    assert fit_store(tmp_path / "two").recall({**FIT, "rows": "b"}) is None
    memory.store.clear()
    fit_store(tmp_path / "two").recall(FIT)  # what is only here is sent
    assert fit_store(tmp_path / "three").recall(FIT)
    assert [len(fit_store(tmp_path / n).verify()) for n in ("one", "two", "three")] == [0, 0, 0]


def test_a_fit_that_has_changed_there_is_named_and_made_again(tmp_path: Path, memory: Any) -> None:
    from hengyu.methods.fit_cache import FitCache
    from hengyu.numerics.sample import Sample

    def fitted(machine: str) -> tuple[np.ndarray, list[str]]:
        said: list[str] = []
        progress = Progress(None)
        progress.say = said.append  # type: ignore[method-assign]
        step = parse_entry("flow(width=4, steps=3, depth=1)").steps[0]
        flow = step.make()
        sample = Sample.of(rows(64), np.ones(64, np.int64))
        FitCache(fit_store(tmp_path / machine), {"a": 1}, {"target": "x"}, progress).fit(
            flow, step, (), "target", sample
        )
        return flow(rows(5)), said

    first, said = fitted("one")
    assert said == ["fitting flow(depth=1, width=4, steps=3) on target"]
    second, said = fitted("two")
    assert said == [] and (second == first).all()
    (path,) = [p for p in memory.find("/bucket") if p.endswith(".safetensors")]
    whole = memory.cat_file(path)
    for place in range(0, len(whole), len(whole) // 30):
        memory.pipe_file(path, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        third, said = fitted(f"machine-{place}")
        assert said[0].startswith("warning: memory://bucket/fits/") and "fitting it again" in said[0]
        assert (third == first).all() and memory.cat_file(path) == whole
    assert not list(tmp_path.rglob(".draft-*"))


def test_a_line_that_is_dead_ends_the_run_and_trains_nothing_again(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(self: Any, *args: Any, **more: Any) -> None:
        raise OSError("the line is dead")

    monkeypatch.setattr(type(memory), "isfile", dead)
    with pytest.raises(Unreachable, match=r"memory://.*cannot be read \(the line is dead\)"):
        fit_store(tmp_path).recall(FIT)
    with pytest.raises(Unreachable, match="the line is dead"):
        TunedStore(tmp_path, Mirror(URL)).recall(FIT)


TUNED = {"step": "simcse", "encoder": {"fingerprint": "f"}}


def tuned_store(machine: Path) -> TunedStore:
    return TunedStore(machine, Mirror("memory://bucket/tuned"))


def tuned_draft(folder: Path) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "1_Pooling/config.json", "model.safetensors"):
        (folder / name).write_text(name, encoding="utf-8")
    return folder


def test_an_encoder_tuned_on_one_machine_is_recalled_on_another(tmp_path: Path, memory: Any) -> None:
    one, two = tuned_store(tmp_path / "one"), tuned_store(tmp_path / "two")
    one.keep(TUNED, {"loss": 0.5}, tuned_draft(tmp_path / "one" / ".draft"))
    assert two.recall(TUNED) == {"loss": 0.5}
    assert two.recall({**TUNED, "step": "other"}) is None
    names = {p.relative_to(one.root).as_posix(): p.read_bytes() for p in one.root.rglob("*") if p.is_file()}
    assert names == {p.relative_to(two.root).as_posix(): p.read_bytes() for p in two.root.rglob("*") if p.is_file()}
    assert len(names) == 4 and two.verify() == []
    memory.store.clear()
    two.recall(TUNED)  # what is only here is sent
    assert tuned_store(tmp_path / "three").recall(TUNED) == {"loss": 0.5}


def test_a_tuned_encoder_that_is_not_whole_there_is_named_and_not_taken(tmp_path: Path, memory: Any) -> None:
    tuned_store(tmp_path / "one").keep(TUNED, {}, tuned_draft(tmp_path / "one" / ".draft"))
    for number, path in enumerate(sorted(memory.find("/bucket"))):
        whole = memory.cat_file(path)
        for content in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2], None):
            if content is None:
                memory.rm(path)
            else:
                memory.pipe_file(path, content)
            own = tuned_store(tmp_path / f"own-{number}")
            if content is None and path.endswith("hengyu.json"):  # the mark of the whole
                assert own.recall(TUNED) is None
            else:
                with pytest.raises(HengyuError, match="memory://bucket/tuned/"):
                    own.recall(TUNED)
            assert not list(own.root.glob("*")) and not list(own.root.glob(".*"))
        memory.pipe_file(path, whole)


def test_a_tuned_encoder_elsewhere_cannot_name_files_outside_its_folder(tmp_path: Path, memory: Any) -> None:
    import json

    tuned_store(tmp_path / "one").keep(TUNED, {}, tuned_draft(tmp_path / "one" / ".draft"))
    (mark,) = [p for p in memory.find("/bucket") if p.endswith("hengyu.json")]
    about = json.loads(memory.cat_file(mark))
    for name in ("../../evil", "/etc/evil", "a/../../evil", ".hidden", "a\\b", ""):
        memory.pipe_file(mark, json.dumps({**about, "sha256": {name: "0"}}).encode())
        with pytest.raises(HengyuError, match="is unreadable, or of another encoder"):
            tuned_store(tmp_path / "two").recall(TUNED)
    assert not [p for p in (tmp_path / "two").rglob("*") if p.is_file()]


def test_trainings_go_where_the_vectors_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for at in (FitStore.at, lambda place: TunedStore.next_to(VectorStore.at(place))):
        assert at(URL).mirror in (Mirror(f"{URL}/fits"), Mirror(f"{URL}/tuned"))
        assert at(str(tmp_path / "folder")).mirror is None
    assert TunedStore.next_to(VectorStore.default()) == TunedStore.default()
    monkeypatch.setenv("HENGYU_CACHE", "memory://bucket")
    assert TunedStore.next_to(VectorStore.default()) == TunedStore.default()
    assert TunedStore.default().mirror == Mirror("memory://bucket/tuned")
    assert FitStore.default().mirror == Mirror("memory://bucket/fits")


def test_trainings_of_one_machine_are_not_repeated_on_another(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weigh(machine: str) -> tuple[str, bytes]:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / machine / "own"))
        monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path / machine / "reports"))
        words = ["run", "smoke", "--store", f"file://{tmp_path}/bucket", "--task", "hengyu-sts:valid"]
        words += ["--encoder", str(tiny_bert), "--pooling", "cls", "--entry", "flow(width=4, steps=5, depth=1)"]
        done = CliRunner().invoke(main, [*words, "--entry", "simcse(sentences=32, batch=16)"], prog_name="hengyu")
        assert done.exit_code == 0, (done.output, done.exception)
        (records,) = (tmp_path / machine).rglob("records.json")
        return done.stderr, records.read_bytes()

    said, first = weigh("one")
    assert "fitting flow" in said and "tuned tiny-bert" in said
    said, second = weigh("two")
    assert "fitting flow" not in said and "tuned tiny-bert" not in said and "0 texts encoded" in said
    assert second == first


def test_verify_names_what_is_damaged_elsewhere_and_repair_deletes_it(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    vectors, fits = VectorStore.at(URL), FitStore.at(URL)
    tuned = TunedStore.next_to(vectors)
    vectors.space(MEANING).append(text_keys(["一"]), rows(1))
    fits.keep(FIT, {"w": rows(3)}, {"report": {}})
    tuned.keep(TUNED, {}, tuned_draft(tuned.root / ".draft"))

    def store_command(word: str) -> Any:
        return CliRunner().invoke(main, ["store", word, "--store", URL], prog_name="hengyu")

    whole = store_command("verify")
    assert whole.exit_code == 0, whole.output
    victims = [
        next(p for p in memory.find("/bucket") if p.endswith(end))
        for end in ("vectors.npy", ".safetensors", "1_Pooling/config.json")
    ]
    for path in victims:
        content = memory.cat_file(path)
        memory.pipe_file(path, content[:-1] + bytes([content[-1] ^ 1]))
    found = store_command("verify")
    assert found.exit_code == 1 and "3 damaged files" in found.output, found.output
    for said in ("/vectors.npy has changed", "/fits/", "/tuned/", "config.json has changed"):
        assert said in found.output.replace(": vectors.npy", "/vectors.npy"), found.output
    mended = store_command("repair")
    assert mended.exit_code == 0 and mended.output.count("deleted memory://bucket/vectors/") == 3
    assert store_command("verify").exit_code == 0 and not set(victims) & set(memory.find("/bucket"))
    # what is whole here is sent anew
    assert VectorStore.at(URL).space(MEANING) and fits.recall(FIT) and tuned.recall(TUNED) == {}
    assert set(victims) <= set(memory.find("/bucket"))
