"""A flipped byte in whatever is kept is found and named, never weighed; what cannot be written is one sentence."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import forked
from test_killed import lay_out, surroundings

from hengyu.base.errors import HengyuError
from hengyu.bench.run import Outcome, run
from hengyu.cli import main
from hengyu.encoders import EncoderSpec
from hengyu.evaluation.gate.baselines import baseline_of, read_baseline, write_baseline
from hengyu.storage.fits import FitStore
from hengyu.storage.records import load_run
from hengyu.storage.records.observations import damaged_in
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

FLIPS = max(60, int(os.environ.get("HENGYU_SOAK", "0")) * 20)


def weigh(here: Path, own: Path) -> Outcome:
    suite = load_suite(here / "suite.toml").with_overrides(encoders=(EncoderSpec(str(here / "model")),))
    plan = make_plan(suite, datasets=[here / "cards"])
    return run(plan, reports=own / "reports", store=VectorStore(own / "vectors"), fits=FitStore(own / "fits"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> tuple[Path, Outcome]:
    here = lay_out(tmp_path_factory.mktemp("damage"), tiny_bert)
    return here, weigh(here, here)


def flips(path: Path, seed: int, number: int = FLIPS) -> Iterator[bytes]:
    """Flip one bit after another of a file, then put it back as it was; the first ones lie in its head."""
    whole = path.read_bytes()
    rng = random.Random(seed)
    at = [*range(min(len(whole), number // 3)), *(rng.randrange(len(whole)) for _ in range(number - number // 3))]
    try:
        for place in at:
            content = bytearray(whole)
            content[place] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
            yield bytes(content)
    finally:
        path.write_bytes(whole)


def told(path: Path, ask: Callable[[], object]) -> None:
    with pytest.raises(HengyuError) as caught:
        ask()
    assert all(str(path) in problem for problem in caught.value.problems), caught.value


@pytest.mark.parametrize("name", ["keys.npy", "vectors.npy", "sums.json"])
def test_in_the_vector_store(done: tuple[Path, Outcome], name: str) -> None:
    here, _ = done
    store = VectorStore(here / "vectors")
    victim = sorted((here / "vectors").rglob(name))[0]
    cache_key = json.loads((victim.parents[1] / "space.json").read_bytes())
    keys = np.load(victim.with_name("keys.npy"))
    for _ in flips(victim, 1):
        (damage,) = store.verify()
        assert damage.path.parent == victim.parent and (name == "sums.json" or damage.path == victim)
        told(victim.parent, lambda: store.space(cache_key).get(keys))
    assert store.verify() == []


def test_in_what_a_space_says_of_itself(done: tuple[Path, Outcome]) -> None:
    here, _ = done
    store = VectorStore(here / "vectors")
    victim = sorted((here / "vectors").rglob("space.json"))[0]
    for _ in flips(victim, 2):
        assert [d.path for d in store.verify()] == [victim]


def test_in_an_observation_and_in_a_fitted_state(done: tuple[Path, Outcome]) -> None:
    here, outcome = done
    victim = sorted((outcome.folder / "observations").iterdir())[1]
    for _ in flips(victim, 3):
        assert damaged_in(outcome.folder) == [victim]
    fits = FitStore(here / "fits")
    state = fits.files()[0]
    for _ in flips(state, 4):
        assert [d.path for d in fits.verify()] == [state]


@pytest.mark.parametrize("name", ["run.json", "records.json", "clouds.json", "labels.safetensors", "sums.json"])
def test_in_header_numbers_and_labels_of_a_run(done: tuple[Path, Outcome], name: str) -> None:
    victim = done[1].folder / name
    for _ in flips(victim, 5):
        told(victim if name != "sums.json" else victim.parent, lambda: load_run(victim.parent))
    load_run(victim.parent)


def test_in_a_baseline(done: tuple[Path, Outcome], tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    write_baseline(path, baseline_of(load_run(done[1].folder))[0])
    whole = read_baseline(path)
    for _ in flips(path, 6, 2 * FLIPS):
        try:
            same = read_baseline(path)
        except HengyuError as e:
            assert str(path) in str(e)
        else:  # what JSON does not tell apart, such as E for e in a number
            assert same.cells == whole.cells and same.tasks == whole.tasks


def test_a_baseline_of_before_there_were_digests_is_read(done: tuple[Path, Outcome], tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    write_baseline(path, baseline_of(load_run(done[1].folder))[0])
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"sha256": "' not in line[:12]), encoding="utf-8")
    assert "sha256" not in json.loads(path.read_bytes())
    assert read_baseline(path).cells


def test_verify_names_everything_and_after_repair_the_suite_mends_it(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = lay_out(tmp_path / "here", tiny_bert)
    monkeypatch.setenv("HENGYU_CACHE", str(here / "cache"))
    monkeypatch.setenv("HENGYU_REPORTS", str(here / "reports"))
    words = [
        "run",
        str(here / "suite.toml"),
        "--encoder",
        str(here / "model"),
        "--datasets",
        str(here / "cards"),
        "--quiet",
    ]
    hengyu = CliRunner()
    assert hengyu.invoke(main, words).exit_code == 0
    whole = {p.name: p.read_bytes() for p in here.rglob("records/*/*.json") if p.name in ("run.json", "records.json")}
    assert hengyu.invoke(main, ["store", "verify"]).exit_code == 0
    kept = [p for p in here.rglob("*") if "cache" in p.parts or "reports" in p.parts]
    victims = [
        next(p for p in sorted(kept) if p.match(pattern))
        for pattern in ("vectors/*/*/vectors.npy", "fits/*.safetensors", "observations/*.safetensors", "records.json")
    ]
    # a space that no longer says what it is, and a segment in it
    victims.append(victims[0].parents[1] / "space.json")
    for path in victims:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    found = hengyu.invoke(main, ["store", "verify"])
    assert found.exit_code == 1
    for path in victims:
        assert str(path) in found.stderr, found.stderr
    gate = hengyu.invoke(main, ["gate", "suite", "latest"])
    assert gate.exit_code in (2, 3) and "Traceback" not in gate.output
    mended = hengyu.invoke(main, ["store", "repair"])
    assert mended.exit_code == 0, mended.output
    assert "run the suite again" in mended.output
    assert hengyu.invoke(main, words).exit_code == 0
    assert hengyu.invoke(main, ["store", "verify"]).exit_code == 0
    for path in here.rglob("records/*/*.json"):
        if path.name in whole:
            assert path.read_bytes() == whole[path.name]


def test_the_gate_names_an_observation_that_has_changed(done: tuple[Path, Outcome], tmp_path: Path) -> None:
    from hengyu.evaluation.gate.gate import judge
    from hengyu.evaluation.run_metrics import scores_of

    folder = done[1].folder
    scores = scores_of(load_run(folder))
    victim = sorted((folder / "observations").iterdir())[0]
    for _ in flips(victim, 7, 6):
        assert any(str(victim) in note for note in judge(scores, scores).notes)


# --- what cannot be written ---


def test_a_disk_that_fills_up_at_any_write_is_one_sentence_and_loses_nothing(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = lay_out(tmp_path / "here", tiny_bert)
    whole = weigh(here, tmp_path / "whole")
    wanted = (whole.folder / "records.json").read_bytes()
    real, left = os.fsync, [0]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    own, finished, room = tmp_path / "own", -1, 1
    for _ in range(200):
        left[0] = room
        try:
            outcome = weigh(here, own)
        except HengyuError as e:
            (problem,) = e.problems
            assert "No space left on device" in problem and "kept" in problem
            assert not [p for p in own.rglob(".*") if p.is_file()], "a draft was left"
            kept = len(list(own.rglob("*.safetensors"))) + len(list(own.rglob("vectors.npy")))
            assert kept >= finished
            finished, room = kept, room + 3
        else:
            break
    else:
        pytest.fail("never finished")
    assert (outcome.folder / "records.json").read_bytes() == wanted


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from hengyu.cli import main
main(prog_name="hengyu")
"""


