"""Models of random weights, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_random_bert(folder: Path, *, seed: int, **shape: Any) -> None:
    """Save a BERT of random weights as safetensors; ``shape`` is what its configuration takes."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    BertModel(BertConfig(num_attention_heads=4, **shape)).save_pretrained(folder, safe_serialization=True)
