"""The main job end to end, on small data and a tiny model."""

import json
import shutil
import subprocess
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import forked
from helpers.words import sentences
from scipy.stats import spearmanr

from hengyu.base.errors import HengyuError
from hengyu.bench.observations import ObservationStore
from hengyu.bench.run import Outcome, run
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.storage.records import Record, Run, load_run
from hengyu.storage.records.observations import Observation, save_observation
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

SUITE = """
tasks = ["toy:test", "toy:train", "grades:test"]
poolings = ["mean", "cls"]
resamples = 200
entries = [
    "raw", "center", "standardize", "abtt(top=1)", "l2 > whitening(dim=4)", { entry = "whitening", dims = "all" },
    { entry = "pca", dims = [4, 8] }, { entry = "whitening(dim=8)", fit_on = "toy:valid" }, "truncate(dim=8)",
]
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A folder with two cards of our own, their files, a suite and a model; no test changes it."""
    tmp_path = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(5)
    lines = {}
    for split, n in (("train", 90), ("valid", 60), ("test", 120)):
        pairs = sentences(rng, n)
        lines[split] = "".join(f"{a}\t{b}\t{int(y > 2)}\n" for a, b, y in pairs)
        (tmp_path / f"toy.{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines[split], encoding="utf-8")
    graded = "".join(json.dumps({"a": a, "b": b, "s": y}, ensure_ascii=False) + "\n" for a, b, y in sentences(rng, 100))
    (tmp_path / "grades.jsonl").write_text(graded, encoding="utf-8")
    (tmp_path / "toy.toml").write_text(
        'name = "toy"\nlicence = "CC0-1.0"\nlabels = { scale = [0, 1], kind = "binary" }\n'
        + "".join(f'[splits.{s}]\nfile = "toy.{s}.tsv"\n' for s in ("train", "valid", "test")),
        encoding="utf-8",
    )
    (tmp_path / "grades.toml").write_text(
        'name = "grades"\nlabels = { scale = [0, 5] }\ncolumns = { sentence1 = "a", sentence2 = "b", label = "s" }\n'
        '[splits.test]\nfile = "grades.jsonl"\n',
        encoding="utf-8",
    )
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "toy.toml").write_text(SUITE, encoding="utf-8")
    shutil.copytree(tiny_bert, tmp_path / "model")
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path, original: Path) -> Path:
    """A copy of the folder for a test of its own."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("out", "store"))
    return tmp_path


@pytest.fixture(scope="module")
def finished(original: Path) -> Run:
    """The suite's run, for the tests that only read it."""
    return load_run(weigh(original).folder)


def weigh(folder: Path, *, force: bool = False, out: str = "out", store: str = "store", suite: str = "toy") -> Outcome:
    loaded = load_suite(folder / "suites" / f"{suite}.toml")
    plan = make_plan(replace(loaded, encoders=(EncoderSpec(str(folder / "model")),)), datasets=[folder])
    return run(plan, reports=folder / out, store=VectorStore(folder / store), force=force)


