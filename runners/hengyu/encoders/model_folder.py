"""A model's folder, read without loading the model: what it is, whether it is safe, its fingerprint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec
from hengyu.encoders.engines import refuse_backend
from hengyu.encoders.hub import find_folder
from hengyu.encoders.layout import ACTIVATIONS, CODE_ENDING, STEP, Files, Part, code_in, join, read_parts, weight_files

__all__ = ["STEP", "ModelFolder"]

_LEFT_OUT = {".git", ".cache"}
_PICKLED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}
_DTYPES = ("float32", "bfloat16", "float16")
_SETTINGS = "config_sentence_transformers.json"
_ADAPTER = "adapter_config.json"
_SPARSE = ("SpladePooling", "MLMTransformer", "SparseAutoEncoder", "CSRSparsity", "SparseStaticEmbedding", "IDF")
_LATE = ("MultiVectorMask", "TokenPooling", "ColBERT", "Dense")
_CROSS = ("LogitScore",)
_NAMESPACES = ("sentence_transformers.", "pylate.models.")
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "num_labels")
_LONGEST = 1 << 62  # of max_seq_length: tokenizers without a limit say 10**30


class ModelFolder:
    """A folder in the layout of transformers or sentence-transformers; every question raises `HengyuError` on bad input.

    Opening one reads its configuration files as data, whatever kind of model it is, and refuses what would run code.
    `refuse_other_kinds` refuses models that are no encoders of single texts.

    Args:
        path: the folder.
        spec: how the encoder was asked for.
        identifier: its name where the spec gives none.
        revision: of the hub, "" for a folder.
        offline: whether the base model of an adapter may not be downloaded.
    """

    def __init__(
        self, path: Path, spec: EncoderSpec, *, identifier: str, revision: str = "", offline: bool = True
    ) -> None:
        self.path = path
        self.spec = spec
        self.id = spec.name or identifier
        self.revision = revision
        self.offline = offline
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
        self._refuse_unsafe()
        if self.static and spec.backend != "torch":
            raise HengyuError(f"{self.where}: is no transformer, so backend {spec.backend} cannot run it; leave it out")

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

    def _walk(self) -> Iterator[Part]:
        for part in self.pipeline:
            yield from part.walk()

    @property
    def transformer(self) -> Path:
        """The folder of the transformer itself (some sentence-transformers folders nest it)."""
        return self.path / self._first

    @property
    def _first(self) -> str:
        return self.pipeline[0].inside

    @property
    def custom(self) -> bool:
        """Whether a module is none that Hengyu builds itself, so that only the library can load the folder, when trusted."""
        return any(not part.kind for part in self._walk())

    @property
    def static(self) -> bool:
        """Whether the first module is no transformer, so that only ``native`` can be had."""
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
        if self._settings.get("model_type") == "CrossEncoder" or any(p.name in _CROSS for p in self.parts):
            return True
        if any(self._sentence_config_of(p).get("transformer_task") == "sequence-classification" for p in self.parts):
            return True
        return not self.parts and self._architecture.endswith("ForSequenceClassification") and self._labels == 1

    @property
    def _architecture(self) -> str:
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    @property
    def _labels(self) -> int:
        for key in ("num_labels", "id2label", "label2id"):
            value = self.config.get(key)
            if isinstance(value, dict):
                return len(value)
            if isinstance(value, int):
                return value
        return 2  # as transformers has it

    # --- adapters ---

    @property
    def adapter(self) -> str:
        """The kind of adapter that is applied to the transformer, "" for none."""
        if self.static:
            return ""
        found = self.json(join(self._first, _ADAPTER))
        return str(found.get("peft_type") or "adapter") if found else ""

    @cached_property
    def base(self) -> ModelFolder | None:
        """The folder of an adapter's base model where its weights are elsewhere; None where they are here."""
        if not self.adapter or self.files.find(join(self._first, "config.json")) is not None:
            return None
        where = self.transformer / _ADAPTER
        named = self.json(join(self._first, _ADAPTER)).get("base_model_name_or_path")
        if not isinstance(named, str) or not named or "\0" in named:
            raise HengyuError(f"{where}: names no base model, and none is beside it; get the model again")
        spec = replace(
            self.spec, model=named, name="", revision="", prompt="", max_length=0, backend="torch", pre_tokenizer=""
        )
        try:
            place, revision = find_folder(spec, offline=self.offline)
            base = ModelFolder(place, spec, identifier=named, revision=revision)
        except HengyuError as e:
            raise HengyuError(
                f"{self.where}: is an adapter alone, and its base model '{named}' cannot be used: {e}"
            ) from None
        if base.parts or base.adapter:
            raise HengyuError(
                f"{self.where}: is an adapter, and its base model '{named}' is no plain transformers folder; merge them: "
                "model.merge_and_unload().save_pretrained(DIR)"
            )
        return base

    @property
    def body(self) -> Path:
        """The folder that the transformer's configuration and weights are read from: an adapter's base is elsewhere."""
        return self.base.transformer if self.base else self.transformer

    @property
    def tokenizer(self) -> Path:
        """The folder that the tokenizer is read from: an adapter may come without one."""
        own = any("tokenizer" in n or n.startswith("vocab") for n in self.files.names(self._first))
        return self.transformer if own or not self.base else self.base.transformer

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The transformer's configuration; raises `HengyuError` for sizes that are none."""
        if self.base:
            return self.base.config
        inside = join(self._first, "config.json")
        config = self.json(inside)
        for key in _SIZES:
            value = config.get(key)
            if value is not None and (type(value) is not int or value < 0) and not isinstance(value, list):
                raise HengyuError(
                    f"{self.path / inside}: key '{key}' must be a whole number, not {_shown(value)}; get the model again"
                )
        return config

    # --- how it encodes ---

    @cached_property
    def tail(self) -> tuple[str, bool] | None:
        """The pooling ("mean" or "cls") and normalisation after the transformer; None when it takes the library to say."""
        if self.truncate_dim:
            return None
        if not self.parts:
            causal = self._architecture.endswith("ForCausalLM") and self.config.get("is_causal", True) is not False
            return None if self.static or causal else ("mean", False)
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
        return bool(self.parts) and self._sentence_config.get("do_lower_case") is True

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What sentence-transformers keeps of the whole model: prompts, the width it is cut to."""
        return self.json(_SETTINGS) if self.parts else {}

    def _sentence_config_of(self, part: Part) -> dict[str, Any]:
        names = [n for n in self.files.names(part.inside) if n.startswith("sentence_") and n.endswith("_config.json")]
        return self.json(join(part.inside, names[0])) if names and part.kind == "Transformer" else {}

    @cached_property
    def _sentence_config(self) -> dict[str, Any]:
        config = self._sentence_config_of(self.pipeline[0])
        longest = config.get("max_seq_length")
        if longest is not None and (type(longest) is not int or not 0 < longest < _LONGEST):
            raise HengyuError(
                f"{self.transformer}: max_seq_length {_shown(longest)} must be a number of tokens above 0; correct "
                "sentence_bert_config.json, or get the model again"
            )
        return config

    @property
    def max_length(self) -> int:
        """The longest input in tokens: what was asked for, at most what the model can take."""
        config = self.config
        tokenizer = self._tokenizer_config
        limits = [
            int(v)
            for v in (config.get("max_position_embeddings"), tokenizer.get("model_max_length"))
            if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and v > 0
        ]
        limit = min(limits, default=512)
        positions = config.get("max_position_embeddings")
        if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") and type(positions) is int and positions:
            limit = min(limit, positions - 2)  # positions start after the padding index
        own = self._sentence_config.get("max_seq_length")
        own = min(own, limit) if isinstance(own, int) else limit
        if self.spec.max_length > limit:
            raise HengyuError(
                f"encoder '{self.id}': max_length {self.spec.max_length} is more than the {limit} tokens the model takes; lower it"
            )
        return self.spec.max_length or own

    @cached_property
    def _tokenizer_config(self) -> dict[str, Any]:
        if self.base and self.tokenizer == self.base.transformer:
            return self.base._tokenizer_config
        config = self.json(join(self._first, "tokenizer_config.json"))
        longest = config.get("model_max_length")
        if longest is not None and (type(longest) not in (int, float) or not longest > 0):
            raise HengyuError(
                f"{self.tokenizer / 'tokenizer_config.json'}: key 'model_max_length' must be a number of tokens above 0, not "
                f"{_shown(longest)}; correct it, or get the model again"
            )
        return config

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """The prompts that the sentence-transformers folder names, by their names."""
        found = self._settings.get("prompts")
        if found is None:
            return {}
        where = self.path / _SETTINGS
        if not isinstance(found, dict) or not all(v is None or isinstance(v, str) for v in found.values()):
            raise HengyuError(f"{where}: key 'prompts' must map names to texts; correct it, or get the model again")
        return {name: text or "" for name, text in found.items()}

    @property
    def default_prompt_name(self) -> str:
        """The name of the prompt that the sentence-transformers folder puts before every text, "" for none."""
        default = self._settings.get("default_prompt_name")
        if default is None or default == "":
            return ""
        if not isinstance(default, str) or default not in {*self.prompts, "query", "document"}:
            raise HengyuError(
                f"{self.path / _SETTINGS}: key 'default_prompt_name' must name one of its prompts, not {_shown(default)}; "
                "correct it, or get the model again"
            )
        return default

    @property
    def default_prompt(self) -> str:
        """That prompt itself."""
        return self.prompts.get(self.default_prompt_name, "")

    @property
    def prompt(self) -> str:
        """The prompt as asked for, else the default one the sentence-transformers folder names."""
        return self.spec.prompt or self.default_prompt

    @property
    def goes_on(self) -> bool:
        """Whether the prompt goes on after the text, as a template does."""
        return bool(self.prompt.partition("{text}")[2])

    @property
    def truncate_dim(self) -> int:
        """How many columns of a native vector the folder says to keep, 0 for all."""
        kept = self._settings.get("truncate_dim")
        if kept is None:
            return 0
        if type(kept) is not int or kept < 1:
            raise HengyuError(
                f"{self.path / _SETTINGS}: key 'truncate_dim' must be a number of columns above 0, not {_shown(kept)}; "
                "correct it, or get the model again"
            )
        return kept

    # --- weights ---

    @cached_property
    def weights(self) -> tuple[Path, ...]:
        """The safetensors files that the transformer is read from, an adapter's base and adapter included."""
        here = [] if self.base else weight_files(self.files, self._first)
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
        if self.spec.trust_remote_code and (self._foreign or self.custom or any(self.path.rglob(f"*{CODE_ENDING}"))):
            every = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
            return tuple(
                p.as_posix() for p in sorted(every) if not _LEFT_OUT & set(p.parts) and p.as_posix() != "README.md"
            )
        found = [name for name in ("modules.json", _SETTINGS) if self.parts and self.files.find(name)]
        for part in self._walk():
            found += part.files(self.files)
        return tuple(p.as_posix() for p in sorted({Path(name) for name in found}))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (16 digits) over the names and bytes of all files that loading opens, an adapter's base included."""
        total = hashlib.sha256()
        for inside in self.loaded:
            with (self.path / inside).open("rb") as file:
                total.update(f"{inside}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        if self.base:
            total.update(f"base\0{self.base.fingerprint}\n".encode())
        return total.hexdigest()[:16]

    # --- what is refused ---

    @cached_property
    def _foreign(self) -> tuple[str, ...]:
        """What in the folder would run code, import by name or fetch something else."""
        # modules of the library for other kinds of model, which is refused as what it is, are never built
        known = (*_SPARSE, *_LATE, *_CROSS) if self._other_kind else ()
        found = [
            part.type
            for part in self._walk()
            if not (part.kind or (part.name in known and part.type.startswith(_NAMESPACES)))
        ]
        for part in self._walk():
            if part.kind == "Dense":
                named = part.config.get("activation_function", "torch.nn.modules.activation.Tanh")
                if not isinstance(named, str) or named not in ACTIVATIONS:
                    found.append(f"{join(part.inside, 'config.json')}: activation_function {str(named)[:80]}")
        for inside in (i for part in self._walk() for i in part.files(self.files) if i.endswith(".json")):
            name = inside.rsplit("/", 1)[-1]
            if "vocab" not in name and name != "tokenizer.json":
                found += code_in(self.files.json(inside), inside)
        return tuple(dict.fromkeys(found))

    def _refuse_unsafe(self) -> None:
        """Refuse folders without safetensors weights, and code of the model's own unless the user opted in."""
        if self._foreign and not self.spec.trust_remote_code:
            raise HengyuError(
                f"{self.where}: runs code of its own ({', '.join(self._foreign)}), which is refused; read that code, then "
                "pass --trust-remote-code if you trust it"
            )
        if not self.custom:
            for part in self._walk():
                self._refuse_pickled(part)
        if not self.static and not self.adapter and self.files.find(join(self._first, "config.json")) is None:
            raise HengyuError(
                f"{self.where}: holds no config.json; give the folder that save_pretrained wrote, or a hub id"
            )
        self._refuse_adapter()

    def _refuse_pickled(self, part: Part) -> None:
        """Refuse a module whose weights are no safetensors file, or are not there."""
        if not part.has_weights:
            return
        folder = self.path / part.inside
        if part.kind == "Transformer":
            found = bool(weight_files(self.files, part.inside))
            if self.files.find(join(part.inside, _ADAPTER)) is not None:
                found = self.files.find(join(part.inside, "adapter_model.safetensors")) is not None
        else:
            name = "state.safetensors" if part.kind == "Step" else "model.safetensors"
            found = self.files.find(join(part.inside, name)) is not None
        if found:
            return
        pickles = [n for n in self.files.names(part.inside) if Path(n).suffix in _PICKLED]
        if pickles:
            raise HengyuError(
                f"{folder}: holds {pickles[0]} but no .safetensors weights, and pickled weights are never loaded; "
                "save the model again with save_pretrained(..., safe_serialization=True)"
            )
        if part is self.pipeline[0] and part.kind == "Transformer":
            self._refuse_checkpoints()
            raise HengyuError(
                f"{self.where}: holds no weights (*.safetensors); give the folder that save_pretrained wrote, or a hub id, "
                "or write them anew: AutoModel.from_pretrained(NAME).save_pretrained(DIR), the same for AutoTokenizer"
            )
        raise HengyuError(f"{folder}: holds no weights (model.safetensors) for {part.name}; get the model again")

    def _refuse_checkpoints(self) -> None:
        """Name the last checkpoint in the output folder of a Trainer."""
        steps = [
            int(name.removeprefix("checkpoint-"))
            for name in self.files.names("")
            if name.removeprefix("checkpoint-").isdecimal() and name.startswith("checkpoint-")
        ]
        if steps:
            last = self.path / f"checkpoint-{max(steps)}"
            raise HengyuError(
                f"{self.where}: is a Trainer's output folder and holds no weights itself; give one of its checkpoints, the "
                f"last is '{last}'"
            )

    def _refuse_adapter(self) -> None:
        """Refuse an adapter that cannot be applied."""
        for part in self._walk():
            inside = join(part.inside, _ADAPTER)
            if part.kind == "Transformer" and part is not self.pipeline[0] and self.files.find(inside) is not None:
                raise HengyuError(
                    f"{self.path / inside}: only the first module may have an adapter; merge it into its base: "
                    "model.merge_and_unload().save_pretrained(DIR)"
                )
        if not self.adapter:
            return
        if self.adapter != "LORA":
            raise HengyuError(
                f"{self.where}: adapters of the kind {self.adapter} are not supported, only LORA; merge it into its base: "
                "model.merge_and_unload().save_pretrained(DIR)"
            )
        if find_spec("peft") is None:
            raise HengyuError(
                f"{self.where}: holds a LoRA adapter, and applying it needs peft; run: pip install 'hengyu[peft]'"
            )
        if self.spec.backend != "torch":
            raise HengyuError(
                f"{self.where}: holds an adapter, which backend {self.spec.backend} cannot run; leave backend out, or merge "
                "it into its base: model.merge_and_unload().save_pretrained(DIR)"
            )
        _ = self.base

    @cached_property
    def _other_kind(self) -> str:
        """What the model is where it is no encoder of single texts into dense vectors, "" where it is one."""
        names: Sequence[str] = [part.name for part in self._walk()]
        if self._settings.get("model_type") == "SparseEncoder" or any(n in _SPARSE for n in names):
            return (
                "is a sparse model (SPLADE): its vectors have a column for each token of the vocabulary, and Hengyu evaluates "
                "dense vectors only; give a dense model"
            )
        late = self._settings.get("model_type") in ("MultiVectorEncoder", "ColBERT") or any(
            part.name in _LATE and not part.kind for part in self._walk()
        )
        if late:
            return (
                "is a late-interaction model (ColBERT): it has a vector for each token, and Hengyu evaluates one vector for "
                "each text; give a model with a pooling"
            )
        if self.is_cross_encoder:
            return (
                "is a cross-encoder (a reranker): it scores a pair of texts and has no vectors for a single one; give an "
                "encoder (bi-encoder), or evaluate it as a cross-encoder"
            )
        return ""

    def refuse_other_kinds(self) -> None:
        """Raise `HengyuError` for a model that is no encoder of single texts, and for what can be known to fail later."""
        if self._other_kind:
            raise HengyuError(f"{self.where}: {self._other_kind}")
        if self.custom:
            return
        first, last = self.pipeline[0], self.pipeline[-1]
        if not first.takes_text:
            raise HengyuError(
                f"{self.path / 'modules.json'}: the first module is {first.name}, which takes no texts; get the model again"
            )
        if self.parts and not self._gives_vectors:
            raise HengyuError(
                f"{self.path / 'modules.json'}: ends with {last.name} and holds no Pooling: it has a vector for each token and "
                "none for a text, as late-interaction models (ColBERT) do; add a Pooling module, or give a dense model"
            )
        self._refuse_unroutable()
        self._refuse_sentencepiece()
        _ = self.config, self._sentence_config, self._tokenizer_config, self.prompt, self.truncate_dim

    @property
    def _gives_vectors(self) -> bool:
        """Whether some module makes one vector of a text's tokens."""
        done = ("Pooling", "StaticEmbedding", "BoW")
        return any(part.kind in done for part in self._walk()) or any(
            isinstance(v, dict) or v == "sentence_embedding"
            for part in self._walk()
            for v in (self._sentence_config_of(part).get("module_output_name"),)
        )

    def _refuse_unroutable(self) -> None:
        for part in self.pipeline:
            if part.kind != "Router":
                continue
            default = part.parameters.get("default_route")
            empty = part.parameters.get("allow_empty_key", True)
            if default is None and empty is not True:
                raise HengyuError(
                    f"{self.where}: is a Router without a default route, so that a text takes none of "
                    f"{', '.join(sorted(part.routes))}; set default_route in its router_config.json"
                )
            if default is not None and (not isinstance(default, str) or default not in part.routes):
                raise HengyuError(
                    f"{self.path / part.inside}: the Router's default_route {_shown(default)} is none of its routes "
                    f"{', '.join(sorted(part.routes))}; get the model again"
                )

    def _refuse_sentencepiece(self) -> None:
        """Name the package that a tokenizer without tokenizer.json needs, before the library guesses at another."""
        if self.static or find_spec("sentencepiece") is not None:
            return
        names = {p.name for p in self.tokenizer.iterdir()}
        pieces = sorted(n for n in names if n.endswith((".model", ".spm")))
        if pieces and not names & {"tokenizer.json", "vocab.txt", "vocab.json", "tekken.json"}:
            raise HengyuError(
                f"{self.where}: its tokenizer is {pieces[0]} alone, which needs the package sentencepiece; run: pip install "
                "sentencepiece"
            )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
