"""What is published names no place on this machine, and says by digests what the names stand for."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import runs
from helpers.words import sentences

from hengyu.base import environment
from hengyu.cli import main
from hengyu.report.exports.table import FORMATS, export
from hengyu.report.page.leaderboard import render
from hengyu.report.page.public import hide_paths, public, public_command
from hengyu.report.page.reproduce import data_digest, reproduce_sheet
from hengyu.storage.records import load_run

SUITE = """
tasks = ["toy:test"]
encoders = ["hengyu-mini"]
poolings = ["mean"]
resamples = 20
baselines = ["random"]
entries = [{ entry = "whitening(dim=8)", fit_on = "valid" }]
"""


def lay_out(folder: Path, model: Path) -> None:
    """Write a card, a suite and a model into folders whose names hold blanks."""
    cards = folder / "my cards"
    cards.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for split in ("test", "valid"):
        lines = "".join(f"{a}\t{b}\t{y}\n" for a, b, y in sentences(rng, 40))
        (cards / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    splits = "".join(f'[splits.{s}]\nfile = "{s}.tsv"\n' for s in ("test", "valid"))
    (cards / "toy.toml").write_text(f'name = "toy"\nlabels = {{ scale = [0, 5] }}\n{splits}', encoding="utf-8")
    (folder / "small.toml").write_text(SUITE, encoding="utf-8")
    shutil.copytree(model, folder / "my model")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> tuple[Path, Path]:
    """A folder whose path nothing published may show, and a run that was made with paths below it."""
    here = tmp_path_factory.mktemp("secret place")
    lay_out(here, tiny_bert)
    words = ["run", str(here / "small.toml"), "--encoder", f"{here / 'my model'}", "--datasets", str(here / "my cards")]
    words += ["--out", str(here / "reports"), f"--store={here / 'store'}", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["hengyu", *words])
        done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return here, Path(done.output.split("records: ")[1].splitlines()[0])


def test_nothing_published_of_a_run_shows_where_it_was_made(made: tuple[Path, Path], tmp_path: Path) -> None:
    here, folder = made
    run = load_run(folder)
    assert str(here) in run.environment["command"], "the run itself knows its paths"
    done = CliRunner().invoke(main, ["report", str(folder), "--out", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    texts = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "page").rglob("*") if p.is_file()}
    texts |= {p.as_posix(): p.read_text(encoding="utf-8") for p in (here / "reports" / "site").rglob("*.html")}
    texts |= {form: export(run, form) for form in FORMATS}
    assert len(texts) == 1 + 2 + len(FORMATS)
    for name, text in texts.items():
        for part in (str(here), here.name, str(here.parent), str(Path.home()) + "/", f"{Path.cwd()}/"):
            assert part not in text, f"{name} shows {part}"
    page = texts["index.html"]
    assert "hengyu run small.toml --encoder &#39;my model&#39; --datasets &#39;my cards&#39;" in page
    assert "--out" not in public(run).environment["command"] and "--store" not in public(run).environment["command"]


def test_a_row_says_what_was_read_with_what(made: tuple[Path, Path]) -> None:
    run = load_run(made[1])
    sheet = reproduce_sheet(public(run))
    (row,) = (dict(zip(sheet.heads, r, strict=True)) for r in sheet.rows if r[0] != "raw" and r[1] != "random")
    model = next(e for e in run.header["encoders"] if e["encoder"] == row["encoder"])
    assert (row["fingerprint"], row["dtype"]) == (model["fingerprint"], "float32")
    assert row["threads"] == run.environment["torch_threads"] and f"torch {run.environment['torch']}" in row["versions"]
    assert row["data as read"] == data_digest(run, "valid") != data_digest(run, "none")
    assert {r["task"]: r["rows"] for r in run.header["read"]} == {"toy:test": 40, "toy:valid": 40}
    page = render(run)
    for read in run.header["read"]:
        assert read["sha256"] in page and read["file_sha256"] in page
    suite = json.loads((made[1] / "sources.json").read_bytes())["suite"]
    assert suite["name"] == "small.toml" and suite["sha256"] in page


def test_other_columns_of_the_same_file_are_other_data(made: tuple[Path, Path], tmp_path: Path) -> None:
    from hengyu.bench.sources import splits_read
    from hengyu.suites.planning import make_plan
    from hengyu.suites.suite import load_suite

    here, folder = made
    cards = tmp_path / "cards"
    shutil.copytree(here / "my cards", cards)

    def read() -> dict[str, tuple[str, str]]:
        found = splits_read(make_plan(load_suite(here / "small.toml"), datasets=[cards]))
        return {r["task"]: (r["file_sha256"], r["sha256"]) for r in found}

    before = read()
    assert {r["task"]: (r["file_sha256"], r["sha256"]) for r in load_run(folder).header["read"]} == before
    card = cards / "toy.toml"
    columns = 'columns = { sentence1 = "sentence2", sentence2 = "sentence1", label = "label" }\n[splits.test]'
    card.write_text(card.read_text(encoding="utf-8").replace("[splits.test]", columns, 1), encoding="utf-8")
    after = read()
    for task in ("toy:test", "toy:valid"):
        assert after[task][0] == before[task][0] and after[task][1] != before[task][1]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/home/me/models/bge: has no weights", "bge: has no weights"),
        ("see '/srv/data/a.tsv', line 3", "see 'a.tsv', line 3"),
        ("(~/x/y.npy)", "(y.npy)"),
        ("at file:///srv/a/b.json now", "at b.json now"),
        (r"C:\Users\me\model is gone", "model is gone"),
        ("/secret place/here/model: gone", "model: gone"),
        ("BAAI/bge-m3 and/or 1/2 of km/h, https://a.org/b/c", "BAAI/bge-m3 and/or 1/2 of km/h, https://a.org/b/c"),
        ("</script><b>/</b> / //", "</script><b>/</b> / //"),
        ("whitening(dim=8) > flat", "whitening(dim=8) > flat"),
    ],
)
def test_a_path_becomes_its_last_part(text: str, wanted: str) -> None:
    assert hide_paths(text, [Path("/secret place/here")]) == wanted


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("hengyu run zh-sts --encoder BAAI/bge-m3", "hengyu run zh-sts --encoder BAAI/bge-m3"),
        ("hengyu run suites/mine.toml --data data", "hengyu run suites/mine.toml --data data"),
        ("hengyu run ../x/mine.toml --data=~/d --fresh", "hengyu run mine.toml --data=d --fresh"),
        (
            "hengyu run a --encoder 'mine=/a/b c/m' --entry 'pca(dim=8)'",
            "hengyu run a --encoder 'mine=m' --entry 'pca(dim=8)'",
        ),
        ("hengyu run a --store s3://key:secret@host/bucket --out /x --seed 1", "hengyu run a --seed 1"),
        (r"hengyu run 'C:\a\b.toml'", "hengyu run b.toml"),
        ("hengyu run 'unclosed /a/b/c", "hengyu run 'unclosed c"),
    ],
)
def test_a_command_keeps_names_alone(command: str, wanted: str) -> None:
    import shlex

    shown = public_command(command)
    assert shown == wanted or shlex.split(shown) == shlex.split(wanted)


def test_reasons_warnings_and_problems_hide_their_paths(tmp_path: Path) -> None:
    run = runs.make_run(sweep=False)
    bad = replace(run.records[0], status="failed", value=None, reason="/srv/secret/model: holds no weights")
    header = {**run.header, "warnings": ["read from /srv/secret/data.tsv"]}
    whole = replace(run, records=(bad, *run.records[1:]), header=header, environment={"python": "/srv/secret/python"})
    for text in (render(whole), *(export(whole, form) for form in FORMATS)):
        assert "/srv/" not in text and "secret" not in text
    assert "model: holds no weights" in export(whole, "csv")
    from hengyu.report.page.index import listed

    folder = runs.write_run(run, tmp_path)
    (folder / "run.json").write_text("{}")
    problem = listed(folder, tmp_path / "site").problem
    assert "run.json" in problem and str(tmp_path) not in problem


# --- the commit ---


def git(root: Path, *words: str) -> None:
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(root), *name, *words], check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A small clone with a package, whose every file is committed; no module of ours counts as loaded."""
    monkeypatch.setattr(environment, "_file_of", lambda module: "")
    root, package = tmp_path / "clone", tmp_path / "clone" / "runners" / "hengyu"
    (package / "methods").mkdir(parents=True)
    for folder in ("suites", "datasets", "docs", "reports/templates"):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.toml").write_text("a = 1\n")
    (package / "methods" / "pca.py").write_text("METHOD = 1\n")
    (root / ".gitignore").write_text("ignored.py\n__pycache__/\n*.tsv\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "all")
    return root, package


def test_a_commit_is_cited_only_for_the_code_that_ran(clone: tuple[Path, Path]) -> None:
    root, package = clone

    def dirty() -> bool:
        commit = environment.commit_of(root, package)
        assert len(commit.removesuffix("-dirty")) == 12
        return commit.endswith("-dirty")

    assert not dirty()
    for name in ("docs/notes.md", "new.txt", "datasets/big.tsv", "runners/hengyu/__pycache__/a.pyc"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        assert not dirty(), f"{name} makes no number"
    for name in (
        "runners/hengyu/methods/mine.py",
        "runners/hengyu/methods/ignored.py",
        "suites/mine.toml",
        "datasets/mine.toml",
        "reports/templates/mine.js",
    ):
        (root / name).write_text("x = 1\n")
        assert dirty(), name
        (root / name).unlink()
        assert not dirty()
    method = package / "methods" / "pca.py"
    for hide in (False, True):
        if hide:
            git(root, "update-index", "--assume-unchanged", "runners/hengyu/methods/pca.py")
        method.write_text("METHOD = 2\n")
        assert dirty(), "changed, whatever the index says of it"
        method.write_text("METHOD = 1\n")
    assert not dirty()


def test_code_from_elsewhere_is_in_no_commit(
    clone: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, package = clone
    outside = tmp_path / "mine.py"
    outside.write_text("METHOD = 3\n")
    monkeypatch.setattr(environment, "_file_of", lambda module: str(outside) if module is json else "")
    assert environment.commit_of(root, package).endswith("-dirty")


def test_without_git_there_is_no_commit(tmp_path: Path) -> None:
    assert environment.commit_of(tmp_path, tmp_path) == ""


def test_what_an_earlier_process_made_is_said(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    assert environment.begin(path, "hengyu run a") == []
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "torch": "1.0", "earlier": [{"numpy": "1.0"}]}))
    earlier = environment.begin(path, "hengyu run a --quiet")
    found = environment.environment("hengyu run a", earlier)["earlier"]
    assert found == [{"numpy": "1.0"}, {"torch": "1.0"}]
    assert json.loads(path.read_bytes())["earlier"] == found, "a process that is killed hands it on"
    assert "earlier" not in environment.environment("hengyu run a")
    run = replace(runs.make_run(sweep=False), environment={"torch": "2.0", "earlier": found})
    page = render(run)
    assert "numpy, of some rows" in page and "others for some rows" in page
    path.write_text("nonsense")
    assert environment.begin(path) == []
