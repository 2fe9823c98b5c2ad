"""What a model's folder consists of, read as data: its modules, the files that loading opens, and what would run code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from hengyu.base.errors import HengyuError

__all__ = ["ACTIVATIONS", "CODE_ENDING", "STEP", "Files", "Part", "code_in", "read_parts", "weight_files"]

STEP = "hengyu.tools.export_model.steps.Step"  # the module of a step that `hengyu take` wrote; its code lies in this package
CODE_ENDING = ".py"

_DEEPEST = 8  # routers inside routers
_LARGEST = 1 << 28  # bytes of a JSON file
_LIBRARY = re.compile(r"sentence_transformers(\.[A-Za-z_]\w*)+\Z")
_BLOB = re.compile(r"models--[^/]+/blobs/[0-9a-f]+\Z")
_TORCH = "torch.nn.modules."
ACTIVATIONS = frozenset(
    f"{_TORCH}{place}"
    for place in (
        "linear.Identity",
        *(
            f"activation.{name}"
            for name in (
                "ELU",
                "GELU",
                "Hardsigmoid",
                "Hardswish",
                "Hardtanh",
                "LeakyReLU",
                "LogSigmoid",
                "Mish",
                "PReLU",
                "ReLU",
                "ReLU6",
                "SELU",
                "SiLU",
                "Sigmoid",
                "Softplus",
                "Softsign",
                "Tanh",
                "Tanhshrink",
            )
        ),
    )
)
"""The activation functions a dense layer may name: classes of torch.nn that are built without arguments."""

# kind -> where its configuration stands, and whether it has weights
_KINDS: dict[str, tuple[str, bool]] = {
    "Transformer": ("", True),
    "Pooling": ("config.json", False),
    "Dense": ("config.json", True),
    "Normalize": ("config.json", False),
    "LayerNorm": ("config.json", True),
    "WordWeights": ("config.json", False),
    "WordEmbeddings": ("wordembedding_config.json", True),
    "BoW": ("config.json", False),
    "CNN": ("cnn_config.json", True),
    "LSTM": ("lstm_config.json", True),
    "Dropout": ("config.json", False),
    "StaticEmbedding": ("", True),
    "WeightedLayerPooling": ("config.json", True),
    "Router": ("router_config.json", False),
}
_ALIASES = {"Asym": "Router"}
_INPUTS = ("Transformer", "StaticEmbedding", "WordEmbeddings", "BoW", "Router")
_WORDS_TOKENIZER = "WhitespaceTokenizer"
_SENTENCE_CONFIGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_CONFIGS = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "audio_tokenizer_config.json",
    "chat_template.json",
    *_SENTENCE_CONFIGS,
)
_TOKENIZER = re.compile(
    r"(tokenizer[\w.]*\.json|special_tokens_map\.json|added_tokens\.json|(target_)?vocab(-src|-tgt)?\.json|entity_vocab\.json|"
    r"byte_maps\.json|emoji\.json|normalizer\.json|word_(pronunciation|shape)\.json|tekken\.json|merges\.txt|vocab\.txt|"
    r"dict\.txt|bpe\.codes|prophetnet\.tokenizer|chat_template\.jinja|[\w.-]*\.(model|spm|tiktoken|vocab))\Z"
)
_TEMPLATES = "additional_chat_templates"
_TOKENIZER_CLASS = re.compile(r"\w*(Tokenizer|TokenizerFast|Backend)\Z")
_PROCESSOR_CLASS = re.compile(r"\w*(Processor|Tokenizer|TokenizerFast|Backend)\Z")
_PEFT_IMPORTS = ("corda_config", "eva_config", "lora_ga_config", "megatron_config", "loftq_config", "arrow_config")
_ARGUMENTS = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
_NO_ARGUMENTS = frozenset(  # of from_pretrained: what they name is read from elsewhere, or unpickled
    {
        "adapter_kwargs",
        "adapter_name",
        "cache_dir",
        "code_revision",
        "config",
        "device_map",
        "gguf_file",
        "key_mapping",
        "mistral_format",
        "offload_folder",
        "output_loading_info",
        "pretrained_model_name_or_path",
        "quantization_config",
        "revision",
        "state_dict",
        "subfolder",
        "token",
        "tokenizer_type",
        "use_safetensors",
        "variant",
        "weights_only",
    }
)
_ATTENTION = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")


class Files:
    """The files of a folder, by their path inside it; none is read that lies outside it.

    A link that leads out is refused, but for those of the hub cache, whose snapshots are links to blobs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = root.resolve()

    def find(self, inside: str) -> Path | None:
        """Return the path of a regular file, None where there is none; raises `HengyuError` where it lies outside."""
        path = self.root / inside
        try:
            real = path.resolve(strict=True)
            if not real.is_file():
                return None
        except (OSError, RuntimeError, ValueError):
            return None
        if not (real.is_relative_to(self._real) or _BLOB.search(real.as_posix())):
            raise HengyuError(f"{path}: leads out of the model's folder, which is refused; put the file itself there")
        return path

    def json(self, inside: str) -> Any:
        """Return the content of a JSON file, None where there is none; raises `HengyuError` for a damaged one."""
        path = self.find(inside)
        if path is None:
            return None
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"more than {_LARGEST >> 20} MiB")
            return json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as e:
            raise HengyuError(f"{path}: cannot be read as JSON ({e}); get the model again") from None

    def table(self, inside: str) -> dict[str, Any]:
        """Return a JSON object, {} where there is no such file; raises `HengyuError` for anything else."""
        content = self.json(inside)
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise HengyuError(f"{self.root / inside}: must hold a JSON object; get the model again")
        return content

    def names(self, inside: str) -> list[str]:
        """Return the names of what lies directly in a folder, sorted."""
        try:
            return sorted(p.name for p in (self.root / inside).iterdir())
        except OSError:
            return []


