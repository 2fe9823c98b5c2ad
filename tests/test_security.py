"""The threat model of SECURITY.md, a test each: what comes from outside is data and nothing else."""

from __future__ import annotations

import ast
import contextlib
import gzip
import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import folders, forked, runs
from helpers.fakehub import REVISION, FakeHub
from test_killed import lay_out, surroundings

import hengyu
from hengyu.base import bounded
from hengyu.base.errors import HengyuError
from hengyu.cards import load_card, rows
from hengyu.cards.card import Columns
from hengyu.cards.hub import fetch
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.storage.records import load_run, write_json
from hengyu.storage.records.checksums import seal

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(hengyu.__file__).parent
HERE = Path(__file__).parent


# --- nothing is executed, nothing is pickled ---


def test_the_code_calls_nothing_that_executes_data() -> None:
    """No eval, no pickle under any name, no shell, no archive unpacked: read off the syntax tree."""
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "zipfile", "tarfile", "yaml"}
    calls = {"eval", "exec", "compile", "__import__"}
    attributes = {"os.system", "os.popen", "torch.load", "torch.save", "torch.hub", "yaml.load", "tempfile.mktemp"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert not modules & {a.name.split(".")[0] for a in node.names}, where
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in modules, where
            if isinstance(node, ast.Name):
                assert node.id not in calls, where
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert f"{node.value.id}.{node.attr}" not in attributes, where
            if isinstance(node, ast.Call):
                given = {k.arg: k.value for k in node.keywords}
                for word, harmless in (("shell", False), ("allow_pickle", False), ("trust_remote_code", None)):
                    if word in given and isinstance(given[word], ast.Constant):
                        assert given[word].value is harmless, where
                name = ast.unparse(node.func)
                if name in ("np.load", "np.save"):
                    assert "allow_pickle" in given, where


def test_commands_read_and_write_no_pickle_reach_no_network_and_write_where_they_should(
    tmp_path: Path, tiny_bert: Path
) -> None:
    """Libraries included: an audit hook ends the process at the first one."""
    here = lay_out(tmp_path / "here", tiny_bert)
    own = tmp_path / "own"
    environment = surroundings(
        HENGYU_CACHE=str(own / "cache"), HENGYU_REPORTS=str(own / "reports"), TMPDIR=str(own), HOME=str(own)
    )
    own.mkdir()
    commands = [
        [
            "run",
            str(here / "suite.toml"),
            "--encoder",
            str(here / "model"),
            "--datasets",
            str(here / "cards"),
            "--quiet",
        ],
        ["baseline", "latest"],
        ["gate", "suite", "latest", "--junit", str(own / "gate.xml")],
        ["report", "latest"],
    ]
    audited = HERE / "helpers" / "audited.py"
    for words in commands:
        given = [str(own), *words]
        if words[0] == "run":  # from its first import on
            command = [sys.executable, "-P", str(audited), *given]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
        else:
            done = forked.run(given, program=audited.read_text(encoding="utf-8"), env=environment)
        assert done.returncode == 0, done.stderr[-6000:]
    for path in own.rglob("*"):  # protocol and first opcode: two bytes alone may be the length of a safetensors header
        assert not path.is_file() or not re.match(rb"\x80[\x02-\x05][\x95(}\]c]", path.read_bytes()[:3]), path


def test_a_pickle_in_the_place_of_any_file_is_never_loaded(tmp_path: Path, tiny_bert: Path) -> None:
    mark = tmp_path / "executed"
    evil = pickle.dumps(folders.Evil(mark))
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "tokenizer.pkl"):
        (folder / name).write_bytes(evil)
    open_encoder(EncoderSpec(str(folder))).encode(["好"], ["mean"])
    (folder / "model.safetensors").write_bytes(evil)
    with pytest.raises(HengyuError, match="not a complete safetensors file"):
        open_encoder(EncoderSpec(str(folder))).encode(["好"], ["mean", "pooler"])
    from hengyu.storage.vectors import VectorStore

    space = tmp_path / "store" / "s"
    for part in ("keys.npy", "vectors.npy"):
        (space / "segment").mkdir(parents=True, exist_ok=True)
        (space / "segment" / part).write_bytes(evil)
    import hashlib

    write_json(
        space / "segment" / "sums.json", dict.fromkeys(("keys.npy", "vectors.npy"), hashlib.sha256(evil).hexdigest())
    )
    with pytest.raises((HengyuError, ValueError)):
        VectorStore(tmp_path / "store").space({}).__class__(space, {})
    assert not mark.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "x.pth", "x.ckpt", "x.pkl"])
