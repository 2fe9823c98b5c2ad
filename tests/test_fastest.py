"""The backend "auto": the fastest engine whose vectors are PyTorch's, chosen once and recorded by its own name."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import sentences
from rich.console import Console

from hengyu.base.progress import Progress
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, fastest, huggingface, open_encoder
from hengyu.encoders.fastest import TOLERANCE, choose_backend, typical_texts, with_backends
from hengyu.encoders.huggingface import HuggingFace
from hengyu.report.page.reproduce import command_of_row
from hengyu.storage.records import load_run

ALL = ("onnx", "openvino", "torch")


class Engines:
    """Engines that were not run: the speed of each, and by how much its vectors are off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.speed = {"torch": 100.0, "onnx": 200.0, "openvino": 300.0}
        self.off = dict.fromkeys(ALL, 0.0)
        self.here: Sequence[str] = ALL
        self.measured: list[str] = []
        monkeypatch.setattr(fastest, "_measure", self.measure)
        monkeypatch.setattr(fastest, "_installed", lambda name: name in self.here)
        monkeypatch.setattr("hengyu.base.environment._GPUS", ())
        monkeypatch.setattr(huggingface, "export", lambda model, *_, **__: model)

    def measure(
        self, encoder: HuggingFace, batches: Sequence[Sequence[str]], seconds: float
    ) -> tuple[list[np.ndarray], float]:
        name = encoder.spec.backend
        self.measured.append(name)
        if self.speed[name] < 0:
            raise RuntimeError(f"{name} has no such operator\nand more")
        return [np.array([[3.0, 4.0 + 5.0 * self.off[name]]], np.float32)], self.speed[name]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(monkeypatch)


def choose(spec: EncoderSpec) -> tuple[str, str]:
    """Return the engine that is chosen, and what is said of it."""
    console = Console(record=True, width=400, file=StringIO())
    return choose_backend(spec, Progress(console), offline=True), console.export_text().strip()


def test_the_fastest_of_equal_engines_is_chosen(tiny_bert: Path, engines: Engines) -> None:
    spec = EncoderSpec(str(tiny_bert))
    name, said = choose(spec)
    assert name == "openvino"
    assert said == (
        f"backend auto, {tiny_bert.name}: torch 100 tokens/s, onnx 200 tokens/s (vectors within 0.0e+00), "
        "openvino 300 tokens/s (vectors within 0.0e+00), on one thread; chosen: openvino"
    )


def test_an_engine_with_other_vectors_is_not_chosen(tiny_bert: Path, engines: Engines) -> None:
    engines.off |= {"openvino": 10 * TOLERANCE, "onnx": TOLERANCE / 10}
    name, said = choose(EncoderSpec(str(tiny_bert)))
    assert name == "onnx"
    assert "too far to be taken" in said.partition("openvino 300")[2]
    assert "too far" not in said.partition("openvino 300")[0]


def test_vectors_that_are_no_numbers_are_not_chosen(tiny_bert: Path, engines: Engines) -> None:
    engines.off |= {"openvino": float("nan"), "onnx": float("nan")}
    assert choose(EncoderSpec(str(tiny_bert)))[0] == "torch"
    assert choose(EncoderSpec(str(tiny_bert)))[1].endswith("on one thread, as measured before; chosen: torch")


def test_an_engine_that_fails_is_named_with_the_reason(tiny_bert: Path, engines: Engines) -> None:
    engines.speed["openvino"] = -1.0
    name, said = choose(EncoderSpec(str(tiny_bert)))
    assert name == "onnx"
    assert "openvino not possible (openvino has no such operator), on one thread; chosen: onnx" in said


def test_the_choice_is_kept_until_something_it_depends_on_changes(tiny_bert: Path, engines: Engines) -> None:
    spec = EncoderSpec(str(tiny_bert))
    assert choose(spec)[0] == "openvino"
    engines.speed["torch"] = 1000.0  # another run would choose otherwise
    assert choose(replace(spec, prompt="“{text}”", name="another"))[0] == "openvino"
    assert sorted(engines.measured) == sorted(ALL)
    assert choose(replace(spec, attention="bidirectional"))[0] == "torch"
    kept = sorted((fastest.cache_dir() / "engines").iterdir())
    assert len(kept) == 2
    for path in kept:
        path.write_text('{"key": 3}')
    assert choose(spec)[0] == "torch"


def test_another_library_version_or_processor_is_measured_again(
    tiny_bert: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EncoderSpec(str(tiny_bert))
    choose(spec)
    monkeypatch.setattr(fastest, "processor", lambda: "another")
    choose(spec)
    monkeypatch.setattr(fastest, "library_version", lambda name: "99")
    choose(spec)
    assert len(engines.measured) == 3 * len(ALL)


def test_without_extras_it_is_torch_and_names_them(tiny_bert: Path, engines: Engines) -> None:
    engines.here = ("torch",)
    name, said = choose(EncoderSpec(str(tiny_bert)))
    assert (name, engines.measured) == ("torch", [])
    assert said.endswith("pip install 'hengyu[onnx]' or pip install 'hengyu[openvino]'")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "bfloat16"}, "torch, since engines round bfloat16 differently"),
        ({"device": "cuda"}, "torch, since other engines do not run on device 'cuda'"),
        ({"model": "hengyu-static"}, ""),
        ({"model": "vectors.npy"}, ""),
        ({"model": "./there/is/none"}, ""),
        ({"model": "m", "api": "https://example.com/v1"}, ""),
    ],
)
def test_what_no_other_engine_can_run_stays_as_it_is(
    tiny_bert: Path, engines: Engines, settings: dict[str, str], words: str
) -> None:
    name, said = choose(replace(EncoderSpec(str(tiny_bert)), **settings))
    assert (name, engines.measured) == ("torch", [])
    assert said.partition(": ")[2] == words


