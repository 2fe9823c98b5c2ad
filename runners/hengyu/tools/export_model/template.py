"""Puts a prompt that continues after the text into the tokenizer: sentence-transformers' prompts are only prefixes."""

from __future__ import annotations

from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders.huggingface import HuggingFace

__all__ = ["prefix", "put_template"]

_SPECIAL = ("unk_token", "cls_token", "sep_token", "pad_token", "mask_token")


def prefix(encoder: HuggingFace) -> str:
    """Return the prompt for sentence-transformers to put before a text; "" if the tokenizer has a template."""
    return "" if encoder.folder.prompt_has_suffix else encoder.folder.prompt.partition("{text}")[0]


def put_template(encoder: HuggingFace, body: Any) -> None:
    """Let the tokenizer of a transformer module put the encoder's template around every text, as special tokens.

    Long texts are truncated, but the template is not. The tokenizer is saved from its tokenizer.json and not by the model's
    own class, which would rebuild it without the template. Raises `HengyuError` if the tokenizer does not come from the
    tokenizers library.
    """
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer, ours = body.tokenizer, encoder.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise HengyuError(
            f"encoder '{encoder.id}': its prompt continues after the text, and its tokenizer cannot hold a "
            "template; evaluate it with a prefix"
        )
    parts = [
        {"id": name, "ids": ids, "tokens": [str(t) for t in tokenizer.convert_ids_to_tokens(ids)]}
        for name, ids in zip(("before", "after"), ours.around, strict=True)
    ]
    backend.post_processor = TemplateProcessing(single="before $A after", special_tokens=parts)
    held = {key: token for key in _SPECIAL if (token := getattr(tokenizer, key, None)) is not None}
    whole = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        **held,
    )
    setattr(body, "processor" if hasattr(body, "processor") else "tokenizer", whole)
