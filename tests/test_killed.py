"""Killed at any moment, twice at once, disk full, read-only: nothing that was finished is lost, and the bytes are the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.words import sentences

SUITE = """
name = "suite"
tasks = ["grades:test", "others:test"]
poolings = ["mean", "cls"]
resamples = 50
baselines = ["random"]
entries = ["raw", { entry = "whitening", dims = [4, 8] }, "flow(width=4, steps=10, depth=1)", { entry = "pca", dims = "all" },
           { entry = "simcse(sentences=32, batch=16, lr=1e-3) > center", poolings = ["mean"] }]
"""
RETRIEVAL = """
name = "found"
kind = "retrieval"
relevant = 4
tasks = ["others:test"]
resamples = 50
entries = ["flat", "lsh(bits=16)", "whitening(dim=8) > hnsw", "ivf(lists=4, probes=2)"]
"""
SOAK = int(os.environ.get("HENGYU_SOAK", "0"))


def lay_out(folder: Path, model: Path) -> Path:
    """Write two suites, two cards of our own and a model into a folder."""
    cards = folder / "cards"
    cards.mkdir(parents=True, exist_ok=True)
    for name, file, seed, pairs in (("grades", "test", 3, 120), ("others", "others", 4, 200)):
        text = "".join(f"{a}\t{b}\t{y}\n" for a, b, y in sentences(np.random.default_rng(seed), pairs))
        (cards / f"{file}.tsv").write_text("sentence1\tsentence2\tlabel\n" + text, encoding="utf-8")
        (cards / f"{name}.toml").write_text(
            f'name = "{name}"\nlabels = {{ scale = [0, 5] }}\n[splits.test]\nfile = "{file}.tsv"\n', encoding="utf-8"
        )
    (folder / "suite.toml").write_text(SUITE, encoding="utf-8")
    (folder / "found.toml").write_text(RETRIEVAL, encoding="utf-8")
    if not (folder / "model").is_dir():
        shutil.copytree(model, folder / "model")
    return folder


def surroundings(**more: str) -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {k: v for k, v in os.environ.items() if k != "TORCHINDUCTOR_CACHE_DIR"}  # torch sets it for its children
    return {**own, **one, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **more}


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_at_any_moment_the_next_run_ends_with_the_same_bytes(tmp_path: Path, tiny_bert: Path) -> None:
    here = lay_out(tmp_path / "here", tiny_bert)
    points = max(4, SOAK)
    command = [sys.executable, "-P", str(Path(__file__).parent / "helpers" / "mortal.py"), str(here), str(points), "20"]
    done = subprocess.run(command, env=surroundings(), capture_output=True, text=True)
    log = (here / "mortal.log").read_text(encoding="utf-8")[-3000:]
    assert done.returncode == 0, done.stderr + log
    lives = json.loads(done.stdout)
    for life in lives:
        assert life["status"] == 0 and life["same"], (life, log)
    assert lives[0]["files"] > 15
    killed = [kill for life in lives for kill in life["kills"] if kill.endswith("killed")]
    assert len(killed) >= points / 2, lives
