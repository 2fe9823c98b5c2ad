"""The commands as a user types them, with the network cut off."""

import csv
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import forked

pytestmark = pytest.mark.usefixtures("page_scripts")

BLOCK = """
import socket

def refuse(*args, **kwargs):
    raise RuntimeError("the network was asked for")

socket.socket.connect = refuse
socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
"""


# what a test of processes needs of a run: one small task, one encoder and a few entries
SMALL = ("run", "smoke", "--task", "hengyu-sts:valid", "--pooling", "mean")
STATIC = ("--encoder", "hengyu-static")


MAIN = "from hengyu.cli import main; main(prog_name='hengyu')"


def hengyu(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that cannot reach any network."""
    return forked.run(words, program=BLOCK + MAIN, env={**os.environ, **environment})


def own_interpreter(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user's shell does, in an interpreter of its own that cannot reach any network."""
    folder = tmp_path / "site"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *(p for p in sys.path if p)])}
    return subprocess.run([sys.executable, "-c", MAIN, *words], env=environment, capture_output=True, text=True)


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 2, sentences on stderr, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for part in parts:
        assert part in done.stderr, done.stderr


@pytest.mark.long
def test_the_smoke_suite_runs_without_any_network_and_twice_the_same(tmp_path: Path) -> None:
    first = own_interpreter(tmp_path, "run", "smoke")
    assert first.returncode == 0, first.stderr
    assert "whitening(dim=32)" in first.stdout
    assert "tfidf" in first.stdout
    page = Path(re.search(r"leaderboard: (.*)", first.stdout)[1])  # type: ignore[index]
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>") or page.stat().st_size > 100_000
    second = hengyu("run", "smoke")
    assert "0 texts encoded, 0 results computed" in second.stderr
    assert second.stdout == first.stdout
    rows = list(csv.DictReader(io.StringIO(hengyu("export", "latest", "--format", "csv").stdout)))
    wanted = "suite task split encoder pooling entry dim metric value low high n ceiling fit_on seed seconds status"
    assert set(wanted.split()) <= set(rows[0])
    raw = [r for r in rows if (r["encoder"], r["pooling"], r["entry"]) == ("hengyu-mini", "mean", "raw")]
    spearman = next(r for r in raw if r["metric"] == "spearman" and r["split"] == "test")
    assert float(spearman["value"]) == pytest.approx(0.3324, abs=5e-4)
    assert float(spearman["low"]) < float(spearman["value"]) < float(spearman["high"])
    for kind in ("json", "md", "latex"):
        assert hengyu("export", "latest", "--format", kind).returncode == 0
    assert hengyu("store", "verify").returncode == 0
    victim = next(Path(os.environ["HENGYU_CACHE"]).rglob("vectors.npy"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x55")
    damaged = hengyu("store", "verify")
    assert damaged.returncode == 1
    assert str(victim) in damaged.stderr
    refused(hengyu("run", "smoke", "--force"), str(victim), "hengyu store repair")
    assert hengyu("store", "repair").returncode == 0
    mended = hengyu("run", "smoke")
    assert mended.returncode == 0
    assert mended.stdout == first.stdout


def test_mistakes_are_sentences(tmp_path: Path, tiny_bert: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('tasks = ["hengyu-sts:test"]\npooling = "mean"\nentries = ["whitening(dims=3)"]\n', encoding="utf-8")
    refused(own_interpreter(tmp_path, "run", "smok"), "did you mean 'smoke'")
    refused(hengyu("run", str(bad)), f"{bad}: key 'pooling'", "did you mean 'poolings'", "did you mean 'dim'")
    refused(hengyu("run", "zh-sts"), "LCQMC:test is not here", "hengyu fetch LCQMC", "--data DIR")
    refused(hengyu("run", "smoke", "--task", "hengyu-sts:tset"), "did you mean 'test'")
    refused(hengyu("run", "smoke", "--encoder", str(tmp_path)), "has no weights")
    refused(hengyu("run", "smoke", "--encoder", "owner/model"), "the network is off")
    refused(hengyu("run", "smoke", "--device", "warp"), "device 'warp' cannot be used")
    refused(hengyu("rnu"), "did you mean 'run'")
    refused(hengyu("export", "nothing"), "no run is called 'nothing'")
    latin = tmp_path / "latin"
    shutil.copytree(tiny_bert, latin)
    from transformers import BertTokenizer

    (latin / "tokenizer.json").unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "一"]
    (latin / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizer(str(latin / "vocab.txt"), model_max_length=64).save_pretrained(latin)
    refused(hengyu("run", "smoke", "--encoder", str(latin)), "of the tokens into [UNK]")


@pytest.mark.long
def test_a_dim_too_large_fails_its_row_and_nothing_else(tmp_path: Path, tiny_bert: Path) -> None:
    done = hengyu("run", "smoke", "--encoder", str(tiny_bert), "--entry", "pca(dim=99)", "--entry", "center")
    refused(done, "entry 'pca(dim=99)' failed", "dim=99 is larger than the 32 the vectors have")
    assert "center" in done.stdout
    assert Path(re.search(r"leaderboard: (.*)", done.stdout)[1]).is_file()  # type: ignore[index]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    words = (*SMALL, *STATIC, "--entry", "whitening", "--entry", "flow(steps=200)")
    process = forked.Process(words, program=BLOCK + MAIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    store = Path(os.environ["HENGYU_REPORTS"]) / "records"
    deadline = time.monotonic() + 90
    while not forked.wrote(store, ".safetensors") and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "the same command continues from there" in errors
    again = hengyu(*words)
    assert again.returncode == 0
    assert "0 texts encoded" in again.stderr
    assert not re.search(r" 0 reused", again.stderr)


def test_two_runs_at_once_on_one_store(tmp_path: Path, tiny_bert: Path) -> None:
    words = [*SMALL, "--encoder", str(tiny_bert), "--entry", "whitening", "--quiet", "--out"]
    both = [
        forked.Process([*words, str(tmp_path / name)], program=BLOCK + MAIN, stdout=subprocess.DEVNULL)
        for name in ("one", "two")
    ]
    assert [p.wait() for p in both] == [0, 0]
    one, two = (next((tmp_path / name).rglob("records.json")).read_bytes() for name in ("one", "two"))
    assert one == two
    assert hengyu("store", "verify").returncode == 0


def test_a_full_disk_while_storing_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(small)], capture_output=True
    ).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        refused(hengyu(*SMALL, *STATIC, HENGYU_CACHE=str(small)), str(small), "make room")
        verified = hengyu("store", "verify", HENGYU_CACHE=str(small))
        assert verified.returncode == 0, verified.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_help_groups_all_commands_and_cuts_no_sentence() -> None:
    from click.testing import CliRunner

    from hengyu.cli import main

    for width in (60, 80, 200):
        text = CliRunner().invoke(main, ["--help"], terminal_width=width).output
        text = text.split("\n", 1)[1]
        assert "..." not in text and "Commands:" not in text and "More:" not in text, "every command has its group"
        for name in main.list_commands(None):  # type: ignore[arg-type]
            line = next(line for line in text.splitlines() if line.split()[:1] == [name])
            assert line.startswith("  ") and line.split(maxsplit=1)[1][0].isupper()