def test_a_limit_on_the_size_of_files_is_one_sentence(tmp_path: Path, tiny_bert: Path) -> None:
    pytest.importorskip("resource")
    here = lay_out(tmp_path / "here", tiny_bert)
    words = ["run", str(here / "suite.toml"), "--encoder", str(here / "model"), "--datasets", str(here / "cards")]
    environment = surroundings(HENGYU_CACHE=str(tmp_path / "cache"), HENGYU_REPORTS=str(tmp_path / "reports"))
    refused = forked.run(["4096", *words], program=LIMITED, env=environment)
    assert refused.returncode == 2, refused.stderr
    assert "Traceback" not in refused.stderr
    assert "cannot be stored" in refused.stderr and "what was stored before is kept" in refused.stderr


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder read-only; for root, whom no permission stops, by refusing what would write below it."""

    def close(folder: Path) -> None:
        if os.geteuid():
            for path in [*folder.rglob("*"), folder]:
                path.chmod(0o555 if path.is_dir() else 0o444)
            return
        import tempfile

        def guard(module: object, name: str) -> None:
            real = getattr(module, name)

            def refuse(*args: object, **more: object) -> object:
                target = more.get("dir") or (args[0] if args else "")
                if Path(str(target)).is_relative_to(folder):
                    raise PermissionError(errno.EROFS, "Read-only file system", str(target))
                return real(*args, **more)

            monkeypatch.setattr(module, name, refuse)

        guard(tempfile, "mkstemp")
        guard(os, "mkdir")
        guard(os, "unlink")

    return close


@pytest.mark.parametrize("where", ["vectors", "reports"])
def test_a_read_only_folder_is_one_sentence(
    tmp_path: Path, tiny_bert: Path, read_only: Callable[[Path], None], where: str
) -> None:
    here = lay_out(tmp_path / "here", tiny_bert)
    own = tmp_path / "own"
    (own / where).mkdir(parents=True)
    read_only(own / where)
    with pytest.raises(HengyuError) as caught:
        weigh(here, own)
    (problem,) = caught.value.problems
    assert str(own / where) in problem and ("Read-only" in problem or "Permission" in problem)


@pytest.mark.long
def test_with_everything_stored_a_read_only_store_is_no_obstacle(
    tmp_path: Path, tiny_bert: Path, read_only: Callable[[Path], None]
) -> None:
    here = lay_out(tmp_path / "here", tiny_bert)
    one = weigh(here, tmp_path / "own")
    wanted = (one.folder / "records.json").read_bytes()
    (tmp_path / "own" / "reports").rename(tmp_path / "before")
    read_only(tmp_path / "own" / "vectors")
    read_only(tmp_path / "own" / "fits")
    again = weigh(here, tmp_path / "own")
    assert again.encoded == 0
    assert (again.folder / "records.json").read_bytes() == wanted


@pytest.mark.long
def test_a_fit_that_cannot_be_kept_is_used_all_the_same(
    tmp_path: Path, tiny_bert: Path, read_only: Callable[[Path], None]
) -> None:
    here = lay_out(tmp_path / "here", tiny_bert)
    (tmp_path / "own" / "fits").mkdir(parents=True)
    read_only(tmp_path / "own" / "fits")
    outcome = weigh(here, tmp_path / "own")
    assert outcome.failures == [] and not FitStore(tmp_path / "own" / "fits").files()


# --- two at once ---


@pytest.mark.long
def test_two_runs_at_once_share_a_store_and_end_with_the_same_bytes(tmp_path: Path, tiny_bert: Path) -> None:
    here = lay_out(tmp_path / "here", tiny_bert)
    whole = weigh(here, tmp_path / "whole")
    wanted = (whole.folder / "records.json").read_bytes()
    environment = surroundings(HENGYU_CACHE=str(tmp_path / "cache"), HENGYU_REPORTS=str(tmp_path / "reports"))
    words = ["run", str(here / "suite.toml"), "--encoder", str(here / "model"), "--datasets", str(here / "cards")]
    command = [sys.executable, "-P", "-c", "from hengyu.cli import main; main(prog_name='hengyu')", *words, "--quiet"]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        _, error = process.communicate()
        assert process.returncode == 0, error
    (records,) = (tmp_path / "reports").rglob("records.json")
    assert records.read_bytes() == wanted
    load_run(records.parent)
    assert VectorStore(tmp_path / "cache" / "vectors").verify() == []
    assert damaged_in(records.parent) == []


def test_many_writers_of_one_space_leave_it_whole(tmp_path: Path) -> None:
    """Eight processes append overlapping texts at once; every vector is that of its text."""
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from hengyu.storage.vectors import VectorStore, text_keys\n"
        "rng = np.random.default_rng(int(sys.argv[2]))\n"
        "for _ in range(12):\n"
        "    ids = np.unique(rng.integers(0, 300, 40))\n"
        "    space = VectorStore(Path(sys.argv[1])).space({'a': 1})\n"
        "    keys = text_keys([str(i) for i in ids]); new = space.find(keys) < 0\n"
        "    space.append(keys[new], np.repeat(ids[new, None], 3, 1).astype(np.float32))\n"
    )
    writers = [forked.Process([str(tmp_path), str(i)], program=code, env=surroundings()) for i in range(8)]
    assert [w.wait() for w in writers] == [0] * 8
    from hengyu.storage.vectors import text_keys

    store = VectorStore(tmp_path)
    space = store.space({"a": 1})
    held = [i for i in range(300) if space.find(text_keys([str(i)]))[0] >= 0]
    assert len(held) > 200
    assert (space.get(text_keys([str(i) for i in held]))[:, 0] == np.array(held)).all()
    assert store.verify() == []