@dataclass(frozen=True)
class Part:
    """One module of a sentence-transformers folder.

    Attributes:
        kind: of the allow-list, ``Step``, or "" for a module that is none of them.
        type: how the folder names it.
        inside: its folder as a path inside the model's, "" for that itself.
        config: its configuration file.
        routes: of a router: route -> its modules.
        parameters: of a router.
    """

    kind: str
    type: str
    inside: str
    config: Mapping[str, Any] = field(default_factory=dict)
    routes: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last word of its type."""
        return self.type.rsplit(".", 1)[-1]

    @property
    def takes_text(self) -> bool:
        """Whether it can come first."""
        return self.kind in _INPUTS

    @property
    def has_weights(self) -> bool:
        """Whether it reads a safetensors file."""
        return self.kind == "Step" or _KINDS.get(self.kind, ("", False))[1]

    def walk(self) -> Iterator[Part]:
        """Yield the part and those that it is made of, at any depth."""
        yield self
        for parts in self.routes.values():
            for part in parts:
                yield from part.walk()

    def files(self, files: Files) -> Iterator[str]:
        """Yield the paths inside the model's folder of the files that loading it opens."""
        names: list[str] = []
        if self.kind == "Transformer":
            names = _transformer(files, self.inside)
        elif self.kind == "StaticEmbedding":
            names = ["tokenizer.json", "model.safetensors", "config.json"]
        elif self.kind == "Step":
            names = ["config.json", "state.safetensors"]
        elif self.kind == "WordEmbeddings":
            names = [_KINDS[self.kind][0], "whitespacetokenizer_config.json", "model.safetensors"]
        elif self.kind in _KINDS:
            config, weights = _KINDS[self.kind]
            names = [_router_file(files, self.inside) if self.kind == "Router" else config]
            names += ["model.safetensors"] if weights else []
        for name in names:
            inside = join(self.inside, name)
            if files.find(inside) is not None:
                yield inside


def join(inside: str, name: str) -> str:
    """Return the path of a file in a folder inside the model's."""
    return f"{inside}/{name}" if inside else name


