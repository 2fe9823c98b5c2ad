"""Writes the JSON files of a sentence-transformers folder: modules, pooling, longest input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hengyu.base.json_files import read_json, write_bytes
from hengyu.encoders.layout import ATTENTION

if TYPE_CHECKING:
    from torch import nn

    from hengyu.encoders.attention import TokenAttention

__all__ = ["DENSE", "TRANSFORMER", "write_attention", "write_dense", "write_modules", "write_word_weights"]

DENSE = "{}_Dense"
"""The folder of a dense layer, by its place among the modules."""


TRANSFORMER = "sentence_transformers.models.Transformer"
"""The library's first module, as its folders name it."""


def write_modules(
    folder: Path,
    *,
    width: int,
    pooling: str,
    length: int,
    lowercase: bool = False,
    transformer: str = TRANSFORMER,
) -> None:
    """Write the files; ``pooling`` is "mean", "cls", "last" or "weighted-mean", ``transformer`` the class of the first module."""
    kinds = [(transformer, ""), ("sentence_transformers.models.Pooling", "1_Pooling")]
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (kind, path) in enumerate(kinds)]
    kept = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        **({"pooling_mode_lasttoken": True} if pooling == "last" else {}),
        **({"pooling_mode_weightedmean_tokens": True} if pooling == "weighted-mean" else {}),
    }
    sentence = {"max_seq_length": length, "do_lower_case": lowercase}
    for name, content in (
        ("modules.json", modules),
        ("1_Pooling/config.json", kept),
        ("sentence_bert_config.json", sentence),
    ):
        # part of fingerprints: the layout must not change
        write_bytes(folder / name, (json.dumps(content, indent=2) + "\n").encode())


def write_word_weights(folder: Path, vocabulary: Sequence[str], weights: Sequence[float]) -> None:
    """Add the weights of tokens, in the order of their ids, before the pooling of a folder that `write_modules` wrote."""
    place = "1_WordWeights"
    _insert(folder, place, "sentence_transformers.models.WordWeights")
    # the module looks a token up in lower case where it is not found: every token is there
    config = {
        "vocab": list(vocabulary),
        "word_weights": dict(zip(vocabulary, map(float, weights), strict=True)),
        "unknown_word_weight": 1.0,
    }
    write_bytes(folder / place / "config.json", (json.dumps(config, ensure_ascii=False) + "\n").encode())


def write_attention(folder: Path, attention: TokenAttention) -> None:
    """Add an attention before the pooling of a folder that `write_modules` wrote."""
    place = "1_TokenAttention"
    _insert(folder, place, ATTENTION)
    attention.save(str(folder / place))


def _insert(folder: Path, place: str, kind: str) -> None:
    """Name a module between transformer and pooling in modules.json."""
    modules = read_json(folder / "modules.json", list[dict[str, object]], "write the folder again")
    modules.insert(1, {"idx": 1, "name": "1", "path": place, "type": kind})
    for at, module in enumerate(modules):
        module |= {"idx": at, "name": str(at)}
    write_bytes(folder / "modules.json", (json.dumps(modules, indent=2) + "\n").encode())


def write_dense(folder: Path, dense: nn.Linear, *, output: str = "") -> None:
    """Add a dense layer without activation as the last module of a folder that `write_modules` wrote.

    ``output`` names what it gives where that is no vector: "scores" of a cross-encoder.
    """
    from safetensors.torch import save

    modules = read_json(folder / "modules.json", list[dict[str, object]], "write the folder again")
    at = len(modules)
    place = DENSE.format(at)
    modules.append({"idx": at, "name": str(at), "path": place, "type": "sentence_transformers.models.Dense"})
    config = {
        "in_features": dense.in_features,
        "out_features": dense.out_features,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
        **({"module_input_name": "sentence_embedding", "module_output_name": output} if output else {}),
    }
    weights = {f"linear.{key}": getattr(dense, key).detach().cpu().contiguous() for key in ("weight", "bias")}
    write_bytes(folder / place / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    write_bytes(folder / place / "model.safetensors", save(weights))
    write_bytes(folder / "modules.json", (json.dumps(modules, indent=2) + "\n").encode())
