"""Training in two processes, as torchrun starts them: the result is that of one, and one of them writes it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.forked import Process
from helpers.words import save_grades
from safetensors.torch import load_file
from test_tuning import training_data_of
from torch import Tensor

from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.storage.records import load_run

PLAIN = "lr=1e-3, batch=16, dropout=0.0"
ENTRIES = [
    f"cosent({PLAIN}, epochs=1, clip=1.0)",
    f"simcse({PLAIN}, sentences=40, delete=0.3, fgm=0.1)",
    f"esimcse({PLAIN}, sentences=40, chunk=5)",
    f"matryoshka(mnrl({PLAIN}, epochs=1, positive=0.5, vat=0.3), dims=16)",
    f"sbert({PLAIN}, epochs=1, loss=classify, weissi=0.01, weight_noise=0.001)",
    f"tsdae({PLAIN}, sentences=16)",
    f"attention-pooling(cosent({PLAIN}, epochs=1, sentences=32))",
    f"whitening-layer(mnrl({PLAIN}, epochs=1, positive=0.5), dim=8, shrink=0.5)",
    f"whitening-layer(cosent({PLAIN}, epochs=1, sentences=32), dim=8, shrink=0.5, freeze=true)",
    f"cross-encoder({PLAIN}, epochs=1, sentences=32, vat=0.3)",
]
DROPOUT = "simcse(lr=1e-3, batch=16, sentences=40, dropout=0.3, vat=0.3)"
FAILS = "cosent(lr=0.1, batch=16, epochs=1, scale=1000, gradient_penalty=1.0)"

TRAINS = """
import json, os, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from test_tuning import training_data_of
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.base.errors import HengyuError
from hengyu.methods.training.distributed import Job, joined, shared_job
from hengyu.methods.training.model import TrainableEncoder

model, out, *entries = sys.argv[1:]
rank = os.environ["RANK"]
ended, reports = [], []
original = TrainableEncoder.open

def opened(self, **given):
    original(self, **given)
    ended.append(self)

TrainableEncoder.open = opened
slopes = []
step = torch.optim.Adam.step

def stepped(self, *given):
    if not self.state:
        slopes.append([p.grad.clone() for p in self.param_groups[0]["params"] if p.grad is not None])
    return step(self, *given)

torch.optim.Adam.step = stepped
if rank == "1" and os.environ.get("LACKS"):
    def lacking(self):
        raise HengyuError("there is no GPU here")
    Job.opened = lacking
with joined() as leads:
    for entry in entries if leads else ():
        encoder = open_encoder(EncoderSpec(model))
        method = parse_entry(entry).steps[0].make()
        try:
            with shared_job(encoder, "mean", entry, training_data_of(40)):
                method.tune(method.trainable(encoder, "mean"), training_data_of(40), lambda done: None)
            reports.append(method.report)
        except (ValueError, HengyuError) as e:
            print(e)
Path(out, f"reports-{rank}.json").write_text(json.dumps(reports))
for number, trainable in enumerate(ended):
    weights = {f"{k:04}": p.detach().contiguous() for k, p in enumerate(trainable.parameters())}
    save_file(weights, f"{out}/{number}-{rank}.safetensors")
for number, found in enumerate(slopes):
    save_file({"gradient": torch.cat([g.flatten() for g in found])}, f"{out}/gradient-{number}-{rank}.safetensors")
"""


def around(rank: int, port: int) -> dict[str, str]:
    """Return the environment that torchrun gives to one of two processes."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "none"}
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    numbers = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return {**os.environ, "PYTHONPATH": path, **where, **numbers}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def two(words: list[str], program: str = "", **changed: str) -> list[tuple[int, str, str]]:
    """Return the exit code and the output of the two processes of a command, or a program."""
    port = free_port()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [Process(words, program=program, env={**around(rank, port), **changed}, **pipes) for rank in range(2)]
    said = [p.communicate() for p in started]
    return [(p.wait(), *texts) for p, texts in zip(started, said, strict=True)]