def find(records: tuple[Record, ...], **wanted: object) -> Record:
    """Return the one record of the board that fits; of the tiny model and Spearman unless said otherwise."""
    wanted = {"encoder": "model", "metric": "spearman", "sweep": False} | wanted
    found = [r for r in records if all(getattr(r, k) == v for k, v in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


def test_a_run_gives_the_numbers_of_a_plain_script(original: Path, finished: Run) -> None:
    pairs = load_pairs(load_cards([original])["toy"], "test")
    vectors = open_encoder(EncoderSpec(str(original / "model"))).encode([*pairs.first, *pairs.second], ["mean"])["mean"]
    x = vectors.astype(np.float64)
    n = len(pairs.labels)

    def rho(z: np.ndarray) -> float:
        a, b = z[:n], z[n:]
        return float(spearmanr((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1), pairs.labels)[0])

    mu, (u, s, _) = x.mean(axis=0), np.linalg.svd(np.cov(x.T))
    white = (x - mu) @ (u[:, :-1] / np.sqrt(s[:-1]))  # the last direction is the noise a LayerNorm leaves
    expected = {"raw": rho(x), "center": rho(x - mu), "whitening": rho(white), "whitening(dim=16)": rho(white[:, :16])}
    expected["truncate(dim=8)"] = rho(x[:, :8])
    for entry, value in expected.items():
        record = find(
            finished.records,
            task="toy:test",
            pooling="mean",
            entry=entry,
        )
        assert record.value == pytest.approx(value, abs=1e-6), entry
        assert record.low is not None and record.high is not None and record.low < value < record.high
        rate = float(pairs.labels.mean())
        assert record.ceiling == pytest.approx(np.sqrt(3 * rate * (1 - rate) * n**2 / (n**2 - 1)), abs=1e-12)
    swept = [r for r in finished.records if r.sweep and r.task == "toy:test" and r.pooling == "mean"]
    assert [r.dim for r in swept] == list(range(1, 32))
    assert swept[15].value == pytest.approx(expected["whitening(dim=16)"], abs=1e-9)


def test_every_row_has_its_delta_mean_and_provenance(finished: Run) -> None:
    records = finished.records
    raw = find(records, task="mean", entry="raw", pooling="cls")
    center = find(records, task="mean", entry="center", pooling="cls")
    assert center.value is not None and raw.value is not None
    assert center.delta == pytest.approx(center.value - raw.value)
    assert (
        center.delta_low is not None
        and center.delta_high is not None
        and center.delta_low <= center.delta <= center.delta_high
    )
    cells = [find(records, task=t, entry="raw", pooling="cls") for t in ("toy:test", "toy:train", "grades:test")]
    assert raw.value == pytest.approx(np.mean([c.value for c in cells]))
    weighted = find(records, task="w-mean", entry="raw", pooling="cls")
    assert weighted.value == pytest.approx(np.average([c.value for c in cells], weights=[c.n for c in cells]))
    joined = find(records, task="toy:w-avg", entry="raw", pooling="cls")
    assert joined.split == "test+train"
    assert joined.value == pytest.approx(np.average([c.value for c in cells[:2]], weights=[120, 90]))
    accuracy = find(records, task="toy:test", entry="raw", pooling="cls", metric="accuracy")
    assert accuracy.threshold_on == "toy:valid"
    assert {r.metric for r in records if r.task == "grades:test"} == {"spearman", "pearson", "ceiling-share"}
    assert {e["encoder"] for e in finished.header["encoders"]} == {"model", "random", "tfidf", "char-mean"}
    fit = next(
        f
        for f in finished.header["fits"]
        if f["entry"] == "whitening" and f["task"] == "toy:test" and f["pooling"] == "mean"
    )
    assert (fit["rank"], fit["dim"], fit["n"], fit["fit_splits"]) == (31, 32, 240, ["toy:test"])
    assert finished.environment["torch"]


def test_two_runs_give_the_same_bytes_and_the_second_encodes_nothing(folder: Path) -> None:
    one = weigh(folder)
    before = {p.name: p.read_bytes() for p in one.folder.glob("*.json")}
    two = weigh(folder)
    assert (two.encoded, two.observed) == (0, 0)
    assert two.kept == one.observed
    three = weigh(folder, out="elsewhere")
    assert three.encoded == 0
    four = weigh(folder, out="fresh", store="fresh-store")
    for again in (two, three, four):
        assert again.folder.name == one.folder.name
        for name in ("records.json", "run.json", "clouds.json"):
            assert (again.folder / name).read_bytes() == before[name]
    assert json.loads((two.folder / "timings.json").read_bytes()) == json.loads(before["timings.json"])


def test_a_killed_run_continues_and_ends_with_the_same_bytes(folder: Path, finished: Run) -> None:
    suite = ["run", str(folder / "suites" / "toy.toml"), "--encoder", str(folder / "model"), "--datasets", str(folder)]
    # on as many threads as the killed ones: the last bits of vectors depend on them
    forked.run([*suite, "--out", str(folder / "whole"), "--store", str(folder / "whole-store")], check=True)
    wanted = (folder / "whole" / "records" / finished.path.name / "records.json").read_bytes()
    words = [*suite, "--out", str(folder / "killed")]
    target = folder / "killed" / "records" / finished.path.name
    for enough in (1, 8, 20):
        process = forked.Process(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(target.glob("observations/*.safetensors"))) >= enough:
                process.kill()
                break
            time.sleep(0.002)
        process.wait()
    done = forked.run(words, check=True)
    assert "0 texts encoded" in done.stderr
    found = (target / "records.json").read_bytes()
    assert json.loads(found) == json.loads(wanted)  # says which number differs
    assert found == wanted


def test_a_damaged_observation_is_made_again(folder: Path) -> None:
    one = weigh(folder)
    wanted = (one.folder / "records.json").read_bytes()
    victim = sorted(one.folder.glob("observations/*"))[0]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 255
    victim.write_bytes(content)
    two = weigh(folder)
    assert (two.observed, two.kept) == (1, one.observed - 1)
    assert (two.folder / "records.json").read_bytes() == wanted


def test_a_row_with_a_hole_has_no_mean_and_a_failed_cell_its_reason(folder: Path) -> None:
    (folder / "suites" / "holes.toml").write_text(
        'tasks = ["toy:test", "grades:test"]\npoolings = ["mean", "mask"]\nresamples = 50\n'
        'entries = ["raw", "pca(dim=99)", "center"]\nbaselines = []\n',
        encoding="utf-8",
    )
    outcome = weigh(folder, suite="holes")
    assert len(outcome.failures) == 1
    assert "holes.toml: entry 'pca(dim=99)' failed for model, mean: dim=99 is larger than the 32" in outcome.failures[0]
    records = load_run(outcome.folder).records
    failed = find(records, task="toy:test", entry="pca(dim=99)")
    assert (failed.status, failed.value) == ("failed", None)
    mean = find(records, task="mean", entry="pca(dim=99)")
    assert (mean.status, mean.value) == ("incomplete", None)
    assert "toy:test, grades:test" in mean.reason
    missing = find(records, task="toy:test", pooling="mask")
    assert missing.status == "unavailable"
    assert "prompt" in missing.reason
    assert find(records, task="mean", entry="center", pooling="mean").status == "ok"


def test_constant_vectors_are_degenerate_never_nan(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model" / "model.safetensors")
    for name in list(weights):
        if name.endswith("LayerNorm.weight"):
            weights[name] = np.zeros_like(weights[name])  # every output is the bias: the same vector for any text
    for name in list(weights):
        if name.endswith("LayerNorm.bias"):
            weights[name] = np.ones_like(weights[name])
    save_file(weights, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    outcome = weigh(folder)
    assert outcome.failures == []
    text = (outcome.folder / "records.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    for entry in ("raw", "center", "whitening"):
        record = find(
            load_run(outcome.folder).records,
            task="toy:test",
            pooling="mean",
            entry=entry,
        )
        assert (record.status, record.value) == ("degenerate", None), entry
        assert record.reason


def test_an_entry_of_some_poolings_has_rows_under_those_alone(folder: Path, finished: Run) -> None:
    text = SUITE.replace('"center"', '{ entry = "center", poolings = ["cls"] }')
    (folder / "suites" / "some.toml").write_text(text, encoding="utf-8")
    every, some = finished.records, load_run(weigh(folder, suite="some").folder).records

    def rows(records: tuple[Record, ...]) -> dict[object, object]:
        return {
            (r.task, r.encoder, r.pooling, r.entry, r.metric, r.dim): r.value for r in records if r.metric != "rank"
        }

    left = {key for key in rows(every) if key[2:4] == ("mean", "center")}  # type: ignore[index]
    assert left
    assert rows(some) == {key: value for key, value in rows(every).items() if key not in left}


def test_mistakes_of_a_plan_are_told_at_once(folder: Path) -> None:
    (folder / "suites" / "bad.toml").write_text(
        'tasks = ["toy:tset", "tooy:test", "toy:test"]\nentries = ["raw", { entry = "whitening", fit_on = "dev" }]\n',
        encoding="utf-8",
    )
    with pytest.raises(HengyuError) as caught:
        weigh(folder, suite="bad")
    text = "\n".join(caught.value.problems)
    assert "toy:tset" in text and "tooy:test" in text and "fit_on 'dev'" in text and len(caught.value.problems) == 3


def test_two_encoders_of_one_name_are_refused(folder: Path) -> None:
    shutil.copytree(folder / "model", folder / "again" / "model")
    specs = (EncoderSpec(str(folder / "model")), EncoderSpec(str(folder / "again" / "model")))
    plan = make_plan(load_suite(folder / "suites" / "toy.toml").with_overrides(encoders=specs), datasets=[folder])
    with pytest.raises(HengyuError, match="two encoders are called 'model'"):
        run(plan, reports=folder / "out", store=VectorStore(folder / "store"))


def test_too_few_sentences_to_fit_on_are_warned_about(folder: Path) -> None:
    lines = (folder / "toy.train.tsv").read_text(encoding="utf-8").splitlines()[:11]
    (folder / "toy.train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "suites" / "few.toml").write_text(
        'tasks = ["toy:test"]\nresamples = 50\nbaselines = []\nfit_on = "train"\nentries = ["raw", "whitening"]\n',
        encoding="utf-8",
    )
    finished = load_run(weigh(folder, suite="few").folder)
    assert find(finished.records, task="toy:test", entry="whitening").status == "ok"
    (warning,) = [w for w in finished.header["warnings"] if "span" in w]
    assert "model, mean on toy:test, fit_on train: 20 sentences span only" in warning
    (warning,) = [w for w in finished.header["warnings"] if "items" in w]
    n = next(t["n"] for t in finished.header["tasks"] if t["task"] == "toy:test")
    assert warning == (
        f"toy:test has only {n} items: a difference between two methods must be about {100 / n**0.5:.0f} points to be significant; "
        "400 items would be enough to detect 5 points"
    )


def test_what_was_seen_is_read_back_one_task_after_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all similarities of a run are held at once: those of a task are gone when the next one's are read."""
    whole = weigh(folder)
    held: list[list[weakref.ref[Observation]]] = []
    read_back = ObservationStore.read_back

    def watched(store: ObservationStore, seen: list[Observation]) -> list[Observation]:
        assert not any(one() for task in held for one in task)
        assert all(o.similarity.size == o.threshold_similarity.size == len(o.sweep) == 0 for o in seen)
        found = read_back(store, seen)
        held.append([weakref.ref(o) for o, light in zip(found, seen, strict=True) if o is not light])
        return found

    monkeypatch.setattr(ObservationStore, "read_back", watched)
    again = weigh(folder, out="again")
    assert len(held) == 3 and all(map(len, held))
    assert (again.folder / "records.json").read_bytes() == (whole.folder / "records.json").read_bytes()


def test_an_observation_that_is_deleted_while_a_run_goes_on_is_told(tmp_path: Path) -> None:
    store, seen = ObservationStore(tmp_path), Observation({"task": "a:test"}, ("raw",), (2,), np.zeros((1, 3)))
    save_observation(store.folder, seen)
    (found,) = store.read_back([seen.bare])
    assert found.similarity.tolist() == [[0.0, 0.0, 0.0]]
    for path in store.folder.iterdir():
        path.unlink()
    with pytest.raises(HengyuError, match="was deleted while the run went on; run it again"):
        store.read_back([seen.bare])