def test_pickled_weights_are_refused_in_every_module(tmp_path: Path, tiny_bert: Path, name: str) -> None:
    inner = tmp_path / "routed" / "query_1_Dense"
    folders.router(tmp_path / "routed", tiny_bert, dense=True)
    open_encoder(EncoderSpec(str(tmp_path / "routed")))
    (inner / "model.safetensors").unlink()
    (inner / name).write_bytes(b"\x80\x04.")
    with pytest.raises(HengyuError, match="pickled weights are never loaded"):
        open_encoder(EncoderSpec(str(tmp_path / "routed")))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_local_model_does_not_run(tmp_path: Path, tiny_bert: Path, file: str) -> None:
    folder, mark = tmp_path / "model", tmp_path / "executed"
    shutil.copytree(tiny_bert, folder)
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n", encoding="utf-8")
    content = json.loads((folder / file).read_bytes())
    auto = {"AutoConfig": "evil.A", "AutoModel": "evil.B", "AutoTokenizer": ["evil.C", None]}
    (folder / file).write_text(json.dumps({**content, "auto_map": auto}), encoding="utf-8")
    with pytest.raises(HengyuError, match="runs its own code.*--trust-remote-code"):
        open_encoder(EncoderSpec(str(folder)))
    assert not mark.exists()


