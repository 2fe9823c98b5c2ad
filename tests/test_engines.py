"""Engines beside PyTorch: the same vectors in every pooling, batch and length, under addresses of their own."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.families import save_family
from helpers.folders import merge

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.encoders import POOLINGS, EncoderSpec, find_encoder, open_encoder
from hengyu.encoders.engines import BACKENDS, refuse_backend
from hengyu.encoders.mixed_precision import SCHEMES
from hengyu.encoders.module_files import write_modules
from hengyu.methods.training.model import TrainableEncoder

OTHERS = sorted(set(BACKENDS) - {"torch"})
TEXTS = ["今天天气真好", "我们去公园散步吧", "他不是学生", "好", "今天天气真好，我们去公园吧。", "她在家工作了一天"]


@pytest.fixture(scope="module", params=["bare", "modules"])
def model(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "bare":
        return tiny_bert
    folder = tmp_path_factory.mktemp("with-modules")
    shutil.copytree(tiny_bert, folder, dirs_exist_ok=True)
    write_modules(folder, width=32, pooling="cls", length=48)
    return folder


def _off(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest distance of two rows as a share of their length."""
    return float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(a, axis=1)).max())


@pytest.mark.parametrize("backend", OTHERS)
def test_every_pooling_is_that_of_pytorch(model: Path, backend: str) -> None:
    spec = EncoderSpec(str(model), prompt="“{text}”的意思是[MASK]。")
    usual, other = open_encoder(spec), open_encoder(replace(spec, backend=backend))
    assert other.poolings == usual.poolings
    ours, theirs = usual.encode(TEXTS, POOLINGS), other.encode(TEXTS, POOLINGS)
    for pooling in POOLINGS:
        assert _off(ours[pooling], theirs[pooling]) < 1e-4, pooling  # engines approximate erf and tanh on their own
        assert len({row.tobytes() for row in theirs[pooling]}) == len(TEXTS)  # no memory of the engine is shown twice
    padded = other.encode_padded(TEXTS, "今天天气真好我们去公园散步吧今天天气真好", ["mean", "cls"])
    assert _off(padded["mean"], theirs["mean"]) < 1e-4


