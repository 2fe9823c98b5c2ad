"""Writes the finished model: weights as float16 safetensors, tokenizer, mean pooling."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders.module_files import TRANSFORMER, write_modules
from hengyu.encoders.without_attention import MODULE, code_of
from hengyu.tools.pretraining.architectures import body_of
from hengyu.tools.pretraining.recipe import Pretraining

__all__ = ["write_model"]


def write_model(folder: Path, model: Any, tokenizer: Any, recipe: Pretraining) -> None:
    """Write a sentence-transformers folder of the encoder, without the prediction head."""
    import transformers

    body, plain = copy.deepcopy(body_of(model)).cpu().half(), transformers.BertConfig()
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    body.config.update({key: getattr(plain, key) for key in rates if hasattr(body.config, key)})
    try:
        body.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        # safetensors makes its file readable only by its owner; the weights get the permissions of the rest
        (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode & 0o777)
    except OSError as e:
        raise HengyuError(
            f"{folder}: cannot be written ({e.strerror or e}); free some space and run the same command again"
        ) from None
    own = bool(code_of(body.config.to_dict()))
    write_modules(
        folder,
        width=recipe.width,
        pooling="mean",
        length=recipe.length,
        transformer=MODULE if own else TRANSFORMER,
    )