def test_the_spec_is_that_of_the_chosen_engine(tiny_bert: Path, engines: Engines) -> None:
    spec = EncoderSpec(str(tiny_bert))
    assert with_backends(spec, (), ["auto"]) == spec.variants((), ["openvino"])
    assert with_backends(spec, (), ["torch", "auto", "openvino"]) == spec.variants((), ["torch", "openvino"])
    assert with_backends(replace(spec, backend="auto")) == (replace(spec, backend="openvino"),)
    both = ["float32", "bfloat16"]
    assert [(e.backend, e.dtype) for e in with_backends(spec, both, ["auto"])] == [
        ("openvino", "float32"),
        ("torch", "bfloat16"),
    ]
    assert with_backends(spec, both, ["onnx"]) == spec.variants(both, ["onnx"])


def test_typical_texts_are_of_about_one_length_in_a_batch() -> None:
    usual, long = typical_texts()
    assert len(usual) == len(long) > 8
    assert max(map(len, usual)) < min(map(len, long))
    assert max(map(len, usual)) - min(map(len, usual)) <= 2


def test_real_engines_are_measured(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(fastest, "_SECONDS", 0.05)
    threads = torch.get_num_threads()
    monkeypatch.setattr(fastest, "_installed", lambda name: name != "onnx")  # each export takes seconds
    found = fastest._measure_all(open_encoder(EncoderSpec(str(tiny_bert))), offline=True)
    assert torch.get_num_threads() == threads
    usual, other = found
    assert (usual.backend, other.backend) == ("torch", "openvino")
    assert usual.tokens > 0 and other.tokens > 0
    assert usual.difference == 0.0
    assert 0.0 < other.difference <= TOLERANCE and other.equal  # rounded differently, so it is not PyTorch itself


def test_encode_shares_vectors_with_the_chosen_engine(tiny_bert: Path, tmp_path: Path, engines: Engines) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("今天天气真好\n他不是学生\n", encoding="utf-8")
    asked = ["encode", str(texts), "--encoder", str(tiny_bert), "--backend"]
    first = CliRunner().invoke(main, [*asked, "auto"])
    assert first.exit_code == 0, first.output
    assert "tiny-bert" in first.stderr and "chosen: openvino" in first.stderr
    assert "2 sentences encoded" in first.stderr
    second = CliRunner().invoke(main, [*asked, "openvino", "--quiet"])
    assert "0 sentences encoded" in second.stderr
    assert second.stdout == first.stdout


def test_a_run_records_the_chosen_engine(tiny_bert: Path, tmp_path: Path, engines: Engines) -> None:
    lines = "".join(f"{a}\t{b}\t{y}\n" for a, b, y in sentences(np.random.default_rng(3), 40))
    (tmp_path / "toy.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    card = 'name = "toy"\nlabels = { scale = [0, 5] }\n[splits.test]\nfile = "toy.tsv"\n'
    (tmp_path / "toy.toml").write_text(card, encoding="utf-8")
    asked = ["run", "smoke", "--datasets", str(tmp_path), "--task", "toy:test", "--quiet"]
    asked += ["--encoder", str(tiny_bert), "--pooling", "mean", "--entry", "pca(dim=8)"]
    done = CliRunner().invoke(main, [*asked, "--backend", "auto"])
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "reports" / "records").iterdir()
    header = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (about,) = [e for e in header["encoders"] if e.get("kind") == "model"]
    assert (about["encoder"], about["backend"]) == (f"{tiny_bert.name} openvino", "openvino")
    again = CliRunner().invoke(main, [*asked, "--backend", "openvino"])
    assert again.exit_code == 0, again.output
    assert again.stderr.startswith("0 texts encoded, 0 results computed")
    assert [p.name for p in (tmp_path / "reports" / "records").iterdir()] == [folder.name]
    words = ["hengyu", *asked, "--backend", "auto"]
    run = replace(load_run(folder), environment={"command": shlex.join(words)})
    said = command_of_row(run)((f"{tiny_bert.name} openvino", "mean", "pca(dim=8)", "target"))
    assert "--backend openvino" in said and "auto" not in said.replace(str(tmp_path), "")


def test_a_suite_cannot_leave_the_engine_to_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'tasks = ["hengyu-sts:test"]\nentries = ["raw"]\nencoders = [{ model = "hengyu-mini", backend = "auto" }]\n'
    )
    done = CliRunner().invoke(main, ["run", str(path)])
    assert done.exit_code == 2
    assert "backend" in done.stderr and "hengyu run --backend auto" in done.stderr
