"""A model's folder, read without loading the model: what it is, whether it is safe, its fingerprint."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec
from hengyu.encoders.architectures import default_pooling, longest_input
from hengyu.encoders.engines import refuse_backend
from hengyu.encoders.hub import kept_endings

__all__ = ["STEP", "ModelFolder"]

_LEFT_OUT = {"onnx", "openvino", ".git", ".cache"}
_PICKLED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
_PLAIN = {"Transformer", "Pooling", "Normalize"}
_OWN_MODULES = "sentence_transformers."
STEP = "hengyu.tools.export_model.steps.Step"  # the module of a step in an exported model; its code is ours
_DTYPES = ("float32", "bfloat16", "float16")


class ModelFolder:
    """A folder in the layout of transformers or sentence-transformers; every question raises `HengyuError` on bad input."""

    def __init__(self, path: Path, spec: EncoderSpec, *, identifier: str, revision: str = "") -> None:
        self.path = path
        self.spec = spec
        self.id = spec.name or identifier
        self.revision = revision
        self.where = f"encoder '{self.id}' ({path})"
        if spec.dtype not in _DTYPES:
            raise HengyuError(f"encoder '{self.id}': dtype '{spec.dtype}' is unknown; use one of {', '.join(_DTYPES)}")
        refuse_backend(f"encoder '{self.id}'", spec.backend, spec.dtype)
        if spec.pre_tokenizer not in ("", "jieba"):
            raise HengyuError(f"encoder '{self.id}': pre_tokenizer '{spec.pre_tokenizer}' is unknown; use jieba")
        if spec.max_length < 0:
            raise HengyuError(
                f"encoder '{self.id}': max_length {spec.max_length} must be positive, or 0 for the model's own"
            )
        self._refuse_unsafe()
        if self.static and spec.backend != "torch":
            raise HengyuError(f"{self.where}: is no transformer, so backend {spec.backend} cannot run it; leave it out")

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder, {} when it is not there."""
        try:
            content = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as e:
            raise HengyuError(f"{self.path / name}: cannot be read as JSON ({e}); get the model again") from None
        return content if isinstance(content, dict) else {}

    @cached_property
    def modules(self) -> list[dict[str, Any]]:
        """The modules of a sentence-transformers folder, [] for a plain transformers folder."""
        try:
            content = json.loads((self.path / "modules.json").read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as e:
            raise HengyuError(
                f"{self.path / 'modules.json'}: cannot be read as JSON ({e}); get the model again"
            ) from None
        if not isinstance(content, list) or not all(isinstance(m, dict) and "type" in m for m in content):
            raise HengyuError(f"{self.path / 'modules.json'}: must be a list of modules; get the model again")
        return content

    @property
    def transformer(self) -> Path:
        """The folder of the transformer itself (some sentence-transformers folders nest it)."""
        return self._module(self.modules[0]) if self.modules else self.path

    def _module(self, module: dict[str, Any]) -> Path:
        path = self.path / str(module.get("path", ""))
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise HengyuError(
                f"{self.path / 'modules.json'}: path '{module.get('path')}' leads out of the folder; refused"
            )
        return path

    @property
    def has_steps(self) -> bool:
        """Whether a module is one of this package, which sentence-transformers loads when told to trust it."""
        return any(m["type"] == STEP for m in self.modules)

    @property
    def static(self) -> bool:
        """Whether the first module is no transformer, so that only ``native`` can be had."""
        return bool(self.modules) and not str(self.modules[0]["type"]).endswith(".Transformer")

    @cached_property
    def tail(self) -> tuple[str, bool] | None:
        """The pooling ("mean" or "cls") and normalisation after the transformer; None when it takes the library to say."""
        if not self.modules:
            config = self.json(str(self.transformer.relative_to(self.path) / "config.json"))
            return (default_pooling(config), False)
        kinds = [str(m["type"]).rsplit(".", 1)[-1] for m in self.modules]
        if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            return None
        config = self.json(f"{self.modules[1].get('path', '')}/config.json")
        on = [k for k, v in config.items() if k.startswith("pooling_mode") and v is True]
        modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
        if isinstance(config.get("pooling_mode"), str):
            on, modes = [config["pooling_mode"]], {"mean": "mean", "cls": "cls"}
        if len(on) != 1 or on[0] not in modes or config.get("include_prompt") is False:
            return None
        return (modes[on[0]], len(kinds) == 3)

    @property
    def lowercase(self) -> bool:
        """Whether the sentence-transformers folder asks for lower case before the tokenizer."""
        return bool(self.modules) and self._sentence_config.get("do_lower_case") is True

    @cached_property
    def _sentence_config(self) -> dict[str, Any]:
        own = self.transformer.relative_to(self.path)
        return self.json(str(own / "sentence_bert_config.json"))

    @property
    def max_length(self) -> int:
        """The longest input in tokens: what was asked for, at most what the model can take."""
        config = self.json(str(self.transformer.relative_to(self.path) / "config.json"))
        tokenizer = self.json(str(self.transformer.relative_to(self.path) / "tokenizer_config.json"))
        own, limit = longest_input(config, tokenizer, self._sentence_config, self.weight_names)
        if self.spec.max_length > limit:
            raise HengyuError(
                f"encoder '{self.id}': max_length {self.spec.max_length} is more than the {limit} tokens the model takes; lower it"
            )
        return self.spec.max_length or own

    @property
    def prompt(self) -> str:
        """The prompt as asked for, else the default one the sentence-transformers folder names."""
        if self.spec.prompt:
            return self.spec.prompt
        config = self.json("config_sentence_transformers.json")
        prompts = config.get("prompts")
        default = config.get("default_prompt_name")
        return str(prompts.get(default, "")) if isinstance(prompts, dict) and default else ""

    @property
    def goes_on(self) -> bool:
        """Whether the prompt goes on after the text, as a template does."""
        return bool(self.prompt.partition("{text}")[2])

    @cached_property
    def weight_names(self) -> tuple[str, ...]:
        """The names of the transformer's weights, read from the headers of its safetensors files."""
        from safetensors import SafetensorError, safe_open

        names: list[str] = []
        for path in sorted(self.transformer.glob("*.safetensors")):
            try:
                with safe_open(path, framework="np") as file:
                    names += file.keys()
            except (SafetensorError, OSError) as e:
                raise HengyuError(f"{path}: not a whole safetensors file ({e}); get the model again") from None
        return tuple(names)

    @property
    def has_pooler(self) -> bool:
        """Whether the weights hold a pooler; without it the library would make one up at random."""
        return any("pooler" in name for name in self.weight_names)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (16 digits) over the names and bytes of weights, tokenizer and configuration."""
        total = hashlib.sha256()
        kept = kept_endings(self.spec)
        for path in sorted(p for p in self.path.rglob("*") if p.suffix in kept and p.is_file()):
            inside = path.relative_to(self.path)
            if _LEFT_OUT & set(inside.parts) or path.name.startswith("README"):
                continue
            with path.open("rb") as file:
                total.update(f"{inside.as_posix()}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return total.hexdigest()[:16]

    def _refuse_unsafe(self) -> None:
        """Refuse folders without safetensors weights, and code of the model's own unless the user opted in."""
        kinds = [str(m["type"]) for m in self.modules]
        foreign = [kind for kind in kinds if not kind.startswith(_OWN_MODULES) and kind != STEP]
        for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
            inside = str(self.transformer.relative_to(self.path) / name)
            foreign += [f"{name}: auto_map"] if "auto_map" in self.json(inside) else []
        if foreign and not self.spec.trust_remote_code:
            raise HengyuError(
                f"{self.where}: runs code of its own ({', '.join(foreign)}), which is refused; read that code, then pass "
                "--trust-remote-code if you trust it"
            )
        folders = [self._module(m) for m in self.modules] or [self.path]
        for module, folder in zip(self.modules, tuple(folders), strict=False):
            if str(module["type"]).rsplit(".", 1)[-1] not in _PLAIN:  # it may hold modules of its own, as a Router does
                folders += [p for p in folder.rglob("*") if p.is_dir() and not _LEFT_OUT & set(p.parts)]
        for folder in folders:
            pickles = sorted(p.name for p in folder.glob("*") if p.suffix in _PICKLED)
            if pickles and not list(folder.glob("*.safetensors")):
                raise HengyuError(
                    f"{folder}: holds {pickles[0]} but no .safetensors weights, and pickled weights are never loaded; "
                    "save the model again with save_pretrained(..., safe_serialization=True)"
                )
        if not list(self.transformer.glob("*.safetensors")):
            raise HengyuError(
                f"{self.where}: holds no weights (*.safetensors); give the folder that save_pretrained wrote, or a hub id, "
                "or write them anew: AutoModel.from_pretrained(NAME).save_pretrained(DIR), the same for AutoTokenizer"
            )
        if not self.static and not (self.transformer / "config.json").is_file():
            raise HengyuError(
                f"{self.where}: holds no config.json; give the folder that save_pretrained wrote, or a hub id"
            )
