"""Writes the JSON files of a sentence-transformers folder: modules, pooling, longest input."""

from __future__ import annotations

import json
from pathlib import Path

from hengyu.base.json_files import write_bytes

__all__ = ["write_modules"]


def write_modules(folder: Path, *, width: int, pooling: str, length: int, lowercase: bool = False) -> None:
    """Write the files; ``pooling`` is "mean", "cls", "last" or "weighted-mean"."""
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
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