def _transformer(files: Files, inside: str) -> list[str]:
    names = files.names(inside)
    found = [n for n in _CONFIGS if n in names] + [n for n in names if _TOKENIZER.match(n)]
    found += [f"{_TEMPLATES}/{n}" for n in files.names(join(inside, _TEMPLATES)) if n.endswith(".jinja")]
    found += weight_files(files, inside)
    if "adapter_config.json" in names:
        found += ["adapter_model.safetensors"]
    return list(dict.fromkeys(found))


def weight_files(files: Files, inside: str) -> list[str]:
    """Return the names, inside a transformer's folder, of the index and the safetensors files that its weights are read from.

    Raises:
        HengyuError: for an index that names a file elsewhere.
    """
    named = files.table(join(inside, "config.json")).get("transformers_weights")
    if isinstance(named, str):
        index = named if named.endswith(".index.json") else ""
        if not index:
            return [named]
    elif files.find(join(inside, "model.safetensors")) is not None:
        return ["model.safetensors"]
    else:
        index = "model.safetensors.index.json"
    where = files.root / inside / index
    content = files.table(join(inside, index))
    if not content:
        return []
    shards = content.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
        raise HengyuError(f"{where}: key 'weight_map' must name a file for each weight; get the model again")
    for shard in sorted(set(shards.values())):
        if not _plain(shard) or not shard.endswith(".safetensors"):
            raise HengyuError(f"{where}: names '{shard}', which is no safetensors file of the same folder; refused")
        if files.find(join(inside, shard)) is None:
            raise HengyuError(f"{where}: names '{shard}', which is not there; get the model again")
    return [index, *sorted(set(shards.values()))]


def _plain(name: str) -> bool:
    """Tell whether a name is that of something directly in a folder."""
    return (
        bool(name)
        and name not in (".", "..")
        and not set(name) & set("/\\\0")
        and not PureWindowsPath(name).anchor
        and len(name) < 256
    )


def _inside(path: Any, where: Path) -> str:
    """Return a module's path in one spelling; raises `HengyuError` for one that is no path inside the folder."""
    if not isinstance(path, str):
        raise HengyuError(f"{where}: path {str(path)[:80]!r} must be a string; get the model again")
    if "\0" in path or "\\" in path or ".." in PurePosixPath(path).parts or PureWindowsPath(path).anchor:
        raise HengyuError(f"{where}: path '{path}' leads out of the folder; refused".replace("\0", "\\0"))
    plain = PurePosixPath(path).as_posix()
    return "" if plain == "." else plain


def read_parts(files: Files) -> tuple[Part, ...]:
    """Return the modules that modules.json names, () where there is none.

    Modules that are not on the allow-list have no kind. Raises `HengyuError` for files of another shape, and for paths that
    lead out of the folder.
    """
    where = files.root / "modules.json"
    content = files.json("modules.json")
    if content is None:
        return ()
    if not isinstance(content, list) or not content:
        raise HengyuError(f"{where}: must be a list of modules; get the model again")
    parts = []
    for module in content:
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            raise HengyuError(f"{where}: must be a list of modules, each with a type and a path; get the model again")
        parts.append(_part(files, module["type"], _inside(module.get("path", ""), where)))
    return tuple(parts)


def _part(files: Files, type_: str, inside: str, depth: int = 0) -> Part:
    if type_ == STEP:
        return Part("Step", type_, inside, files.table(join(inside, "config.json")))
    name = type_.rsplit(".", 1)[-1]
    kind = _ALIASES.get(name, name)
    if kind not in _KINDS or not _LIBRARY.match(type_):
        return Part("", type_, inside)
    if kind == "Router":
        return _router(files, type_, inside, depth)
    place = _KINDS[kind][0]
    config = files.table(join(inside, place)) if place else {}
    if kind == "WordEmbeddings":
        words = config.get("tokenizer_class")
        if not (isinstance(words, str) and _LIBRARY.match(words) and words.endswith(f".{_WORDS_TOKENIZER}")):
            return Part("", f"{type_} with tokenizer_class {str(words)[:80]}", inside)
    return Part(kind, type_, inside, config)


