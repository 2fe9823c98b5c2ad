"""Encoders whose tokens meet by convolutions, gates or Fourier transforms instead of attention; their code is in this package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["CLASSES", "MODULE", "code_of", "make_known"]

CLASSES = {"hengyu-dgcnn": "dgcnn.DGCNN", "hengyu-gmlp": "gmlp.GMLP", "hengyu-fnet": "fnet.FNet"}
"""The ``model_type`` in a folder's config.json -> the file in this package, and its class."""

MODULE = "hengyu.encoders.without_attention.module.Transformer"
"""What modules.json calls such an encoder: sentence-transformers loads it where Hengyu is installed, with
``trust_remote_code=True``, and Hengyu without any flag."""


def code_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the module whose code computes the states of a model with this configuration; () for the library's models."""
    place = CLASSES.get(str(config.get("model_type")))
    return () if place is None else (f"{__name__}.{place.partition('.')[0]}",)


def make_known(config: Mapping[str, Any]) -> None:
    """Let transformers' Auto classes find the class of a model with this configuration, if it is one of ours."""
    for name in code_of(config):
        from transformers import AutoConfig, AutoModel

        model = getattr(import_module(name), CLASSES[str(config["model_type"])].partition(".")[2])
        AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
        AutoModel.register(model.config_class, model, exist_ok=True)
