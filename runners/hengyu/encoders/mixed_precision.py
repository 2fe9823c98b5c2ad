"""Lower precision: which matrix products of a model are computed in bfloat16, or in integers of 8 bits."""

from __future__ import annotations

import logging
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hengyu.base.errors import HengyuError, first_line

if TYPE_CHECKING:
    import torch

__all__ = ["SCHEMES", "TRAINED_IN", "autocast", "halve", "quantise", "quantise_onnx", "quantise_openvino"]

TRAINED_IN = ("float32", "bfloat16")  # dtypes of matrix products in training
SCHEMES = {
    "torch": "dynamic; weights by row, all blocks but the last",
    "onnx": "dynamic; weights by column, products with weights alone",
    "openvino": "dynamic by row and group; weights by column, products with weights alone",
}
"""Backend -> how int8 is meant, which counts in the identity of vectors."""

_GROUP = 256  # columns; 64 take a quarter longer, and their vectors are 0.6 times as far from those in float32


def autocast(device: str, dtype: str) -> torch.autocast:
    """Return the context of a forward pass on a type of device; weights, gradients and losses stay float32."""
    import torch

    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def halve(model: Any) -> None:
    """Let a transformer's linear layers compute in bfloat16 under autocast on a CPU, except those of the last block.

    Rounding in the last block goes straight into the vectors, and whitening amplifies it in directions of low variance:
    whitened [CLS] scores of the built-in encoder changed by up to 0.07 points with it and 0.04 without
    (`tests/perf/test_encoding.py`). In models that share weights between blocks, all blocks are converted.
    """
    import torch

    last = _last_block(model)
    if last is not None:
        last.forward = autocast("cpu", "float32")(last.forward)
    for part in _linear_outside(model, last).values():
        part.to(torch.bfloat16)  # autocast would convert them again for every batch


def _last_block(model: Any) -> Any:
    """Return the last block of a transformer; None where its blocks are not found, as where they share their weights."""
    import torch

    count = getattr(model.config, "num_hidden_layers", 0)
    stacks = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count]
    return stacks[0][-1] if stacks and count else None


def _linear_outside(model: Any, last: Any) -> dict[str, Any]:
    """Return the linear layers by name, but for those of the last block."""
    import torch

    exact = set() if last is None else set(map(id, last.modules()))
    return {n: part for n, part in model.named_modules() if isinstance(part, torch.nn.Linear) and id(part) not in exact}


def quantise(model: Any, where: str) -> None:
    """Let a transformer's linear layers multiply integers of 8 bits on a CPU, except those of the last block, as in `halve`.

    Weights are rounded once, each row by its own scale; the inputs of a layer are rounded as they come, by one scale a batch.
    Everything else stays float32. Raises `HengyuError` where this PyTorch cannot.
    """
    chosen = _linear_outside(model, _last_block(model))
    if not chosen:
        raise HengyuError(f"{where}: has no linear layers before its last block that int8 could compute; remove dtype")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that PyTorch will move it elsewhere
            tools: Any = import_module("torch.ao.quantization")
            tools.quantize_dynamic(model, dict.fromkeys(chosen, tools.per_channel_dynamic_qconfig), inplace=True)
    except (AttributeError, ImportError, NotImplementedError, RuntimeError) as e:
        raise HengyuError(
            f"{where}: this PyTorch cannot compute in int8 ({first_line(e)[:100]}); add --backend onnx, or use bfloat16"
        ) from None


def quantise_onnx(path: Path) -> Path:
    """Write an ONNX graph with products of integers of 8 bits in the place of those with weights, and return its file."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out = path.with_name("int8.onnx")
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)  # it advises to preprocess, which changes nothing here
    try:
        quantize_dynamic(
            path, out, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
        )
    finally:
        logging.disable(level)
    return out


def quantise_openvino(model: Any) -> int:
    """Round the weights of an OpenVINO model's products to integers of 8 bits in place, each column by its own scale.

    Return how many columns of a row of their inputs share a scale when OpenVINO rounds those: `_GROUP`, or as many as the
    narrowest input has, since an input that is narrower than a group is multiplied in float32.
    """
    import openvino.opset13 as ops

    narrowest = _GROUP
    for product in model.get_ordered_ops():
        if product.get_type_name() != "MatMul" or product.input_value(1).get_node().get_type_name() != "Constant":
            continue
        weights = product.input_value(1).get_node().data
        if weights.ndim != 2 or weights.dtype != np.float32:
            continue
        inputs = 1 if product.get_attributes()["transpose_b"] else 0
        scale = np.abs(weights).max(axis=inputs, keepdims=True) / np.float32(127)
        rounded = np.rint(weights / np.where(scale > 0, scale, 1)).astype(np.int8)
        product.input(1).replace_source_output(
            ops.multiply(ops.convert(ops.constant(rounded), np.float32), ops.constant(scale)).output(0)
        )
        narrowest = min(narrowest, weights.shape[inputs])
    return narrowest