def _router_file(files: Files, inside: str) -> str:
    """Return the name of a router's configuration, which older versions call config.json."""
    return "router_config.json" if files.find(join(inside, "router_config.json")) else "config.json"


def _router(files: Files, type_: str, inside: str, depth: int) -> Part:
    name = _router_file(files, inside)
    where = files.root / inside / name
    config = files.table(join(inside, name))
    types, structure, parameters = (config.get(key) for key in ("types", "structure", "parameters"))
    if not (
        isinstance(types, dict)
        and isinstance(structure, dict)
        and structure
        and all(isinstance(t, str) for t in types.values())
        and all(
            isinstance(ids, list) and ids and all(i in types for i in ids if isinstance(i, str))
            for ids in structure.values()
        )
        and all(isinstance(i, str) for ids in structure.values() for i in ids)
        and isinstance(parameters, dict)
    ):
        raise HengyuError(
            f"{where}: a Router needs types, structure and parameters that fit each other; get the model again"
        )
    if depth >= _DEEPEST:
        raise HengyuError(f"{where}: Routers inside Routers, more than {_DEEPEST} deep; refused")
    made = {}
    for key, kind in types.items():
        if not _plain(key):
            raise HengyuError(f"{where}: type '{key[:80]}' leads out of the folder; refused".replace("\0", "\\0"))
        made[key] = _part(files, kind, join(inside, key), depth + 1)
    routes = {route: tuple(made[key] for key in keys) for route, keys in structure.items()}
    unused = [part for key, part in made.items() if not any(key in keys for keys in structure.values())]
    if unused:
        raise HengyuError(f"{where}: names modules that no route takes ({unused[0].type}); get the model again")
    return Part("Router", type_, inside, config, routes, parameters)


def code_in(content: Any, name: str) -> list[str]:
    """Return what in a configuration file would run code, import by name, or fetch something else, at any depth."""
    found: list[str] = []
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        if not isinstance(item, dict):
            continue
        stack += item.values()
        for key, value in item.items():
            if _runs(key, value):
                found.append(f"{name}: {key}" if key == "auto_map" else f"{name}: {key} {_short(value)}")
    return list(dict.fromkeys(found))


def _runs(key: str, value: Any) -> bool:
    """Tell whether a key with this value makes a library run, import or fetch what the folder chooses."""
    if value is None or value is False or value in ("", [], {}):
        return False
    if key in ("auto_map", "init_inputs", "use_pretrained_backbone"):
        return True
    if key == "auto_mapping":  # of an adapter: the class of its base model
        library = value.get("parent_library") if isinstance(value, dict) else value
        return not (isinstance(library, str) and re.fullmatch(r"transformers(\.\w+)*", library))
    if key in _PEFT_IMPORTS:
        return True
    if key == "megatron_core":
        return bool(value != "megatron.core")
    if key in _ATTENTION:
        return "/" in str(value)
    if key in ("activation_fn", "activation_function"):
        return not isinstance(value, str) or ("." in value and value not in ACTIVATIONS)
    if key == "tokenizer_class":
        return not (isinstance(value, str) and (_TOKENIZER_CLASS.match(value) or _LIBRARY.match(value)))
    if key == "processor_class":
        return not (isinstance(value, str) and _PROCESSOR_CLASS.match(value))
    if key == "transformers_weights":
        return not (
            isinstance(value, str) and _plain(value) and value.endswith((".safetensors", ".safetensors.index.json"))
        )
    if key == "tokenizer_name_or_path":
        return True
    if key in _ARGUMENTS:
        return not isinstance(value, dict) or bool(set(value) & _NO_ARGUMENTS)
    if key == "fast_tokenizer_files":
        return not (isinstance(value, list) and all(isinstance(v, str) and _TOKENIZER.match(v) for v in value))
    if key.endswith("_file") and isinstance(value, str):  # a file that a tokenizer is told to read elsewhere
        return key not in ("special_tokens_map_file", "tokenizer_file") and not _plain(value) and _exists(value)
    return False


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"