@pytest.mark.parametrize("backend", OTHERS)
def test_vectors_of_an_engine_have_an_address_of_their_own(tiny_bert: Path, backend: str) -> None:
    spec = EncoderSpec(str(tiny_bert))
    assert (
        open_encoder(spec).identity() | {"backend": backend} == open_encoder(replace(spec, backend=backend)).identity()
    )


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 whose tokenizer gives token types, as the Chinese ones do: it adds the vector of the type 0 to every token."""
    folder = tmp_path_factory.mktemp("gpt2")
    save_family(folder, "gpt2")
    merge(folder / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    return folder


def test_token_types_of_zero_are_given_where_the_tokenizer_gives_them(gpt2: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    encoder = open_encoder(EncoderSpec(str(gpt2)))
    assert encoder.tokenizer.gives_types and not encoder.tokenizer.typed
    wanted = np.stack([SentenceTransformer(str(gpt2), device="cpu").encode(t) for t in TEXTS])
    assert _off(wanted, encoder.encode(TEXTS, ["mean"])["mean"]) < 1e-5
    for backend in OTHERS:
        assert (
            _off(wanted, open_encoder(EncoderSpec(str(gpt2), backend=backend)).encode(TEXTS, ["mean"])["mean"]) < 1e-4
        )
    trained = TrainableEncoder(open_encoder(EncoderSpec(str(gpt2))), "mean")
    trained.open(dropout=0.0, length=64)
    assert _off(wanted, trained.vectors(encoder.tokenizer(TEXTS)[0])) < 1e-5
    ids = torch.tensor(encoder.tokenizer(TEXTS[:1])[0])
    with torch.inference_mode():
        without = encoder._parts[0](input_ids=ids).last_hidden_state.mean(1).numpy()
    assert _off(wanted[:1], without) > 0.1


def test_openvino_in_bfloat16_is_near_float32(tiny_bert: Path) -> None:
    exact, near = (
        open_encoder(EncoderSpec(str(tiny_bert), backend="openvino", dtype=d)).encode(TEXTS, ["mean"])["mean"]
        for d in ("float32", "bfloat16")
    )
    assert 1e-4 < _off(exact, near) < 0.1  # 8 bits of mantissa, through 3 layers


@pytest.mark.parametrize("backend", BACKENDS)
def test_int8_is_near_float32_and_has_an_address_of_its_own(tiny_bert: Path, backend: str) -> None:
    exact, near = (open_encoder(EncoderSpec(str(tiny_bert), backend=backend, dtype=d)) for d in ("float32", "int8"))
    poolings = ["mean", "cls"]
    usual, ours = exact.encode(TEXTS, poolings), near.encode(TEXTS, poolings)
    for pooling in poolings:
        assert 1e-6 < _off(usual[pooling], ours[pooling]) < 0.4, pooling
        unit = [x[pooling] / np.linalg.norm(x[pooling], axis=1, keepdims=True) for x in (usual, ours)]
        assert (unit[0] * unit[1]).sum(axis=1).min() > 0.95  # weights of this model are large
    again = open_encoder(near.spec).encode(TEXTS, poolings)
    assert all(np.array_equal(ours[p], again[p]) for p in poolings)
    assert near.identity()["dtype"] == "int8" and SCHEMES[backend] == near.identity()["scheme"]
    assert "scheme" not in exact.identity()


def test_int8_leaves_the_last_block_and_all_that_is_not_linear_in_float32(tiny_bert: Path) -> None:
    import torch

    model = open_encoder(EncoderSpec(str(tiny_bert), dtype="int8"))._parts[0]
    kinds = {name: type(part).__module__ for name, part in model.named_modules()}
    count = model.config.num_hidden_layers
    blocks = [n for n, kind in kinds.items() if "quantized" in kind and n.endswith("query")]
    assert blocks == [f"encoder.layer.{i}.attention.self.query" for i in range(count - 1)]
    assert all(
        isinstance(part, torch.nn.LayerNorm) for name, part in model.named_modules() if name.endswith("LayerNorm")
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "int8", "device": "cuda"}, "int8 is computed on the CPU; remove device 'cuda'"),
        ({"backend": "tensorrt"}, "backend 'tensorrt' is unknown; use one of torch, onnx, openvino"),
        (
            {"backend": "openvino", "dtype": "float16"},
            "openvino cannot compute in float16; use one of float32, bfloat16, int8",
        ),
        ({"backend": "onnx", "dtype": "bfloat16"}, "backend onnx cannot compute in bfloat16; use one of float32, int8"),
        ({"backend": "onnx", "device": "cuda"}, "backend onnx runs on the CPU; remove device 'cuda'"),
    ],
)
def test_what_an_engine_cannot_do_is_one_sentence(tiny_bert: Path, settings: dict[str, str], words: str) -> None:
    with pytest.raises(HengyuError, match=words):
        open_encoder(replace(EncoderSpec(str(tiny_bert)), **settings)).encode(["好"], ["mean"])


def test_int8_says_where_it_has_nothing_to_compute(monkeypatch: pytest.MonkeyPatch, tiny_bert: Path) -> None:
    with pytest.raises(HengyuError, match="is not a transformer, so int8 has nothing to compute; remove dtype"):
        open_encoder(EncoderSpec("hengyu-static", dtype="int8"))
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)  # as in a PyTorch that has moved it away
    with pytest.raises(HengyuError, match="this PyTorch cannot compute in int8 .*; add --backend onnx"):
        open_encoder(EncoderSpec(str(tiny_bert), dtype="int8")).encode(["好"], ["mean"])


def test_an_engine_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hengyu.encoders.engines.find_spec", lambda name: None)
    with pytest.raises(HengyuError, match=r"backend openvino needs openvino; run: pip install 'hengyu\[openvino\]'"):
        refuse_backend("encoder 'm'", "openvino", "float32")


def test_a_model_that_cannot_be_exported_is_one_sentence(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("an operator has no counterpart\nand more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(HengyuError, match=r"cannot export it as a graph \(an operator has no counterpart\); remove"):
        open_encoder(EncoderSpec(str(tiny_bert), backend="onnx")).encode(["好"], ["mean"])


def test_vectors_that_are_there_take_no_engine(tmp_path: Path) -> None:
    with pytest.raises(HengyuError, match="backend does not apply to precomputed vectors"):
        find_encoder(EncoderSpec(str(tmp_path / "x.npy"), backend="onnx"))


def test_variants_are_named_by_what_differs(tiny_bert: Path) -> None:
    found = EncoderSpec("hengyu-mini").variants(["float32", "bfloat16"], ["torch", "openvino"])
    names = ["", "hengyu-mini openvino", "hengyu-mini bfloat16", "hengyu-mini bfloat16 openvino"]
    assert [e.name for e in found] == names
    assert EncoderSpec("m", name="mine").variants([], []) == (EncoderSpec("m", name="mine"),)
    assert EncoderSpec(str(tiny_bert)).variants(["bfloat16"], [])[0].name == f"{tiny_bert.name} bfloat16"


@pytest.mark.long
def test_a_run_weighs_dtypes_and_engines_side_by_side(tiny_bert: Path, tmp_path: Path) -> None:
    asked = ["--encoder", str(tiny_bert), "--entry", "whitening"]
    done = CliRunner().invoke(main, ["run", "smoke", *asked, "--backend", "torch", "--backend", "openvino", "--quiet"])
    assert done.exit_code == 0, done.output
    run = next((tmp_path / "reports" / "records").iterdir())
    done = CliRunner().invoke(
        main, ["compare", str(run), "--encoder", tiny_bert.name, "--encoder", f"{tiny_bert.name} openvino"]
    )
    assert done.exit_code == 0, done.output
    assert "whitening" in done.stdout
