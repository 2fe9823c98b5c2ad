"""Builds a folder's sentence-transformers modules one by one from the allow-list: no class is imported by name."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hengyu.base.errors import HengyuError, first_line
from hengyu.encoders.architectures import load_transformer
from hengyu.encoders.layout import ATTENTION, NGRAMS, STEP, Part
from hengyu.encoders.model_folder import ModelFolder
from hengyu.encoders.without_attention import MODULE, code_of, make_known

__all__ = ["build", "build_cross_encoder", "load_tokenizer"]

_CLASSIFY = "sequence-classification"  # the library's name for the task of a cross-encoder's transformer


def build(folder: ModelFolder, dtype: Any, device: str) -> Any:
    """Return a `SentenceTransformer` with the folder's modules, in a torch dtype, ready to encode.

    The library imports code only if the user trusts it and it is needed.

    Raises:
        HengyuError: for files that do not fit each other.
    """
    with _quiet():
        try:
            model = _trusted(folder, dtype, device) if folder.custom else _own(folder, dtype, device)
        except HengyuError:
            raise
        except Exception as e:
            raise HengyuError(f"{folder.where}: cannot be loaded ({first_line(e)}); get the model again") from None
    return model.eval()


def build_cross_encoder(folder: ModelFolder, dtype: Any, device: str, activation: Any) -> Any:
    """Return the library's `CrossEncoder` for a folder with a transformer and a classification head, or a pooling and a layer.

    Raises:
        HengyuError: for files that do not fit each other.
    """
    from sentence_transformers import CrossEncoder

    with _quiet():
        try:
            first, *others = folder.pipeline
            task = "" if others else _CLASSIFY
            model = CrossEncoder(
                modules=[
                    _transformer(folder, first, dtype, task),
                    *(_module(folder, p, dtype).to(dtype) for p in others),
                ],
                device=device,
                prompts=dict(folder.prompts),
                default_prompt_name=folder.default_prompt_name or None,
                activation_fn=activation,
            )
        except HengyuError:
            raise
        except Exception as e:
            raise HengyuError(f"{folder.where}: cannot be loaded ({first_line(e)}); get the model again") from None
    return model.eval()


def load_tokenizer(folder: ModelFolder) -> Any:
    """Return the tokenizer of transformers; raises what the library raises."""
    import transformers

    more: dict[str, Any] = {}
    make_known(folder.config)
    if folder.base:
        more["config"] = transformers.AutoConfig.from_pretrained(folder.body, local_files_only=True)
    with _quiet():
        return transformers.AutoTokenizer.from_pretrained(
            folder.tokenizer, local_files_only=True, trust_remote_code=folder.spec.trust_remote_code, **more
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Load without progress bars, warnings and network access: libraries query the hub even for local folders."""
    import huggingface_hub.constants
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


