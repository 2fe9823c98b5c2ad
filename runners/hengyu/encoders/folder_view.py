"""The view of a model's folder that its checks use; `hengyu.encoders.model_folder.ModelFolder` provides it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from hengyu.encoders import EncoderSpec
from hengyu.encoders.files import Files
from hengyu.encoders.layout import Part

__all__ = ["FolderView"]


class FolderView(Protocol):
    """A model's folder as its configuration files describe it; `ModelFolder` documents each attribute."""

    path: Path
    spec: EncoderSpec
    where: str
    offline: bool

    @property
    def files(self) -> Files: ...  # noqa: D102
    @property
    def parts(self) -> tuple[Part, ...]: ...  # noqa: D102
    @property
    def pipeline(self) -> tuple[Part, ...]: ...  # noqa: D102
    @property
    def first(self) -> str: ...  # noqa: D102
    @property
    def transformer(self) -> Path: ...  # noqa: D102
    @property
    def tokenizer(self) -> Path: ...  # noqa: D102
    @property
    def adapter(self) -> str: ...  # noqa: D102
    @property
    def base(self) -> Any: ...  # noqa: D102
    @property
    def architecture(self) -> str: ...  # noqa: D102
    @property
    def custom(self) -> bool: ...  # noqa: D102
    @property
    def static(self) -> bool: ...  # noqa: D102
    @property
    def is_cross_encoder(self) -> bool: ...  # noqa: D102
    @property
    def is_model2vec(self) -> bool: ...  # noqa: D102
    @property
    def other_kind(self) -> str: ...  # noqa: D102
    @property
    def config(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def sentence_config(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def tokenizer_config(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def prompt(self) -> str: ...  # noqa: D102
    @property
    def truncate_dim(self) -> int: ...  # noqa: D102

    @property
    def foreign(self) -> tuple[str, ...]: ...  # noqa: D102

    def walk(self) -> Iterator[Part]: ...  # noqa: D102
    def json(self, name: str) -> Mapping[str, Any]: ...  # noqa: D102
    def sentence_config_of(self, part: Part) -> Mapping[str, Any]: ...  # noqa: D102
