"""The finished model's files: weights as float16 safetensors, tokenizer, mean pooling."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders.module_files import write_modules
from hengyu.tools.pretraining.recipe import Pretraining

__all__ = ["write_model"]


def write_model(folder: Path, model: Any, tokenizer: Any, recipe: Pretraining) -> None:
    """Write a sentence-transformers folder of the BERT, without the head that predicts tokens."""
    import transformers

    bert, plain = copy.deepcopy(model.bert).cpu().half(), transformers.BertConfig()
    bert.config.update({key: getattr(plain, key) for key in ("hidden_dropout_prob", "attention_probs_dropout_prob")})
    try:
        bert.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        # safetensors leaves its file to its owner alone; whoever may read the rest may read the weights
        (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode & 0o777)
    except OSError as e:
        raise HengyuError(
            f"{folder}: cannot be written ({e.strerror or e}); make room and run the same command again"
        ) from None
    write_modules(folder, width=recipe.width, pooling="mean", length=recipe.length)