def _trusted(folder: ModelFolder, dtype: Any, device: str) -> Any:
    """Return the model as loaded by the library, which imports the folder's own modules."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(folder.path),
        device=device,
        local_files_only=True,
        trust_remote_code=folder.spec.trust_remote_code,
        model_kwargs={} if folder.static else {"dtype": dtype, "use_safetensors": True},
    )


def _own(folder: ModelFolder, dtype: Any, device: str) -> Any:
    from sentence_transformers import SentenceTransformer

    modules = [_module(folder, part, dtype) for part in folder.pipeline]
    if folder.is_model2vec:
        modules += _normalised(folder)
    elif not folder.parts:
        modules += _pooling(modules[0])
    if folder.leaves_prompt_out:
        for module in modules:
            if hasattr(module, "include_prompt"):
                module.include_prompt = False
    return SentenceTransformer(
        modules=modules,
        device=device,
        prompts=dict(folder.prompts),
        default_prompt_name=folder.default_prompt_name or None,
        truncate_dim=folder.truncate_dim or None,
    )


_CLASSES = (
    "Pooling",
    "Dense",
    "Normalize",
    "LayerNorm",
    "WordWeights",
    "WordEmbeddings",
    "BoW",
    "CNN",
    "LSTM",
    "Dropout",
    "StaticEmbedding",
    "WeightedLayerPooling",
)


def _module(folder: ModelFolder, part: Part, dtype: Any) -> Any:
    """Return the module of a part; only these classes are used, whatever the folder names."""
    from sentence_transformers.sentence_transformer import modules as library

    if part.kind == "Transformer":
        return _transformer(folder, part, dtype)
    if part.kind == "Router":
        return _router(folder, part, dtype)
    if part.kind == "Step":
        # by name, as sentence-transformers loads it: encoders do not depend on the export tools
        return import_module(STEP.rpartition(".")[0]).Step.load(str(folder.path), subfolder=part.inside)
    if part.kind == "Ngrams":
        # sentence-transformers is imported with it
        return import_module(NGRAMS.rpartition(".")[0]).NgramEmbedding.load(str(folder.path), subfolder=part.inside)
    if part.kind == "TokenAttention":
        return import_module(ATTENTION.rpartition(".")[0]).TokenAttention.load(str(folder.path), subfolder=part.inside)
    if part.kind not in _CLASSES:
        raise HengyuError(f"{folder.where}: module {part.type} cannot be built here")
    try:
        return getattr(library, part.kind).load(str(folder.path), subfolder=part.inside, local_files_only=True)
    except Exception as e:
        raise HengyuError(
            f"{folder.path / part.inside}: module {part.name} cannot be built from its files ({first_line(e)}); get the model "
            "again"
        ) from None


def _router(folder: ModelFolder, part: Part, dtype: Any) -> Any:
    from sentence_transformers.sentence_transformer.modules import Router

    made: dict[int, Any] = {}

    def once(inner: Part) -> Any:
        if id(inner) not in made:
            made[id(inner)] = _module(folder, inner, dtype)
        return made[id(inner)]

    routes = {route: [once(inner) for inner in parts] for route, parts in part.routes.items()}
    return Router(
        routes,
        default_route=part.parameters.get("default_route"),
        allow_empty_key=part.parameters.get("allow_empty_key") is not False,
        route_mappings=_mappings(part.parameters.get("route_mappings")),
    )


def _mappings(named: Any) -> dict[tuple[Any, Any], str] | None:
    """Return the route of a task and a modality, from keys like ``('query', None)``."""
    if not isinstance(named, Mapping):
        return None
    found: dict[tuple[Any, Any], str] = {}
    for key, route in named.items():
        try:
            task, modality = ast.literal_eval(key[:200])
            found[task, modality] = route
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise HengyuError(f"route_mappings: key {key[:80]!r} must be a task and a modality") from None
    return found


def _transformer(folder: ModelFolder, part: Part, dtype: Any, task: str = "") -> Any:
    """Return the library's transformer module with complete weights and its adapter, and with the head of a ``task``."""
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import AutoConfig

    place = folder.path / part.inside
    make_known(folder.config)
    first = part is folder.pipeline[0]
    adapter = folder.adapter if first else ""
    base = folder.base if first else None
    reports: list[Any] = []

    class Body(Transformer):  # type: ignore[misc]
        """Loads an adapter's base from where it was found, and keeps the loading report."""

        def _load_config(self, name: str, backend: str, config_kwargs: dict[str, Any]) -> Any:
            if not adapter:
                return super()._load_config(name, backend, config_kwargs)
            return AutoConfig.from_pretrained(str(folder.body), **config_kwargs), True

        def _load_model(self, name: str, *args: Any, **kwargs: Any) -> Any:
            found = super()._load_model(name if base is None else str(folder.body), *args, **kwargs)
            if isinstance(found, tuple):
                found, report = found
                if not (adapter or task) and any("pooler" not in k for k in report.get("missing_keys", ())):
                    found, report = load_transformer(place, dtype=dtype, trust_remote_code=trust)
                reports.append(report)
            if base is not None:
                added = found.load_adapter(str(place), adapter_kwargs={"local_files_only": True})
                reports.append(added.to_dict())
            return found

    trust = folder.spec.trust_remote_code
    common = {"local_files_only": True, "trust_remote_code": trust}
    settings = dict(Transformer.load_config(str(place))) if folder.parts else {}
    given = {
        new: {k: v for k, v in {**settings.pop(old, {}), **settings.pop(new, {})}.items() if k not in _OURS}
        for old, new in (
            ("model_args", "model_kwargs"),
            ("tokenizer_args", "processor_kwargs"),
            ("config_args", "config_kwargs"),
        )
    }
    weights = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True, **common}
    body = Body(
        str(place),
        model_kwargs={**given["model_kwargs"], **weights},
        processor_kwargs={**given["processor_kwargs"], **common},
        config_kwargs={**given["config_kwargs"], **common},
        **({"tokenizer_name_or_path": str(folder.tokenizer)} if first and folder.tokenizer != place else {}),
        **(settings | ({"transformer_task": task} if task else {})),
    )
    # a folder saved from it names the library's class, or the one of ours without which the library cannot load it
    module, _, name = MODULE.rpartition(".")
    body.__class__ = getattr(import_module(module), name) if code_of(folder.config) else Transformer
    for report in reports:
        _refuse_incomplete(folder, report, pooler=bool(task))
    return body


_OURS = ("trust_remote_code", "torch_dtype", "dtype", "use_safetensors", "local_files_only", "output_loading_info")


def _refuse_incomplete(folder: ModelFolder, report: Mapping[str, Any], *, pooler: bool) -> None:
    """Raise `HengyuError` for weights that the library initialised because the files lack them.

    A ``pooler`` counts only if a head uses it.
    """
    missing = sorted(k for k in report.get("missing_keys", ()) if pooler or "pooler" not in k)
    wrong: Sequence[Any] = sorted(map(str, report.get("mismatched_keys") or ()))
    if missing or wrong:
        names = ", ".join(map(str, (missing or wrong)[:3]))
        raise HengyuError(
            f"{folder.where}: weights do not fit its config.json (e.g. {names}); get the model again"
        ) from None


def _pooling(body: Any) -> list[Any]:
    """Return the library's pooling for a transformer without modules.json: mean, or last token for a causal model."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    if body.module_output_name != "token_embeddings":
        return []
    names = getattr(body.config, "architectures", None) or [""]
    causal = str(names[0]).endswith("ForCausalLM") and getattr(body.config, "is_causal", True)
    return [Pooling(body.get_embedding_dimension(), "lasttoken" if causal else "mean")]


def _normalised(folder: ModelFolder) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Normalize

    return [Normalize()] if folder.json("config.json").get("normalize") is not False else []
