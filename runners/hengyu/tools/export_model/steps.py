"""The sentence-transformers module of a step that is not an affine map: its method, with its state in safetensors.

A folder's modules.json names it as ``hengyu.tools.export_model.steps.Step``, so loading the folder needs the package
hengyu and ``trust_remote_code=True``, which sentence-transformers requires for any module that is not its own. The folder
contains no code. Renaming or moving the class would break all exported folders: keep both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from torch import Tensor

from hengyu.base.errors import HengyuError, first_line
from hengyu.base.json_files import parse
from hengyu.methods.base import Transform
from hengyu.storage.records import write_bytes, write_json
from hengyu.tools.export_model.library import Module
from hengyu.tools.export_model.state import restored

__all__ = ["Step"]

_CONFIG, _WEIGHTS = "config.json", "state.safetensors"


class _Config(Struct):
    """config.json."""

    step: str
    width: int


class Step(Module):  # type: ignore[misc]
    """Maps ``sentence_embedding`` (n, d) to (n, k) float32 by a fitted method, on the CPU and without a gradient.

    Args:
        step: the method in the entry grammar, like ``flow(depth=2)``.
        state: what it learned.
        width: k.
    """

    def __init__(self, step: str, state: dict[str, NDArray[Any]], width: int) -> None:
        super().__init__()
        self.step, self.state, self.width = step, state, width
        self.method: Transform = restored(step, state)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Map the sentence embeddings of a batch."""
        x: Tensor = features["sentence_embedding"]
        mapped = self.method(x.detach().float().cpu().numpy())
        features["sentence_embedding"] = torch.from_numpy(np.asarray(mapped, np.float32)).to(x.device)
        return features

    def get_embedding_dimension(self) -> int:
        """Return k."""
        return self.width

    def get_sentence_embedding_dimension(self) -> int:
        """Return k, under the name of sentence-transformers before version 6."""
        return self.width

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write configuration and state into a folder."""
        write_json(Path(output_path) / _CONFIG, {"step": self.step, "width": self.width})
        whole = {key: np.ascontiguousarray(value) for key, value in self.state.items()}
        write_bytes(Path(output_path) / _WEIGHTS, save(whole))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:
        """Read a module back from its folder or from the hub; raises `HengyuError` for invalid files."""
        hub = {k: kwargs.get(k) for k in ("token", "cache_folder", "revision")}
        hub["local_files_only"] = kwargs.get("local_files_only", False)
        places = [cls.load_file_path(model_name_or_path, name, subfolder, **hub) for name in (_CONFIG, _WEIGHTS)]
        if None in places:
            raise HengyuError(
                f"{model_name_or_path}/{subfolder}: {_CONFIG} or {_WEIGHTS} is missing; export the row again"
            )
        try:
            config = parse(Path(str(places[0])).read_bytes(), _Config)
            return cls(config.step, load_file(str(places[1])), config.width)
        except HengyuError as e:
            raise HengyuError(f"{places[0]}: {e}; install the version of hengyu that wrote it") from None
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise HengyuError(
                f"{model_name_or_path}/{subfolder}: cannot be read ({first_line(e)}); export it again"
            ) from None
