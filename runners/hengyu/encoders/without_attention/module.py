"""The sentence-transformers module of an encoder without attention, which a folder's modules.json names."""

from __future__ import annotations

from sentence_transformers.sentence_transformer import modules

from hengyu.encoders.without_attention import CLASSES, make_known

__all__ = ["Transformer"]


class Transformer(modules.Transformer):  # type: ignore[misc]
    """The library's module; with its import, the classes of this package are known to transformers."""


for kind in CLASSES:
    make_known({"model_type": kind})
