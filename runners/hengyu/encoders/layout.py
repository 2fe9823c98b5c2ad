"""The modules of a model's folder, read as data, and the files that loading each of them opens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.encoders.files import TOKENIZER, Files, is_plain, join, weight_files
from hengyu.encoders.foreign import LIBRARY
from hengyu.encoders.without_attention import MODULE

__all__ = ["ATTENTION", "NGRAMS", "STEP", "Part", "read_parts"]

STEP = "hengyu.tools.export_model.steps.Step"
"""The module of a step in an exported model; its code is in this package."""

NGRAMS = "hengyu.encoders.ngrams.NgramEmbedding"
"""The module of a static n-gram encoder; its code is in this package."""

ATTENTION = "hengyu.encoders.attention.TokenAttention"
"""The module of a learned attention pooling; its code is in this package."""

_OWN = {NGRAMS: "Ngrams", ATTENTION: "TokenAttention"}

_OLD_STEP = "hengyu.take.steps.Step"  # the same in models exported by version 0.1

_DEEPEST = 8  # routers inside routers
# kind -> its configuration file, and whether it has weights
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
    "Ngrams": ("config.json", True),
    "TokenAttention": ("", True),
    "WeightedLayerPooling": ("config.json", True),
    "Router": ("router_config.json", False),
}
_ALIASES = {"Asym": "Router"}
_INPUTS = ("Transformer", "StaticEmbedding", "Ngrams", "WordEmbeddings", "BoW", "Router")
_WHITESPACE = "WhitespaceTokenizer"
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
_TEMPLATES = "additional_chat_templates"


@dataclass(frozen=True)
class Part:
    """One module of a sentence-transformers folder.

    Attributes:
        kind: one of the allow-list, ``Step``, or "" for any other module.
        type: its name in the folder.
        inside: its folder as a path inside the model's; "" for the model's folder.
        config: its configuration file.
        routes: of a router: route -> modules.
        parameters: the parameters of a router.
    """

    kind: str
    type: str
    inside: str
    config: Mapping[str, Any] = field(default_factory=dict)
    routes: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class name, the last part of its type."""
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
        """Yield the part and its subparts, at any depth."""
        yield self
        for parts in self.routes.values():
            for part in parts:
                yield from part.walk()

    def files(self, files: Files) -> Iterator[str]:
        """Yield the paths, inside the model's folder, of the files that loading it opens."""
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
            names = [_router_file(files, self.inside) if self.kind == "Router" else config] if config else []
            names += ["model.safetensors"] if weights else []
        for name in names:
            inside = join(self.inside, name)
            if files.find(inside) is not None:
                yield inside


def _transformer(files: Files, inside: str) -> list[str]:
    names = files.names(inside)
    found = [n for n in _CONFIGS if n in names] + [n for n in names if TOKENIZER.match(n)]
    found += [f"{_TEMPLATES}/{n}" for n in files.names(join(inside, _TEMPLATES)) if n.endswith(".jinja")]
    found += weight_files(files, inside)
    if "adapter_config.json" in names:
        found += ["adapter_model.safetensors"]
    return list(dict.fromkeys(found))


def _inside(path: Any, where: Path) -> str:
    """Return a module's path in normal form; raises `HengyuError` unless it is inside the folder."""
    if not isinstance(path, str):
        raise HengyuError(f"{where}: path {str(path)[:80]!r} must be a string; get the model again")
    if "\0" in path or "\\" in path or ".." in PurePosixPath(path).parts or PureWindowsPath(path).anchor:
        raise HengyuError(f"{where}: path '{path}' leads out of the folder; refused".replace("\0", "\\0"))
    plain = PurePosixPath(path).as_posix()
    return "" if plain == "." else plain


def read_parts(files: Files) -> tuple[Part, ...]:
    """Return the modules named in modules.json; () if there is no such file.

    Modules that are not on the allow-list have no kind. Raises `HengyuError` for malformed files and for paths that lead
    out of the folder.
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
    if type_ in (STEP, _OLD_STEP):
        return Part("Step", type_, inside, files.table(join(inside, "config.json")))
    if type_ in _OWN:
        place = _KINDS[_OWN[type_]][0]
        return Part(_OWN[type_], type_, inside, files.table(join(inside, place)) if place else {})
    if type_ == MODULE:
        return Part("Transformer", type_, inside)
    name = type_.rsplit(".", 1)[-1]
    kind = _ALIASES.get(name, name)
    if kind not in _KINDS or kind in _OWN.values() or not LIBRARY.match(type_):
        return Part("", type_, inside)
    if kind == "Router":
        return _router(files, type_, inside, depth)
    place = _KINDS[kind][0]
    config = files.table(join(inside, place)) if place else {}
    if kind == "WordEmbeddings":
        words = config.get("tokenizer_class")
        if not (isinstance(words, str) and LIBRARY.match(words) and words.endswith(f".{_WHITESPACE}")):
            return Part("", f"{type_} with tokenizer_class {str(words)[:80]}", inside)
    return Part(kind, type_, inside, config)


def _router_file(files: Files, inside: str) -> str:
    """Return the name of a router's configuration file, config.json in older versions."""
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
        raise HengyuError(f"{where}: a Router needs matching types, structure and parameters; get the model again")
    if depth >= _DEEPEST:
        raise HengyuError(f"{where}: Routers are nested more than {_DEEPEST} deep; refused")
    made = {}
    for key, kind in types.items():
        if not is_plain(key):
            raise HengyuError(f"{where}: type '{key[:80]}' leads out of the folder; refused".replace("\0", "\\0"))
        made[key] = _part(files, kind, join(inside, key), depth + 1)
    routes = {route: tuple(made[key] for key in keys) for route, keys in structure.items()}
    unused = [part for key, part in made.items() if not any(key in keys for keys in structure.values())]
    if unused:
        raise HengyuError(f"{where}: names modules that no route uses ({unused[0].type}); get the model again")
    return Part("Router", type_, inside, config, routes, parameters)