@pytest.mark.parametrize("kind", folders.HOSTILE)
def test_a_hostile_folder_is_refused_and_runs_nothing(
    tmp_path: Path, tiny_bert: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the commands; the folder is also where the command runs and first on the path, as ``python -m`` has it."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, mark = tmp_path / "model", tmp_path / "executed"
    folders.HOSTILE[kind](folder, tiny_bert, mark)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    texts = tmp_path / "texts.txt"
    texts.write_text("今天天气真好\n", encoding="utf-8")
    for words in (
        ["run", "smoke", "--task", "hengyu-sts:valid", "--encoder", str(folder), "--offline", "--quiet"],
        ["encode", str(texts), "--encoder", str(folder), "--out", str(tmp_path / "out.npy")],
        ["selfcheck", str(folder), "--limit", "4"],
    ):
        done = CliRunner().invoke(main, words)
        assert done.exit_code in (1, 2) and not mark.exists(), (words, done.output)
        assert isinstance(done.exception, SystemExit | HengyuError), done.exception
        assert re.search("refused|never loaded|leads out|get the model again", done.output), done.output
    with pytest.raises(HengyuError):
        open_encoder(EncoderSpec(str(folder))).encode(["好"], ["native"])
    assert not mark.exists()


def test_the_marks_of_hostile_folders_would_be_seen(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library itself runs the code when it is told to trust the folder."""
    from sentence_transformers import SentenceTransformer
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    for kind in ("Router class", "type of its own", "second transformer"):
        mark, folder = tmp_path / f"executed by {kind}", tmp_path / kind
        folders.HOSTILE[kind](folder, tiny_bert, mark)
        with contextlib.suppress(Exception):
            SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
        assert mark.exists(), kind


def test_no_file_can_trust_a_models_code(tmp_path: Path, tiny_bert: Path) -> None:
    folder, mark = tmp_path / "model", tmp_path / "executed"
    folders.HOSTILE["auto_map model"](folder, tiny_bert, mark)
    suite = tmp_path / "mine.toml"
    for value in ("true", '"yes"', "1"):
        suite.write_text(
            'tasks = ["hengyu-sts:valid"]\n'
            f"encoders = [{{ model = {json.dumps(str(folder))}, trust_remote_code = {value} }}]\n",
            encoding="utf-8",
        )
        for words in (["run", str(suite), "--quiet"], ["validate", str(suite)]):
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 2 and "hengyu run --trust-remote-code" in done.output, done.output
        with pytest.raises(HengyuError, match="--trust-remote-code"):
            hengyu.run(suite)
    suite.write_text(
        f'tasks = ["hengyu-sts:valid"]\nencoders = [{{ model = {json.dumps(str(folder))}, trust_remote_code = false }}]\n',
        encoding="utf-8",
    )
    with pytest.raises(HengyuError, match="runs its own code"):
        hengyu.run(suite)
    assert not mark.exists()


def test_code_that_a_user_trusts_is_part_of_the_fingerprint(tmp_path: Path, tiny_bert: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    (folder / "modeling.py").write_text("a = 1\n", encoding="utf-8")
    spec = EncoderSpec(str(folder), trust_remote_code=True)
    before = open_encoder(spec).folder.fingerprint
    (folder / "modeling.py").write_text("a = 2\n", encoding="utf-8")
    assert open_encoder(spec).folder.fingerprint != before
    assert (
        open_encoder(EncoderSpec(str(folder))).folder.fingerprint
        == open_encoder(EncoderSpec(str(tiny_bert))).folder.fingerprint
    )


# --- no path leads out ---

ESCAPES = ["../../x", "/etc/x", "..", ".hidden", "a/b", "a\\b", "", "x\n", "x\0"]


@pytest.mark.parametrize("name", ESCAPES)
def test_names_that_become_paths_are_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path / "own" / "reports"))
    run = runs.make_run(sweep=False)
    folder = runs.write_run(run, tmp_path / "own" / "reports")
    header = json.loads((folder / "run.json").read_bytes())
    before = {p for p in tmp_path.rglob("*")}
    for bad in ({**header, "run": name}, {**header, "suite": {**header["suite"], "name": name}}):
        write_json(folder / "run.json", bad)
        seal(folder)
        with pytest.raises(HengyuError, match="not as it was written"):
            load_run(folder)
        for words in (["report", str(folder)], ["baseline", str(folder)], ["export", str(folder)]):
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    assert {p for p in tmp_path.rglob("*")} == before
    suite = tmp_path / "suite.toml"
    suite.write_text(f'name = {json.dumps(name)}\ntasks = ["hengyu-sts:test"]\n', encoding="utf-8")
    card = tmp_path / "card.toml"
    card.write_text(
        f'name = {json.dumps(name)}\nlabels = {{ scale = [0, 5] }}\n[splits.{json.dumps(name)}]\nfile = "x.tsv"\n',
        encoding="utf-8",
    )
    for file in (suite, card):
        refused = CliRunner().invoke(main, ["validate", str(file)])
        assert refused.exit_code == 2 and str(file) in refused.stderr, refused.output


@pytest.mark.parametrize("file", ["../x.tsv", "/etc/passwd", "C:\\x.tsv", "a/../../x.tsv", "..\\x.tsv", "~/../x.tsv"])
def test_files_of_a_card_lie_below_it(tmp_path: Path, file: str) -> None:
    card = tmp_path / "card.toml"
    card.write_text(
        f'name = "x"\nlabels = {{ scale = [0, 5] }}\n[splits.test]\nfile = {json.dumps(file)}\n', encoding="utf-8"
    )
    with pytest.raises(HengyuError, match="must be a path below the card's folder"):
        load_card(card)


def test_a_repository_cannot_write_outside_the_cache(hub: FakeHub, tmp_path: Path) -> None:
    table = b"sentence1,sentence2,label\n" + "甲,乙,1\n丙,丁,2\n".encode()
    hub.repositories["owner/evil"] = {"../../../../test.csv": table, "/tmp/test.csv": table}
    card = tmp_path / "evil.toml"
    card.write_text(
        f'name = "evil"\nlabels = {{ scale = [0, 5] }}\n[hub]\nid = "owner/evil"\nrevision = "{REVISION}"\n'
        'columns = { label = "label" }\n[splits.test]\n',
        encoding="utf-8",
    )
    before = {p for p in tmp_path.parent.rglob("test.csv")}
    with pytest.raises(HengyuError):
        fetch(load_card(card), tmp_path / "cache")
    assert {p for p in tmp_path.parent.rglob("test.csv")} == before


def test_a_small_archive_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "DATA", 1 << 20)
    bomb = gzip.compress(b"a" * (64 << 20))
    with pytest.raises(HengyuError, match="unpacks to more than"):
        rows.read_rows(bomb, "x.tsv.gz", format="tsv", header=True, columns=Columns())


# --- what is shown ---

STEERING = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\u202e"


def test_nothing_from_outside_steers_the_terminal(tmp_path: Path) -> None:
    folder = runs.write_run(runs.make_run(sweep=False), tmp_path / "reports")
    for name in ("run.json", "records.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("示例编码器", json.dumps("示例" + STEERING)[1:-1]), encoding="utf-8")
    seal(folder)
    suite = tmp_path / "suite.toml"
    suite.write_text(f'tasks = ["hengyu-sts:test"]\nentries = [{json.dumps(STEERING)}]\n', encoding="utf-8")
    for words in (["gate", str(folder), str(folder)], ["validate", str(suite)], ["baseline", str(folder), "--show"]):
        done = CliRunner().invoke(main, words)
        assert not re.search("[\x1b\x07\x9b\r\u202e]", done.output), (words, done.output)
    from io import StringIO

    from rich.console import Console

    from hengyu.report.terminal import print_board

    out = StringIO()
    print_board(load_run(folder), Console(file=out, width=200))
    assert "示例" in out.getvalue() and not re.search("[\x1b\x07\x9b\u202e]", out.getvalue())


def test_security_is_written_down_and_names_these_tests() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for name in re.findall(r"tests/(test_\w+\.py)", text):
        assert (HERE / name).is_file(), name
    for word in ("pickle", "--trust-remote-code", "report a vulnerability", "content security policy"):
        assert word in text.casefold()
