"""A model's folder, inspected without loading the model: its kind, its safety, its fingerprint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

from hengyu.base.bounded import sha256_of
from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec
from hengyu.encoders.adapters import ADAPTER, base_of
from hengyu.encoders.architectures import default_pooling, longest_input
from hengyu.encoders.engines import refuse_backend
from hengyu.encoders.files import CODE_ENDING, Files, join, weight_files
from hengyu.encoders.kinds import is_cross_encoder, other_kind, refuse_other_kinds
from hengyu.encoders.layout import STEP, Part, read_parts
from hengyu.encoders.long_texts import LONG, TRUNCATE
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
_DTYPES = ("float32", "bfloat16", "float16", "int8")
_SETTINGS = "config_sentence_transformers.json"


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


class ModelFolder:
    """A folder in the layout of transformers or sentence-transformers; everything raises `HengyuError` on bad input.

    Opening one reads the configuration files as data, for any kind of model, and refuses what would run code;
    `refuse_other_kinds` refuses models that do not encode single texts. ``identifier`` is the name if ``spec`` has none,
    ``revision`` is the hub's; with ``offline`` the base model of an adapter is not downloaded.
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
        if spec.long and spec.long not in LONG:
            raise HengyuError(f"encoder '{self.id}': long '{spec.long}' is unknown; use one of {', '.join(LONG)}")
        if spec.max_length < 0:
            raise HengyuError(
                f"encoder '{self.id}': max_length {spec.max_length} must be positive, or 0 for the model's own"
            )
        refuse_unsafe(self)
        if self.static and spec.backend != "torch":
            raise HengyuError(
                f"{self.where}: is not a transformer, so backend {spec.backend} cannot run it; remove backend"
            )

    def on(self, side: str) -> ModelFolder:
        """Return the same folder for texts of one side of a retrieval suite (`hengyu.encoders.SIDES`)."""
        other = copy(self)
        other.side = side
        return other

    # --- its parts ---

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder, {} if missing."""
        return self.files.table(name)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The modules named in modules.json, () for a folder without it."""
        return read_parts(self.files)

    @property
    def modules(self) -> list[dict[str, Any]]:
        """The modules of a sentence-transformers folder, [] for a plain transformers folder."""
        return [{"type": part.type, "path": part.inside} for part in self.parts]

    @cached_property
    def pipeline(self) -> tuple[Part, ...]:
        """Its modules in order; a plain transformers folder is one transformer, a model2vec folder one static embedding."""
        if self.parts:
            return self.parts
        return (Part("StaticEmbedding" if self.is_model2vec else "Transformer", "", ""),)

    def walk(self) -> Iterator[Part]:
        """Yield its modules, including those of routers."""
        for part in self.pipeline:
            yield from part.walk()

    @property
    def transformer(self) -> Path:
        """The folder of the transformer (nested in some sentence-transformers folders)."""
        return self.path / self.first

    @property
    def first(self) -> str:
        """The transformer's folder as a path inside this one, "" for this one itself."""
        return self.pipeline[0].inside

    @property
    def custom(self) -> bool:
        """Whether Hengyu cannot build some module itself, so that only the library can load the folder, if trusted."""
        return any(not part.kind for part in self.walk())

    @property
    def static(self) -> bool:
        """Whether the first module is not a transformer; then only ``native`` is available."""
        first = self.pipeline[0]
        return not (first.kind == "Transformer" or (not first.kind and first.name.endswith("Transformer")))

    @property
    def ngrams(self) -> bool:
        """Whether it is a static n-gram encoder and nothing else; its native vectors are means, too."""
        return [part.kind for part in self.pipeline] == ["Ngrams"]

    @property
    def routed(self) -> bool:
        """Whether a Router chooses the modules for a text."""
        return any(part.kind == "Router" for part in self.pipeline)

    @property
    def is_model2vec(self) -> bool:
        """Whether it is a model2vec folder in its own layout, without modules.json."""
        return not self.parts and self.json("config.json").get("model_type") == "model2vec"

    @property
    def is_cross_encoder(self) -> bool:
        """Whether it is a reranker: a model that scores pairs of texts and has no vectors."""
        return is_cross_encoder(self)

    @property
    def architecture(self) -> str:
        """The class that the transformer was saved as, "" if the configuration does not say."""
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    # --- adapters ---

    @property
    def adapter(self) -> str:
        """The type of adapter applied to the transformer, "" for none."""
        if self.static:
            return ""
        found = self.json(join(self.first, ADAPTER))
        return str(found.get("peft_type") or "adapter") if found else ""

    @cached_property
    def base(self) -> ModelFolder | None:
        """The folder of an adapter's base model; None if the base's weights are in this folder."""
        found: ModelFolder | None = base_of(self)
        return found

    @property
    def body(self) -> Path:
        """The folder of the transformer's configuration and weights, which for an adapter is its base's."""
        return self.base.transformer if self.base else self.transformer

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer, which an adapter may lack."""
        own = any("tokenizer" in n or n.startswith("vocab") for n in self.files.names(self.first))
        return self.transformer if own or not self.base else self.base.transformer

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The transformer's configuration; raises `HengyuError` for invalid sizes."""
        if self.base:
            return self.base.config
        inside = join(self.first, "config.json")
        config = self.json(inside)
        check_sizes(config, self.path / inside)
        return config

    # --- how it encodes ---

    @cached_property
    def tail(self) -> tuple[str, bool] | None:
        """The pooling ("mean" or "cls") and normalisation after the transformer; None if only the library can tell."""
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

    @cached_property
    def word_weights(self) -> list[float] | None:
        """The weights of tokens, by id, of a WordWeights module after the transformer; None without one.

        One that does not name a weight for every token is no weighted mean, but picks tokens, and counts for ``native`` alone.
        Raises `HengyuError` if its file is malformed.
        """
        if [part.kind for part in self.parts[:3]] != ["Transformer", "WordWeights", "Pooling"]:
            return None
        config = self.parts[1].config
        words, given, other = (config.get(key) for key in ("vocab", "word_weights", "unknown_word_weight"))
        if not (
            isinstance(words, list)
            and isinstance(given, dict)
            and all(isinstance(word, str) for word in words)
            and all(_is_weight(value) for value in (*given.values(), 1 if other is None else other))
        ):
            raise HengyuError(
                f"{self.path / self.parts[1].inside / 'config.json'}: needs vocab, a list of tokens, and word_weights, numbers "
                "of at least 0; get the model again"
            )
        return [float(given[word]) for word in words] if set(words) <= given.keys() else None

    @property
    def leaves_prompt_out(self) -> bool:
        """Whether the library, going by the model's name, leaves prompts out of the mean."""
        return self.spec.model in ("hkunlp/instructor-base", "hkunlp/instructor-large", "hkunlp/instructor-xl")

    @property
    def lowercase(self) -> bool:
        """Whether the sentence-transformers folder wants texts in lower case."""
        return bool(self.parts) and self.sentence_config.get("do_lower_case") is True

    @cached_property
    def settings(self) -> dict[str, Any]:
        """sentence-transformers' settings of the whole model: prompts, truncation."""
        return self.json(_SETTINGS) if self.parts else {}

    def sentence_config_of(self, part: Part) -> dict[str, Any]:
        """sentence-transformers' settings of a transformer, besides its configuration."""
        names = [n for n in self.files.names(part.inside) if n.startswith("sentence_") and n.endswith("_config.json")]
        return self.json(join(part.inside, names[0])) if names and part.kind == "Transformer" else {}

    @cached_property
    def sentence_config(self) -> dict[str, Any]:
        """The same of the first module, with a valid longest input."""
        config = self.sentence_config_of(self.pipeline[0])
        check_length(config.get("max_seq_length"), self.transformer / "sentence_bert_config.json", "max_seq_length")
        return config

    @property
    def max_length(self) -> int:
        """The longest input in tokens: the requested one, limited by the model."""
        own, limit = longest_input(self.config, self.tokenizer_config, self.sentence_config, self.weight_names)
        if self.spec.max_length > limit:
            raise HengyuError(
                f"encoder '{self.id}': max_length {self.spec.max_length} exceeds the model's limit of {limit} tokens; lower it"
            )
        return self.spec.max_length or own

    @property
    def long(self) -> str:
        """What is done with texts that are longer than that (`LONG`); a static model has no longest input."""
        return TRUNCATE if self.static else self.spec.long or TRUNCATE

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        """The tokenizer's configuration, with a valid longest input."""
        if self.base and self.tokenizer == self.base.transformer:
            return self.base.tokenizer_config
        config = self.json(join(self.first, "tokenizer_config.json"))
        check_length(config.get("model_max_length"), self.tokenizer / "tokenizer_config.json", "model_max_length")
        return config

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """The prompts of the sentence-transformers folder, by name."""
        return prompts_of(self.settings, self.path / _SETTINGS)

    @cached_property
    def default_prompt_name(self) -> str:
        """The name of the default prompt of the sentence-transformers folder, "" for none."""
        return default_prompt_of(self.settings, self.prompts, self.path / _SETTINGS)

    @cached_property
    def default_prompt(self) -> str:
        """The default prompt."""
        return self.prompts.get(self.default_prompt_name, "")

    @property
    def prompt(self) -> str:
        """The given prompt, else the sentence-transformers folder's prompt for the side, or its default."""
        asked = self.spec.prompt_of(self.side)
        if asked is not None:
            return asked
        return side_prompt(self.prompts, self.side) if self.side else self.default_prompt

    @property
    def prompt_has_suffix(self) -> bool:
        """Whether the prompt continues after the text, like a template."""
        return bool(self.prompt.partition("{text}")[2])

    @property
    def truncate_dim(self) -> int:
        """How many columns of a native vector the folder keeps, 0 for all."""
        return truncate_dim_of(self.settings, self.path / _SETTINGS)

    # --- weights ---

    @cached_property
    def weights(self) -> tuple[Path, ...]:
        """The safetensors files of the transformer, including an adapter's base and the adapter."""
        here = [] if self.base else weight_files(self.files, self.first)
        names = [n for n in here if n.endswith(".safetensors")] + ["adapter_model.safetensors"] * bool(self.adapter)
        own = [self.transformer / name for name in names]
        return (*(self.base.weights if self.base else ()), *own)

    @cached_property
    def weight_names(self) -> tuple[str, ...]:
        """The names of the transformer's weights, from the headers of its safetensors files."""
        from safetensors import SafetensorError, safe_open

        names: list[str] = []
        for path in self.weights:
            try:
                with safe_open(path, framework="np") as file:
                    names += file.keys()
            except (SafetensorError, OSError) as e:
                raise HengyuError(f"{path}: not a complete safetensors file ({e}); get the model again") from None
        return tuple(names)

    @cached_property
    def parameters(self) -> int:
        """How many numbers the transformer's weights hold, from the headers of its safetensors files."""
        from safetensors import SafetensorError, safe_open

        total = 0
        for path in self.weights:
            try:
                with safe_open(path, framework="np") as file:
                    names = list(file.keys())
                    total += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
            except (SafetensorError, OSError) as e:
                raise HengyuError(f"{path}: not a complete safetensors file ({e}); get the model again") from None
        return total

    @property
    def has_pooler(self) -> bool:
        """Whether the weights have a pooler; without it the library would initialise one at random."""
        return any("pooler" in name for name in self.weight_names)

    # --- its fingerprint ---

    @cached_property
    def loaded(self) -> tuple[str, ...]:
        """The paths, inside the folder, of all files that its vectors depend on: those that loading it opens.

        A model's own code could read any file: if it is trusted, all files count except README.md, .git and .cache.
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
        """sha256 (16 digits) of the names and bytes of all files that loading opens, including an adapter's base."""
        total = hashlib.sha256()
        for inside in self.loaded:
            total.update(f"{inside}\0{sha256_of(self.path / inside)}\n".encode())
        if self.base:
            total.update(f"base\0{self.base.fingerprint}\n".encode())
        return total.hexdigest()[:16]

    # --- what is refused ---

    @cached_property
    def foreign(self) -> tuple[str, ...]:
        """What in the folder would run code, import by name or fetch other files."""
        return foreign(self)

    @cached_property
    def other_kind(self) -> str:
        """What the model is if it does not encode single texts into dense vectors, else ""."""
        return other_kind(self)

    def refuse_other_kinds(self) -> None:
        """Raise `HengyuError` if the model does not encode single texts, or is certain to fail later."""
        refuse_other_kinds(self)
