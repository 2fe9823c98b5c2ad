"""Other engines than PyTorch: a transformer is exported as an ONNX graph and run by ONNX Runtime or OpenVINO on the CPU."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, first_line
from hengyu.encoders.architectures import accepted
from hengyu.encoders.mixed_precision import quantise_onnx, quantise_openvino

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BACKENDS", "Output", "computes", "export", "refuse_backend"]

BACKENDS = {"torch": (), "onnx": ("onnxruntime", "onnxscript"), "openvino": ("openvino", "onnxscript")}
"""Name -> the packages it needs; the name is also that of Hengyu's extra."""

_DTYPES = {"onnx": ("float32", "int8"), "openvino": ("float32", "bfloat16", "int8")}
_SLOWER = ["SkipLayerNormFusion"]
"""What ONNX Runtime leaves undone: its kernel for the sum and LayerNorm in one is not vectorised, those of each alone are."""

Run = Callable[[NDArray[np.int64], NDArray[np.int64]], list[NDArray[np.float32]]]


@dataclass
class Output:
    """The part of a transformers forward pass that poolings use."""

    hidden_states: tuple[Tensor, ...]  # (n, t, d) each: the embeddings, then one per block
    pooler_output: Tensor | None  # (n, d)

    @property
    def last_hidden_state(self) -> Tensor:
        """The hidden state (n, t, d) of the last block."""
        return self.hidden_states[-1]


def computes(backend: str, dtype: str) -> bool:
    """Whether a backend can compute in a dtype."""
    return dtype in _DTYPES.get(backend, (dtype,))


def refuse_backend(who: str, backend: str, dtype: str) -> None:
    """Raise `HengyuError` for a backend that is unknown, not installed, or cannot compute in a dtype."""
    if backend not in BACKENDS:
        raise HengyuError(f"{who}: backend '{backend}' is unknown; use one of {', '.join(BACKENDS)}")
    if not computes(backend, dtype):
        raise HengyuError(
            f"{who}: backend {backend} cannot compute in {dtype}; use one of {', '.join(_DTYPES[backend])}"
        )
    missing = [name for name in BACKENDS[backend] if find_spec(name) is None]
    if missing:
        raise HengyuError(f"{who}: backend {backend} needs {missing[0]}; run: pip install 'hengyu[{backend}]'")


def export(model: Any, backend: str, dtype: str, where: str, *, zero_types: bool = False) -> Callable[..., Output]:
    """Return a callable with the arguments of a transformer (loaded in float32) that runs on another engine.

    It takes input_ids and attention_mask (n, t), of any n and t. Its hidden states may be memory of the engine that the next
    call overwrites. With ``zero_types`` the model is given the token type 0 for every token, which is not the same as no types in
    models like GPT-2: they add the vector of the token 0. Raises `HengyuError` if PyTorch cannot export the model.
    """
    import torch

    with TemporaryDirectory(prefix="hengyu-onnx-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            pooled = _write(model, path, zero_types=zero_types)
        except Exception as e:  # the exporter's own types
            raise HengyuError(
                f"{where}: PyTorch cannot export it as a graph ({first_line(e)[:200]}); remove backend"
            ) from None
        run = {"onnx": _onnx, "openvino": _openvino}[backend](path, dtype, torch.get_num_threads())

    def call(input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Output:
        found = [torch.from_numpy(x) for x in run(input_ids.numpy(), attention_mask.numpy())]
        return Output(tuple(found[:-1] if pooled else found), found[-1].clone() if pooled else None)

    return call


def _write(model: Any, path: Path, *, zero_types: bool) -> bool:
    """Export every hidden state and the pooler's output, if any; return whether there is a pooler."""
    import torch

    # one row is padded so that the graph keeps its attention mask
    ids = torch.tensor([[2, 5, 6, 7, 3, 3], [2, 5, 6, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
            types = {"token_type_ids": torch.zeros_like(input_ids)} if zero_types else {}
            features = {"input_ids": input_ids, "attention_mask": attention_mask, "output_hidden_states": True}
            output = self.model(**accepted(self.model, features | types))
            pooler = getattr(output, "pooler_output", None)
            # the last block's output, and the last states if a final norm changes them
            return (*output.hidden_states[:-1], output.last_hidden_state) + (() if pooler is None else (pooler,))

    with torch.inference_mode():
        given = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    sizes = {0: torch.export.Dim("n"), 1: torch.export.Dim("t", max=_longest(model))}
    names = ["input_ids", "attention_mask"]
    with suppress(AttributeError, ImportError, ValueError):  # a model of custom code keeps its own
        # plain products: a graph of PyTorch's fused ones transposes more
        model.set_attn_implementation("eager")
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                States().eval(),
                (ids, mask),
                dynamo=True,
                dynamic_shapes=dict.fromkeys(names, sizes),
                input_names=names,
                verbose=False,
            )
            assert program is not None
            program.save(path)
    finally:
        logging.disable(level)
    return getattr(given, "pooler_output", None) is not None


def _longest(model: Any) -> int | None:
    found = getattr(model.config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 1 else None


def _onnx(path: Path, dtype: str, threads: int) -> Run:
    import onnxruntime

    if dtype == "int8":
        path = quantise_onnx(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER
    )

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = session.run(None, {"input_ids": ids, "attention_mask": mask})
        return found

    return run


def _openvino(path: Path, dtype: str, threads: int) -> Run:
    import openvino

    settings: dict[str, str | int] = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    model = core.read_model(path)
    if dtype == "int8":
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = quantise_openvino(model)
    compiled = core.compile_model(model, "CPU", settings)

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        found = compiled({"input_ids": ids, "attention_mask": mask}, share_outputs=True)
        return [np.asarray(found[i], np.float32) for i in range(len(compiled.outputs))]

    return run