def alone(model: Path, entry: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Tensor]:
    """Return the report of a training in this process, and the gradients of the first step."""
    slopes: list[Tensor] = []
    step = torch.optim.Adam.step

    def stepped(self: Any) -> Any:
        if not slopes:
            found = [p.grad for group in self.param_groups for p in group["params"]]
            slopes.append(torch.cat([g.flatten() for g in found if g is not None]))
        return step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", stepped)
    method = parse_entry(entry).steps[0].make()
    trainable = method.trainable(open_encoder(EncoderSpec(str(model))), "mean")
    method.tune(trainable, training_data_of(40), lambda done: None)
    return method.report, slopes[0]


@pytest.fixture(scope="module")
def trained(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The weights after each training in each of two processes, and what was said."""
    out = tmp_path_factory.mktemp("two")
    found = two([str(tiny_bert), str(out), *ENTRIES, DROPOUT, FAILS, DROPOUT], TRAINS)
    assert [code for code, *_ in found] == [0, 0], found
    return out, found[0][1]


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_two_processes_train_as_one(
    number: int, trained: tuple[Path, str], tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = trained[0]
    first, second = (load_file(out / f"{number}-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
    report, slope = alone(tiny_bert, ENTRIES[number], monkeypatch)
    found = load_file(out / f"gradient-{number}-0.safetensors")["gradient"]
    assert float((found - slope).norm() / slope.norm()) < 1e-4
    assert json.loads((out / "reports-0.json").read_text())[number]["loss"] == pytest.approx(report["loss"], rel=1e-2)


def test_two_processes_agree_with_dropout_and_after_a_failure(trained: tuple[Path, str]) -> None:
    out, said = trained
    for number in (len(ENTRIES), len(ENTRIES) + 2):
        first, second = (load_file(out / f"{number}-{rank}.safetensors") for rank in (0, 1))
        assert all(torch.equal(first[k], second[k]) for k in first)
    assert "gradient_penalty needs the whole batch in one process" in said
    again, before = (load_file(out / f"{len(ENTRIES) + k}-0.safetensors") for k in (2, 0))
    assert all(torch.equal(again[k], before[k]) for k in before)  # whatever was trained in between


def test_a_process_that_cannot_open_the_model_ends_the_training_of_all(tiny_bert: Path, tmp_path: Path) -> None:
    found = two([str(tiny_bert), str(tmp_path), ENTRIES[0]], TRAINS, LACKS="1")
    assert [code for code, *_ in found] == [0, 0], found
    assert "process 1 of torchrun: there is no GPU here" in found[0][1]
    assert json.loads((tmp_path / "reports-0.json").read_text()) == []


def test_a_command_is_run_by_one_of_them(tiny_bert: Path, tmp_path: Path) -> None:
    save_grades(tmp_path)
    words = ["run", "smoke", "--datasets", str(tmp_path), "--task", "grades:test", "--encoder", str(tiny_bert)]
    words += [
        "--pooling",
        "mean",
        "--entry",
        "cosent(batch=16, epochs=1)",
        "--fit-on",
        "train",
        "--out",
        str(tmp_path / "out"),
    ]
    (first, out, err), (second, *silent) = two(words, HENGYU_CACHE=str(tmp_path / "cache"))
    assert (first, second) == (0, 0), err
    assert "cosent(" in out and silent == ["", ""]
    (record,) = (tmp_path / "out" / "records").iterdir()
    rows = [c for c in load_run(record).records if "cosent" in c.entry]
    assert rows and all(c.status == "ok" for c in rows)


def test_what_two_processes_cannot_do_is_said() -> None:
    (code, _, err), _ = two(["tune", "training", "--trials", "1"])
    assert code == 2 and "hengyu tune works in one process; start it without torchrun" in err
    (code, _, err), _ = two(["run", "smoke", "--workers", "2"])
    assert code == 2 and "leave --executor and --workers out" in err
    (code, _, err), _ = two(["run", "smoke"], WORLD_SIZE="4")
    assert code == 2 and "give torchrun --nnodes 1" in err
