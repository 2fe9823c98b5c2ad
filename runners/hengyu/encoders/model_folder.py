"""A model's folder, read without loading the model: what it is, whether it is safe, its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

from hengyu.base.bounded import open_regular
from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec
from hengyu.encoders.adapters import ADAPTER, base_of
from hengyu.encoders.architectures import default_pooling, longest_input
from hengyu.encoders.engines import refuse_backend
from hengyu.encoders.files import CODE_ENDING, Files, join, weight_files
from hengyu.encoders.kinds import is_cross_encoder, other_kind, refuse_other_kinds
from hengyu.encoders.layout import STEP, Part, read_parts
from hengyu.encoders.settings import (
    check_length,
    check_sizes,
    default_prompt_of,
    prompts_of,
    side_prompt,
    truncate_dim_of,
)
from hengyu.encoders.unsafe import foreign, refuse_unsafe

__all__ = ["STEP", "ModelFolder"]

_LEFT_OUT = {".git", ".cache"}
_DTYPES = ("float32", "bfloat16", "float16")
_SETTINGS = "config_sentence_transformers.json"


class ModelFolder:
    """A folder in the layout of transformers or sentence-transformers; every question raises `HengyuError` on bad input.

    Opening one reads its configuration files as data, whatever kind of model it is, and refuses what would run code;
    `refuse_other_kinds` refuses models that are no encoders of single texts. ``identifier`` is its name where ``spec`` gives
    none, ``revision`` that of the hub; with ``offline`` the base model of an adapter is not downloaded.
    """

    def __init__(
        self, path: Path, spec: EncoderSpec, *, identifier: str, revision: str = "", offline: bool = True
    ) -> None:
        self.path = path
        self.spec = spec
        self.id = spec.name or identifier
        self.revision = revision
        self.offline = offline
        self.side = ""
        self.where = f"encoder '{self.id}' ({path})"
        self.files = Files(path)
        if spec.dtype not in _DTYPES:
            raise HengyuError(f"encoder '{self.id}': dtype '{spec.dtype}' is unknown; use one of {', '.join(_DTYPES)}")
        refuse_backend(f"encoder '{self.id}'", spec.backend, spec.dtype)
        if spec.pre_tokenizer not in ("", "jieba"):
            raise HengyuError(f"encoder '{self.id}': pre_tokenizer '{spec.pre_tokenizer}' is unknown; use jieba")
        if spec.max_length < 0:
            raise HengyuError(
                f"encoder '{self.id}': max_length {spec.max_length} must be positive, or 0 for the model's own"
            )
        refuse_unsafe(self)
        if self.static and spec.backend != "torch":
            raise HengyuError(
                f"{self.where}: is not a transformer, so backend {spec.backend} cannot run it; leave backend out"
            )

    def on(self, side: str) -> ModelFolder:
        """Return the same folder for texts of one side of a retrieval suite (`hengyu.encoders.SIDES`)."""
        other = copy(self)
        other.side = side
        return other

    # --- what it consists of ---

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder, {} when it is not there."""
        return self.files.table(name)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The modules that modules.json names, () for a folder without one."""
        return read_parts(self.files)

    @property
    def modules(self) -> list[dict[str, Any]]:
        """The modules of a sentence-transformers folder, [] for a plain transformers folder."""
        return [{"type": part.type, "path": part.inside} for part in self.parts]

    @cached_property
    def pipeline(self) -> tuple[Part, ...]:
        """Its modules in order; a plain transformers folder is a transformer alone, a model2vec one a static embedding."""
        if self.parts:
            return self.parts
        return (Part("StaticEmbedding" if self.is_model2vec else "Transformer", "", ""),)

    def walk(self) -> Iterator[Part]:
        """Yield its modules, and those that a router is made of."""
        for part in self.pipeline:
            yield from part.walk()

    @property
    def transformer(self) -> Path:
        """The folder of the transformer itself (some sentence-transformers folders nest it)."""
        return self.path / self.first

    @property
    def first(self) -> str:
        """The transformer's folder as a path inside this one, "" for this one."""
        return self.pipeline[0].inside

    @property
    def custom(self) -> bool:
        """Whether a module is none that Hengyu builds itself, so that only the library can load the folder, when trusted."""
        return any(not part.kind for part in self.walk())

    @property
    def static(self) -> bool:
        """Whether the first module is not a transformer, so that only ``native`` is available."""
        first = self.pipeline[0]
        return not (first.kind == "Transformer" or (not first.kind and first.name.endswith("Transformer")))

    @property
    def routed(self) -> bool:
        """Whether a Router chooses the modules that a text takes."""
        return any(part.kind == "Router" for part in self.pipeline)

    @property
    def is_model2vec(self) -> bool:
        """Whether it is a folder of model2vec in its own layout, without a modules.json."""
        return not self.parts and self.json("config.json").get("model_type") == "model2vec"

    @property
    def is_cross_encoder(self) -> bool:
        """Whether it is a reranker: a model of one score for a pair of texts, with no vectors of its own."""
        return is_cross_encoder(self)

    @property
    def architecture(self) -> str:
        """The class that the transformer was saved as, "" where the configuration does not say."""
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    # --- adapters ---

    @property
    def adapter(self) -> str:
        """The kind of adapter that is applied to the transformer, "" for none."""
        if self.static:
            return ""
        found = self.json(join(self.first, ADAPTER))
        return str(found.get("peft_type") or "adapter") if found else ""

    @cached_property
    def base(self) -> ModelFolder | None:
        """The folder of an adapter's base model where its weights are elsewhere; None where they are here."""
        found: ModelFolder | None = base_of(self)
        return found

    @property
    def body(self) -> Path:
        """The folder that the transformer's configuration and weights are read from: an adapter's base is elsewhere."""
        return self.base.transformer if self.base else self.transformer

    @property
    def tokenizer(self) -> Path:
        """The folder that the tokenizer is read from: an adapter may come without one."""
        own = any("tokenizer" in n or n.startswith("vocab") for n in self.files.names(self.first))
        return self.transformer if own or not self.base else self.base.transformer

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The transformer's configuration; raises `HengyuError` for sizes that are none."""
        if self.base:
            return self.base.config
        inside = join(self.first, "config.json")
        config = self.json(inside)
        check_sizes(config, self.path / inside)
        return config

    # --- how it encodes ---

    @cached_property
    def tail(self) -> tuple[str, bool] | None:
        """The pooling ("mean" or "cls") and normalisation after the transformer; None when it takes the library to say."""
        if self.truncate_dim:
            return None
        if not self.parts:
            return None if self.static else (default_pooling(self.config), False)
        if [p.kind for p in self.parts] not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            return None
        if any(key.startswith("module_") for key in self.parts[-1].config):
            return None
        config = self.parts[1].config
        on = [k for k, v in config.items() if k.startswith("pooling_mode") and v is True]
        modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
        if isinstance(config.get("pooling_mode"), str):
            on, modes = [config["pooling_mode"]], {"mean": "mean", "cls": "cls"}
        if len(on) != 1 or on[0] not in modes or config.get("include_prompt") is False or self.leaves_prompt_out:
            return None
        return (modes[on[0]], len(self.parts) == 3)

    @property
    def leaves_prompt_out(self) -> bool:
        """Whether it is one of the models whose prompts the library leaves out of the mean by their name."""
        return self.spec.model in ("hkunlp/instructor-base", "hkunlp/instructor-large", "hkunlp/instructor-xl")

    @property
    def lowercase(self) -> bool:
        """Whether the sentence-transformers folder asks for lower case before the tokenizer."""
        return bool(self.parts) and self.sentence_config.get("do_lower_case") is True

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What sentence-transformers keeps of the whole model: prompts, the width it is cut to."""
        return self.json(_SETTINGS) if self.parts else {}

    def sentence_config_of(self, part: Part) -> dict[str, Any]:
        """What sentence-transformers keeps of a transformer beside its configuration."""
        names = [n for n in self.files.names(part.inside) if n.startswith("sentence_") and n.endswith("_config.json")]
        return self.json(join(part.inside, names[0])) if names and part.kind == "Transformer" else {}

    @cached_property
    def sentence_config(self) -> dict[str, Any]:
        """The same of the first module, its longest input checked."""
        config = self.sentence_config_of(self.pipeline[0])
        check_length(config.get("max_seq_length"), self.transformer / "sentence_bert_config.json", "max_seq_length")
        return config

    @property
    def max_length(self) -> int:
        """The longest input in tokens: what was asked for, at most what the model can take."""
        own, limit = longest_input(self.config, self.tokenizer_config, self.sentence_config, self.weight_names)
        if self.spec.max_length > limit:
            raise HengyuError(
                f"encoder '{self.id}': max_length {self.spec.max_length} is more than the {limit} tokens the model takes; lower it"
            )
        return self.spec.max_length or own

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        """The tokenizer's configuration, its longest input checked."""
        if self.base and self.tokenizer == self.base.transformer:
            return self.base.tokenizer_config
        config = self.json(join(self.first, "tokenizer_config.json"))
        check_length(config.get("model_max_length"), self.tokenizer / "tokenizer_config.json", "model_max_length")
        return config

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """The prompts that the sentence-transformers folder names, by their names."""
        return prompts_of(self.settings, self.path / _SETTINGS)

    @property
    def default_prompt_name(self) -> str:
        """The name of the prompt that the sentence-transformers folder puts before every text, "" for none."""
        return default_prompt_of(self.settings, self.prompts, self.path / _SETTINGS)

    @property
    def default_prompt(self) -> str:
        """That prompt itself."""
        return self.prompts.get(self.default_prompt_name, "")

    @property
    def prompt(self) -> str:
        """The prompt as asked for, else the one that the sentence-transformers folder names for the side, or by default."""
        asked = self.spec.prompt_of(self.side)
        if asked is not None:
            return asked
        return side_prompt(self.prompts, self.side) if self.side else self.default_prompt

    @property
    def goes_on(self) -> bool:
        """Whether the prompt goes on after the text, as a template does."""
        return bool(self.prompt.partition("{text}")[2])

    @property
    def truncate_dim(self) -> int:
        """How many columns of a native vector the folder says to keep, 0 for all."""
        return truncate_dim_of(self.settings, self.path / _SETTINGS)

    # --- weights ---

    @cached_property
    def weights(self) -> tuple[Path, ...]:
        """The safetensors files that the transformer is read from, an adapter's base and adapter included."""
        here = [] if self.base else weight_files(self.files, self.first)
        names = [n for n in here if n.endswith(".safetensors")] + ["adapter_model.safetensors"] * bool(self.adapter)
        own = [self.transformer / name for name in names]
        return (*(self.base.weights if self.base else ()), *own)

    @cached_property
    def weight_names(self) -> tuple[str, ...]:
        """The names of the transformer's weights, read from the headers of its safetensors files."""
        from safetensors import SafetensorError, safe_open

        names: list[str] = []
        for path in self.weights:
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

    # --- its fingerprint ---

    @cached_property
    def loaded(self) -> tuple[str, ...]:
        """The paths, inside the folder, of all files that decide its vectors: those that loading it opens.

        A model's own code could read any file: where that is trusted, all are taken but README.md, .git and .cache.
        """
        if self.spec.trust_remote_code and (self.foreign or self.custom or any(self.path.rglob(f"*{CODE_ENDING}"))):
            every = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
            return tuple(
                p.as_posix() for p in sorted(every) if not _LEFT_OUT & set(p.parts) and p.as_posix() != "README.md"
            )
        found = [name for name in ("modules.json", _SETTINGS) if self.parts and self.files.find(name)]
        for part in self.walk():
            found += part.files(self.files)
        return tuple(p.as_posix() for p in sorted({Path(name) for name in found}))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (16 digits) over the names and bytes of all files that loading opens, an adapter's base included."""
        total = hashlib.sha256()
        for inside in self.loaded:
            with open_regular(self.path / inside) as file:
                total.update(f"{inside}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        if self.base:
            total.update(f"base\0{self.base.fingerprint}\n".encode())
        return total.hexdigest()[:16]

    # --- what it is not ---

    @cached_property
    def foreign(self) -> tuple[str, ...]:
        """What in the folder would run code, import by name or fetch something else."""
        return foreign(self)

    @cached_property
    def other_kind(self) -> str:
        """What the model is where it is no encoder of single texts into dense vectors, "" where it is one."""
        return other_kind(self)

    def refuse_other_kinds(self) -> None:
        """Raise `HengyuError` for a model that is no encoder of single texts, and for what can be known to fail later."""
        refuse_other_kinds(self)
