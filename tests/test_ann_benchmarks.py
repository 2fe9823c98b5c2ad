"""hengyu export --format ann-benchmarks: the layout of its datasets, and neighbours that its own measure finds right."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers.words import sentences

from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.storage.records import Run, load_run

KEPT: dict[str, Any] = {}


class FakeFile:
    """As much of h5py.File as is used; a .npz on disk stands for what is in it."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path, self.attrs, self.sets = path, {}, {}

    def __enter__(self) -> FakeFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(b"written")
        KEPT["attrs"], KEPT["sets"] = self.attrs, self.sets

    def create_dataset(self, name: str, shape: Any = None, dtype: Any = None, data: Any = None) -> Any:
        self.sets[name] = np.zeros(shape, dtype) if data is None else data
        return self.sets[name]


@pytest.fixture
def h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand for h5py, which is an extra."""
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=FakeFile))
    monkeypatch.setattr("hengyu.tools.ann_benchmarks.find_spec", lambda name: name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ann")
    rng = np.random.default_rng(5)
    lines = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in sentences(rng, 150))
    (root / "toy.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    (root / "toy.toml").write_text(
        'name = "toy"\nlabels = { scale = [0, 1], kind = "binary" }\n[splits.test]\nfile = "toy.tsv"\n',
        encoding="utf-8",
    )
    (root / "suite").mkdir()
    entries = ["flat", "whitening(dim=8) > lsh(bits=64)", "rabitq-flat > rescore(k=50)", "rrf(flat, bm25)"]
    (root / "suite" / "toy.toml").write_text(
        f'kind = "retrieval"\ntasks = ["toy:test"]\nresamples = 50\nentries = {json.dumps(entries)}\n', encoding="utf-8"
    )
    (root / "lines.txt").write_text("".join(f"{a}，{i}\n" for i, (a, _, _) in enumerate(sentences(rng, 40))))
    return root


@pytest.fixture(scope="module")
def run(folder: Path, tiny_bert: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
        words = ["run", folder / "suite" / "toy.toml", "--datasets", folder, "--encoder", tiny_bert, "--quiet"]
        words += ["--out", folder / "out", "--distractors", folder / "lines.txt"]
        done = CliRunner().invoke(main, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    path = next(x for x in done.stdout.splitlines() if x.startswith("records: ")).removeprefix("records: ")
    return load_run(Path(path))


def exported(run: Run, to: Path, *more: str) -> Result:
    KEPT.clear()
    return CliRunner().invoke(main, ["export", str(run.path), "--format", "ann-benchmarks", "--out", str(to), *more])


def test_the_file_is_laid_out_as_ann_benchmarks_reads_it(run: Run, tmp_path: Path, h5py: None) -> None:
    done = exported(run, tmp_path / "x.hdf5")
    assert done.exit_code == 0, done.output
    assert [p.name for p in tmp_path.iterdir() if "hdf5" in p.name] == ["x.hdf5"]
    head = run.header["tasks"][0]
    sets, n, q = KEPT["sets"], head["corpus"], head["queries"]
    assert KEPT["attrs"] == {"type": "dense", "distance": "angular", "dimension": 32, "point_type": "float"}
    assert {name: (x.shape, str(x.dtype)) for name, x in sets.items()} == {
        "train": ((n, 32), "float32"), "test": ((q, 32), "float32"),
        "neighbors": ((q, 100), "int32"), "distances": ((q, 100), "float32"),
    }  # fmt: skip
    # what ann-benchmarks computes itself: the angular distance of every pair, smallest first
    train, test = (sets[name].astype(np.float64) for name in ("train", "test"))
    assert np.linalg.norm(train, axis=1) == pytest.approx(1, abs=1e-6)
    distances = 1 - test @ train.T
    assert sets["distances"] == pytest.approx(np.sort(distances, axis=1)[:, :100], abs=1e-6)
    assert np.take_along_axis(distances, sets["neighbors"].astype(int), axis=1) == pytest.approx(
        sets["distances"], abs=1e-6
    )
    assert sets["distances"][:, 0] == pytest.approx(
        0, abs=1e-6
    )  # a query of a task of pairs is a document, and finds itself


def test_the_vectors_are_those_of_the_task_with_its_distractors(
    run: Run, folder: Path, tiny_bert: Path, tmp_path: Path, h5py: None
) -> None:
    assert exported(run, tmp_path / "x.hdf5", "--row", "flat").exit_code == 0
    last = (folder / "lines.txt").read_text(encoding="utf-8").splitlines()[-1]
    x = open_encoder(EncoderSpec(str(tiny_bert))).encode([last], ["mean"])["mean"][0].astype(np.float64)
    assert KEPT["sets"]["train"][-1] == pytest.approx(x / np.linalg.norm(x), abs=1e-5)


@pytest.mark.parametrize(("row", "dim"), [("whitening(dim=8) > lsh(bits=64)", 8), ("rabitq-flat > rescore(k=50)", 32)])
def test_a_row_gives_what_its_index_searches(run: Run, tmp_path: Path, h5py: None, row: str, dim: int) -> None:
    done = exported(run, tmp_path / "x.hdf5", "--row", f"{row} | mean")
    assert done.exit_code == 0, done.output
    assert KEPT["attrs"]["dimension"] == dim and KEPT["sets"]["train"].shape[1] == dim
    assert f"{row}" in done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--row", "rrf(flat, bm25)"), "no row has 'rrf(flat, bm25)'"),
        (("--row", "mean"), "matches 3 rows"),
        (("--task", "toy:valid"), "choose one of the run's tasks: toy:test"),
    ],
)
def test_a_row_without_vectors_is_refused(
    run: Run, tmp_path: Path, h5py: None, more: tuple[str, ...], said: str
) -> None:
    done = exported(run, tmp_path / "x.hdf5", *more)
    assert done.exit_code == 2 and said in done.stderr and not list(tmp_path.glob("*hdf5*"))


def test_data_that_has_changed_is_refused(run: Run, folder: Path, tmp_path: Path, h5py: None) -> None:
    for name, said in (("lines.txt", "the distractors are not those"), ("toy.tsv", "is not the file that run")):
        path = folder / name
        before = path.read_bytes()
        try:
            path.write_bytes(before + ("再来一句\t再来一句吧\t1\n" if name == "toy.tsv" else "再来一句\n").encode())
            done = exported(run, tmp_path / "x.hdf5")
        finally:
            path.write_bytes(before)
        assert done.exit_code == 2 and said in done.stderr, done.output


def test_without_h5py_the_extra_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hengyu.tools.ann_benchmarks.find_spec", lambda name: None)
    done = exported(run, tmp_path / "x.hdf5")
    assert done.exit_code == 2 and "pip install 'hengyu[ann]'" in done.stderr


def test_options_that_do_not_belong_together(run: Run, tmp_path: Path) -> None:
    for words in (
        ["--row", "flat"],
        ["--format", "ann-benchmarks"],
        ["--format", "ann-benchmarks", "--out", str(tmp_path)],
    ):
        done = CliRunner().invoke(main, ["export", str(run.path), *words])
        assert done.exit_code == 2 and "ann-benchmarks" in done.stderr


@pytest.mark.skipif(find_spec("h5py") is None, reason="h5py is an extra")
def test_h5py_reads_it_back(run: Run, tmp_path: Path) -> None:
    import h5py as library

    assert exported(run, tmp_path / "x.hdf5").exit_code == 0
    with library.File(tmp_path / "x.hdf5") as file:
        assert set(file) == {"train", "test", "neighbors", "distances"} and file.attrs["distance"] == "angular"
        distances = 1 - file["test"][:] @ file["train"][:].T
        assert file["distances"][:] == pytest.approx(np.sort(distances, axis=1)[:, :100], abs=1e-5)
